"""The live line of `icecore train`: models, folds, and the best setting so far."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ..core.errors import escaped
from .console import is_watched, terminal


@contextlib.contextmanager
def train_display(quiet: bool = False, console: Any = None) -> Iterator[Callable[[Any], None]]:
    """Show training on standard error; yields the ``progress`` of `train`.

    Nothing is shown where nobody watches (a log file, a pipe).
    """
    shown = console.is_terminal if console else is_watched()
    if quiet or not shown:
        yield lambda event: None
        return
    from rich.live import Live

    console, display = console or terminal(), TrainDisplay()
    with Live(display, console=console, transient=True, refresh_per_second=8):
        yield display.update


class TrainDisplay:
    """A bar over the models, with what the one in training is at."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.table import Column

        self._bar = Progress(
            TextColumn("train"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True)),
        )
        self._task = self._bar.add_task("train", total=None, note="")

    def update(self, event: Any) -> None:
        """Take a `TrainEvent` in."""
        note = f"{event.task} {event.model}: {event.step}"
        if event.part:
            note += f", {event.part} of {event.parts}"
        elif event.parts > 1:
            note += f", {event.parts}"
        if event.loss is not None:
            note += f", best log-loss {event.loss:.4f}"
        self._bar.update(self._task, completed=event.done, total=event.total, note=escaped(note))

    def __rich__(self):
        return self._bar

"""The live table of `icecore train`: the heads in training with their losses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table

__all__ = ["TrainDisplay", "train_display"]

_MOST_ROWS = 12


@contextlib.contextmanager
def train_display(
    quiet: bool = False, console: Console | None = None
) -> Iterator[Callable[[Any], None]]:
    """Show training on standard error; yields a callback for its events.

    Nothing is shown where nobody watches (a log file, a pipe).
    """
    console = console or Console(stderr=True, highlight=False)
    display = TrainDisplay()
    if quiet or not console.is_terminal:
        yield display.update
        return
    with Live(display, console=console, transient=True, refresh_per_second=8):
        yield display.update


class TrainDisplay:
    """A bar over the models, and a table of the members of the one in training."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("train"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True)),
        )
        self._task = self._bar.add_task("train", total=None, note="")
        self._event: Any | None = None

    def update(self, event: Any) -> None:
        """Take an event in."""
        self._event = event
        note = f"{event.task} {event.model}: {event.step}"
        if event.epoch:
            note += f", epoch {event.epoch}"
        self._bar.update(self._task, completed=event.done, total=event.total, note=note)

    def __rich__(self) -> Group:
        event = self._event
        if event is None or not event.members:
            return Group(self._bar)
        return Group(self._bar, members_table(event.members, event.model))


def members_table(members: tuple[Any, ...], model: str) -> Table:
    """Return the table: those in training first, the best first."""
    table = Table(box=None, pad_edge=False)
    table.add_column("member", no_wrap=True, overflow="ellipsis")
    # Narrow terminals cut the names, never the numbers.
    for title, width in (("epoch", 5), ("log-loss", 8), ("best", 7), ("at", 3)):
        table.add_column(title, justify="right", no_wrap=True, min_width=width)
    table.add_column("", no_wrap=True, min_width=7)
    ranked = sorted(members, key=lambda one: (bool(one.stopped), _number(one.best_loss)))
    first = min(ranked, key=lambda one: _number(one.best_loss))
    for one in ranked[:_MOST_ROWS]:
        table.add_row(
            one.name or model,
            str(one.epoch),
            _text(one.loss),
            _text(one.best_loss),
            str(one.best_epoch) if one.best_loss is not None else "-",
            one.stopped,
            style="bold" if one is first else "dim" if one.stopped else None,
        )
    if len(ranked) > _MOST_ROWS:
        table.add_row(f"and {len(ranked) - _MOST_ROWS} more", *[""] * 5, style="dim")
    return table


def _number(loss: float | None) -> float:
    return float("inf") if loss is None or loss != loss else loss


def _text(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.4f}"

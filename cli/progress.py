"""Progress bars and spinners of the commands."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..core.errors import counted, escaped
from .console import echo, is_watched, terminal


@contextlib.contextmanager
def extract_bar(quiet: bool = False) -> Iterator:
    """Show the progress of `extract` and `predict`; yields their ``progress``, None if quiet.

    Where nobody watches (a log file), a line now and then takes the bar's place. A notebook
    shows the bar with ipywidgets.
    """
    if quiet or not is_watched():
        yield None if quiet else _LogLines()
        return
    with _counting_bar() as bar:
        bars = _Bars(bar)
        try:
            yield bars
        except KeyboardInterrupt:
            bar.stop()
            if bars.done:
                echo(f"{bars.done} are done", err=True)
            raise


@contextlib.contextmanager
def train_bar(quiet: bool = False, console: Any = None) -> Iterator[Callable[[Any], None]]:
    """Show training on standard error; yields the ``progress`` of `train`.

    Where nobody watches (a log file, a pipe), a line now and then takes the bar's place.
    """
    if quiet:
        yield lambda event: None
        return
    if not (console.is_terminal if console else is_watched()):
        log = _Log()
        yield lambda event: log.print(f"{event.done}/{event.total} heads, {_train_note(event)}")
        return
    with _counting_bar(console) as bar:
        task = bar.add_task("train", total=None, note="")

        def update(event) -> None:
            note = escaped(_train_note(event))
            bar.update(task, completed=event.done, total=event.total, note=note)

        yield update


def _train_note(event) -> str:
    note = f"{event.task} {event.model}: {event.step}"
    if event.part:
        note += f", {event.part} of {event.parts}"
    elif event.parts > 1:
        note += f", {event.parts}"
    return note if event.loss is None else f"{note}, best log-loss {event.loss:.4f}"


def _counting_bar(console: Any = None):
    """Make a bar that counts, with a note behind it."""
    from rich.progress import MofNCompleteColumn, TextColumn
    from rich.table import Column

    # The note, shortened, makes room for the count where a terminal is narrow.
    count = MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=15))
    note = TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, ratio=1))
    return _bar(console, count, note)


def _bar(console: Any, *columns):
    from rich.progress import BarColumn, Progress, TextColumn

    # With its columns it fits into 80 characters.
    start = TextColumn("{task.description}"), BarColumn(bar_width=10)
    return Progress(*start, *columns, console=console or terminal(), transient=True)


class _Bars:
    """Draws the progress of an extraction: a `ProgressListener`."""

    def __init__(self, bar) -> None:
        self._bar = bar
        self.done = ""
        self._tasks = {
            name: bar.add_task(name, total=None, visible=False, note="")
            for name in ("detect", "read", "try", "extract")
        }

    def on_network(self, spec: str, engine: str) -> None:
        note = f"{escaped(spec)} on {engine}"
        self._bar.update(self._tasks["try"], visible=True, note=note)

    def on_detect(self, done: int, total: int) -> None:
        self._update("detect", done, total)

    def on_digest(self, done: int, total: int) -> None:
        self._update("read", done, total)

    def on_images(self, now) -> None:
        self._bar.update(self._tasks["try"], visible=False)
        self.done = f"{now.done} of {counted(now.total, 'image')}"
        self._bar.update(
            self._tasks["extract"],
            completed=now.done,
            total=now.total,
            visible=True,
            note=_note(now),
        )

    def _update(self, name: str, done: int, total: int) -> None:
        self._bar.update(self._tasks[name], completed=done, total=total, visible=done < total)


@contextlib.contextmanager
def spinner(text: str, quiet: bool = False) -> Iterator:
    """Show what goes on; yields a callback for what fills the braces of `text`."""
    if quiet or not is_watched():
        yield lambda what: None
        return
    with terminal().status("" if "{" in text else text) as status:
        yield lambda what: status.update(text.format(what))


class _Log:
    """Prints a line with the time, every half minute at most."""

    SECONDS_BETWEEN = 30.0

    def __init__(self) -> None:
        self._printed = time.monotonic()

    def print(self, text: str) -> None:
        if time.monotonic() - self._printed > self.SECONDS_BETWEEN:
            self._printed = time.monotonic()
            echo(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", err=True)


class _LogLines:
    """Prints a line about an extraction now and then: a `ProgressListener`."""

    def __init__(self) -> None:
        self._log = _Log()

    def on_images(self, now) -> None:
        self._log.print(f"{now.done}/{now.total} images, {_note(now)}")

    def on_network(self, spec: str, engine: str) -> None:
        pass  # it takes seconds

    def on_digest(self, done: int, total: int) -> None:
        pass  # it takes seconds

    def on_detect(self, done: int, total: int) -> None:
        self._log.print(f"boxes: {done}/{total} images")


def _note(now) -> str:
    note = f"{now.images_per_second:.1f} images/s, {_duration(now.seconds_left)} left"
    # Of work that is done on other machines no shares are known.
    if now.decoding_share or now.computing_share:
        note += f", decode {now.decoding_share:.0%}, compute {now.computing_share:.0%}"
    return f"{note}, {now.failed} unreadable" if now.failed else note


@contextlib.contextmanager
def download_bar(name: str, quiet: bool = False) -> Iterator:
    """Show how much of a download has come; yields a callback for bytes received, and in all."""
    if quiet or not is_watched():
        yield lambda received, total: None
        return
    from rich.progress import DownloadColumn, TransferSpeedColumn

    with _bar(None, DownloadColumn(), TransferSpeedColumn()) as bar:
        task = bar.add_task(name, total=None, visible=False)

        def update(received: int, total: int | None) -> None:
            bar.update(task, completed=received, total=total, visible=True)

        yield update


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

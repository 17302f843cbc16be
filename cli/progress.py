"""Progress bars and spinners of the commands."""

import contextlib
import time
from collections.abc import Iterator

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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Column

    columns = (
        # Fits into 80 columns.
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=terminal(), transient=True) as bar:
        yield _Bars(bar)


class _Bars:
    """Draws the progress of an extraction: a `ProgressListener`."""

    def __init__(self, bar) -> None:
        self._bar = bar
        self._tasks = {
            name: bar.add_task(name, total=None, visible=False, note="")
            for name in ("detect", "read", "extract")
        }

    def on_detect(self, done: int, total: int) -> None:
        self._update("detect", done, total)

    def on_digest(self, done: int, total: int) -> None:
        self._update("read", done, total)

    def on_images(self, now) -> None:
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
    """Show that something goes on; yields a callback that takes what `text` is filled with."""
    if quiet or not is_watched():
        yield lambda what: None
        return
    with terminal().status("") as status:
        yield lambda what: status.update(text.format(what))


class _LogLines:
    """Prints a line with the time about an extraction, every half minute: a `ProgressListener`."""

    SECONDS_BETWEEN = 30.0

    def __init__(self) -> None:
        self._printed = time.monotonic()

    def on_images(self, now) -> None:
        self._print(lambda: f"{now.done}/{now.total} images, {_note(now)}")

    def on_digest(self, done: int, total: int) -> None:
        pass  # it takes seconds

    def on_detect(self, done: int, total: int) -> None:
        self._print(lambda: f"boxes: {done}/{total} images")

    def _print(self, text) -> None:
        if time.monotonic() - self._printed > self.SECONDS_BETWEEN:
            self._printed = time.monotonic()
            echo(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text()}", err=True)


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
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=terminal(), transient=True) as bar:
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

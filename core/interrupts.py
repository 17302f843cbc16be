"""Ctrl-C and SIGTERM: a command ends early, with one line and the status of the signal."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from .errors import DiskFullError

_USUAL: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}
_arrived: list[int] = []


class Interrupted(KeyboardInterrupt):
    """A signal came; the text, if any, says what is kept.

    After a plain KeyboardInterrupt has left code that is made of text, as that of dataclasses
    is, Python ends with a status of its own, although the exception was caught.
    """


@contextlib.contextmanager
def ends_at_once() -> Iterator[None]:
    """Let a signal end the process where there is nothing yet to be kept or put away."""
    ours = _handle(_end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, _USUAL[number])


def watch_for_signals() -> None:
    """Let SIGTERM end a command as Ctrl-C does.

    It is what Slurm, Kubernetes and clouds send some seconds before they take a machine away.
    """
    _handle(_interrupt)


@contextlib.contextmanager
def keeps_finished() -> Iterator[None]:
    """Let an interruption, or a full disk, say of this work that it need not be done again."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(
            "what was finished is kept, and the same command continues from there"
        ) from error
    except DiskFullError as error:
        error.hint += "; what was finished before is kept"
        raise


def interrupted_status() -> int:
    """Return the exit status of a command that was ended: 128 and the signal's number."""
    return 128 + (_arrived[-1] if _arrived else signal.SIGINT)


def _handle(handler) -> list[signal.Signals]:
    """Set a handler; return for which signals: where a shell has one ignored, it stays so."""
    if threading.current_thread() is not threading.main_thread():
        return []
    ours = [number for number, usual in _USUAL.items() if signal.getsignal(number) is usual]
    for number in ours:
        signal.signal(number, handler)
    return ours


def _interrupt(number: int, frame) -> None:
    _arrived.append(number)
    raise Interrupted


def _end(number: int, frame) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted before it began\n")
    os._exit(128 + number)

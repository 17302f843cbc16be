"""Ctrl-C and SIGTERM: a command ends early, with one line and the status of the signal."""

import contextlib
import signal
from collections.abc import Iterator

from .errors import DiskFullError
from .signals import handle

_arrived: list[int] = []


class Interrupted(KeyboardInterrupt):
    """A signal came; the text, if any, says what is kept.

    After a plain KeyboardInterrupt has left code that is made of text, as that of dataclasses
    is, Python ends with a status of its own, although the exception was caught.
    """


def watch_for_signals() -> None:
    """Let SIGTERM end a command as Ctrl-C does.

    It is what Slurm, Kubernetes and clouds send some seconds before they take a machine away.
    """
    handle(_interrupt)


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


def _interrupt(number: int, frame) -> None:
    _arrived.append(number)
    raise Interrupted

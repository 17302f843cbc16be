"""Ctrl-C and SIGTERM: both end a command early with everything finished kept."""

import contextlib
import signal
import threading
from collections.abc import Iterator

_arrived: list[int] = []


@contextlib.contextmanager
def ends_quietly() -> Iterator[None]:
    """Let Ctrl-C end the process at once, as it ends programs that know nothing of it."""
    here = threading.current_thread() is threading.main_thread()
    # Where a shell has it ignored, it stays so.
    usual = here and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def watch_for_termination() -> None:
    """Let SIGTERM end a command as Ctrl-C does.

    It is what Slurm, Kubernetes and clouds send some seconds before they take a machine away.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)


def interrupted_status() -> int:
    """Return the exit status of a command that was ended: 128 and the signal's number."""
    return 128 + (_arrived[-1] if _arrived else signal.SIGINT)


def _interrupt(number: int, frame) -> None:
    _arrived.append(number)
    raise KeyboardInterrupt

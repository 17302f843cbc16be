"""Ctrl-C and SIGTERM: both end a command early with everything finished kept."""

import signal
import threading

_arrived: list[int] = []


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

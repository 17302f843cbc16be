"""A Ray cluster is joined, and left."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from .errors import ClusterError
from .imports import load

_PATIENCE_S = 10.0


@contextlib.contextmanager
def joined(address: str, *modules: str) -> Iterator[Any]:
    """Join a cluster; yield Ray, with those of its modules that are named.

    Parameters
    ----------
    address : str
        ``local`` for processes on this machine, ``auto`` for the cluster that this machine is in,
        or what ``ray start`` printed. It means nothing where this process is in one already,
        which it then stays in.

    Raises
    ------
    MissingDependencyError
        Ray is not installed.
    ClusterError
        The cluster is not there, or the job failed there.
    """
    # Heeded when it is imported: it reports home otherwise, and its daemons talk a lot.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # What it says of processes that die goes to standard output, where answers of icecore are.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    ray = load("ray", *modules)
    ours = not ray.is_initialized()
    if ours:
        with _signals_kept():
            _join(ray, address)
    try:
        yield ray
    except ray.exceptions.RayError as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ClusterError(
            f"the Ray job ended early: {said[-1] if said else type(error).__name__}",
            "mend the cause, and give the same command again",
        ) from error
    finally:
        if ours:
            with _signals_kept():
                ray.shutdown()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Put back what is done at SIGTERM: Ray ends the process, and does so when it is left, too."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


def _join(ray, address: str) -> None:
    # Workers import this icecore, wherever it lies.
    try:
        _require_answer(address)
        ray.init(
            # "local" starts processes even where a cluster of this machine could be joined.
            address=address,
            log_to_driver=False,
            include_dashboard=False if address == "local" else None,
            logging_level="ERROR",
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(
            f"no Ray cluster can be joined at {address}: {' '.join(str(error).split())}",
            "start one with 'ray start --head' of this version, or say --ray local",
        ) from error


def _require_answer(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT: Ray would wait for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_S).close()

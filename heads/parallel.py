"""Independent fits side by side, each with a BLAS of one thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import ThreadpoolController

__all__ = ["each", "usable_threads"]

_MOST = 16
_here = threading.local()


def each(work: Callable, items: Iterable) -> list:
    """Return ``[work(item) for item in items]``, several at a time.

    Every call has a single-threaded BLAS, so that its result does not depend on how many
    run beside it. There are as many threads as the BLAS would use, so that OMP_NUM_THREADS and
    the limits of threadpoolctl are obeyed. The first error ends the work and is raised.

    Parameters
    ----------
    work : callable
    items : iterable
    """
    items = list(items)
    if getattr(_here, "inside", False):
        # One of several already: its share of the processor is one thread.
        return [work(item) for item in items]
    controller = ThreadpoolController()
    count = min(usable_threads(controller), len(items))
    with controller.limit(limits=1, user_api="blas"):

        def inside(item):
            _here.inside = True
            return work(item)

        if count < 2:
            return [work(item) for item in items]
        with ThreadPoolExecutor(count, thread_name_prefix="icecore-fit") as pool:
            try:
                return list(pool.map(inside, items))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def usable_threads(controller: ThreadpoolController | None = None) -> int:
    """Return how many threads the BLAS would use."""
    libraries = (controller or ThreadpoolController()).info()
    counts = [one["num_threads"] for one in libraries if one.get("user_api") == "blas"]
    if counts:
        return min(_MOST, max(counts))
    try:
        return min(_MOST, len(os.sched_getaffinity(0)))
    except AttributeError:
        return min(_MOST, os.cpu_count() or 1)

"""Models are fitted on a Ray cluster: one task of it for each fold of each model.

A thread of this process waits for the folds of each model, and does what little lies between
them. Rows are put into Ray's store once, which has one copy of them on each node.
"""

import contextlib
import functools
import math
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from threadpoolctl import threadpool_limits

from ...core.imports import load
from ...core.ray_cluster import joined
from ..parallel import Workers, each, work_by
from .options import TrainOptions

# The rows that a process of the cluster was given last, with what fits derived from them.
_kept: dict[str, Any] = {}


@contextlib.contextmanager
def workers_of(options: TrainOptions) -> Iterator[Workers]:
    """Yield what fits models as the options say."""
    if options.ray is None:
        yield Workers()
        return
    # A fit is the same wherever it is made: with a BLAS of one thread.
    with joined(options.ray) as ray, threadpool_limits(1, user_api="blas"):
        workers = RayWorkers(ray, options.folds)
        try:
            yield workers
        finally:
            workers.close()


class RayWorkers(Workers):
    """The processors of a cluster.

    Parameters
    ----------
    ray : module
        Ray, which has joined a cluster.
    folds : int
        Tasks that most models have at a time.
    """

    def __init__(self, ray: Any, folds: int) -> None:
        self._ray = ray
        self._fit = ray.remote(num_cpus=1)(_fit)
        processors = ray.cluster_resources().get("CPU", 1)
        # One model more than there are processors for, so that none of them waits.
        models = 1 + math.ceil(processors / folds)
        self._threads = ThreadPoolExecutor(models, "icecore-model", work_by, (self,))
        self._lock = threading.Lock()
        self._sent: dict[int, Any] = {}
        self._running: set[Any] = set()
        self._closed = False

    def submit(self, fit: Callable[[], Any]) -> Callable[[], Any]:
        """See `Workers.submit`."""
        return self._threads.submit(fit).result

    def each_of(self, work: Callable, calls: Sequence[tuple[Any, Any]]) -> list:
        """See `Workers.each_of`."""
        with self._lock:
            if self._closed:
                raise self._ray.exceptions.TaskCancelledError()
            # In a list, so that a process of the cluster takes it over once for all its tasks.
            tasks = [self._fit.remote(work, [self._send(rows)], item) for rows, item in calls]
            self._running.update(tasks)
        try:
            return self._ray.get(tasks)
        except self._ray.exceptions.RayTaskError as error:
            # What a fit refuses is said as it would be here.
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        finally:
            with self._lock:
                self._running.difference_update(tasks)

    def close(self) -> None:
        """End what is not done."""
        with self._lock:
            self._closed = True
            for task in self._running:
                self._ray.cancel(task, force=True)
        self._threads.shutdown(cancel_futures=True)

    def _send(self, rows: Any) -> Any:
        if id(rows) not in self._sent:
            self._sent[id(rows)] = self._ray.put(rows)
            weakref.finalize(rows, self._sent.pop, id(rows))
        return self._sent[id(rows)]


def _fit(work: Callable, sent: list, item: Any) -> Any:
    """Make one fit in a process of the cluster."""
    (reference,) = sent
    name = reference.hex()
    if name not in _kept:
        _kept.clear()
        _kept[name] = load("ray").get(reference)
    (made,) = each(functools.partial(work, _kept[name]), [item])
    return made

"""Independent fits side by side, each with a BLAS of one thread."""

import collections
import dataclasses
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from threadpoolctl import ThreadpoolController

from ..core.hardware import available_cpus

_MOST = 16
_here = threading.local()


def each(work: Callable, items: Iterable) -> list:
    """Return ``[work(item) for item in items]``, several at a time.

    Every call has a single-threaded BLAS, so that its result does not depend on how many
    run beside it. There are as many threads as the BLAS would use, so that OMP_NUM_THREADS and
    the limits of threadpoolctl are obeyed. A call of `each` inside `work` shares them: what it
    has to do is taken over by those that find nothing else. The first error ends the work and is
    raised.
    """
    items = list(items)
    team = getattr(_here, "team", None)
    if team is not None:
        return team.do(work, items)
    controller = ThreadpoolController()
    count = usable_threads(controller)  # before the limit of one is set
    with controller.limit(limits=1, user_api="blas"):
        team = _Team(count)
        _here.team = team
        try:
            return team.do(work, items)
        finally:
            _here.team = None
            team.end()


def each_of(work: Callable, calls: Iterable[tuple[Any, Any]]) -> list:
    """Return ``[work(rows, item) for rows, item in calls]``, wherever this thread's fits are made.

    On other machines, `work` is a function of a module, or a `functools.partial` of one; rows
    should be few values that many calls share.
    """
    return getattr(_here, "workers", _HERE).each_of(work, list(calls))


def work_by(workers: "Workers") -> None:
    """Have the fits of this thread made by `workers`; what it does itself, it does alone."""
    _here.workers, _here.team = workers, _Team(1)


class Workers:
    """Where models are fitted: here, one after the other, and their folds side by side."""

    def submit(self, fit: Callable[[], Any]) -> Callable[[], Any]:
        """Have a model fitted; return what waits for it."""
        return fit

    def each_of(self, work: Callable, calls: Sequence[tuple[Any, Any]]) -> list:
        """See `each_of`."""
        return each(lambda call: work(*call), calls)


_HERE = Workers()


def usable_threads(controller: ThreadpoolController | None = None) -> int:
    """Return how many threads the BLAS would use, at most as many as there are processors."""
    libraries = (controller or ThreadpoolController()).info()
    counts = [one["num_threads"] for one in libraries if one.get("user_api") == "blas"]
    return min(_MOST, available_cpus(), max(counts, default=_MOST))


def fits_at_once() -> int:
    """Return how many fits may lie in memory side by side."""
    return min(_MOST, available_cpus())


@dataclasses.dataclass
class _Batch:
    """The items of one call: those before `next` were begun, `running` of them are not done."""

    work: Callable
    items: list
    results: list
    next: int = 0
    running: int = 0
    error: BaseException | None = None

    @property
    def open(self) -> bool:
        return self.error is None and self.next < len(self.items)


class _Team:
    """Threads that take what is open, of the call that began first before that of others."""

    def __init__(self, count: int) -> None:
        self._batches: collections.deque[_Batch] = collections.deque()
        self._change = threading.Condition()
        self._ended = False
        self._helpers = [
            threading.Thread(target=self._help, name=f"icecore-fit-{number}", daemon=True)
            for number in range(count - 1)
        ]
        for helper in self._helpers:
            helper.start()

    def do(self, work: Callable, items: list) -> list[Any]:
        """Work on the items with the helpers that are free; return when all are done."""
        batch = _Batch(work, items, [None] * len(items))
        with self._change:
            self._batches.append(batch)
            self._change.notify_all()
        try:
            while (place := self._begin(batch)) is not None:
                self._finish(batch, place)
        finally:
            with self._change:
                self._batches.remove(batch)
                self._change.wait_for(lambda: not batch.running)
        if batch.error is not None:
            raise batch.error
        return batch.results

    def end(self) -> None:
        """Let the helpers go, when each has finished what it does."""
        with self._change:
            self._ended = True
            self._change.notify_all()
        for helper in self._helpers:
            helper.join()

    def _help(self) -> None:
        _here.team = self
        while True:
            with self._change:
                self._change.wait_for(lambda: self._ended or any(b.open for b in self._batches))
                if self._ended:
                    return
                batch = next(b for b in self._batches if b.open)
                place = self._begin(batch)
            if place is not None:
                self._finish(batch, place)

    def _begin(self, batch: _Batch) -> int | None:
        """Return the place of the next item, which is taken; None if there is none."""
        with self._change:
            if not batch.open:
                return None
            batch.next += 1
            batch.running += 1
            return batch.next - 1

    def _finish(self, batch: _Batch, place: int) -> None:
        try:
            batch.results[place] = batch.work(batch.items[place])
        except BaseException as error:
            batch.error = batch.error or error
        finally:
            with self._change:
                batch.running -= 1
                self._change.notify_all()

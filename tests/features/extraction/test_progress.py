"""The clock that batches of one device share."""

from __future__ import annotations

import threading
import time

import pytest

from icecore.features.extraction import progress
from icecore.features.extraction.progress import SharedClock


@pytest.fixture
def now(monkeypatch):
    """A time that stands still until it is set."""
    at = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: at[0])
    return at


def test_a_batch_alone_gets_all_the_time(now):
    clock = SharedClock()
    for begin, end in [(100, 103), (110, 111)]:
        now[0] = begin
        entered = clock.enter()
        now[0] = end
        assert clock.leave(entered) == end - begin


def test_batches_at_once_divide_the_time(now):
    clock = SharedClock()
    first = clock.enter()
    now[0] = 104
    second = clock.enter()
    now[0] = 110
    # 4 alone, then half of 6.
    assert clock.leave(first) == 7
    now[0] = 111
    assert clock.leave(second) == 4
    # Nobody gets the time in which there was no batch.
    now[0] = 200
    third = clock.enter()
    now[0] = 202
    assert clock.leave(third) == 2


def test_shares_of_threads_are_no_more_than_the_time_there_was():
    clock, shares = SharedClock(), []

    def compute():
        for _ in range(20):
            entered = clock.enter()
            time.sleep(0.001)
            shares.append(clock.leave(entered))

    started = time.perf_counter()
    threads = [threading.Thread(target=compute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < sum(shares) <= time.perf_counter() - started

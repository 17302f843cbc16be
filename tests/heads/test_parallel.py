"""Fits side by side: order, errors, calls inside calls, and no thread that is left over."""

import threading
import time

import pytest
from threadpoolctl import threadpool_info

from icecore.heads import parallel
from icecore.heads.parallel import each, usable_threads


@pytest.fixture
def team(monkeypatch):
    """Return a function that sets the number of threads."""

    def of(threads):
        monkeypatch.setattr(parallel, "usable_threads", lambda *_: threads)

    return of


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_are_in_the_order_of_the_items(team, threads):
    team(threads)

    def work(item):
        time.sleep(0.002 * (5 - item % 5))
        return item**2

    assert each(work, range(20)) == [n**2 for n in range(20)]
    assert each(work, []) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_calls_inside_share_the_threads(team, threads):
    team(threads)
    most, now, lock = 0, 0, threading.Lock()

    def inner(item):
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1
        return item

    def outer(item):
        return sum(each(inner, [item, each(sum, [[item, item]])[0], 1]))

    assert each(outer, range(4)) == [3 * n + 1 for n in range(4)]
    assert most <= threads


def test_a_thread_that_finds_nothing_else_helps_inside(team):
    team(3)
    seen = set()

    def inner(_):
        seen.add(threading.get_ident())
        time.sleep(0.05)

    each(lambda _: each(inner, range(6)), ["the only one"])
    assert len(seen) == 3


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_the_first_error_ends_the_work(team, kind):
    team(2)
    begun = []

    def work(item):
        begun.append(item)
        time.sleep(0.01)
        if item == 1:
            raise kind("one is wrong")

    with pytest.raises(kind, match="one is wrong"):
        each(work, range(50))
    assert len(begun) < 10
    # Others, of tests that ran before, may end at any time.
    assert not [one for one in threading.enumerate() if one.name.startswith("icecore-fit")]
    assert each(abs, [-1]) == [1]


def test_inside_the_blas_has_one_thread():
    def blas(_):
        # One that MXNet brings is built on OpenMP and counts for each thread; NumPy's and SciPy's
        # are not.
        return {
            one["num_threads"]
            for one in threadpool_info()
            if one["user_api"] == "blas" and one.get("threading_layer") != "openmp"
        }

    before = blas(None)
    assert each(blas, range(2)) == [{1}, {1}]
    assert blas(None) == before
    assert 1 <= usable_threads() <= 16


def test_as_many_threads_work_as_the_blas_has():
    """Without a stand-in: the BLAS is held to one thread while they work."""
    wanted = usable_threads()
    seen = each(lambda _: (time.sleep(0.02), threading.get_ident())[1], range(4 * wanted))
    assert len(set(seen)) == wanted

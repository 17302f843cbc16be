"""Work on column ranges of a wide matrix in parallel.

A BLAS spreads one product over the cores but leaves everything between two
products (widening float16, the optimiser's passes over memory) to one core. So
the columns of the features are divided among *lanes* instead: each lane is one
thread that does all the work on its columns, with a single-threaded BLAS. On
two cores that was faster than a two-threaded BLAS even for the products alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import ThreadpoolController

__all__ = ["Lanes", "widen"]

# Narrower lanes than this spend their time on being started.
_NARROWEST = 256
_MOST = 16
# 2**112 moves a float16's exponent, shifted into a float32, to where it belongs.
_REBIAS = np.float32(2.0**112)
_LARGEST_FACTOR = 2.0**15


class Lanes:
    """Threads that each own a range of the columns of a matrix.

    Parameters
    ----------
    columns : int
        Width of the matrix.
    count : int, optional
        How many lanes; by default as many as the BLAS would use threads (so
        that OMP_NUM_THREADS and threadpoolctl limits are obeyed).

    Used as a context manager: inside, every BLAS runs single-threaded.
    """

    def __init__(self, columns: int, count: int | None = None) -> None:
        self._controller = ThreadpoolController()
        most = count or _usable_threads(self._controller)
        self.count = max(1, min(most, _MOST, columns // _NARROWEST))
        edges = np.linspace(0, columns, self.count + 1).round().astype(int)
        self.ranges = [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Lanes:
        self._limit = self._controller.limit(limits=1 if self.count > 1 else None, user_api="blas")
        self._limit.__enter__()
        if self.count > 1:
            self._pool = ThreadPoolExecutor(self.count - 1, thread_name_prefix="icecore-lane")
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._limit.__exit__(*error)

    def run(self, work: Callable[[int], object], items: int | None = None) -> list:
        """Call ``work(lane)`` for every lane (or every one of `items`); wait for all."""
        items = self.count if items is None else items
        if self._pool is None or items == 1:
            return [work(item) for item in range(items)]
        # The calling thread takes a share, which saves one hand-over.
        shares = [range(lane, items, self.count) for lane in range(min(self.count, items))]
        others = [self._pool.submit(_each, work, share) for share in shares[1:]]
        try:
            own = _each(work, shares[0])
        finally:
            done = [other.result() for other in others]
        results: list = [None] * items
        for share, values in zip(shares, [own, *done], strict=True):
            for item, value in zip(share, values, strict=True):
                results[item] = value
        return results


def widen(rows: np.ndarray, out: np.ndarray, factor: np.float32 | None = None) -> None:
    """Copy `rows` to `out` as float32, times `factor` if one is given.

    Parameters
    ----------
    rows : ndarray of shape (B, D), float16, float32 or float64
        Finite values only.
    out : ndarray of shape (B, D), float32
    factor : float32, optional

    Notes
    -----
    NumPy converts float16 element by element. Here the bits are shifted into
    place for whole arrays instead and the exponent is corrected by a
    multiplication, which is exact for every finite value, subnormal or not.
    """
    if rows.dtype != np.float16:
        np.copyto(out, rows, casting="same_kind")
        if factor is not None:
            out *= factor
        return
    bits = out.view(np.int32)
    np.copyto(bits, rows.view(np.int16))
    bits <<= 13
    bits &= np.int32(-0x70000001)
    if factor is not None and factor < _LARGEST_FACTOR:
        # Both at once: a power of two only moves the exponent.
        out *= np.float32(_REBIAS * factor)
        return
    out *= _REBIAS
    if factor is not None:
        out *= factor


def _each(work: Callable[[int], object], items: range) -> list:
    return [work(item) for item in items]


def _usable_threads(controller: ThreadpoolController) -> int:
    threads = [
        library["num_threads"]
        for library in controller.info()
        if library.get("user_api") == "blas" and "numpy" in (library.get("filepath") or "")
    ]
    if threads:
        return max(threads)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1

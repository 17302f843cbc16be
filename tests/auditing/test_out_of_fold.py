"""Predictions of simple models out of fold."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from sklearn.dummy import DummyClassifier
from threadpoolctl import threadpool_info, threadpool_limits

from icecore.auditing.out_of_fold import out_of_fold


class Watched(DummyClassifier):
    """Says how many threads the BLAS has in its fits."""

    threads: ClassVar[set[int]] = set()

    def fit(self, X, y):
        self.threads |= {
            one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"
        }
        return super().fit(X, y)


def test_small_fits_take_one_thread_of_the_blas():
    y = np.arange(12) % 2
    with threadpool_limits(2, user_api="blas"):
        table = out_of_fold(Watched(strategy="prior"), np.ones((12, 1)), y, np.arange(12) // 4)
    assert Watched.threads == {1}
    assert np.array_equal(table, np.full((12, 2), 0.5))

"""Folds whose rows know nothing of each other: equal images stay together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["deal", "fold_rows"]


def deal(y: np.ndarray, groups: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """Deal rows into folds, all rows of a group into one, classes as evenly as they go.

    Groups are shuffled, put in order of their class and dealt out like cards, so that a class
    with fewer groups than folds is spread over as many folds as it can be. The order of the
    rows means nothing.

    Parameters
    ----------
    y, groups : ndarray of int, shape (N,)
        Class and group of each row; equal numbers are one group.
    folds : int
        At most; there are never more folds than groups.
    seed : int

    Returns
    -------
    ndarray of int, shape (N,)
        Number of each row's fold.
    """
    known, group = np.unique(groups, return_inverse=True)
    count = len(known)
    least = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(least, group, y)
    shuffled = np.random.default_rng(seed).random(count)
    place = np.empty(count, dtype=int)
    place[np.lexsort((shuffled, least))] = np.arange(count)
    return (place % max(1, min(folds, count)))[group]


def fold_rows(fold: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each fold the rows outside and the rows inside it."""
    for number in range(int(fold.max()) + 1):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)

"""Folds of rows that know nothing of each other: stratified, and equal images stay together."""

from collections.abc import Iterator, Sequence

import numpy as np


def deal_folds(
    labels: np.ndarray, groups: Sequence | np.ndarray, folds: int, seed: Sequence[int]
) -> np.ndarray:
    """Deal rows into folds, all rows of a group into one, classes as evenly as they go.

    The groups of each class are shuffled and dealt out like cards, and dealing goes on across
    classes: a class with fewer groups than folds is spread over as many folds as it can be,
    and folds are equally large. The order of the rows means nothing.

    Parameters
    ----------
    labels, groups : array of shape (N,)
        Class of each row, and its group: rows of equal values there are one group.
    folds : int
        At most; there are never more folds than groups.
    seed : sequence of int
        The second number is the user's own: what is dealt for different ends must differ.

    Returns
    -------
    ndarray of int, shape (N,)
        Number of each row's fold.
    """
    known, group = np.unique(np.asarray(groups), return_inverse=True)
    classes, code = np.unique(labels, return_inverse=True)
    least = np.full(len(known), len(classes))
    np.minimum.at(least, group, code)
    rng = np.random.default_rng(seed)
    fold = np.zeros(len(known), dtype=int)
    turn = 0
    for number in range(len(classes)):
        own = np.flatnonzero(least == number)
        fold[own[rng.permutation(len(own))]] = np.arange(turn, turn + len(own))
        turn += len(own)
    return fold[group] % max(1, min(folds, len(known)))


def fold_rows(fold: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each fold the rows outside and the rows inside it."""
    for number in range(int(fold.max()) + 1):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)

"""Folds of rows: stratified, and with equal images in one fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import HeadError

__all__ = ["FEWEST_FOLDS", "deal_folds"]

# A fold's settings are chosen on one of the other folds by heads fitted on the rest.
FEWEST_FOLDS = 3


def deal_folds(keys: Sequence[str], labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Assign each row to a fold, stratified by class; equal keys share a fold.

    Parameters
    ----------
    keys : sequence of str
        Digest of each image's content.
    labels : ndarray of shape (N,)
    folds : int
        Fewer are dealt where there are fewer different images.
    seed : int

    Returns
    -------
    ndarray of int, shape (N,), values from 0 to folds - 1

    Raises
    ------
    HeadError
        There are fewer than three different images.
    """
    label_of: dict[str, Any] = {}
    for key, label in zip(keys, labels.tolist(), strict=True):
        label_of.setdefault(key, label)
    folds = min(folds, len(label_of))
    if folds < FEWEST_FOLDS:
        raise HeadError(
            f"{len(label_of)} different images with labels cannot be dealt into "
            f"{FEWEST_FOLDS} folds",
            "give at least three images with labels",
        )
    rng = np.random.default_rng([seed, 6])
    fold_of: dict[str, int] = {}
    # Dealing goes on across classes, so that folds stay equally large.
    turn = 0
    for label in sorted(set(label_of.values())):
        own = sorted(key for key, of_key in label_of.items() if of_key == label)
        for index in rng.permutation(len(own)):
            fold_of[own[index]] = turn % folds
            turn += 1
    return np.array([fold_of[key] for key in keys])

"""Stratified parts and folds of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.errors import HeadError

__all__ = ["FEWEST_HELD_OUT", "deal_folds", "stratified_part"]


# Below this there is too little to measure a loss on: train for all epochs.
FEWEST_HELD_OUT = 10


def stratified_part(codes: np.ndarray, rows: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Pick a `fraction` of each class from `rows`, seeded; sorted indices.

    Parameters
    ----------
    codes : ndarray of shape (N,)
        Class codes from 0.
    rows : ndarray of int
        Rows to pick from.
    """
    rng = np.random.default_rng([seed, 5])
    picked = []
    for code in np.unique(codes[rows]):
        of_class = rng.permutation(rows[codes[rows] == code])
        picked.append(of_class[: int(len(of_class) * fraction + 0.5)])
    return np.sort(np.concatenate(picked)).astype(int)


def deal_folds(keys: Sequence[str], labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Assign each row to a fold, stratified by class; equal keys share a fold.

    Parameters
    ----------
    keys : sequence of str
        Digest of each image's content.
    labels : ndarray of shape (N,)
    folds : int
    seed : int

    Returns
    -------
    ndarray of int, shape (N,), values from 0 to folds - 1

    Raises
    ------
    HeadError
        There are fewer different images than folds.
    """
    label_of: dict[str, str] = {}
    for key, label in zip(keys, labels.tolist(), strict=True):
        label_of.setdefault(key, label)
    if folds < 2 or len(label_of) < folds:
        raise HeadError(
            f"{len(label_of)} different training images cannot be dealt into {folds} folds",
            "ask for at least 2 folds and no more than there are images, "
            "or give a validation split",
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

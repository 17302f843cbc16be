"""The folds of a task's rows: of the ring that every row is predicted in."""

from collections.abc import Sequence

import numpy as np

from ..core import folds as dealing
from ..core.errors import HeadError

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

    Returns
    -------
    ndarray of int, shape (N,), values from 0 to folds - 1

    Raises
    ------
    HeadError
        There are fewer than three different images.
    """
    different = len(set(keys))
    if different < FEWEST_FOLDS:
        raise HeadError(
            f"{different} different images with labels cannot be dealt into {FEWEST_FOLDS} folds",
            "give at least three images with labels",
        )
    return dealing.deal_folds(labels, keys, folds, [seed, 6])

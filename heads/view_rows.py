"""Rows with several views of an image: one view after the other in each row."""

from __future__ import annotations

import numpy as np

__all__ = ["join_views", "mean_of_views", "one_view_in_a_row"]

_ROWS_AT_ONCE = 1024


def one_view_in_a_row(features: np.ndarray, views: int) -> np.ndarray:
    """Return the same numbers with shape (N * views, D): view v of row n is row n * views + v.

    Parameters
    ----------
    features : ndarray of shape (N, views * D)
        Contiguous rows cost no copy.
    """
    return features.reshape(len(features) * views, features.shape[1] // views)


def mean_of_views(features: np.ndarray, views: int, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the mean over the views of each row, in the type of `features`.

    Parameters
    ----------
    features : ndarray of shape (N, views * D)
    views : int
    rows : ndarray of int, optional
        Which rows; all by default.

    Returns
    -------
    ndarray of shape (N or len(rows), D)
    """
    count = len(features) if rows is None else len(rows)
    mean = np.empty((count, features.shape[1] // views), features.dtype)
    for top in range(0, count, _ROWS_AT_ONCE):
        part = slice(top, top + _ROWS_AT_ONCE)
        block = features[part if rows is None else rows[part]]
        mean[part] = block.reshape(len(block), views, -1).mean(axis=1, dtype=np.float32)
    return mean


def join_views(parts: list[np.ndarray], views: int) -> np.ndarray:
    """Put feature sets side by side within each view.

    Parameters
    ----------
    parts : list of ndarray of shape (N, views * D_i)

    Returns
    -------
    ndarray of shape (N, views * sum of D_i)
    """
    if len(parts) == 1:
        return parts[0]
    count = len(parts[0])
    joined = np.concatenate([part.reshape(count, views, -1) for part in parts], axis=2)
    return joined.reshape(count, -1)

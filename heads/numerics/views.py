"""Rows with several views of an image: one view after the other in each row."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

__all__ = [
    "VIEW_MEANS",
    "VIEW_TRAININGS",
    "ViewUse",
    "first_view",
    "join_views",
    "mean_of_views",
    "one_view_in_a_row",
]

VIEW_TRAININGS = ("random", "mean", "first")
VIEW_MEANS = ("features", "probabilities", "first")
_ROWS_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class ViewUse:
    """How a model uses the views of its rows.

    Attributes
    ----------
    count : int
        Views in a row.
    training : {"random", "mean", "first"}
        What it learns from: a view drawn anew each epoch (an MLP only; other heads take
        the mean), the mean of the views' features, or the first view.
    mean : {"features", "probabilities", "first"}
        What is averaged over the views for a prediction, or the first view alone.
    """

    count: int = 1
    training: str = "random"
    mean: str = "features"

    def for_head(self, kind: str) -> ViewUse:
        """Return how a kind of head does it."""
        random = self.training == "random" and kind != "mlp"
        return dataclasses.replace(self, training="mean") if random else self

    @property
    def in_training(self) -> int:
        """Views in the rows that `training_rows` returns."""
        return self.count if self.training == "random" else 1

    def training_rows(self, features: np.ndarray) -> np.ndarray:
        """Return the rows as the head learns from them: (N, in_training * D)."""
        if self.count == 1 or self.training == "random":
            return features
        shrink = mean_of_views if self.training == "mean" else first_view
        return shrink(features, self.count)

    def predict_proba(self, head: Any, features: np.ndarray) -> np.ndarray:
        """Return the probabilities (N, C) of rows (N, count * D)."""
        if self.count == 1:
            return head.predict_proba(features)
        if self.mean == "features":
            return head.predict_proba(mean_of_views(features, self.count))
        if self.mean == "first":
            return head.predict_proba(first_view(features, self.count))
        width = features.shape[1] // self.count
        return np.mean(
            [
                head.predict_proba(np.ascontiguousarray(features[:, top : top + width]))
                for top in range(0, features.shape[1], width)
            ],
            axis=0,
        )


def first_view(features: np.ndarray, views: int, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the first view of each row, or of `rows`, contiguous."""
    own = features[:, : features.shape[1] // views]
    return np.ascontiguousarray(own) if rows is None else own[rows]


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

"""Parts of the stacked trainer: input scaling, what each member has of its own, held-out rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.statistics import softmax
from ..numerics.lanes import Lanes
from ..numerics.scaling import Scaling, wide_product
from ..numerics.views import mean_of_views, one_view_in_a_row
from .member import Upper
from .network import log_loss, predict_logits

if TYPE_CHECKING:
    pass

__all__ = ["Validation"]


class Validation:
    """Held-out rows of one or more members.

    Parameters
    ----------
    features : ndarray of shape (N, views * D)
    targets : ndarray of shape (N, C)
    rows : ndarray of int, optional
        Which of the rows; all by default.
    weights : ndarray of shape (len(rows),), optional
    views : int, default 1
        Views in a row, one after the other.
    view_mean : {"features", "probabilities", "first"}
        What is averaged over the views, or the first view alone.
    """

    def __init__(
        self,
        features: np.ndarray,
        targets: np.ndarray,
        rows: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        views: int = 1,
        view_mean: str = "features",
    ) -> None:
        self.rows = np.arange(len(features)) if rows is None else np.asarray(rows)
        self.targets = targets[self.rows]
        self.weights = weights
        if views > 1 and view_mean == "features":
            self.picks = [np.arange(len(self.rows))]
            self.features = mean_of_views(features, views, self.rows)
        else:
            used = 1 if view_mean == "first" else views
            self.picks = [self.rows * views + view for view in range(used)]
            self.features = one_view_in_a_row(features, views)

    def losses(
        self, lanes: Lanes, matrix: np.ndarray, scaling: Scaling | None, uppers: list[Upper]
    ) -> list[float]:
        """Return the log-loss of each of `uppers`, whose first matrices lie side by side."""
        logits: list[list[np.ndarray]] = [[] for _ in uppers]
        for picks in self.picks:
            products = wide_product(lanes, self.features, picks, matrix, scaling)
            start = 0
            for upper, found in zip(uppers, logits, strict=True):
                own = np.ascontiguousarray(products[:, start : start + upper.member.width])
                found.append(predict_logits(own, upper.layers))
                start += upper.member.width
        return [log_loss(mean_logits(found), self.targets, self.weights) for found in logits]


def mean_logits(logits: list[np.ndarray]) -> np.ndarray:
    """Return logits whose softmax is the mean of the softmax of several."""
    if len(logits) == 1:
        return logits[0]
    total = sum(softmax(one.astype(np.float64)) for one in logits)
    return np.log(np.maximum(total / len(logits), np.finfo(np.float64).tiny))

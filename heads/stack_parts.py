"""Parts of the stacked trainer: input scaling, what each member has of its own, held-out rows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ..core.statistics import softmax
from .adam import Moments, adam_step, cosine
from .first_layers import wide_product
from .halves import step_by_tiles
from .lanes import Lanes
from .network import initial_layers, log_loss, predict_logits
from .view_rows import mean_of_views, one_view_in_a_row

if TYPE_CHECKING:
    from .stack import Member

__all__ = ["Scaling", "Upper", "Validation"]


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Inputs are used as ``(x - shift) * factor``.

    Attributes
    ----------
    shift, factor : ndarray of shape (D,) or (1,), float32
    """

    shift: np.ndarray
    factor: np.ndarray

    @property
    def is_one_factor(self) -> bool:
        """Whether all inputs are only multiplied, by one number."""
        return len(self.factor) == 1 and not self.shift.any()

    def apply(self, values: np.ndarray, columns: slice) -> None:
        """Scale a (B, d) block of the given columns in place."""
        if self.shift.any():
            values -= self.shift[columns] if len(self.shift) > 1 else self.shift
        values *= self.factor[columns] if len(self.factor) > 1 else self.factor

    def fold(self, matrix: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the layer that does the same to unscaled inputs."""
        folded = matrix * self.factor[:, None]
        shift = np.broadcast_to(self.shift, len(matrix)).astype(np.float64)
        return folded, (bias - shift @ folded.astype(np.float64)).astype(bias.dtype)


class Upper:
    """One member: its settings, row weights, layers and their optimiser state.

    The matrix of the first layer moves into the shared `FirstLayers`.
    """

    def __init__(
        self,
        member: Member,
        inputs: int,
        classes: int,
        weights: np.ndarray,
        rows: np.ndarray,
        batches: int,
    ) -> None:
        self.member = member
        self.rng = np.random.default_rng([member.seed, 3])
        sizes = [inputs, *[member.width] * member.depth, classes]
        self.layers = initial_layers(sizes, np.random.default_rng([member.seed, 4]))
        self.matrix: np.ndarray | None = self.layers[0][0]
        self.layers[0] = (np.empty((0, member.width), np.float32), self.layers[0][1])
        self.moments = [(Moments.zeros_like(w), Moments.zeros_like(b)) for w, b in self.layers]
        # Constant over batches, so that a batch with few of this member's rows
        # has a small gradient and the sum over an epoch stays unbiased.
        total = weights[rows].sum(dtype=np.float64)
        self.weights = (weights * (batches / total)).astype(np.float32)
        self.rate = 0.0

    def set_rate(self, done: float) -> None:
        """Set the learning rate for the share `done` of this member's schedule."""
        self.rate = cosine(min(done, 1.0), self.member.learning_rate, self.member.warm_up)

    def step(
        self,
        product: np.ndarray,
        rows: np.ndarray,
        targets: np.ndarray,
        step: int,
        errors: np.ndarray,
    ) -> float:
        """Update the upper layers; return the loss, and in `errors` the gradient by `product`."""
        member = self.member
        smoothing = member.label_smoothing
        if smoothing:
            targets = targets * np.float32(1 - smoothing) + np.float32(smoothing / targets.shape[1])
        loss, gradients = step_by_tiles(
            product, self.layers, targets, self.weights[rows], member.dropout, self.rng, errors
        )
        adam_step(self.layers[0][1], gradients[0][1], self.moments[0][1], step, self.rate, 0.0)
        for layer, gradient, moments in zip(
            self.layers[1:], gradients[1:], self.moments[1:], strict=True
        ):
            adam_step(layer[0], gradient[0], moments[0], step, self.rate, member.weight_decay)
            adam_step(layer[1], gradient[1], moments[1], step, self.rate, 0.0)
        return loss


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

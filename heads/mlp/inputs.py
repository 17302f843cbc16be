"""What the MLP's trainer sees of the feature rows: components of them, or the rows, scaled."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ..numerics.lanes import Lanes
from ..numerics.scaling import Scaling, measure_scaling
from ..numerics.views import one_view_in_a_row
from .components import Projection, principal_components

if TYPE_CHECKING:
    from .classifier import MLPClassifier
    from .network import Layers

__all__ = ["Inputs", "prepare_inputs"]

# Mean squared length of an input row. What a step of the optimiser changes depends on
# it and not on the number of columns, so one learning rate suits them all.
_SQUARED_LENGTH = 128.0
_ROWS_AT_ONCE = 4096
_ROWS_MEASURED = 512


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Rows for `fit_stack`, and the way back.

    Attributes
    ----------
    features : ndarray of shape (N, views * K)
    scaling : Scaling or None
        For `fit_stack`.
    projection : Projection or None
        Already applied to `features`.
    views : int
    """

    features: np.ndarray
    scaling: Scaling | None
    projection: Projection | None
    views: int = 1

    def like(self, X: np.ndarray, n_jobs: int | None) -> np.ndarray:
        """Return other feature rows, (M, views * D), as the trainer should see them."""
        return X if self.projection is None else _apply(self.projection, X, self.views, n_jobs)

    def fold(self, layers: Layers) -> Layers:
        """Return a trained network as it is applied to the features themselves."""
        if self.projection is None:
            return layers
        return [self.projection.fold(*layers[0]), *layers[1:]]


def prepare_inputs(
    head: MLPClassifier,
    X: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    count: int | None,
    seed: int,
    views: int = 1,
) -> Inputs:
    """Measure the scaling and the components on training rows; return all rows so.

    Parameters
    ----------
    head : MLPClassifier
        Its `scaling` and `n_jobs` are used.
    X : ndarray of shape (N, views * D)
    rows : ndarray of int
        The training rows. No other has a say.
    weights : ndarray of shape (N,)
    count : int or None
        Components in place of the features; None for the features themselves.
    seed : int
    views : int, default 1
    """
    single = one_view_in_a_row(X, views)
    width = single.shape[1]
    used = np.zeros(len(X))
    used[rows] = weights[rows]
    if count is None:
        if head.scaling == "rms":
            # One number of all columns needs no more rows than this.
            measured = np.zeros(len(X))
            some = rows[:: max(1, len(rows) // _ROWS_MEASURED)]
            measured[some] = used[some]
            used = measured if measured.any() else used
        scaling = measure_scaling(single, head.scaling, np.repeat(used, views))
        if scaling is not None:
            shorter = np.float32(np.sqrt(min(1.0, _SQUARED_LENGTH / width)))
            scaling = dataclasses.replace(scaling, factor=scaling.factor * shorter)
        return Inputs(X, scaling, None, views)
    scaling = None
    if head.scaling == "standard":
        scaling = measure_scaling(single, head.scaling, np.repeat(used, views))
    places = (rows[:, None] * views + np.arange(views)).ravel()
    with Lanes(width, head.n_jobs) as lanes:
        projection = principal_components(
            single,
            places,
            np.repeat(weights[rows], views),
            count,
            lanes,
            seed,
            scaling,
        )
    components = _apply(projection, X, views, head.n_jobs)
    if head.scaling != "none":
        factor = _shortening(one_view_in_a_row(components, views), places, used, views)
        components *= np.float32(factor)
        projection = projection.times(factor)
    return Inputs(components, None, projection, views)


def _apply(projection: Projection, X: np.ndarray, views: int, n_jobs: int | None) -> np.ndarray:
    single = one_view_in_a_row(X, views)
    with Lanes(single.shape[1], n_jobs) as lanes:
        return projection.apply(single, lanes).reshape(len(X), -1)


def _shortening(components: np.ndarray, places: np.ndarray, used: np.ndarray, views: int) -> float:
    """Return the factor that gives the rows at `places` the squared length they should have."""
    total = 0.0
    weights = used[places // views]
    for top in range(0, len(places), _ROWS_AT_ONCE):
        part = slice(top, top + _ROWS_AT_ONCE)
        block = components[places[part]]
        total += float(weights[part] @ np.einsum("ij,ij->i", block, block))
    mean = total / weights.sum()
    wanted = min(_SQUARED_LENGTH, components.shape[1])
    return float(np.sqrt(wanted / mean)) if mean > 0 else 1.0

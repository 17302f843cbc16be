"""Principal components of wide feature rows, quickly: a subspace iteration in two passes.

Networks are trained on the leading components of their features, because a product with a
tenth of the columns takes a tenth of the time. The components need not be exact for that; they
must hold what the rows hold, and be in order.

The method is randomised subspace iteration (Halko, Martinsson and Tropp 2011, "Finding
structure with randomness") with rows of the data as its first subspace: one pass applies
the covariance to them, and an eigendecomposition of a small matrix makes the result orthonormal.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh
from scipy.linalg.blas import dsyrk

from ..numerics.lanes import Lanes, widen
from ..numerics.products import multiply

if TYPE_CHECKING:
    from ..numerics.scaling import Scaling

__all__ = ["Projection", "principal_components"]

# Rows that the components are measured on, at most: more of them hardly turn a subspace.
_MOST_ROWS = 4096
# Rows in work at once; they and their products should stay in the processor's caches.
_CHUNK = 256
# Directions weaker than this, by the square of their strength, are rounding.
_WEAKEST = 1e-10


@dataclasses.dataclass(frozen=True)
class Projection:
    """Rows are used as ``(scaled(x) - mean) @ matrix``.

    Attributes
    ----------
    mean : ndarray of shape (D,), float32
    matrix : ndarray of shape (D, K), float32
        Orthogonal columns of one length, strong directions first.
    scaling : Scaling or None
        Applied first.
    """

    mean: np.ndarray
    matrix: np.ndarray
    scaling: Scaling | None = None

    def apply(self, features: np.ndarray, lanes: Lanes) -> np.ndarray:
        """Return the components (M, K) of rows (M, D), float32."""
        components = np.empty((len(features), self.matrix.shape[1]), np.float32)

        def work(part: slice, values: np.ndarray) -> None:
            multiply(values, self.matrix, components[part])

        _each_chunk(lanes, features, None, self.scaling, self.mean, work)
        return components

    def times(self, factor: float) -> Projection:
        """Return the projection whose components are `factor` times as long."""
        return dataclasses.replace(self, matrix=self.matrix * np.float32(factor))

    def fold(self, matrix: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the layer that does to features what this layer does to components."""
        wide = multiply(self.matrix, matrix)
        shift = self.mean.astype(np.float64) @ wide.astype(np.float64)
        bias = (bias - shift).astype(bias.dtype)
        return (wide, bias) if self.scaling is None else self.scaling.fold(wide, bias)


def principal_components(
    features: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    count: int,
    lanes: Lanes,
    seed: int,
    scaling: Scaling | None = None,
) -> Projection:
    """Return the projection on the leading principal components of some rows.

    Parameters
    ----------
    features : ndarray of shape (M, D), float16 or float32
    rows : ndarray of int, shape (n,)
        The rows to measure; a seeded sample is taken where there are more than 4,096.
    weights : ndarray of shape (n,)
        Weight of each of `rows`, above 0.
    count : int
        Components; fewer come back where the rows span fewer.
    lanes : Lanes
    seed : int
        Of the rows that are taken as the first subspace.
    scaling : Scaling, optional
        Applied to the features first.

    Returns
    -------
    Projection
        With columns of length 1.

    Notes
    -----
    Costs ``4 n D count`` operations and the eigenvalues of a ``count`` x ``count`` matrix.
    """
    order = np.random.default_rng([seed, 11]).permutation(len(rows))[:_MOST_ROWS]
    rows, weights = rows[order], weights[order].astype(np.float32)
    # One more than wanted: without their mean they span one direction fewer.
    start = _values(features[rows[: count + 1]], scaling)
    origin = start.mean(axis=0)
    start -= origin
    strong, shift = _covariance_times(features, rows, weights, start, lanes, scaling, origin)
    return Projection(origin + shift, _orthonormal(strong, count), scaling)


def _covariance_times(features, rows, weights, start, lanes, scaling, origin):
    """Return the covariance times ``start.T``, (D, l), and the mean's distance from `origin`."""
    sums = [np.zeros((features.shape[1], len(start)), np.float32) for _ in range(lanes.count)]
    means = [np.zeros((1, features.shape[1]), np.float32) for _ in range(lanes.count)]
    free = list(zip(sums, means, strict=True))

    def work(part: slice, values: np.ndarray) -> None:
        # Popping and appending are atomic: each thread has a pair of its own.
        total, mean = free.pop()
        shares = weights[part, None]
        product = multiply(values, start.T)
        product *= shares
        multiply(values.T, product, total, 1.0)
        multiply(shares.T, values, mean, 1.0)
        free.append((total, mean))

    _each_chunk(lanes, features, rows, scaling, origin, work)
    total, mean = sums[0], means[0]
    for one, other in zip(sums[1:], means[1:], strict=True):
        total += one
        mean += other
    count = weights.sum(dtype=np.float64)
    total /= np.float32(count)
    mean = mean[0] / np.float32(count)
    total -= np.outer(mean, start @ mean)
    return total, mean


def _orthonormal(strong: np.ndarray, count: int) -> np.ndarray:
    """Return an orthonormal basis of the columns' span, at most `count`, strong ones first."""
    # In float64: squares of what float32 still resolves would be lost in it.
    largest = float(np.abs(strong).max()) or 1.0
    strong = strong / np.float32(largest)
    gram = dsyrk(1.0, strong.astype(np.float64), trans=1, lower=1)
    squares, turn = eigh(gram, lower=True, driver="evd", check_finite=False)
    kept = min(count, int((squares > squares[-1] * _WEAKEST).sum()))
    if squares[-1] <= 0 or not kept:
        # Rows that are all the same: one component, which is always zero.
        return np.zeros((len(strong), 1), np.float32)
    lengths = np.sqrt(squares[-kept:])
    turn = (turn[:, -kept:] / lengths)[:, ::-1]
    return multiply(strong, np.ascontiguousarray(turn, np.float32))


def _each_chunk(lanes: Lanes, features, rows, scaling, origin, work) -> None:
    """Call ``work(part, values)`` for parts of the rows, widened, scaled and without `origin`."""
    count = len(features) if rows is None else len(rows)
    starts = range(0, count, _CHUNK)

    def thread(number: int) -> None:
        buffer = np.empty((_CHUNK, features.shape[1]), np.float32)
        for top in starts[number :: lanes.count]:
            part = slice(top, min(top + _CHUNK, count))
            picked = features[part if rows is None else rows[part]]
            values = _values(picked, scaling, buffer[: len(picked)])
            values -= origin
            work(part, values)

    lanes.run(thread, lanes.count)


def _values(rows: np.ndarray, scaling: Scaling | None, out: np.ndarray | None = None):
    values = np.empty(rows.shape, np.float32) if out is None else out
    widen(rows, values)
    if scaling is not None:
        scaling.apply(values, slice(None))
    return values

"""What heads do to features first: power scaling of feature sets, or one scale for columns."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ...core.errors import HeadError
from ...core.float16 import widen
from ..rows import Rows
from .products import multiply

SCALINGS = ("power", "standard", "rms", "none")
# What "auto" chooses between, out of fold.
OPEN_SCALINGS = ("power", "standard")
_ROWS_AT_ONCE = 256
# To so many columns standardising is always tried: unit length takes one of D dimensions away.
_FEW_COLUMNS = 256
# Deviation of the logarithms of columns' deviations, and the part of the squared length that is
# not the mean's. Networks' features have 0.7 and 0.5.
_UNEVEN, _ALIKE, _MEASURED = 1.5, 0.01, 1000


def power_scaled(X: np.ndarray, sets: tuple[int, ...]) -> np.ndarray:
    """Return ``sign(x) * sqrt(|x|)`` with unit length for each feature set of each row.

    The signed square root evens out the few features that are much larger than the others, and
    the length says more about an image's contrast than about its class (Perronnin, Sánchez
    and Mensink 2010, "Improving the Fisher kernel for large-scale image classification").

    Parameters
    ----------
    X : ndarray of shape (N, D)
    sets : tuple of int
        Widths of the feature sets that lie side by side.

    Returns
    -------
    ndarray of shape (N, D), float16
        All sets have the same weight; a set of zeros stays zero.
    """
    scaled = np.empty(X.shape, np.float16)
    space = np.empty((min(len(X), _ROWS_AT_ONCE), X.shape[1]), np.float32)
    edges = np.cumsum((0, *sets)).tolist()
    for top in range(0, len(X), _ROWS_AT_ONCE):
        part = X[top : top + _ROWS_AT_ONCE]
        values = space[: len(part)]
        widen(part, values)
        negative = values < 0
        np.abs(values, out=values)
        for start, end in zip(edges[:-1], edges[1:], strict=True):
            # The squared length of the roots is the sum of the values.
            total = values[:, start:end].sum(axis=1, keepdims=True, dtype=np.float64)
            values[:, start:end] /= np.maximum(total, 1e-30).astype(np.float32)
        np.sqrt(values, out=values)
        if negative.any():
            np.negative(values, out=values, where=negative)
        scaled[top : top + len(part)] = values
    return scaled


def power_rows(rows: Rows) -> np.ndarray:
    """Return all rows power-scaled, shape (N, D), float16; made once."""
    return rows.derived("power", lambda own: power_scaled(own.features, own.sets))


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Inputs are used as ``(x - shift) * factor``.

    Attributes
    ----------
    shift, factor : ndarray of shape (D,) or (1,), float32
    """

    shift: np.ndarray
    factor: np.ndarray

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Scale (B, D) float32 values in place and return them."""
        values -= self.shift
        values *= self.factor
        return values

    def fold(self, matrix: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the layer that does the same to unscaled inputs."""
        folded = matrix * self.factor[:, None]
        shift = np.broadcast_to(self.shift, len(matrix)).astype(np.float64)
        folded_bias = bias - shift @ folded.astype(np.float64)
        return np.ascontiguousarray(folded, np.float32), folded_bias.astype(np.float32)


def measure_scaling(X: np.ndarray, name: str, weights: np.ndarray) -> Scaling:
    """Return the scaling called `name`, measured on `X`.

    Parameters
    ----------
    X : ndarray of shape (N, D)
        Rows of `power_scaled` for "power".
    name : {"power", "rms", "standard", "none"}
        "standard" gives every column mean 0 and variance 1; "power" and "rms" centre the
        columns and divide all by the root of their mean variance, one number; "none" centres.
    weights : ndarray of shape (N,), above 0
        A row of weight 2 counts twice.
    """
    if name not in SCALINGS:
        raise HeadError(f"scaling is '{name}'", f"choose one of {', '.join(SCALINGS)}")
    total, squares = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    # The first row is near enough to the mean to keep the sums small.
    origin = X[0].astype(np.float64).astype(np.float32)
    space = np.empty((min(len(X), _ROWS_AT_ONCE), X.shape[1]), np.float32)
    for top in range(0, len(X), _ROWS_AT_ONCE):
        part = space[: len(X[top : top + _ROWS_AT_ONCE])]
        widen(X[top : top + _ROWS_AT_ONCE], part)
        part -= origin
        shares = weights[top : top + _ROWS_AT_ONCE].astype(np.float32)
        total += shares @ part
        part *= part
        squares += shares @ part
    count = weights.sum(dtype=np.float64)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    shift = (mean + origin).astype(np.float32)
    # Squares of very small numbers are none in float32.
    none = np.flatnonzero(variance == 0)
    variance[none] = X[:, none].var(axis=0, dtype=np.float64)
    # What a constant column has besides is rounding.
    floor = 1e-6 * np.maximum(np.abs(origin), 1e-30)
    variance[np.sqrt(variance) <= floor] = 0
    if name == "none":
        return Scaling(shift, np.ones(1, np.float32))
    if name == "standard":
        deviation = np.sqrt(variance)
        factor = np.where(deviation > 0, 1 / np.maximum(deviation, 1e-30), 0)
        return Scaling(shift, factor.astype(np.float32))
    spread = float(np.sqrt(variance.mean()))
    return Scaling(shift, np.array([1 / spread if spread > 0 else 1.0], np.float32))


def may_standardise(rows: Rows, index: np.ndarray) -> bool:
    """Tell from the rows at `index` whether standardised columns may beat power scaling.

    They do where few columns, a few large ones, or what all rows have in common make up the
    length of a row. Features of networks are many, of one scale, and differ from row to row: there
    the second path would cost time and bring nothing.
    """
    if rows.features.shape[1] <= _FEW_COLUMNS:
        return True
    return rows.of_fit("uneven", index, _uneven)


def _uneven(rows: Rows, index: np.ndarray) -> bool:
    some = rows.features[index[:: max(1, len(index) // _MEASURED)]]
    variances, means = some.var(axis=0, dtype=np.float64), some.mean(axis=0, dtype=np.float64)
    edges = np.cumsum((0, *rows.sets)).tolist()
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        part = variances[start:end]
        apart, common = part.sum(), (means[start:end] ** 2).sum()
        part = part[part > 0]
        if len(part) and (np.log(part).std() / 2 > _UNEVEN or apart < _ALIKE * (apart + common)):
            return True
    return False


def plainest(scaling: str) -> str:
    """Return the scaling of a fit for which none was chosen."""
    return OPEN_SCALINGS[0] if scaling == "auto" else scaling


def untried(rows: Rows, index: np.ndarray, scalings: Sequence[str]) -> bool:
    """Tell whether standardising is left out of a choice between `OPEN_SCALINGS`.

    A search that names it alone tries it anyway.
    """
    return set(OPEN_SCALINGS) <= set(scalings) and not may_standardise(rows, index)


def combined(X: np.ndarray, index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return ``X[index].T @ weights`` in float32, widening a few float16 rows at a time."""
    total = np.zeros((X.shape[1], weights.shape[1]), np.float32)
    for top in range(0, len(index), 1024):
        part = X[index[top : top + 1024]]
        wide = np.empty(part.shape, np.float32)
        widen(part, wide)
        multiply(wide.T, weights[top : top + 1024], total, keep=1)
    return total


def wide_product(X: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return ``X @ matrix`` in float32, widening a few float16 rows at a time."""
    if X.dtype == np.float32:
        return multiply(X, matrix)
    product = np.empty((len(X), matrix.shape[1]), np.float32)
    space = np.empty((min(len(X), 1024), X.shape[1]), np.float32)
    for top in range(0, len(X), 1024):
        part = X[top : top + 1024]
        widen(part, space[: len(part)])
        multiply(space[: len(part)], matrix, product[top : top + len(part)])
    return product

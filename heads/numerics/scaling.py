"""Factors and offsets that bring features to one scale."""

from __future__ import annotations

import dataclasses

import numpy as np

from ...core.errors import HeadError
from .lanes import Lanes, widen
from .products import multiply

__all__ = ["SCALINGS", "Scaling", "measure_scaling", "wide_product"]


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


SCALINGS = ("none", "rms", "standard")

# Few enough to stay in the processor's cache while they are measured.
_ROWS_MEASURED = 64


def measure_scaling(X: np.ndarray, name: str, weights: np.ndarray | None = None) -> Scaling | None:
    """Return the input scaling called `name`, measured on `X`.

    Parameters
    ----------
    X : ndarray of shape (N, D)
    name : {"none", "rms", "standard"}
        "rms" divides everything by the root mean square of the centred features,
        one number; "standard" gives every feature mean 0 and variance 1.
    weights : ndarray of shape (N,), optional
        A row of weight 2 counts twice.
    """
    if name == "none":
        return None
    if name not in SCALINGS:
        raise HeadError(f"scaling is '{name}'", f"choose one of {', '.join(SCALINGS)}")
    weights = np.ones(len(X)) if weights is None else weights
    rows = np.flatnonzero(weights)
    total = np.zeros(X.shape[1])
    squares = np.zeros(X.shape[1])
    # The first row is near enough to the mean to keep the sums small.
    origin = X[rows[0]].astype(np.float64).astype(np.float32)
    space = np.empty((_ROWS_MEASURED, X.shape[1]), np.float32)
    for top in range(0, len(rows), _ROWS_MEASURED):
        picked = rows[top : top + _ROWS_MEASURED]
        part = space[: len(picked)]
        widen(X[picked], part)
        part -= origin
        shares = weights[picked].astype(np.float32)
        total += shares @ part
        part *= part
        squares += shares @ part
    count = weights.sum(dtype=np.float64)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    if name == "standard":
        # A constant feature says nothing: it is centred to zero and stays there.
        deviation = np.sqrt(variance)
        floor = 1e-6 * np.maximum(np.abs(origin), 1e-30)
        factor = np.where(deviation > floor, 1 / np.maximum(deviation, 1e-30), 0)
        return Scaling((mean + origin).astype(np.float32), factor.astype(np.float32))
    spread = float(np.sqrt(variance.mean()))
    factor = 1 / spread if spread > 0 else 1.0
    return Scaling(np.zeros(1, np.float32), np.array([factor], np.float32))


# Rows that are widened at once for a prediction.
_CHUNK = 1024


def wide_product(
    lanes: Lanes,
    features: np.ndarray,
    rows: np.ndarray | None,
    matrix: np.ndarray,
    scaling: Scaling | None = None,
) -> np.ndarray:
    """Return ``scaled(features[rows]) @ matrix`` in float32, a chunk of rows at a time."""
    count = len(features) if rows is None else len(rows)
    product = np.empty((count, matrix.shape[1]), np.float32)
    for top in range(0, count, _CHUNK):
        chunk = slice(top, min(top + _CHUNK, count))
        picked = chunk if rows is None else rows[chunk]

        def work(lane: int, picked=picked, size=chunk.stop - chunk.start) -> np.ndarray:
            columns = lanes.ranges[lane]
            values = np.empty((size, columns.stop - columns.start), np.float32)
            widen(features[:, columns][picked], values)
            if scaling is not None:
                scaling.apply(values, columns)
            return multiply(values, matrix[columns])

        parts = lanes.run(work)
        for part in parts[1:]:
            parts[0] += part
        product[chunk] = parts[0]
    return product

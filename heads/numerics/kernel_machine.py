"""The kernels of a fit's rows, and the softmax regression on them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from ...core.float16 import widen
from ..parallel import each
from ..rows import Rows
from ..saved import HeadFiles
from .directions import DIRECTIONS, directions_of
from .gram import Basis, all_products, gaussian, median_gamma, power_gram, solution_rows
from .products import multiply
from .scaling import Scaling, measure_scaling, power_scaled
from .softmax_regression import Features, Kernel, SoftmaxRegression

_BLOCK = 512
_FARTHEST = 1e15


def least_memory(rows: Rows) -> int:
    """Return how many bytes the kernels of a fit to all rows take at the least.

    One kernel of the rows with those in the solution, and of wide rows their inner products, too.
    """
    kernels = 2 if rows.features.shape[1] > DIRECTIONS else 1
    return 4 * kernels * len(rows) * len(solution_rows(len(rows)))


class FitKernels:
    """Gaussian kernels of a fit's rows with the rows in its solution.

    The kernel is ``exp(-gamma * (|x|^2 + |x'|^2 - 2 p'p'))``, where p are coordinates along the
    directions of the fit: of distances only the part that is across the directions in both
    rows is left out.

    Parameters
    ----------
    index : ndarray of int, shape (n,)
        Rows of the fit. All are in the solution where there are few enough (`Gram.exact`), else
        the landmarks among them.
    width : float
        Of the kernel, in median distances of the rows in the solution.
    scaling : {"power", "standard", "rms", "none"}

    Attributes
    ----------
    gamma : float
    support : ndarray of int, shape (M,)
        Rows in the solution: their positions among all rows.
    inner : ndarray of shape (M, M)
        Kernel of the rows in the solution with each other.
    """

    def __init__(self, rows: Rows, index: np.ndarray, width: float, scaling: str = "power") -> None:
        self._index = index
        places = _powered(rows, index) if scaling == "power" else _scaled(rows, index, scaling)
        self._places, self.support = places, places.own
        self._exact = np.array_equal(places.own, index)
        own, squares = places.coordinates[self.support], places.squares[self.support]
        inner = all_products(own)
        self.gamma = median_gamma(inner, squares, width)
        self.inner = gaussian(inner, squares, squares, self.gamma)

    def fitted(self) -> np.ndarray | None:
        """Return the kernel (n, M) of the fit's rows; None where it is `inner`."""
        return None if self._exact else self.across(self._index)

    def across(self, index: np.ndarray) -> np.ndarray:
        """Return the kernel (m, M) of the rows at `index` with those in the solution."""
        coordinates, squares = self._places.coordinates, self._places.squares
        part = multiply(coordinates[index], coordinates[self.support].T)
        return gaussian(part, squares[index], squares[self.support], self.gamma)

    def kept(self) -> "Support":
        """Return what the kernel of new rows is computed from."""
        places, own = self._places, self.support
        rows, squares = places.coordinates[own], places.squares[own]
        return Support(places.directions(), rows, squares, self.gamma, places.scaling)


class _Places(NamedTuple):
    """Where all rows are along directions, and which of them are in the solution."""

    coordinates: np.ndarray
    squares: np.ndarray
    own: np.ndarray
    directions: Callable[[], np.ndarray]
    scaling: Scaling | None = None


def _powered(rows: Rows, index: np.ndarray) -> _Places:
    found = directions_of(rows, index)
    squares = power_gram(rows).squares
    return _Places(found.coordinates, squares, found.own, lambda: found.weights(rows))


def _scaled(rows: Rows, index: np.ndarray, name: str) -> _Places:
    """Scale columns as the rows at `index` say; the columns are the directions."""
    scaling = measure_scaling(rows.features[index], name, rows.fit_weights(index))
    values = np.empty(rows.features.shape, np.float32)
    widen(rows.features, values)
    _columns_scaled(values, scaling)
    own = index[np.isin(index, solution_rows(len(rows)))]
    squares = np.einsum("ij,ij->i", values, values)
    return _Places(values, squares, own, lambda: np.eye(values.shape[1], dtype=np.float32), scaling)


def _columns_scaled(values: np.ndarray, scaling: Scaling) -> None:
    """Scale in place; what is farther out than a square can say stays a number."""
    with np.errstate(over="ignore"):
        scaling.apply(values)
    np.clip(values, -_FARTHEST, _FARTHEST, out=values)


@dataclasses.dataclass(frozen=True)
class Support:
    """The rows in a solution.

    Attributes
    ----------
    directions : ndarray of shape (D, r), float32
        Of scaled features.
    rows : ndarray of shape (M, r), float32
        Coordinates of the rows along them.
    squares : ndarray of shape (M,), float32
        Squared length of each scaled row.
    scaling : Scaling or None
        Of columns; None where rows are power-scaled.
    """

    directions: np.ndarray
    rows: np.ndarray
    squares: np.ndarray
    gamma: float
    scaling: Scaling | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What is saved of it, beside gamma."""
        arrays = {"directions": self.directions, "support": self.rows, "squares": self.squares}
        return arrays | ({} if self.scaling is None else dataclasses.asdict(self.scaling))

    @classmethod
    def restored(cls, fields: Mapping[str, Any], files: HeadFiles, **shapes):
        """Return the support and the other arrays of a saved head, of the given `shapes`.

        With shapes of "shift" and "factor" its columns are scaled.
        """
        gamma = files.field(fields, "gamma", float)
        if not 0 < gamma < float("inf"):
            raise files.refuse(f"head.json has gamma = {gamma}")
        own = {"directions": (files.features, None), "support": (None, None), "squares": (None,)}
        arrays = files.arrays({**own, **shapes})
        scaling = None
        if "shift" in shapes:
            scaling = Scaling(arrays.pop("shift"), arrays.pop("factor"))
        directions, kept, squares = (arrays.pop(name) for name in own)
        support = cls(directions, kept, squares, gamma, scaling)
        lengths = {len(support), len(support.squares), len(arrays["coef"])}
        if support.directions.shape[1] != support.rows.shape[1] or len(lengths) > 1 or 0 in lengths:
            raise files.refuse("its directions, rows and coefficients do not fit together")
        return support, arrays

    def map(self, work: Callable, X: np.ndarray, sets: tuple[int, ...]) -> np.ndarray:
        """Return ``work(kernel)`` of new rows, one part of them beside the other.

        Parameters
        ----------
        work : callable
            Takes the kernel (n, M) of some rows with those in the solution, returns n rows.
        X : ndarray of shape (N, D)
        sets : tuple of int
            Widths of the feature sets of X.
        """

        def part(top: int) -> np.ndarray:
            scaled = X[top : top + _BLOCK]
            if self.scaling is None:
                scaled = power_scaled(scaled, sets)
            values = np.empty(scaled.shape, np.float32)
            widen(scaled, values)
            if self.scaling is not None:
                _columns_scaled(values, self.scaling)
            left = np.einsum("ij,ij->i", values, values)
            inner = multiply(multiply(values, self.directions), self.rows.T)
            return work(gaussian(inner, left, self.squares, self.gamma))

        if len(X) <= _BLOCK:
            return part(0)
        return np.concatenate(each(part, range(0, len(X), _BLOCK)))


@dataclasses.dataclass(frozen=True)
class Machine:
    """Softmax regression on a kernel, or on Nyström's features of it.

    Attributes
    ----------
    basis : Basis or None
        None where all rows of the fit are in the solution.
    """

    solver: SoftmaxRegression
    basis: Basis | None

    @classmethod
    def of(
        cls,
        inner: np.ndarray,
        fitted: np.ndarray | None,
        targets: np.ndarray,
        weights: np.ndarray,
        own: np.ndarray | None = None,
    ) -> Self:
        """Return a machine that has not been solved.

        Parameters
        ----------
        inner : ndarray of shape (M, M)
            Kernel of the rows in the solution with each other.
        fitted : ndarray of shape (n, M) or None
            Of the rows of the fit with them; None where they are the same.
        targets, weights, own : ndarray of shape (n, C), (n,) and (n,)
            See `SoftmaxRegression`.
        """
        if fitted is None:
            return cls(SoftmaxRegression(Kernel(inner), targets, weights, own), None)
        basis = Basis(inner)
        features = Features(basis.features(fitted))
        return cls(SoftmaxRegression(features, targets, weights, own), basis)

    def solve(self, alpha: float, tol: float) -> None:
        """Minimise the penalised log-loss to within `tol`, by way of larger penalties."""
        self.solver.solve(100 * alpha, gap=0.01).solve(10 * alpha, gap=0.01).solve(alpha, tol)

    @property
    def coef(self) -> np.ndarray:
        """Weights (M, C) of the kernels with the rows in the solution, float32."""
        coef = self.solver.coef
        if self.basis is not None:
            coef = self.basis.coefficients(coef)
        return np.ascontiguousarray(coef, np.float32)

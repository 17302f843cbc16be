"""The kernels of a fit's rows, and the softmax regression on them."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..rows import Rows
from .gram import Basis, gaussian, median_gamma, power_gram
from .softmax_regression import Features, Kernel, SoftmaxRegression

__all__ = ["FitKernels", "Machine"]


class FitKernels:
    """Gaussian kernels of a fit's rows with the rows in its solution.

    Parameters
    ----------
    rows : Rows
    index : ndarray of int, shape (n,)
        Rows of the fit. All are in the solution where there are few enough (`Gram.exact`), else
        the landmarks among them.
    width : float
        Of the kernel, in median distances of the rows in the solution.

    Attributes
    ----------
    gamma : float
    support : ndarray of int, shape (M,)
        Rows in the solution: their positions among all rows.
    inner : ndarray of shape (M, M)
        Kernel of the rows in the solution with each other.
    """

    def __init__(self, rows: Rows, index: np.ndarray, width: float) -> None:
        self._gram = gram = power_gram(rows)
        self._index = index
        self._columns = index if gram.exact else gram.landmarks(index)
        self.support = gram.columns[self._columns]
        inner = gram.part(self.support, self._columns)
        squares = gram.squares[self.support]
        self.gamma = median_gamma(inner, squares, width)
        self.inner = gaussian(inner, squares, squares, self.gamma)

    def fitted(self) -> np.ndarray | None:
        """Return the kernel (n, M) of the fit's rows; None where it is `inner`."""
        return None if self._gram.exact else self.across(self._index)

    def across(self, index: np.ndarray) -> np.ndarray:
        """Return the kernel (m, M) of the rows at `index` with those in the solution."""
        squares = self._gram.squares
        part = self._gram.part(index, self._columns)
        return gaussian(part, squares[index], squares[self.support], self.gamma)


@dataclasses.dataclass(frozen=True)
class Machine:
    """Softmax regression on a kernel, or on Nyström's features of it.

    Attributes
    ----------
    solver : SoftmaxRegression
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
    ) -> Machine:
        """Return a machine that has not been solved.

        Parameters
        ----------
        inner : ndarray of shape (M, M)
            Kernel of the rows in the solution with each other.
        fitted : ndarray of shape (n, M) or None
            Of the rows of the fit with them; None where they are the same.
        targets, weights : ndarray of shape (n, C) and (n,)
        """
        if fitted is None:
            return cls(SoftmaxRegression(Kernel(inner), targets, weights), None)
        basis = Basis(inner)
        return cls(SoftmaxRegression(Features(basis.features(fitted)), targets, weights), basis)

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

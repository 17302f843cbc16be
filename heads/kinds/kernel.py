"""Multinomial logistic regression with a Gaussian kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ...core.errors import HeadError
from ...core.statistics import softmax
from ..base import Head
from ..numerics.gram import Basis, gaussian, kernel_blocks, median_gamma, power_gram
from ..numerics.products import multiply
from ..numerics.scaling import power_rows
from ..numerics.softmax_regression import Features, Kernel, SoftmaxRegression
from ..parallel import each
from ..rows import Rows
from ..saved import HeadFiles
from .logistic import along_path, penalties

__all__ = ["KernelHead"]

WIDTHS = (0.8, 1.4)


class KernelHead(Head):
    """Kernel logistic regression: a Gaussian kernel on power-scaled feature sets.

    Zhu and Hastie 2005, "Kernel logistic regression and the import vector machine". The
    kernel is ``exp(-d**2 / (2 * s**2))``, where d is the distance of two rows whose sets are
    power-scaled, and s is `width` times the median distance of the training rows.

    All training rows are in the solution where there are up to 10,000. Of more rows some
    4,000 are, drawn without a look at them (Nyström's approximation): the cost is linear in
    the rows.

    Parameters
    ----------
    alpha : float or "auto", default "auto"
        Penalty: the mean log-loss plus ``alpha / 2`` times the squared norm of the function
        is minimised. "auto" chooses by 11 values from 0.3 to 3e-8, out of fold.
    width : float or "auto", default "auto"
        "auto" chooses between 0.8 and 1.4, out of fold.
    sets : tuple of int, optional
        Widths of the feature sets that lie side by side; one set by default.
    tol : float, default 3e-4
        How far the objective may be above its minimum.
    random_state : int, RandomState or None, default None
        Accepted for the contract of heads; the solution is unique.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    support_ : ndarray of shape (M, D), float16
        Power-scaled rows.
    coef_ : ndarray of shape (M, C), float32
    intercept_ : ndarray of shape (C,), float32
    gamma_ : float
        ``1 / (2 * s**2)``.
    n_iter_ : int
    """

    kind: ClassVar[str] = "kernel"
    recipe: ClassVar[int] = 2
    penalty: ClassVar[str] = "alpha"

    def __init__(self, alpha="auto", width="auto", sets=None, tol=3e-4, random_state=None):
        self.alpha = alpha
        self.width = width
        self.sets = sets
        self.tol = tol
        self.random_state = random_state

    def choices(self) -> list[dict[str, Any]]:
        """Return all pairs of a penalty and a width that are open."""
        return self._pairs(WIDTHS, penalties())

    def further_choices(self, count: int, seed: int) -> list[list[dict[str, Any]]]:
        """Return a narrower and a wider kernel."""
        if self.width != "auto":
            return []
        return [self._pairs((width,), penalties()) for width in (0.5, 2.5)][:count]

    @property
    def power_sets(self) -> tuple[int, ...]:
        """Widths of the feature sets: the kernel is always one of power-scaled rows."""
        return self.sets_

    def _pairs(self, widths, alphas) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [{}]
        if self.width == "auto":
            found = [{"width": width} for width in widths]
        if self.alpha == "auto":
            found = [{**one, "alpha": alpha} for one in found for alpha in alphas]
        return found

    def predict_path(
        self, rows: Rows, fitted: np.ndarray, judged: np.ndarray, choices: Sequence[dict]
    ) -> np.ndarray:
        """See `Head.predict_path`: one path of warm starts for each width."""
        own = [{**self.get_params(), **choice} for choice in choices]
        tables: list[Any] = [None] * len(own)

        def path(width: float) -> None:
            places = [place for place, one in enumerate(own) if one["width"] == width]
            space = _Space(rows, fitted, width, judged)
            solver = space.solver(rows.present(fitted))
            for number in along_path(solver, [own[place]["alpha"] for place in places]):
                logits = multiply(space.across, solver.coef).astype(np.float64)
                logits += solver.intercept
                tables[places[number]] = softmax(logits)

        each(path, dict.fromkeys(one["width"] for one in own))
        return np.array(tables)

    def _fit(self, rows: Rows, index: np.ndarray) -> None:
        space = _Space(rows, index, self.width)
        solver = space.solver(rows.present(index))
        solver.solve(100 * self.alpha, gap=0.01).solve(10 * self.alpha, gap=0.01)
        solver.solve(self.alpha, self.tol)
        self.coef_ = solver.coef
        if space.basis is not None:
            self.coef_ = space.basis.coefficients(solver.coef)
        self.coef_ = np.ascontiguousarray(self.coef_, np.float32)
        self.support_ = power_rows(rows)[space.support]
        self.intercept_ = solver.intercept.astype(np.float32)
        self.gamma_, self.n_iter_ = space.gamma, solver.iterations
        self.sets_ = rows.sets

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        logits = np.empty((len(X), len(self.classes_)))
        for block, kernel in kernel_blocks(X, self.sets_, self.support_, self.gamma_):
            logits[block] = multiply(kernel, self.coef_) + self.intercept_
        return softmax(logits)

    def _check_settings(self) -> None:
        wrong = [
            f"{name}={value!r}"
            for name, value in (("alpha", self.alpha), ("width", self.width))
            if value != "auto" and (isinstance(value, str) or not value > 0)
        ]
        if wrong:
            raise HeadError(
                f"{len(wrong)} settings of the kernel head are out of range: {', '.join(wrong)}",
                "give 'auto' or numbers above 0",
            )

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        fields = {"iterations": self.n_iter_, "gamma": self.gamma_, "sets": list(self.sets_)}
        arrays = {"support": self.support_, "coef": self.coef_, "intercept": self.intercept_}
        return fields, arrays

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        self._check_settings()
        self.n_iter_ = files.field(fields, "iterations", int)
        self.gamma_ = files.field(fields, "gamma", float)
        if not 0 < self.gamma_ < float("inf"):
            raise files.refuse(f"head.json has gamma = {self.gamma_}")
        self.sets_ = files.sets(fields)
        classes = len(files.classes)
        arrays = files.arrays(
            {
                "support": (None, files.features),
                "coef": (None, classes),
                "intercept": (classes,),
            },
            half=("support",),
        )
        self.support_, self.coef_ = arrays["support"], arrays["coef"]
        self.intercept_ = arrays["intercept"]
        if len(self.support_) != len(self.coef_) or not len(self.coef_):
            raise files.refuse("its rows and coefficients do not fit together")


class _Space:
    """The kernel of a fit's rows: with each other, or as features by landmarks.

    Attributes
    ----------
    gamma : float
    support : ndarray of int
        Rows in the solution.
    basis : Basis or None
        Of the landmarks, where there are too many rows.
    across : ndarray of shape (len(judged), M)
        Kernel, or features, of the rows to predict.
    """

    def __init__(self, rows: Rows, index: np.ndarray, width: float, judged=None) -> None:
        gram = power_gram(rows)
        judged = np.empty(0, int) if judged is None else judged
        self._rows, self._index = rows, index
        places = index if gram.exact else gram.landmarks(index)
        self.support = gram.columns[places]
        squares = gram.squares
        inner = gram.part(self.support, places)
        self.gamma = median_gamma(inner, squares[self.support], width)
        inner = gaussian(inner, squares[self.support], squares[self.support], self.gamma)
        self.basis = None if gram.exact else Basis(inner)
        self.across = self._kernel(gram, judged, places)
        if self.basis is None:
            self._inner = inner
        else:
            self._features = self.basis.features(self._kernel(gram, index, places))
            self.across = self.basis.features(self.across)

    def _kernel(self, gram, index: np.ndarray, places: np.ndarray) -> np.ndarray:
        left, right = gram.squares[index], gram.squares[self.support]
        return gaussian(gram.part(index, places), left, right, self.gamma)

    def solver(self, present: np.ndarray) -> SoftmaxRegression:
        """Return a solver for the classes at the columns `present`."""
        space = Kernel(self._inner) if self.basis is None else Features(self._features)
        targets = self._rows.targets[self._index][:, present]
        targets = targets / targets.sum(axis=1, keepdims=True)
        return SoftmaxRegression(space, targets, self._rows.weights[self._index])

"""Logistic regression on scaled feature rows.

The objective is scikit-learn's and the minimum is the same (the tests compare
them), but scikit-learn 1.9 multiplies float32 features by float64 weights and so
copies the whole matrix at every product: 15 to 40 s where this takes 1 to 2.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy.optimize import minimize

from ...core.errors import HeadError
from ...core.statistics import softmax
from ..base import Head
from ..numerics.lanes import Lanes, widen
from ..numerics.products import multiply
from ..numerics.scaling import measure_scaling, wide_product
from ..saved import HeadFiles

__all__ = ["LogisticHead"]


class LogisticHead(Head):
    """Multinomial logistic regression with an L2 penalty.

    Parameters
    ----------
    alpha : float, default 0.03
        Strength of the penalty: the mean log-loss plus ``alpha / 2`` times the squared
        weights (of the scaled inputs) is minimised. scikit-learn's ``C`` is
        ``1 / (alpha * N)``.
    scaling : {"standard", "rms", "none"}, default "standard"
        See `MLPClassifier`.
    max_iter : int, default 200
        Most iterations of L-BFGS.
    tol : float, default 1e-4
        Largest gradient at which it stops.
    random_state : int, RandomState or None, default None
        Accepted for the contract of heads; the solution is unique.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    coef_ : ndarray of shape (D, C), float32
        With the input scaling folded in.
    intercept_ : ndarray of shape (C,), float32
    n_iter_ : int
    """

    kind: ClassVar[str] = "logistic"

    def __init__(self, alpha=0.03, scaling="standard", max_iter=200, tol=1e-4, random_state=None):
        self.alpha = alpha
        self.scaling = scaling
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None, *, validation=None, progress=None):
        """Fit to feature rows.

        Parameters
        ----------
        X : array of shape (N, D)
        y : array of shape (N,)
        sample_weight : array of shape (N,), optional
        validation, progress
            Accepted for the contract of heads and not used.

        Returns
        -------
        self
        """
        if not self.alpha > 0:
            raise HeadError(f"alpha is {self.alpha!r}", "give a number above 0")
        X, codes, weights = self._check_training(X, y, sample_weight)
        scaling = measure_scaling(X, self.scaling, weights)
        rows = np.flatnonzero(weights)
        scaled = np.empty((len(rows), X.shape[1]), np.float32)
        widen(X if len(rows) == len(X) else X[rows], scaled)
        if scaling is not None:
            scaling.apply(scaled, slice(None))
        shares = (weights[rows] / weights.sum()).astype(np.float32)
        coef, intercept, self.n_iter_ = _solve(
            scaled, codes[rows], shares, len(self.classes_), self.alpha, self.max_iter, self.tol
        )
        if scaling is not None:
            coef, intercept = scaling.fold(coef, intercept)
        self.coef_, self.intercept_ = np.ascontiguousarray(coef), intercept
        return self

    def predict_proba(self, X):
        """Return class probabilities, float64 of shape (N, C), columns as in `classes_`."""
        X = self._check_features(X)
        with Lanes(X.shape[1]) as lanes:
            logits = wide_product(lanes, X, None, self.coef_)
        return softmax((logits + self.intercept_).astype(np.float64))

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"iterations": self.n_iter_}, {"W": self.coef_, "b": self.intercept_}

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        self.n_iter_ = files.field(fields, "iterations", int)
        classes = len(files.classes)
        arrays = files.arrays({"W": (files.features, classes), "b": (classes,)})
        self.coef_, self.intercept_ = arrays["W"], arrays["b"]


def _solve(
    X: np.ndarray,
    codes: np.ndarray,
    shares: np.ndarray,
    classes: int,
    alpha: float,
    max_iter: int,
    tol: float,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Minimise the penalised mean log-loss by L-BFGS; return W (D, C), b (C,), iterations."""
    width = X.shape[1]
    rows = np.arange(len(X))

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        stacked = flat.reshape(width + 1, classes)
        matrix = stacked[:-1].astype(np.float32)
        parts = lanes.run(
            lambda lane: multiply(X[:, lanes.ranges[lane]], matrix[lanes.ranges[lane]])
        )
        logits = np.sum(parts, axis=0, dtype=np.float64) + stacked[-1]
        logits -= logits.max(axis=1, keepdims=True)
        error = np.exp(logits)
        total = error.sum(axis=1, keepdims=True)
        loss = shares @ (np.log(total[:, 0]) - logits[rows, codes])
        error /= total
        error[rows, codes] -= 1
        error *= shares[:, None]
        narrow = error.astype(np.float32)
        gradient = np.empty_like(stacked)

        def work(lane: int) -> None:
            gradient[:-1][lanes.ranges[lane]] = multiply(X[:, lanes.ranges[lane]].T, narrow)

        lanes.run(work)
        gradient[:-1] += alpha * stacked[:-1]
        gradient[-1] = error.sum(axis=0)
        loss += 0.5 * alpha * np.einsum("ij,ij->", stacked[:-1], stacked[:-1])
        return float(loss), gradient.ravel()

    with Lanes(width) as lanes:
        found = minimize(
            objective,
            np.zeros((width + 1) * classes),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iter, "gtol": tol, "ftol": 1e-10},
        )
    stacked = found.x.reshape(width + 1, classes).astype(np.float32)
    return stacked[:-1], stacked[-1], int(found.nit)

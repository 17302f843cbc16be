"""Ridge regression on one-hot targets, with probabilities from leave-one-out scores."""

from typing import Any, ClassVar

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar

from ...core.float16 import widen
from ...core.softmax import softmax
from ..base import Head
from ..numerics.products import multiply
from ..numerics.scaling import measure_scaling, wide_product
from ..numerics.softmax_regression import log_loss, prior_shift
from ..rows import Rows
from ..saved import HeadFiles
from ..settings import ABOVE_0, among

ALPHAS = (1.0, 0.2, 0.03, 0.006, 0.001)
_SCALINGS = ("standard", "rms", "none")


class RidgeHead(Head):
    """Least squares on one-hot targets with an L2 penalty, solved in closed form.

    The scores become probabilities by a softmax whose temperature minimises the
    log-loss of the leave-one-out scores, which ridge regression has in closed form
    (Hastie, Tibshirani and Friedman 2009, "The elements of statistical learning", 7.10).
    scikit-learn's RidgeClassifier finds the same scores and gives no probabilities.

    Parameters
    ----------
    alpha : float or "auto", default "auto"
        Penalty for each row and feature: scikit-learn's ``alpha`` is this times N
        times D / 100. "auto" chooses among five values from 1 to 1e-3, out of fold.
    scaling : {"standard", "rms", "none"}, default "standard"
    random_state : int, RandomState or None, default None
        Accepted for the contract of heads; the solution is unique.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    coef_ : ndarray of shape (D, C), float32
        With input scaling and temperature folded in.
    intercept_ : ndarray of shape (C,), float32
    temperature_ : float
        What the scores were multiplied by.
    """

    kind: ClassVar[str] = "ridge"
    recipe: ClassVar[int] = 4
    allowed: ClassVar = {"alpha": ABOVE_0 | "auto", "scaling": among(_SCALINGS)}

    def __init__(self, alpha="auto", scaling="standard", random_state=None):
        self.alpha = alpha
        self.scaling = scaling
        self.random_state = random_state

    def choices(self) -> list[dict[str, Any]]:
        """Return five penalties, unless one is given."""
        return self.grid(alpha=ALPHAS)

    def _fit(self, rows: Rows, index: np.ndarray) -> None:
        weights = rows.fit_weights(index)
        scaling = measure_scaling(rows.features[index], self.scaling, weights)
        scaled = np.empty((len(index), rows.features.shape[1]), np.float32)
        widen(rows.features[index], scaled)
        scaling.apply(scaled)
        share = weights / weights.sum()
        targets = rows.shares(index).astype(np.float64)
        prior = share @ targets
        penalty = self.alpha * scaled.shape[1] / 100
        coef, left_out = _solve(scaled, targets - prior, share, penalty)
        self.temperature_ = _temperature(left_out + prior, targets, share)
        coef = (coef * self.temperature_).astype(np.float32)
        intercept = prior * self.temperature_
        own = rows.own_weights(index)
        if own is not None:
            logits = self.temperature_ * (left_out + prior)
            intercept = intercept + prior_shift(logits, targets, own)
        self.coef_, self.intercept_ = scaling.fold(coef, intercept)

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        return softmax((wide_product(X, self.coef_) + self.intercept_).astype(np.float64))

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays = {"W": self.coef_, "b": self.intercept_}
        return {"temperature": float(self.temperature_)}, arrays

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        self.temperature_ = files.field(fields, "temperature", float)
        classes = len(files.classes)
        arrays = files.arrays({"W": (files.features, classes), "b": (classes,)})
        self.coef_, self.intercept_ = arrays["W"], arrays["b"]


def _solve(
    X: np.ndarray, targets: np.ndarray, share: np.ndarray, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return W (D, C) and the leave-one-out scores (N, C), by the smaller of two systems."""
    root = np.sqrt(share)
    weighted = X * root[:, None].astype(np.float32)
    wanted = targets * root[:, None]
    few = len(X) <= X.shape[1]
    gram = multiply(*(weighted, weighted.T) if few else (weighted.T, weighted)).astype(np.float64)
    gram[np.diag_indices_from(gram)] += penalty
    factor = cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    if few:
        dual = cho_solve(factor, wanted, check_finite=False)
        coef = weighted.T @ dual.astype(np.float32)
        inverse = cho_solve(factor, np.eye(len(X)), check_finite=False)
        residual = dual / inverse.diagonal()[:, None]
    else:
        coef = cho_solve(factor, weighted.T @ wanted, check_finite=False)
        spread = cho_solve(factor, weighted.T.astype(np.float64), check_finite=False)
        hat = np.einsum("ij,ji->i", weighted, spread)
        residual = (wanted - weighted @ coef) / np.maximum(1 - hat, 1e-9)[:, None]
    return coef, (wanted - residual) / root[:, None]


def _temperature(scores: np.ndarray, targets: np.ndarray, share: np.ndarray) -> float:
    found = minimize_scalar(
        lambda power: log_loss(scores * np.exp(power), targets, share),
        bounds=(-3, 6),
        method="bounded",
    )
    return float(np.exp(found.x))

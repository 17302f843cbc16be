"""Stacking: a second model on the probabilities of the first ones, for comparison.

Wolpert, "Stacked generalization", Neural Networks 1992. A weighted average has M numbers,
a stacker has hundreds and can overfit; it is here to show whether they would pay.
"""

import warnings
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

from ...core.errors import ProbabilityError
from ...core.imports import load
from ..metrics import EPSILON
from ..options import STACKERS


class Stacker(BaseEstimator):
    """Logistic regression on log-probabilities, or LightGBM on probabilities.

    Parameters
    ----------
    kind : {"logistic", "lightgbm"}
    C : float
        Inverse strength of the logistic regression's L2 penalty.
    seed : int

    Attributes
    ----------
    classes_ : ndarray of int
        Classes that had rows in `fit`; others get a probability of 0.
    """

    def __init__(self, kind: str = "logistic", C: float = 0.05, seed: int = 0) -> None:
        self.kind = kind
        self.C = C
        self.seed = seed

    def fit(self, probabilities: np.ndarray, y: np.ndarray, letters=None) -> Self:
        """Fit on probabilities (M, N, C) and true classes (N,)."""
        if self.kind not in STACKERS:
            raise ProbabilityError(
                f"unknown stacking '{self.kind}'", "give 'logistic' or 'lightgbm'"
            )
        self.classes_, known = np.unique(y, return_inverse=True)
        self.width_ = probabilities.shape[2]
        self.model_ = None
        if len(self.classes_) > 1:
            with warnings.catch_warnings():
                # Few rows may have nearly as many classes; they are classes still.
                warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
                self.model_ = self._model().fit(self._features(probabilities), known)
        return self

    def predict_proba(self, probabilities: np.ndarray) -> np.ndarray:
        """Return probabilities (N, C)."""
        table = np.zeros((probabilities.shape[1], self.width_))
        if self.model_ is None:
            table[:, self.classes_[0]] = 1
            return table
        table[:, self.classes_] = self.model_.predict_proba(self._features(probabilities))
        return table

    def _features(self, probabilities: np.ndarray) -> np.ndarray:
        flat = np.moveaxis(probabilities, 0, 1).reshape(probabilities.shape[1], -1)
        if self.kind == "lightgbm":
            return flat
        # Below 1e-6 a logarithm says more about rounding than about the picture.
        return np.log(np.maximum(flat, max(EPSILON, 1e-6)))

    def _model(self):
        if self.kind == "logistic":
            return LogisticRegression(C=self.C, max_iter=1000, tol=1e-3)
        return load_lightgbm().LGBMClassifier(
            n_estimators=60,
            learning_rate=0.1,
            num_leaves=7,
            min_child_samples=10,
            random_state=self.seed,
            # On few rows threads wait for each other longer than they work.
            n_jobs=1,
            deterministic=True,
            force_row_wise=True,
            verbose=-1,
        )


def load_lightgbm():
    """Return LightGBM, or raise `MissingDependencyError`."""
    return load("lightgbm")

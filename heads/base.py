"""What all heads share: checks of their inputs, input scaling, and files without pickle.

A saved head is a folder: ``head.json`` says what it is, ``weights.npz`` holds
its arrays. Both may come from strangers, so every field and shape is checked
before it is used, and nothing in them is executed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..core.errors import HeadError, enumerate_some
from ..core.files import publish_json
from .saved import FORMAT, HeadFiles, plain_settings, write_arrays

__all__ = ["Head", "require_finite"]

_ROWS_AT_ONCE = 4096


class Head(ClassifierMixin, BaseEstimator):
    """Base of the heads: a scikit-learn classifier that can save itself.

    Subclasses set `kind`, fit through `_check_training` and store their state
    through `_state` and `_restore`.
    """

    kind: ClassVar[str] = ""

    def save(self, folder: str | os.PathLike) -> None:
        """Write the fitted head to `folder`: ``head.json`` and its arrays.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            The head is not fitted.
        """
        check_is_fitted(self)
        folder = Path(folder)
        fields, arrays = self._state()
        write_arrays(folder / "weights.npz", arrays)
        publish_json(
            folder / "head.json",
            {
                "format": FORMAT,
                "kind": self.kind,
                "classes": self.classes_.tolist(),
                "features": int(self.n_features_in_),
                "settings": plain_settings(self.get_params()),
                "fitted": fields,
            },
        )

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        raise NotImplementedError

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        raise NotImplementedError

    def _check_training(self, X, y, sample_weight, targets=None):
        """Return X (float16 or float32), class codes, row weights; set the fitted basics."""
        X, y = validate_data(
            self, X, y, dtype=[np.float32, np.float16], ensure_all_finite=False, order="C"
        )
        require_finite(X)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise HeadError(
                f"all {len(y)} training rows have one class, '{self.classes_[0]}'",
                "a classifier needs rows of at least two classes",
            )
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if weights.min() < 0 or not weights.sum() > 0:
            raise HeadError(
                f"sample_weight goes from {weights.min():g} to {weights.max():g}",
                "weights must not be negative, and not all zero",
            )
        return X, codes, weights

    def _check_features(self, X):
        check_is_fitted(self)
        X = validate_data(
            self,
            X,
            dtype=[np.float32, np.float16],
            ensure_all_finite=False,
            order="C",
            reset=False,
        )
        require_finite(X)
        return X

    def _encode(self, y) -> np.ndarray:
        """Return the class codes of `y`, refusing classes the training rows lack."""
        y = np.asarray(y)
        codes = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        strange = self.classes_[codes] != y
        if strange.any():
            raise HeadError(
                f"the validation rows have classes that the training rows lack: "
                f"{enumerate_some(sorted({str(name) for name in y[strange]}))}",
                "leave those rows out of validation",
            )
        return codes

    def predict(self, X):
        """Return the most probable class of each row of `X`, shape (N,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_log_proba(self, X):
        """Return the natural logarithms of `predict_proba`, shape (N, C)."""
        return np.log(np.maximum(self.predict_proba(X), np.finfo(np.float64).tiny))


def require_finite(X: np.ndarray) -> None:
    """Raise `HeadError`, naming the rows, if `X` holds NaN or infinity."""
    bad: list[int] = []
    for top in range(0, len(X), _ROWS_AT_ONCE):
        part = X[top : top + _ROWS_AT_ONCE]
        if _surely_finite(part):
            continue
        chunk = np.isfinite(part).all(axis=1)
        if not chunk.all():
            bad += (np.flatnonzero(~chunk) + top).tolist()
    if bad:
        raise HeadError(
            f"Input X contains NaN or infinity in {len(bad)} of {len(X)} rows: "
            f"{enumerate_some(bad)}",
            "leave those rows out, or extract their features again",
        )


def _surely_finite(X: np.ndarray) -> bool:
    """Return whether float16 rows are finite, by their bits; False where it is not known."""
    if X.dtype != np.float16 or not X.flags.c_contiguous or not X.size:
        return False
    # Infinity and NaN have the largest bits, in numbers of either sign; as signed integers
    # the positive ones are above all others, as unsigned ones the negative.
    limit = 0x7C00
    return int(X.view(np.int16).max()) < limit and int(X.view(np.uint16).max()) < limit + 0x8000

"""Any importable scikit-learn classifier as a head, saved without pickle."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.validation import has_fit_parameter

from ...core.errors import HeadError
from ..base import Head
from ..saved import HeadFiles, plain_settings

__all__ = ["ExternalHead"]

# How far a refitted classifier may be from the one that was saved.
_TOLERANCE = 1e-6
_PROBES = 16


class ExternalHead(Head):
    """A classifier named ``module:Class``, with scikit-learn's interface.

    A saved one holds the settings and the training rows and is fitted again when it
    is loaded: that is the one form that works for every classifier and executes
    nothing from the files. Probabilities of a few rows are stored with it and must
    come out again.

    Parameters
    ----------
    name : str, default "sklearn.naive_bayes:GaussianNB"
        Module and class.
    settings : str, default "{}"
        Its settings as JSON.
    random_state : int, RandomState or None, default None
        Given to the classifier if it takes one.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    estimator_ : the fitted classifier
    """

    kind: ClassVar[str] = "external"

    def __init__(self, name="sklearn.naive_bayes:GaussianNB", settings="{}", random_state=None):
        self.name = name
        self.settings = settings
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None, *, validation=None, progress=None):
        """Fit the classifier; `validation` and `progress` are accepted and not used.

        Raises
        ------
        HeadError
            There is no such classifier, it refuses its settings, has no
            ``predict_proba``, or takes no ``sample_weight`` and is given one.
        """
        X, codes, weights = self._check_training(X, y, sample_weight)
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        rows = np.flatnonzero(weights)
        self._fit(X[rows].astype(np.float32), codes[rows], weights[rows])
        return self

    def predict_proba(self, X):
        """Return class probabilities, float64 of shape (N, C), columns as in `classes_`."""
        X = self._check_features(X).astype(np.float32)
        found = np.asarray(self.estimator_.predict_proba(X), np.float64)
        table = np.zeros((len(X), len(self.classes_)))
        table[:, self.estimator_.classes_] = found
        return table

    def _fit(self, X: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> None:
        estimator = _make(self.name, self.settings, self.seed_)
        options = {}
        if (weights != 1).any():
            if not has_fit_parameter(estimator, "sample_weight"):
                raise HeadError(
                    f"{self.name} takes no sample_weight",
                    "leave the weights out, or choose another classifier",
                )
            options["sample_weight"] = weights
        self.estimator_ = estimator.fit(X, codes, **options)
        self._training = (X, codes, weights)

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        X, codes, weights = self._training
        probes = X[:_PROBES]
        arrays = {
            "rows": X,
            "codes": codes.astype(np.float32),
            "weights": weights.astype(np.float32),
            "answers": self.predict_proba(probes).astype(np.float32),
        }
        settings = plain_settings(self.estimator_.get_params())
        return {"seed": self.seed_, "settings": settings}, arrays

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        # A file must not choose what is imported: only scikit-learn's own classes are
        # loaded unasked, others where the caller named their module.
        trusted = ("sklearn", *os.environ.get("ICECORE_TRUSTED_MODULES", "").split(","))
        root = str(self.name).partition(":")[0].partition(".")[0]
        if not root or root not in trusted:
            raise files.refuse(
                f"it is a {self.name!r:.80}, and only scikit-learn's classifiers are loaded unless "
                "ICECORE_TRUSTED_MODULES names the module"
            )
        self.seed_ = files.field(fields, "seed", int)
        classes = len(files.classes)
        arrays = files.arrays(
            {
                "rows": (None, files.features),
                "codes": (None,),
                "weights": (None,),
                "answers": (None, classes),
            }
        )
        rows, codes = arrays["rows"], arrays["codes"].astype(np.int64)
        fits = (
            len(rows) == len(codes) == len(arrays["weights"])
            and len(np.unique(codes)) > 1
            and (codes == arrays["codes"]).all()
            and codes.min() >= 0
            and codes.max() < classes
        )
        if not fits:
            raise files.refuse("its training rows and classes do not fit together")
        self._fit(rows, codes, arrays["weights"].astype(np.float64))
        again = self.predict_proba(rows[:_PROBES])
        if again.shape != arrays["answers"].shape or not np.allclose(
            again, arrays["answers"], atol=_TOLERANCE
        ):
            raise files.refuse(
                f"fitted again, {self.name} answers differently from when it was saved (another "
                "version of its package?)"
            )


def _make(name: str, settings: str, seed: int) -> BaseEstimator:
    module, colon, attribute = str(name).partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute) if colon and attribute else None
    except (ImportError, AttributeError, ValueError) as error:
        raise HeadError(
            f"there is no classifier '{name}' ({error})",
            "name an importable class as module:Class, for instance sklearn.svm:SVC",
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, BaseEstimator)):
        raise HeadError(
            f"'{name}' is not a scikit-learn estimator class", "name it as module:Class"
        )
    try:
        given = json.loads(settings)
        estimator = cls(**given)
    except (TypeError, ValueError) as error:
        raise HeadError(
            f"{name} cannot be made with the settings {settings}: {error}",
            'give its settings as JSON, for instance {"n_estimators": 200}',
        ) from error
    if not is_classifier(estimator) or not hasattr(estimator, "predict_proba"):
        raise HeadError(
            f"{name} is not a classifier with predict_proba (with these settings)",
            "wrap it in sklearn.calibration:CalibratedClassifierCV in Python, or choose another",
        )
    if "random_state" in estimator.get_params() and "random_state" not in given:
        estimator.set_params(random_state=seed)
    return estimator

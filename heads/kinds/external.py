"""Any importable scikit-learn classifier as a head, saved without pickle."""

import importlib
import json
import os
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import has_fit_parameter

from ...core.errors import HeadError, MissingFileError, first_line
from ...core.files import publish, sha256_bytes
from ...core.imports import load
from ...core.own_files import is_own, remember_own
from ...core.regular_files import read_whole
from ..base import Head
from ..rows import Rows
from ..saved import HeadFiles

LARGEST_ESTIMATOR = 2**31
FOREIGN_FILE = "estimator.skops"
# SHA-256 of files from elsewhere that the user trusts, separated by commas.
TRUSTED = "ICECORE_TRUSTED_DIGESTS"


def load_skops():
    """Import ``skops.io``, which writes and reads fitted classifiers without pickle."""
    return load("skops", "skops.io").io


class ExternalHead(Head):
    """A classifier named ``module:Class``, with scikit-learn's interface.

    A fitted one is saved in the format of skops. Whoever makes such a file can run code, or
    reach compiled code that believes every number, by types that look harmless; so it is
    opened only if this user wrote it on this machine, or if the environment variable
    ICECORE_TRUSTED_DIGESTS holds its SHA-256.

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
    recipe: ClassVar[int] = 2

    def __init__(self, name="sklearn.naive_bayes:GaussianNB", settings="{}", random_state=None):
        self.name = name
        self.settings = settings
        self.random_state = random_state

    def _fit(self, rows: Rows, index: np.ndarray) -> None:
        estimator = _make(self.name, self.settings, self.seed_of_fit)
        weights = rows.weights[index]
        options = {}
        if (weights != 1).any():
            if not has_fit_parameter(estimator, "sample_weight"):
                raise HeadError(
                    f"{self.name} takes no sample_weight",
                    "leave the weights out, or choose another classifier",
                )
            options["sample_weight"] = weights
        codes = rows.targets[index][:, rows.present(index)].argmax(axis=1)
        try:
            features = rows.features[index].astype(np.float32)
            self.estimator_ = estimator.fit(features, codes, **options)
        except (MemoryError, HeadError):
            raise
        # A stranger's class answers settings, or rows that do not suit it, with any error.
        except Exception as error:
            raise HeadError(
                f"{self.name} cannot be fitted with the settings {self.settings}: "
                f"{first_line(error)}",
                "change these settings, or choose another classifier",
            ) from error

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        try:
            found = np.asarray(self.estimator_.predict_proba(X.astype(np.float32)), np.float64)
            table = np.zeros((len(X), len(self.classes_)))
            table[:, self.estimator_.classes_] = found
        except MemoryError:
            raise
        # One that was loaded may be wrong in any way, and answer with any error.
        except Exception as error:
            raise HeadError(
                f"{self.name} does not predict ({first_line(error)})",
                "train it again, with other settings if it was fitted just now",
            ) from error
        if not (table >= 0).all() or not np.allclose(table.sum(axis=1), 1, atol=1e-3):
            raise HeadError(f"{self.name} predicts what are no probabilities", "train it again")
        return table

    def save(self, folder: str | os.PathLike) -> None:
        """Write ``head.json``, ``weights.npz`` (empty) and ``estimator.skops`` to `folder`."""
        super().save(folder)
        content = load_skops().dumps(self.estimator_)
        remember_own(content)
        with publish(Path(folder) / FOREIGN_FILE) as temporary:
            temporary.write_bytes(content)

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {}

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        skops = load_skops()
        files.arrays({})
        path = files.folder / FOREIGN_FILE
        try:
            content = read_whole(path, LARGEST_ESTIMATOR, HeadError)
        except (HeadError, MissingFileError) as error:
            raise files.refuse(error.message) from error
        digest = sha256_bytes(content)
        trusted = re.split(r"[\s,]+", os.environ.get(TRUSTED, "").lower())
        if not is_own(content) and digest not in trusted:
            raise files.refuse(
                "estimator.skops was written elsewhere, and a file of its kind can run code; train "
                "the head here or, if you trust whoever wrote it, set the environment variable "
                f"{TRUSTED}={digest}"
            )
        # A damaged archive is answered with many kinds of error.
        try:
            unknown = skops.get_untrusted_types(data=content)
            self.estimator_ = skops.loads(content, trusted=unknown)
        except Exception as error:
            raise files.refuse(f"estimator.skops is not readable ({error})") from error
        codes = getattr(self.estimator_, "classes_", None)
        fits = (
            isinstance(codes, np.ndarray)
            and codes.ndim == 1
            and codes.dtype.kind in "iu"
            and set(codes.tolist()) <= set(range(len(files.classes)))
        )
        width = getattr(self.estimator_, "n_features_in_", files.features)
        if not fits or not hasattr(self.estimator_, "predict_proba") or width != files.features:
            raise files.refuse("estimator.skops is no classifier of its classes and features")


def _make(name: str, settings: str, seed: int) -> BaseEstimator:
    module, colon, attribute = str(name).partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute) if colon and attribute else None
    except (ImportError, AttributeError, ValueError) as error:
        raise HeadError(
            f"there is no classifier '{name}' ({error})",
            "name an importable class as module:Class, for instance "
            "sklearn.ensemble:RandomForestClassifier",
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
            "give others (numbers, texts, true, false, null, lists), or choose another class",
        ) from error
    if not is_classifier(estimator) or not hasattr(estimator, "predict_proba"):
        raise HeadError(
            f"{name} is not a classifier with predict_proba (with these settings)",
            "wrap it in sklearn.calibration:CalibratedClassifierCV in Python, or choose another",
        )
    if "random_state" in estimator.get_params() and "random_state" not in given:
        estimator.set_params(random_state=seed)
    return estimator

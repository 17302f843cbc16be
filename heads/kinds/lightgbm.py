"""Gradient-boosted trees (LightGBM) on raw or PCA-reduced feature rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state

from ...core.errors import HeadError
from ...core.files import publish_text
from ...core.imports import missing_dependency
from ..base import Head
from ..mlp.validation import wide_product
from ..numerics.lanes import Lanes
from ..saved import HeadFiles
from ..splits import stratified_part
from .lightgbm_text import checked_model

__all__ = ["LightGBMHead"]

LARGEST_MODEL = 2**30


def load_lightgbm():
    """Import ``lightgbm``; it is installed with the core, but needs the system's OpenMP.

    Raises
    ------
    MissingDependencyError
    """
    try:
        import lightgbm
    except (ImportError, OSError) as error:
        raise missing_dependency("lightgbm", error) from error
    return lightgbm


class LightGBMHead(Head):
    """LightGBM with early stopping on the held-out log-loss.

    Parameters
    ----------
    components : int or None, default 128
        Principal components that the trees see; None gives them the raw features
        (many times slower, and no better on the data measured).
    rounds : int, default 500
        Most boosting rounds.
    learning_rate : float, default 0.1
    leaves : int, default 15
        Leaves of a tree.
    min_rows : int, default 20
        Rows in a leaf.
    patience : int, default 20
        Rounds without a better held-out log-loss before it stops.
    validation_fraction : float, default 0.1
        Part of the training rows held out if `fit` is given none.
    stop_after : int or None, default None
        Exact number of rounds (found earlier); nothing is held out then.
    random_state : int, RandomState or None, default None

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    booster_ : lightgbm.Booster
    best_epoch_ : int
        Rounds used.
    """

    kind: ClassVar[str] = "lightgbm"

    def __init__(
        self,
        components=128,
        rounds=500,
        learning_rate=0.1,
        leaves=15,
        min_rows=20,
        patience=20,
        validation_fraction=0.1,
        stop_after=None,
        random_state=None,
    ):
        self.components = components
        self.rounds = rounds
        self.learning_rate = learning_rate
        self.leaves = leaves
        self.min_rows = min_rows
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.stop_after = stop_after
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None, *, validation=None, progress=None):
        """Fit to feature rows.

        Parameters
        ----------
        X : array of shape (N, D)
        y : array of shape (N,)
        sample_weight : array of shape (N,), optional
        validation : (X, y), optional
            Held-out rows for early stopping.
        progress
            Accepted for the contract of heads and not used.

        Returns
        -------
        self
        """
        lightgbm = load_lightgbm()

        X, codes, weights = self._check_training(X, y, sample_weight)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rows = np.flatnonzero(weights)
        held = np.empty(0, int)
        if validation is None and self.stop_after is None:
            held = stratified_part(codes, rows, self.validation_fraction, seed)
            held = held if len(held) >= 10 else held[:0]
            rows = np.setdiff1d(rows, held)
        self._fit_projection(X[rows], seed)
        data = lightgbm.Dataset(
            self._project(X[rows]), codes[rows], weight=weights[rows], params={"verbosity": -1}
        )
        sets = []
        if validation is not None and self.stop_after is None:
            given = self._project(self._check_features(validation[0]))
            sets = [data.create_valid(given, self._encode(validation[1]))]
        elif len(held):
            sets = [data.create_valid(self._project(X[held]), codes[held], weights[held])]
        stopping = [lightgbm.early_stopping(self.patience, verbose=False)] if sets else []
        self.booster_ = lightgbm.train(
            {**self._parameters(seed), "num_threads": _threads(len(rows), X.shape[1])},
            data,
            self.stop_after or self.rounds,
            valid_sets=sets,
            callbacks=stopping,
        )
        self.best_epoch_ = int(self.booster_.best_iteration) or self.booster_.current_iteration()
        if self.best_epoch_ < 1:
            self.best_epoch_ = self.booster_.current_iteration()
        return self

    def predict_proba(self, X):
        """Return class probabilities, float64 of shape (N, C), columns as in `classes_`."""
        X = self._check_features(X)
        raw = self.booster_.predict(
            self._project(X), num_iteration=self.best_epoch_, num_threads=_threads(*X.shape)
        )
        table = np.column_stack([1 - raw, raw]) if raw.ndim == 1 else raw
        return table / table.sum(axis=1, keepdims=True)

    def _parameters(self, seed: int) -> dict[str, Any]:
        several = len(self.classes_) > 2
        return {
            "objective": "multiclass" if several else "binary",
            **({"num_class": len(self.classes_)} if several else {}),
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.min_rows,
            "feature_fraction": 0.5,
            "seed": seed,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }

    def _fit_projection(self, X: np.ndarray, seed: int) -> None:
        self.projection_ = self.offset_ = None
        if self.components is None or self.components >= min(X.shape):
            return
        pca = PCA(self.components, svd_solver="randomized", random_state=seed)
        pca.fit(X.astype(np.float32))
        self.projection_ = np.ascontiguousarray(pca.components_.T, np.float32)
        self.offset_ = (pca.mean_ @ self.projection_).astype(np.float32)

    def _project(self, X: np.ndarray) -> np.ndarray:
        if self.projection_ is None:
            return X.astype(np.float32, copy=False)
        with Lanes(X.shape[1]) as lanes:
            return wide_product(lanes, X, None, self.projection_) - self.offset_

    def save(self, folder: str | os.PathLike) -> None:
        """Write ``head.json``, ``weights.npz`` and LightGBM's own ``model.txt`` to `folder`."""
        super().save(folder)
        publish_text(
            Path(folder) / "model.txt",
            self.booster_.model_to_string(num_iteration=self.best_epoch_),
        )

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays = {}
        if self.projection_ is not None:
            arrays = {"projection": self.projection_, "offset": self.offset_}
        return {"rounds": self.best_epoch_, "projected": self.projection_ is not None}, arrays

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        lightgbm = load_lightgbm()

        width = files.features
        self.projection_ = self.offset_ = None
        if files.field(fields, "projected", bool):
            if not isinstance(self.components, int) or not 1 <= self.components <= width:
                raise files.refuse(f"head.json has components = {self.components!r}")
            arrays = files.arrays(
                {"projection": (width, self.components), "offset": (self.components,)}
            )
            self.projection_, self.offset_ = arrays["projection"], arrays["offset"]
            width = self.components
        self.best_epoch_ = files.field(fields, "rounds", int)
        path = files.folder / "model.txt"
        if not path.is_file() or path.stat().st_size > LARGEST_MODEL:
            raise files.refuse("model.txt is not there, or is larger than 1 GiB")
        try:
            text = checked_model(path.read_text(encoding="utf-8"))
            self.booster_ = lightgbm.Booster(model_str=text)
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            raise files.refuse(f"model.txt is not a LightGBM model ({error})") from error
        trees = 1 if len(files.classes) == 2 else len(files.classes)
        found = (self.booster_.num_feature(), self.booster_.num_model_per_iteration())
        if found != (width, trees):
            raise HeadError(
                f"the head in {files.folder} cannot be used: model.txt has {found[0]} inputs and "
                f"{found[1]} trees a round, not {width} and {trees}",
                "train it again",
            )


def _threads(rows: int, columns: int) -> int:
    """Return 1 for small tables, where threads wait for each other longer than they work."""
    return 1 if rows * columns < 200_000 else 0

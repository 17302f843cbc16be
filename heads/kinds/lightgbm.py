"""Gradient-boosted trees (LightGBM) on raw or PCA-reduced feature rows."""

import numbers
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA

from ...core.errors import HeadError, MissingFileError
from ...core.files import publish_text
from ...core.imports import load
from ...core.regular_files import read_whole
from ..base import Head
from ..numerics.scaling import wide_product
from ..parallel import fits_at_once
from ..rows import Rows
from ..saved import HeadFiles
from ..settings import ABOVE_0, count, number
from .lightgbm_text import MOST_TREES, checked_model

LARGEST_MODEL = 2**30
# LightGBM knows no more, and keeps this many bytes for a leaf and each number that it sees.
_MOST_LEAVES, _BYTES = 2**17, 4096
ROUNDS = (25, 50, 100, 200)


def load_lightgbm():
    """Import ``lightgbm``; it is installed with the core, but needs the system's OpenMP."""
    return load("lightgbm")


class LightGBMHead(Head):
    """LightGBM on principal components of the features.

    Parameters
    ----------
    components : int or None, default 128
        Principal components that the trees see; None gives them the raw features
        (many times slower, and no better on the data measured).
    rounds : int or "auto", default "auto"
        Boosting rounds; "auto" chooses among 25, 50, 100 and 200, out of fold.
    learning_rate : float, default 0.1
    leaves : int, default 15
        Leaves of a tree.
    min_rows : int, default 20
        Rows in a leaf.
    random_state : int, RandomState or None, default None

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    booster_ : lightgbm.Booster
    """

    kind: ClassVar[str] = "lightgbm"
    recipe: ClassVar[int] = 3
    allowed: ClassVar = {
        "components": count(2**20) | None,
        "rounds": count(MOST_TREES) | "auto",
        "learning_rate": ABOVE_0,
        "leaves": number(
            f"a whole number from 2 to {_MOST_LEAVES:,}",
            lambda value: 2 <= value <= _MOST_LEAVES,
            numbers.Integral,
        ),
        "min_rows": count(2**30),
    }

    def __init__(
        self,
        components=128,
        rounds="auto",
        learning_rate=0.1,
        leaves=15,
        min_rows=20,
        random_state=None,
    ):
        self.components = components
        self.rounds = rounds
        self.learning_rate = learning_rate
        self.leaves = leaves
        self.min_rows = min_rows
        self.random_state = random_state

    def choices(self) -> list[dict[str, Any]]:
        """Return four numbers of rounds, unless one is given."""
        return self.grid(rounds=ROUNDS)

    def further_choices(self, count: int, seed: int) -> list[list[dict[str, Any]]]:
        """Return settings around the default ones, drawn with a seed."""
        rng = np.random.default_rng([seed, 12])
        return [
            [
                {
                    "rounds": int(rng.choice(ROUNDS)),
                    "leaves": int(rng.choice((7, 15, 31))),
                    "min_rows": int(rng.choice((5, 20, 50))),
                    "components": int(rng.choice((64, 128, 256))),
                }
            ]
            for _ in range(count)
        ]

    def predict_path(
        self, rows: Rows, fitted: np.ndarray, judged: np.ndarray, choices: Sequence[dict]
    ) -> np.ndarray:
        """See `Head.predict_path`: fewer rounds are the first ones of more rounds."""
        if any(set(choice) != {"rounds"} for choice in choices):
            return super().predict_path(rows, fitted, judged, choices)
        most = max(choice["rounds"] for choice in choices)
        head = clone(self).set_params(rounds=most).fit_rows(rows, fitted)
        X = rows.features[judged]
        return np.array([head._after_rounds(X, choice["rounds"]) for choice in choices])

    def _memory(self, rows: Rows) -> tuple[dict[str, Any], int]:
        columns = rows.features.shape[1]
        seen = min(columns, self.components or columns)
        settings = {"leaves": self.leaves, "components": self.components}
        return settings, _BYTES * self.leaves * seen * fits_at_once()

    def _fit(self, rows: Rows, index: np.ndarray) -> None:
        lightgbm = load_lightgbm()

        seed = self.seed_of_fit
        X = rows.features[index]
        targets = rows.targets[index][:, rows.present(index)]
        self._fit_projection(X, seed)
        data = lightgbm.Dataset(
            self._project(X),
            targets.argmax(axis=1),
            weight=rows.weights[index],
            params={"verbosity": -1},
        )
        threads = {"num_threads": _threads(*X.shape)}
        self.booster_ = lightgbm.train({**self._parameters(seed), **threads}, data, self.rounds)

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        return self._after_rounds(X, self.booster_.current_iteration())

    def _after_rounds(self, X: np.ndarray, rounds: int) -> np.ndarray:
        raw = self.booster_.predict(
            self._project(X), num_iteration=rounds, num_threads=_threads(*X.shape)
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
        return wide_product(np.ascontiguousarray(X), self.projection_) - self.offset_

    def save(self, folder: str | os.PathLike) -> None:
        """Write ``head.json``, ``weights.npz`` and LightGBM's own ``model.txt`` to `folder`."""
        super().save(folder)
        try:
            # Without the settings of the training, as it is read.
            text = checked_model(self.booster_.model_to_string())
        except ValueError as error:
            hint = "take fewer rounds or leaves, or fewer classes"
            raise HeadError(f"this forest could not be read again: {error}", hint) from error
        publish_text(Path(folder) / "model.txt", text)

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays: dict[str, Any] = {}
        if self.projection_ is not None:
            arrays = {"projection": self.projection_, "offset": self.offset_}
        return {"projected": self.projection_ is not None}, arrays

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
        path = files.folder / "model.txt"
        try:
            content = read_whole(path, LARGEST_MODEL, HeadError)
        except (HeadError, MissingFileError) as error:
            raise files.refuse(error.message) from error
        try:
            text = checked_model(content.decode("utf-8"))
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

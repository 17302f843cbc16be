"""How tasks are trained: folds, uncertain labels, rare classes, weights, search."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...core.errors import HeadError, enumerate_some
from ..numerics.views import VIEW_MEANS, VIEW_TRAININGS, ViewUse
from .task_data import TaskData

__all__ = ["TrainOptions", "TrainingRows", "training_rows"]


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Settings of `train` beyond its features and heads.

    Attributes
    ----------
    folds : int
        For tasks without a validation split.
    repeats : int
        How often the rows are dealt into folds anew; the out-of-fold probabilities
        of the repeats are averaged.
    seed : int
    settings : mapping of head kind to its settings
    maybe : float
        Weight of FashionAI's letter m in an MLP's targets: 0 ignores it, 1 makes
        it a full label beside the y, between them it is a soft label. (Heads that
        take one label for each row use the y.)
    min_class_count : int
        Classes with fewer training images are dropped from training; they come
        back in the output columns with probability 0.
    class_weight : {None, "balanced"}
        "balanced" gives every class the same total weight.
    refit : {"train", "all"}
        "all" trains the final head on the validation split too, for the number of
        epochs found. (Out of fold, the final head always sees all rows.)
    search : int
        Number of MLP settings to try by successive halving before training; 0 none.
    search_fits, search_seconds : float, optional
        Budgets of the search: in whole fits, or in seconds (which a busy machine makes
        another result of).
    nested : bool
        Search again for each fold, without its rows (with a validation split: without
        the split's rows), so that the scores are honest about the search as well.
    view_training : {"random", "mean", "first"}
        What heads learn from where the features have several views, see `ViewUse`.
    view_mean : {"features", "probabilities", "first"}
        What is averaged over the views for a prediction.
    """

    folds: int = 5
    repeats: int = 1
    seed: int = 0
    settings: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    maybe: float = 0.0
    min_class_count: int = 0
    class_weight: str | None = None
    refit: str = "train"
    search: int = 0
    search_fits: float | None = None
    search_seconds: float | None = None
    nested: bool = False
    view_training: str = "random"
    view_mean: str = "features"

    def __post_init__(self) -> None:
        wrong = [
            f"{name}={getattr(self, name)!r} ({what})"
            for name, fits, what in (
                ("maybe", 0 <= self.maybe <= 1, "from 0 to 1"),
                ("class_weight", self.class_weight in (None, "balanced"), "balanced or nothing"),
                ("refit", self.refit in ("train", "all"), "train or all"),
                ("repeats", self.repeats >= 1, "1 or more"),
                ("search", self.search >= 0, "0 or more"),
                ("search_fits", (self.search_fits or 1) > 0, "above 0"),
                ("search_seconds", (self.search_seconds or 1) > 0, "above 0"),
                ("min_class_count", self.min_class_count >= 0, "0 or more"),
                (
                    "view_training",
                    self.view_training in VIEW_TRAININGS,
                    " or ".join(VIEW_TRAININGS),
                ),
                ("view_mean", self.view_mean in VIEW_MEANS, " or ".join(VIEW_MEANS)),
            )
            if not fits
        ]
        needing = [
            name for name in ("search_fits", "search_seconds", "nested") if getattr(self, name)
        ]
        if needing and not self.search:
            wrong.append(f"{' and '.join(needing)} without search (say how many settings to try)")
        if wrong:
            raise HeadError(
                f"{len(wrong)} options of the training are out of range: {enumerate_some(wrong)}",
                "the allowed values are in brackets",
            )

    def for_head(self, kind: str) -> dict[str, Any]:
        """Return the settings of one kind of head."""
        return dict(self.settings.get(kind, {}))

    def view_use(self, count: int) -> ViewUse:
        """Return how models use rows of `count` views."""
        return ViewUse(count, self.view_training, self.view_mean)

    def plain(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**fields, "settings": {k: dict(v) for k, v in self.settings.items()}}


@dataclasses.dataclass(frozen=True)
class TrainingRows:
    """The training rows of a task as heads take them.

    Attributes
    ----------
    kept : ndarray of int
        Which of the task's training rows (those of rare classes are left out).
    labels : ndarray of str, of all training rows
    classes : ndarray of str
        Classes that are trained, sorted.
    targets : ndarray of shape (N, len(classes)), float32
        Of all training rows; rows of classes that are left out are 0.
    weights : ndarray of shape (N,)
        0 for rows that are left out.
    """

    kept: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def training_rows(data: TaskData, options: TrainOptions) -> TrainingRows:
    """Work out targets and weights of a task's training rows.

    Raises
    ------
    HeadError
        Fewer than two classes are left.
    """
    labels = data.labels(data.train)
    names, counts = np.unique(labels, return_counts=True)
    classes = names[counts >= options.min_class_count]
    if len(classes) < 2:
        raise HeadError(
            f"only {len(classes)} of the {len(names)} classes of the task '{data.task}' have "
            f"{options.min_class_count} training images or more",
            "lower the smallest class count",
        )
    kept = np.flatnonzero(np.isin(labels, classes))
    codes = np.searchsorted(classes, labels[kept])
    targets = np.zeros((len(labels), len(classes)), np.float32)
    targets[kept, codes] = 1
    if options.maybe > 0:
        for row in kept:
            for name, letter in zip(data.classes, data.samples[row].letters, strict=False):
                column = int(np.searchsorted(classes, name))
                if letter == "m" and column < len(classes) and classes[column] == name:
                    targets[row, column] = options.maybe
        targets[kept] /= targets[kept].sum(axis=1, keepdims=True)
    weights = np.zeros(len(labels))
    weights[kept] = 1.0
    if options.class_weight == "balanced":
        weights[kept] = len(kept) / (len(classes) * np.bincount(codes))[codes]
    return TrainingRows(kept, labels, classes, targets, weights)

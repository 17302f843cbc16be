"""Fit one model of one task: on a validation split, or out of fold and then on all rows."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .base import Head
from .mlp_folds import mlp_out_of_fold
from .registry import make_head
from .task_data import TaskData, deal_folds

__all__ = ["FittedModel", "fit_model", "score"]

# Called with (step, number of steps, epoch, outcomes of the heads in training).
Report = Callable[[str, int, Any], None]


@dataclasses.dataclass
class FittedModel:
    """A final head and its probabilities of the validation and test rows.

    Attributes
    ----------
    head : Head
    validation, test : ndarray of shape (n, C)
        In the task's columns. Of the validation split, or of the training rows out
        of fold.
    scores : dict
        ``log_loss`` and ``accuracy`` on the validation rows.
    seconds : float
    """

    head: Head
    validation: np.ndarray
    test: np.ndarray
    scores: dict[str, float]
    seconds: float


def fit_model(
    kind: str,
    data: TaskData,
    features: np.ndarray,
    folds: int,
    seed: int,
    settings: dict[str, Any] | None = None,
    report: Report | None = None,
) -> FittedModel:
    """Fit one head and predict the rows it has not learnt from.

    With a validation split the head trains on the training rows and stops on the
    validation rows. Without one, each fold is predicted by a head trained on the
    others (which holds a tenth of its own rows out for early stopping, so the
    predicted fold has no say), and the final head trains on all training rows for
    the median number of epochs found.

    Parameters
    ----------
    kind : str
    data : TaskData
    features : ndarray of shape (len(data.samples), D)
    folds, seed : int
    settings : dict, optional
        Settings of the head.
    report : callable, optional
        ``report(step, epoch, outcomes)``.
    """
    start = time.perf_counter()
    settings = settings or {}
    labels = data.labels(data.train)
    train = features[data.train]
    if data.validation.stop > data.validation.start:
        head = _fit_on_split(kind, data, features, seed, settings, report)
        validation = data.spread(head.predict_proba(features[data.validation]), head.classes_)
        truth = data.labels(data.validation)
    else:
        validation, rounds = _out_of_fold(kind, data, train, labels, folds, seed, settings, report)
        head = final_head(kind, seed, settings, rounds)
        head.fit(train, labels, progress=_bind(report, "all rows"))
        truth = labels
    test = features[data.test]
    predicted = head.predict_proba(test) if len(test) else np.empty((0, len(head.classes_)))
    return FittedModel(
        head,
        validation,
        data.spread(predicted, head.classes_),
        score(validation, truth, data.classes),
        time.perf_counter() - start,
    )


def final_head(kind: str, seed: int, settings: dict[str, Any], rounds: list[int]) -> Head:
    """Return an unfitted head for all rows, with the number of epochs that folds found."""
    head = make_head(kind, seed, **settings)
    known = head.get_params()
    if rounds and "stop_after" in known:
        head.set_params(stop_after=max(1, round(statistics.median(rounds))))
    if "early_stopping" in known:
        head.set_params(early_stopping=False)
    return head


def score(probabilities: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> dict:
    """Return ``log_loss`` (natural, clipped at 1e-15) and ``accuracy``."""
    codes = np.array([classes.index(str(label)) for label in labels])
    own = probabilities[np.arange(len(codes)), codes]
    return {
        "log_loss": float(-np.log(np.clip(own, 1e-15, None)).mean()),
        "accuracy": float((probabilities.argmax(axis=1) == codes).mean()),
    }


def _fit_on_split(kind, data, features, seed, settings, report) -> Head:
    labels, held = data.labels(data.train), data.labels(data.validation)
    usable = np.isin(held, np.unique(labels))
    rows = features[data.validation]
    head = make_head(kind, seed, **settings)
    validation = (rows[usable], held[usable]) if usable.any() else None
    return head.fit(
        features[data.train], labels, validation=validation, progress=_bind(report, "training")
    )


def _out_of_fold(kind, data, train, labels, folds, seed, settings, report):
    dealt = deal_folds(data.keys[data.train], labels, folds, seed)
    if kind == "mlp":
        head = make_head(kind, seed + 1, **settings)
        classes, codes = np.unique(labels, return_inverse=True)
        targets, weights = np.eye(len(classes), dtype=np.float32)[codes], np.ones(len(codes))
        found, rounds = mlp_out_of_fold(
            head, train, codes, targets, weights, dealt, _bind(report, f"{folds} folds")
        )
        return data.spread(found, classes), rounds
    table = np.zeros((len(labels), len(data.classes)))
    rounds = []
    for fold in range(folds):
        held = dealt == fold
        head = make_head(kind, seed + fold + 1, **settings)
        head.fit(
            train[~held], labels[~held], progress=_bind(report, f"fold {fold + 1} of {folds}")
        )
        table[held] = data.spread(head.predict_proba(train[held]), head.classes_)
        rounds.append(getattr(head, "best_epoch_", 0))
    return table, [found for found in rounds if found]


def _bind(report: Report | None, step: str):
    if report is None:
        return None

    def progress(epoch, outcomes):
        return report(step, epoch, outcomes)

    return progress

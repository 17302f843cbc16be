"""Fit one model of one task: on a validation split, or out of fold and then on all rows."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..base import Head
from ..mlp.folds import mlp_out_of_fold
from ..mlp.search import search_mlp
from ..registry import make_head
from ..splits import deal_folds
from .options import TrainOptions, training_rows
from .scores import score
from .task_data import TaskData

__all__ = ["FittedModel", "fit_model"]

# Called with (step, epoch, outcomes of the heads in training).
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
        On the validation rows, see `score`.
    seconds : float
    interrupted : bool
        Ctrl-C ended the training; the head is what was best until then.
    """

    head: Head
    validation: np.ndarray
    test: np.ndarray
    scores: dict[str, float]
    seconds: float
    interrupted: bool = False


def fit_model(
    kind: str,
    data: TaskData,
    features: np.ndarray,
    options: TrainOptions,
    report: Report | None = None,
    views: int = 1,
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
        See `make_head`.
    data : TaskData
    features : ndarray of shape (len(data.samples), views * D)
    options : TrainOptions
    report : callable, optional
        ``report(step, epoch, outcomes)``.
    views : int, default 1
        Views in a row, used as `options` says.
    """
    start = time.perf_counter()
    rows = training_rows(data, options)
    settings = options.for_head(kind)
    use = options.view_use(views).for_head(kind)
    learnt = use.training_rows(features)
    job = _Job(kind, data, features, learnt, rows, options, settings, report, use)
    split = data.validation.stop > data.validation.start
    head, validation = job.on_split() if split else job.out_of_fold()
    truth = data.labels(data.validation) if split else rows.labels
    test = features[data.test]
    predicted = np.empty((0, len(head.classes_)))
    if len(test):
        predicted = use.predict_proba(head, test)
    return FittedModel(
        head,
        validation,
        data.spread(predicted, head.classes_),
        score(validation, truth, data.classes, options.seed),
        time.perf_counter() - start,
        getattr(head, "interrupted_", False),
    )


class _Job:
    def __init__(self, kind, data, features, learnt, rows, options, settings, report, use) -> None:
        self.kind, self.data, self.rows, self.use = kind, data, rows, use
        # As they are predicted, with all views, and as they are learnt from.
        self.features, self.learnt = features, learnt
        self.options, self.given, self.report = options, settings, report
        self.seed = options.seed
        self.searches = kind == "mlp" and options.search > 0
        self.settings = settings

    def on_split(self) -> tuple[Head, np.ndarray]:
        data = self.data
        held = data.labels(data.validation)
        usable = np.isin(held, self.rows.classes)
        own = self.learnt[data.validation]
        nested = self.searches and self.options.nested
        judge = None
        if usable.any() and not nested:
            judge = (own[usable], held[usable])
        if self.searches:
            self.settings = self._searched(self.rows.weights, self.seed, "search", judge)
        head = make_head(self.kind, self.seed, **self.settings)
        head = self._fit(head, self.rows.kept, "training", validation=judge)
        table = self.use.predict_proba(head, self.features[data.validation])
        table = data.spread(table, head.classes_)
        if self.options.refit == "all" and not getattr(head, "interrupted_", False):
            head = self._refit(held, usable, [getattr(head, "best_epoch_", 0)])
        return head, table

    def out_of_fold(self) -> tuple[Head, np.ndarray]:
        rows, options = self.rows, self.options
        total = np.zeros((len(rows.labels), len(self.data.classes)))
        rounds: list[int] = []
        if self.searches:
            self.settings = self._searched(rows.weights, self.seed, "search")
        for repeat in range(options.repeats):
            seed = self.seed + 1000 * repeat
            dealt = np.full(len(rows.labels), -1)
            keys = [self.data.samples[row].digest for row in rows.kept]
            dealt[rows.kept] = deal_folds(keys, rows.labels[rows.kept], options.folds, seed)
            table, found = self._predict_folds(dealt, seed)
            total += table / options.repeats
            rounds += [number for number in found if number]
        head = final_head(self.kind, self.seed, self.settings, rounds)
        head = self._fit(head, rows.kept, "all rows")
        dropped = np.flatnonzero(rows.weights == 0)
        if len(dropped):
            # The final head never saw these rows either.
            table = self.use.predict_proba(head, self.features[self.data.train][dropped])
            total[dropped] = self.data.spread(table, head.classes_)
        return head, total

    def _predict_folds(self, dealt: np.ndarray, seed: int) -> tuple[np.ndarray, list[int]]:
        rows, train = self.rows, self.features[self.data.train]
        learnt = self.learnt[self.data.train]
        step = f"{self.options.folds} folds"
        if self.kind == "mlp":
            if self.searches and self.options.nested:
                table, rounds = self._predict_nested(learnt, dealt, seed)
            else:
                head = make_head(self.kind, seed + 1, **self.settings)
                table, rounds = self._mlp_folds(head, learnt, dealt, rows.weights, step)
            return self.data.spread(table, rows.classes), rounds
        total, rounds = np.full((len(dealt), len(self.data.classes)), np.nan), []
        for fold in range(self.options.folds):
            held = dealt == fold
            head = make_head(self.kind, seed + fold + 1, **self.settings)
            self._fit(head, np.flatnonzero((dealt >= 0) & ~held), f"fold {fold + 1} of {step}")
            table = self.use.predict_proba(head, train[held])
            total[held] = self.data.spread(table, head.classes_)
            rounds.append(getattr(head, "best_epoch_", 0))
        return total, rounds

    def _mlp_folds(self, head, learnt, dealt, weights, step) -> tuple[np.ndarray, list[int]]:
        targets = self.rows.targets
        return mlp_out_of_fold(
            head,
            learnt,
            targets.argmax(axis=1),
            targets,
            weights,
            dealt,
            _bind(self.report, step),
            self.use.in_training,
            self.use.mean,
        )

    def _predict_nested(self, learnt, dealt, seed: int) -> tuple[np.ndarray, list[int]]:
        """Search without each fold's rows, then predict the fold with what was found."""
        weights, folds = self.rows.weights, self.options.folds
        table, rounds = np.full(self.rows.targets.shape, np.nan), []
        for fold in range(folds):
            step = f"fold {fold + 1} of {folds}"
            others = np.where(dealt == fold, 0, weights)
            settings = self._searched(others, seed + fold + 1, f"{step}, search")
            head = make_head(self.kind, seed + 1, **settings)
            only = np.where(dealt == fold, fold, -1)
            found, best = self._mlp_folds(head, learnt, only, weights, step)
            table[dealt == fold] = found[dealt == fold]
            rounds += best
        return table, rounds

    def _searched(self, weights, seed: int, step: str, judge=None) -> dict[str, Any]:
        """Return MLP settings, judged by given rows or by a tenth of the training rows."""
        options, rows = self.options, self.rows
        held = None
        if judge is not None:
            targets = np.eye(len(rows.classes), dtype=np.float32)
            held = (judge[0], targets[np.searchsorted(rows.classes, judge[1])])
        return search_mlp(
            make_head("mlp", seed, **self.given),
            self.learnt[self.data.train],
            rows.targets,
            weights,
            options.search,
            seed,
            held,
            _bind(self.report, f"{step} over {options.search}"),
            self.use.in_training,
            self.use.mean,
            options.search_fits,
            options.search_seconds,
        )

    def _fit(self, head: Head, picked: np.ndarray, step: str, validation=None) -> Head:
        rows = self.rows
        given: dict[str, Any] = {}
        if self.options.class_weight:
            given["sample_weight"] = rows.weights[picked]
        if self.kind == "mlp" and self.options.maybe:
            given["targets"] = rows.targets[picked]
        train = self.learnt[self.data.train]
        # Indexing copies; all rows need none.
        train = train if len(picked) == len(train) else train[picked]
        return head.fit(
            train,
            rows.labels[picked],
            validation=validation,
            progress=_bind(self.report, step),
            **given,
            **self._views(),
        )

    def _refit(self, held: np.ndarray, usable: np.ndarray, rounds: list[int]) -> Head:
        """Train on training and validation rows for the number of epochs found."""
        rows, start = self.rows, self.data.validation.start
        picked = np.concatenate([rows.kept, start + np.flatnonzero(usable)])
        labels = np.concatenate([rows.labels[rows.kept], held[usable]])
        given: dict[str, Any] = {}
        if self.options.class_weight:
            codes = np.searchsorted(rows.classes, labels)
            counts = np.bincount(codes, minlength=len(rows.classes))
            given["sample_weight"] = (len(codes) / (len(rows.classes) * counts))[codes]
        if self.kind == "mlp" and self.options.maybe:
            hard = np.eye(len(rows.classes), dtype=np.float32)
            hard = hard[np.searchsorted(rows.classes, held[usable])]
            given["targets"] = np.concatenate([rows.targets[rows.kept], hard])
        head = final_head(self.kind, self.seed, self.settings, [n for n in rounds if n])
        progress = _bind(self.report, "all rows")
        return head.fit(self.learnt[picked], labels, progress=progress, **given, **self._views())

    def _views(self) -> dict[str, Any]:
        if self.use.in_training == 1:
            return {}
        return {"views": self.use.in_training, "view_mean": self.use.mean}


def final_head(kind: str, seed: int, settings: dict[str, Any], rounds: list[int]) -> Head:
    """Return an unfitted head for all rows, with the number of epochs that folds found."""
    head = make_head(kind, seed, **settings)
    known = head.get_params()
    if rounds and "stop_after" in known:
        head.set_params(stop_after=max(1, round(statistics.median(rounds))))
    if "early_stopping" in known:
        head.set_params(early_stopping=False)
    return head


def _bind(report: Report | None, step: str):
    if report is None:
        return None

    def progress(epoch, outcomes):
        return report(step, epoch, outcomes)

    return progress

"""Fit one model of one task: choose its settings, predict the tuning rows, fit it on all rows."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..base import Head
from ..crossfit import CrossFit, Search, choose, cross_fit, fit_on, learning_of
from ..folds import deal_folds
from ..parallel import each, each_of
from ..registry import make_head
from ..rows import Rows
from .by_hand import advice_on_penalty
from .options import TrainOptions
from .scores import score
from .task_data import TaskData, is_constant

# Called with (step, done, total, least log-loss so far or None).
Report = Callable[[str, int, int, float | None], None]


@dataclasses.dataclass(frozen=True)
class TaskRows:
    """A task's rows on some features.

    Attributes
    ----------
    all : Rows
        Training, then validation rows.
    test : ndarray of shape (n, D)
        Features of the test rows, which are predicted and never looked at otherwise.
    train : Rows or None
        The training rows alone, where the validation rows are held out.
    """

    all: Rows
    test: np.ndarray
    train: Rows | None = None


@dataclasses.dataclass(frozen=True)
class Watch:
    """Who is told how a fit goes on, and when it shall end.

    Attributes
    ----------
    report : callable, optional
        ``report(step, done, total, loss)``.
    deadline : float, optional
        `time.monotonic` at which no further setting of a search is tried.
    """

    report: Report | None = None
    deadline: float | None = None


UNWATCHED = Watch()


@dataclasses.dataclass(frozen=True)
class FittedModel:
    """A final head and its probabilities of the tuning and test rows.

    Attributes
    ----------
    tuning, test : ndarray of shape (n, C)
        In the task's columns. By heads that did not see the row.
    scores : dict
        On the tuning rows, see `score`.
    chosen : dict
        ``settings`` of the final head that were open, ``tried`` (how many), and the
        ``log_loss`` of these settings and of the best ``default`` ones on rows that the judged
        heads did not see. Where it is known, what more rows bring is in ``learning``: see
        `Learning`. Empty if nothing was open.
    constant : bool
        Whether all rows have the same features.
    advice : str
        On a penalty that was chosen by hand; see `advice_on_penalty`.
    """

    head: Head
    tuning: np.ndarray
    test: np.ndarray
    scores: dict[str, Any]
    seconds: float
    chosen: dict[str, Any]
    constant: bool
    advice: str


def fit_model(
    kind: str,
    data: TaskData,
    labelled: TaskRows,
    options: TrainOptions,
    watch: Watch = UNWATCHED,
) -> FittedModel:
    """Fit one head and predict the rows that tune weights by heads that did not see them.

    Parameters
    ----------
    kind : str
        See `make_head`.
    """
    start = time.perf_counter()
    head = make_head(kind, options.seed, **options.for_head(kind))
    learnt = labelled.all if labelled.train is None else labelled.train
    head.require_memory(learnt)
    found = _out_of_fold(head, data, labelled, options, watch)
    judged = [] if found is None else found.judged
    choice = choose(judged) if judged else head.choices()[0]
    chosen = _chosen(head, judged, choice, learnt)
    if found is not None and labelled.train is None:
        known = learning_of(head, learnt, found)
        chosen |= {} if known is None else {"learning": dataclasses.asdict(known)}
        tuning = data.spread(found.probabilities, learnt.classes)
        truth, final = data.labels(data.labelled), found.final
    else:
        fit = functools.partial(_fit_all, head, choice)
        parts = [learnt] if options.refit == "train" else [learnt, labelled.all]
        # Side by side, and with a BLAS of one thread: the processors have no part in the result.
        own, *others = each_of(fit, [(part, None) for part in parts])
        final = others[0] if others else own
        (held,) = each(own.predict_proba, [labelled.all.features[data.validation]])
        tuning = data.spread(held, own.classes_)
        truth = data.labels(data.validation)
    if watch.report:
        watch.report("all rows", 0, 1, None)
    scored = np.ones(len(truth), bool)
    if labelled.train is not None:
        scored = data.fresh(data.validation)
    predicted = np.empty((0, len(final.classes_)))
    if len(labelled.test):
        (predicted,) = each(final.predict_proba, [labelled.test])
    return FittedModel(
        final,
        tuning,
        data.spread(predicted, final.classes_),
        score(tuning[scored], truth[scored], data.classes, options.seed),
        time.perf_counter() - start,
        chosen,
        is_constant(labelled.all.features),
        advice_on_penalty(head, learnt, _deals(data, labelled, options)[0]),
    )


def _fit_all(head: Head, choice: dict[str, Any], rows: Rows, _: None) -> Head:
    return fit_on(head, rows, np.arange(len(rows)), choice)


def _out_of_fold(
    head: Head, data: TaskData, labelled: TaskRows, options: TrainOptions, watch: Watch
) -> CrossFit | None:
    """Fit on folds; None where there is nothing to choose, and held-out rows tune the weights."""
    everything = labelled.train is None
    extra = head.searched(options.search, options.seed) if options.search else []
    if not everything and len(head.choices()) + len(extra) < 2:
        return None
    deals = _deals(data, labelled, options)
    learnt = labelled.all if labelled.train is None else labelled.train
    # Where held-out rows are predicted, the folds choose settings and no more.
    return cross_fit(head, learnt, deals, Search(extra, watch.deadline), watch.report, everything)


def _deals(data: TaskData, labelled: TaskRows, options: TrainOptions) -> list[np.ndarray]:
    """Return the fold of each row that is learnt from, for each time they are dealt."""
    part = data.labelled if labelled.train is None else data.train
    return [
        deal_folds(
            data.images(part), data.labels(part), options.folds, options.seed + 1000 * repeat
        )
        for repeat in range(options.repeats)
    ]


def _chosen(head: Head, judged, choice: dict[str, Any], rows: Rows) -> dict[str, Any]:
    """Say what was chosen, among how many, and what it is better than."""
    if not judged:
        return {}
    totals = np.sum([one.totals() for one in judged], axis=0)
    # Each row was judged twice in each deal.
    totals = totals / (2 * len(judged) * max(rows.weights.sum(), 1e-12))
    own = len(head.choices())
    # A search may try some again, and fits leave out what does not pay.
    tried = {
        repr(sorted(one.items()))
        for one, total in zip(judged[0].choices, totals.tolist(), strict=True)
        if np.isfinite(total)
    }
    return {
        "settings": choice,
        "tried": len(tried),
        "log_loss": float(totals.min()),
        "default": float(totals[:own].min()),
    }

"""The blender: probabilities of several models in, one weight for each model out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.base import BaseEstimator

from ..errors import ProbabilityError, enumerate_some
from .metrics import EPSILON, Metric, get_metric, log_loss
from .search import search
from .simplex import minimise_log_loss, minimise_log_loss_geometric

__all__ = ["Blender", "combine", "find_weights"]

MEANS = ("arithmetic", "geometric")


class Blender(BaseEstimator):
    """Weighted average of the probabilities of several models.

    For ``metric="log_loss"`` the weights are the global optimum, with a certificate; for
    other metrics they are the best that a seeded search finds, never worse on the rows
    of `fit` than the plain average, the best single model and the log-loss optimum.

    Parameters
    ----------
    metric : str, Metric or callable
        A name in `icecore.ensemble.METRICS`, or ``f(y, probabilities) -> float`` of which
        more is better.
    mean : {"arithmetic", "geometric"}
        Average probabilities, or log-probabilities followed by a softmax.
    l2 : float
        Pull to equal weights: adds ``l2 * sum((w - 1/M)**2)`` to the log-loss.
    upper : float
        Largest weight of one model (log-loss only).
    seed : int
        Of the search for metrics that are not convex.

    Attributes
    ----------
    weights_ : ndarray of shape (M,)
        Non-negative, sum 1.
    certificate_ : float or None
        No weights have an objective lower by more than this; None where there is no proof.
    score_ : float
        The metric on the rows of `fit`.
    notes_ : list of str
        What a reader should know: identical models, impossible rows and the like.
    """

    def __init__(
        self,
        metric: str | Metric | Callable[..., float] = "log_loss",
        mean: str = "arithmetic",
        l2: float = 0.0,
        upper: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.metric = metric
        self.mean = mean
        self.l2 = l2
        self.upper = upper
        self.seed = seed

    def fit(self, probabilities: np.ndarray, y: np.ndarray, letters=None) -> Blender:
        """Find the weights.

        Parameters
        ----------
        probabilities : ndarray of shape (M, N, C)
        y : ndarray of int, shape (N,)
            Column of the true class.
        letters : sequence of str, optional
            FashionAI letters of each row, for the metrics that need them.

        Raises
        ------
        ProbabilityError
            Shapes do not fit, values are not probabilities, or an option is unknown.
        """
        probabilities, y = _checked(probabilities, y)
        metric = get_metric(self.metric)
        self._check_options(metric, len(probabilities))
        self.notes_ = data_notes(probabilities, y)
        self.n_models_in_ = len(probabilities)
        self.certificate_, self.iterations_, self.how_ = None, 0, ""
        optimum = self._optimum(probabilities, y)
        if metric.name == "log_loss":
            self.weights_ = optimum.weights
            self.certificate_, self.iterations_ = optimum.certificate, optimum.iterations
            self.how_ = "convex optimum"
            if optimum.certificate > 1e-8:
                self.notes_.append(
                    f"the optimum is only certified to {optimum.certificate:.1e}, not to 1e-8"
                )
        else:
            self._search(probabilities, y, letters, metric, optimum.weights)
        table = self.predict_proba(probabilities)
        self.score_ = metric.score(y, table, letters) * (1 if metric.higher_is_better else -1)
        return self

    def predict_proba(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the average (N, C) of `probabilities` (M, N, C) with the fitted weights."""
        return combine(probabilities, self.weights_, self.mean)

    def predict(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the most probable class (N,) of each row."""
        return self.predict_proba(probabilities).argmax(axis=1)

    def _check_options(self, metric: Metric, models: int) -> None:
        faults = []
        if self.mean not in MEANS:
            faults.append(f"mean is '{self.mean}', not one of {', '.join(MEANS)}")
        if not self.l2 >= 0 or not np.isfinite(self.l2):
            faults.append(f"l2 is {self.l2}, not 0 or more")
        if not 1 / models - 1e-12 <= self.upper <= 1:
            faults.append(f"upper is {self.upper}, not between 1/{models} and 1")
        if metric.name != "log_loss" and (self.l2 or self.upper != 1):
            faults.append(f"l2 and upper belong to log_loss, the metric is {metric.name}")
        if faults:
            raise ProbabilityError("; ".join(faults), "change these options")

    def _optimum(self, probabilities: np.ndarray, y: np.ndarray):
        upper = max(self.upper, 1 / len(probabilities))
        if self.mean == "geometric":
            return minimise_log_loss_geometric(probabilities, y, self.l2, upper)
        return minimise_log_loss(true_class(probabilities, y), self.l2, upper)

    def _search(self, probabilities, y, letters, metric: Metric, optimum: np.ndarray) -> None:
        # Ranks of log-probabilities are what a geometric average mixes.
        mixed, finish = probabilities, _identity
        if self.mean == "geometric":
            mixed, finish = np.log(np.maximum(probabilities, EPSILON)), _softmax
        models = len(probabilities)
        found = search(
            mixed,
            lambda table: metric.score(y, finish(table), letters),
            lambda table: -log_loss(y, finish(table)),
            {"plain average": np.full(models, 1 / models), "least log-loss": optimum},
            self.seed,
        )
        self.weights_, self.iterations_, self.how_ = found.weights, found.evaluations, found.how


def find_weights(
    probabilities: np.ndarray, y: np.ndarray, metric: str = "log_loss", **options
) -> np.ndarray:
    """Return the weights (M,) that `Blender` finds; `options` are its parameters."""
    return Blender(metric, **options).fit(probabilities, y).weights_


def combine(probabilities: np.ndarray, weights: np.ndarray, mean: str = "arithmetic") -> np.ndarray:
    """Average the probabilities of several models.

    Parameters
    ----------
    probabilities : ndarray of shape (M, N, C)
    weights : ndarray of shape (M,)
    mean : {"arithmetic", "geometric"}
        The geometric mean is made to sum to 1; its probabilities below 1e-15 count as 1e-15.

    Returns
    -------
    ndarray of shape (N, C)
    """
    probabilities = np.asarray(probabilities)
    weights = np.asarray(weights, dtype=np.float64)
    if probabilities.ndim != 3 or weights.shape != probabilities.shape[:1]:
        raise ProbabilityError(
            f"{weights.shape} weights do not fit probabilities of shape {probabilities.shape}",
            "give one weight for each model: probabilities are (M, N, C)",
        )
    used = np.flatnonzero(weights)
    if mean == "arithmetic":
        return np.tensordot(weights[used], probabilities[used].astype(np.float64), axes=1)
    logs = np.log(np.maximum(probabilities[used], EPSILON, dtype=np.float64))
    return _softmax(np.tensordot(weights[used], logs, axes=1))


def true_class(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return each model's probability of the true class, (N, M)."""
    return probabilities[:, np.arange(len(y)), y].T


def data_notes(
    probabilities: np.ndarray, y: np.ndarray, models=None, ids=None, classes=None
) -> list[str]:
    """Say what is odd about these rows: one line for each kind of finding.

    Parameters
    ----------
    probabilities, y : ndarray
        As in `Blender.fit`.
    models, ids, classes : sequence of str, optional
        Names for the lines; numbers are used without them.
    """
    count, rows, width = probabilities.shape
    models = [f"model {index}" for index in range(count)] if models is None else models
    ids = [f"row {index}" for index in range(rows)] if ids is None else ids
    classes = [str(index) for index in range(width)] if classes is None else classes
    notes = []
    if count == 1:
        notes.append(f"there is one model only, {models[0]}: its weight is 1")
    for index in range(count):
        twin = next((j for j in range(index) if _same(probabilities, index, j)), None)
        if twin is not None:
            notes.append(
                f"{models[index]} and {models[twin]} give the same probabilities: how weight is "
                "shared between them means nothing, one of them can be left out"
            )
    if rows < count:
        notes.append(
            f"there are fewer tuning rows ({rows}) than models ({count}): the weights are "
            "hardly determined, prefer the plain average"
        )
    absent = [classes[c] for c in sorted(set(range(width)) - set(np.unique(y).tolist()))]
    if absent:
        notes.append(
            f"{len(absent)} classes have no tuning row: {enumerate_some(absent)}; mAP leaves "
            "them out"
        )
    own = true_class(probabilities, y)
    for index in range(count):
        notes += _model_notes(own[:, index], models[index], ids)
    return notes


def _model_notes(own: np.ndarray, model: str, ids) -> list[str]:
    impossible = np.flatnonzero(own < EPSILON)
    if len(impossible):
        named = enumerate_some(ids[index] for index in impossible)
        return [
            f"{model} gives its true class a probability of 0 in {len(impossible)} rows, so that "
            f"its log-loss would be infinite: {named}; such values count as {EPSILON:g}"
        ]
    if np.all(own > 1 - 1e-9):
        return [f"{model} is perfect on the tuning rows: make sure that it was not trained on them"]
    return []


def _same(probabilities: np.ndarray, one: int, other: int) -> bool:
    # Most pairs differ in the first row already; only twins are compared whole.
    first = np.array_equal(probabilities[one, 0], probabilities[other, 0])
    return first and np.array_equal(probabilities[one], probabilities[other])


def _checked(probabilities, y) -> tuple[np.ndarray, np.ndarray]:
    probabilities, y = np.asarray(probabilities), np.asarray(y)
    if probabilities.ndim != 3 or y.shape != probabilities.shape[1:2] or not probabilities.size:
        raise ProbabilityError(
            f"probabilities of shape {probabilities.shape} do not fit labels of shape {y.shape}",
            "give probabilities (M, N, C) and y (N,), with at least one model and one row",
        )
    if y.dtype.kind not in "iu":
        raise ProbabilityError(
            f"labels are of type {y.dtype}, not whole numbers", "give the column of the true class"
        )
    if y.min() < 0 or y.max() >= probabilities.shape[2]:
        raise ProbabilityError(
            f"labels from {y.min()} to {y.max()} do not fit {probabilities.shape[2]} classes",
            "labels are column numbers from 0",
        )
    _require_probabilities(probabilities)
    return probabilities, y


def _require_probabilities(probabilities: np.ndarray) -> None:
    low, high = float(probabilities.min()), float(probabilities.max())
    if not np.isfinite([low, high]).all():
        raise ProbabilityError(
            "the probabilities hold NaN or infinite values", "give a number for every cell"
        )
    if low < -1e-9 or high > 1 + 1e-6:
        raise ProbabilityError(
            f"values from {low:.4g} to {high:.4g} are not probabilities",
            "these look like logits: apply a softmax first",
        )
    sums = probabilities.sum(axis=2)
    if np.abs(sums - 1).max() > 0.02:
        raise ProbabilityError(
            f"{int((np.abs(sums - 1) > 0.02).sum())} rows do not sum to 1 (from {sums.min():.4g} "
            f"to {sums.max():.4g})",
            "divide each row by its sum, if that is what is meant",
        )


def _identity(table: np.ndarray) -> np.ndarray:
    return table


def _softmax(logits: np.ndarray) -> np.ndarray:
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    return share / share.sum(axis=1, keepdims=True)

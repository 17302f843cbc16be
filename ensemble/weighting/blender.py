"""The blender: probabilities of several models in, one weight for each model out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sklearn.base import BaseEstimator

from ...core.errors import ProbabilityError
from ..metrics import EPSILON, Metric, get_metric, log_loss
from .averaging import MEANS, Recipe, softmax
from .groups import group_weights
from .notes import data_notes, true_class
from .search import search
from .simplex import Solution, minimise_log_loss, minimise_log_loss_geometric
from .subsets import Costs, best_subset
from .temperature import apply_temperatures, find_temperatures

__all__ = ["Blender", "find_weights"]


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
    temperature : bool
        Scale each model by a temperature first, where cross-validation says that it helps.
    groups : sequence of int, optional
        Group of each class: each group gets weights of its own (log-loss, arithmetic).
    budgets : dict of str to float, optional
        Largest cost by kind (``models``, ``size``, ``latency``): only the best subset within
        it, by log-loss, gets weight.
    costs : Costs, optional
        What models cost, for budgets other than ``models``.
    models : sequence of str, optional
        Names, as `costs` has them.
    weights : sequence of float, optional
        Weights that were found elsewhere: `fit` takes them as they are.
    seed : int
        Of the search for metrics that are not convex, and of folds.

    Attributes
    ----------
    weights_ : ndarray of shape (M,)
        Non-negative, sum 1. With groups: what all groups started from.
    recipe_ : Recipe
        Everything that `predict_proba` applies.
    certificate_ : float or None
        No weights have an objective lower by more than this; None where there is no proof.
        With a budget: none of the chosen subset.
    score_ : float
        The metric on the rows of `fit`.
    how_ : str
        How the weights were found.
    notes_ : list of str
        What a reader should know: identical models, impossible rows and the like.
    """

    def __init__(
        self,
        metric: str | Metric | Callable[..., float] = "log_loss",
        mean: str = "arithmetic",
        l2: float = 0.0,
        upper: float = 1.0,
        temperature: bool = False,
        groups: Sequence[int] | None = None,
        budgets: Mapping[str, float] | None = None,
        costs: Costs | None = None,
        models: Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        self.metric = metric
        self.mean = mean
        self.l2 = l2
        self.upper = upper
        self.temperature = temperature
        self.groups = groups
        self.budgets = budgets
        self.costs = costs
        self.models = models
        self.weights = weights
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
        self._check_options(metric, probabilities.shape)
        self.notes_ = data_notes(probabilities, y)
        self.n_models_in_ = len(probabilities)
        temperatures, scaled = None, probabilities
        if self.temperature:
            temperatures = find_temperatures(probabilities, y, seed=self.seed)
            scaled = apply_temperatures(probabilities, temperatures)
        kept = self._within_budget(scaled, y)
        self.weights_ = np.zeros(len(probabilities))
        self.weights_[kept] = self._fit_weights(scaled[kept], y, letters, metric)
        groups, by_group = None, None
        if self.groups is not None:
            groups = np.asarray(self.groups)
            by_group = self._fit_groups(scaled, y, groups, kept)
        self.recipe_ = Recipe(self.weights_, self.mean, temperatures, groups, by_group)
        table = self.predict_proba(probabilities)
        self.score_ = metric.score(y, table, letters) * (1 if metric.higher_is_better else -1)
        return self

    def predict_proba(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the average (N, C) of `probabilities` (M, N, C) with the fitted weights."""
        return self.recipe_.apply(probabilities)

    def predict(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the most probable class (N,) of each row."""
        return self.predict_proba(probabilities).argmax(axis=1)

    def _check_options(self, metric: Metric, shape: tuple[int, int, int]) -> None:
        models, _, classes = shape
        faults = []
        if self.mean not in MEANS:
            faults.append(f"mean is '{self.mean}', not one of {', '.join(MEANS)}")
        if not self.l2 >= 0 or not np.isfinite(self.l2):
            faults.append(f"l2 is {self.l2}, not 0 or more")
        if not 1 / models - 1e-12 <= self.upper <= 1:
            faults.append(f"upper is {self.upper}, not between 1/{models} and 1")
        if metric.name != "log_loss" and (self.l2 or self.upper != 1):
            faults.append(f"l2 and upper belong to log_loss, the metric is {metric.name}")
        if self.groups is not None:
            if metric.name != "log_loss" or self.mean != "arithmetic":
                faults.append("groups go with log_loss and the arithmetic mean only")
            if len(self.groups) != classes:
                faults.append(f"groups name {len(self.groups)} classes of {classes}")
        if self.weights is not None:
            if len(self.weights) != models or abs(sum(self.weights) - 1) > 1e-6:
                faults.append(f"weights are {len(self.weights)} numbers of sum {sum(self.weights)}")
            if self.budgets:
                faults.append("weights are given, so that budgets can choose nothing")
        if faults:
            raise ProbabilityError("; ".join(faults), "change these options")

    def _within_budget(self, probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the numbers of the models that may get weight."""
        everything = np.arange(len(probabilities))
        if not self.budgets:
            return everything
        names = [f"model {i}" for i in everything] if self.models is None else list(self.models)
        choice = best_subset(true_class(probabilities, y), names, self.costs, self.budgets)
        if not choice.exact:
            self.notes_.append(
                "the subset comes from backward elimination: more than 20 models are too many "
                "for the exact best"
            )
        return np.array([names.index(name) for name in choice.models])

    def _fit_weights(self, probabilities, y, letters, metric: Metric) -> np.ndarray:
        self.certificate_, self.iterations_ = None, 0
        if self.weights is not None:
            self.how_ = "given"
            return np.asarray(self.weights, dtype=np.float64)
        optimum = self._optimum(probabilities, y)
        if metric.name != "log_loss":
            return self._search(probabilities, y, letters, metric, optimum.weights)
        self.certificate_, self.iterations_ = optimum.certificate, optimum.iterations
        self.how_ = "convex optimum"
        if self.l2 or self.upper < 1:
            self.how_ += " with a pull or a bound"
        if self.budgets:
            self.how_ += " of the best subset within the budget"
        if optimum.certificate > 1e-8:
            self.notes_.append(
                f"the optimum is only certified to {optimum.certificate:.1e}, not to 1e-8"
            )
        return optimum.weights

    def _optimum(self, probabilities: np.ndarray, y: np.ndarray) -> Solution:
        upper = max(self.upper, 1 / len(probabilities))
        if self.mean == "geometric":
            return minimise_log_loss_geometric(probabilities, y, self.l2, upper)
        return minimise_log_loss(true_class(probabilities, y), self.l2, upper)

    def _fit_groups(self, probabilities, y, groups, kept) -> np.ndarray:
        found = np.zeros((int(groups.max()) + 1, len(probabilities)))
        found[:, kept] = group_weights(probabilities[kept], y, groups, self.weights_[kept])
        self.certificate_ = None
        self.how_ = "local optimum by class groups, from the convex optimum that they share"
        return found

    def _search(self, probabilities, y, letters, metric: Metric, optimum) -> np.ndarray:
        # A geometric average mixes log-probabilities.
        mixed, finish = probabilities, _identity
        if self.mean == "geometric":
            mixed, finish = np.log(np.maximum(probabilities, EPSILON)), softmax
        models = len(probabilities)
        found = search(
            mixed,
            lambda table: metric.score(y, finish(table), letters),
            lambda table: -log_loss(y, finish(table)),
            {"plain average": np.full(models, 1 / models), "least log-loss": optimum},
            self.seed,
        )
        self.iterations_, self.how_ = found.evaluations, found.how
        return found.weights


def find_weights(
    probabilities: np.ndarray, y: np.ndarray, metric: str = "log_loss", **options
) -> np.ndarray:
    """Return the weights (M,) that `Blender` finds; `options` are its parameters."""
    return Blender(metric, **options).fit(probabilities, y).weights_


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

"""The blender: probabilities of several models in, one weight for each model out."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator

from ...core.errors import ProbabilityError, counted
from ...core.softmax import softmax
from ...runs import sum_tolerance
from ..metrics import EPSILON, Metric, get_metric, log_loss
from ..options import BlendOptions
from .averaging import Recipe, equal_weights
from .groups import group_weights, parse_groups
from .notes import data_notes, true_class
from .search import search
from .simplex import Solution, minimise_log_loss, minimise_log_loss_geometric
from .subsets import Candidates, Costs, best_parts

DEFAULTS = BlendOptions()


class Blender(BaseEstimator):
    """Weighted average of the probabilities of several models.

    For ``metric="log_loss"`` the weights are the global optimum, with a certificate; for
    other metrics they are the best that a seeded search finds, never worse on the rows
    of `fit` than the plain average, the best single model and the log-loss optimum.

    Parameters
    ----------
    options : BlendOptions
        What to tune for, the kind of average and its limits.
    models, classes : sequence of str, optional
        Names, as costs and class groups have them; numbers are used without.
    costs : Costs, optional
        What models cost, for budgets other than ``networks``.
    beside : sequence of ndarray (N, M), optional
        The true class's probabilities of other tasks, which share the weights.
    around : (sequence of Candidates, sequence of Candidates), optional
        The tasks before and after this one, which share a budget of networks.

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
    method_ : str
        How the weights were found.
    notes_ : list of str
        What a reader should know: identical models, impossible rows and the like.
    """

    def __init__(
        self,
        options: BlendOptions = DEFAULTS,
        models: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        costs: Costs | None = None,
        beside: Sequence[np.ndarray] = (),
        around: tuple[Sequence[Candidates], Sequence[Candidates]] = ((), ()),
    ) -> None:
        self.options = options
        self.models = models
        self.classes = classes
        self.costs = costs
        self.beside = beside
        self.around = around

    def fit(self, probabilities: np.ndarray, y: np.ndarray, letters=None) -> Self:
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
        options, count = self.options, len(probabilities)
        metric = get_metric(options.metric)
        groups = self._groups(*probabilities.shape[::2])
        self.notes_ = data_notes(probabilities, y)
        self.kept_ = self._within_budget(probabilities, y)
        self.weights_ = np.zeros(count)
        self.weights_[self.kept_] = self._fit_weights(probabilities[self.kept_], y, letters, metric)
        by_group = None
        if groups is not None:
            by_group = self._fit_groups(probabilities, y, groups)
        self.recipe_ = Recipe(self.weights_, options.mean, groups, by_group)
        table = self.predict_proba(probabilities)
        self.score_ = metric.value(y, table, letters)
        return self

    def predict_proba(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the average (N, C) of `probabilities` (M, N, C) with the fitted weights."""
        return self.recipe_.apply(probabilities)

    def predict(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the most probable class (N,) of each row."""
        return self.predict_proba(probabilities).argmax(axis=1)

    def _groups(self, models: int, classes: int) -> np.ndarray | None:
        if self.options.upper < 1 / models - 1e-12:
            raise ProbabilityError(
                f"upper is {self.options.upper}, which {counted(models, 'model')} cannot reach "
                "the sum 1 with",
                f"give 1/{models} or more",
            )
        if not self.options.groups:
            return None
        names = tuple(map(str, range(classes))) if self.classes is None else tuple(self.classes)
        return parse_groups(self.options.groups, names)

    def _within_budget(self, probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the numbers of the models whose networks are within the budget."""
        budgets = self.options.budgets
        if not budgets:
            return np.arange(len(probabilities))
        names = self.models or [f"model {i}" for i in range(len(probabilities))]
        own = Candidates(true_class(probabilities, y), names, self.costs or Costs({}))
        before, after = self.around
        parts, exact = best_parts([*before, own, *after], budgets)
        if not exact:
            self.notes_.append(
                "the networks come from backward elimination: more than 20 are too many for the "
                "exact best"
            )
        return np.array(own.allowed(parts), dtype=int)

    def _fit_weights(self, probabilities, y, letters, metric: Metric) -> np.ndarray:
        self.certificate_ = None
        optimum = self._optimum(probabilities, y)
        if metric.name != "log_loss":
            return self._search(probabilities, y, letters, metric, optimum.weights)
        self.certificate_ = optimum.certificate
        self.method_ = "convex optimum"
        if self.beside:
            self.method_ += ", shared by all tasks"
        if self.options.l2 or self.options.upper < 1:
            self.method_ += " with a pull or a bound"
        if self.options.budgets:
            self.method_ += " of the best networks within the budget"
        if optimum.certificate > 1e-8:
            self.notes_.append(
                f"the optimum is only certified to {optimum.certificate:.1e}, not to 1e-8"
            )
        return optimum.weights

    def _optimum(self, probabilities: np.ndarray, y: np.ndarray) -> Solution:
        upper = max(self.options.upper, 1 / len(probabilities))
        if self.options.mean == "geometric":
            return minimise_log_loss_geometric(probabilities, y, self.options.l2, upper)
        # Each task counts the same, whatever its number of rows.
        tables = [true_class(probabilities, y), *self.beside]
        importance = np.concatenate([np.full(len(one), 1 / len(one)) for one in tables])
        return minimise_log_loss(np.concatenate(tables), self.options.l2, upper, importance)

    def _fit_groups(self, probabilities, y, groups: np.ndarray) -> np.ndarray:
        found = np.zeros((int(groups.max()) + 1, len(probabilities)))
        kept = self.kept_
        found[:, kept] = group_weights(probabilities[kept], y, groups, self.weights_[kept])
        self.certificate_ = None
        self.method_ = "local optimum by class groups, from the convex optimum that they share"
        return found

    def _search(self, probabilities, y, letters, metric: Metric, optimum) -> np.ndarray:
        # A geometric average mixes log-probabilities.
        mixed, finish = probabilities, _identity
        if self.options.mean == "geometric":
            mixed, finish = np.log(np.maximum(probabilities, EPSILON)), softmax
        models = len(probabilities)
        found = search(
            mixed,
            lambda table: metric.score(y, finish(table), letters),
            lambda table: -log_loss(y, finish(table)),
            {"plain average": equal_weights(models), "least log-loss": optimum},
            self.options.seed,
        )
        self.method_ = found.method
        return found.weights


def find_weights(
    probabilities: np.ndarray, y: np.ndarray, options: BlendOptions = DEFAULTS
) -> np.ndarray:
    """Return the weights (M,) that `Blender` finds."""
    return Blender(options).fit(probabilities, y).weights_


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
            f"labels from {y.min()} to {y.max()} do not fit "
            f"{counted(probabilities.shape[2], 'class', 'classes')}",
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
    allowed = np.array([sum_tolerance(table) for table in probabilities])
    off = np.abs(sums - 1) > allowed[:, None] + 1e-6
    if off.any():
        raise ProbabilityError(
            f"{counted(int(off.sum()), 'row does not', 'rows do not')} sum to 1 (from "
            f"{sums.min():.4g} to {sums.max():.4g}), where rounding explains {allowed.max():.2g}",
            "divide each row by its sum first",
        )


def _identity(table: np.ndarray) -> np.ndarray:
    return table

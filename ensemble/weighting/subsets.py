"""What fewer models would cost: best subsets under a budget and the whole Pareto front.

The least log-loss over a set of models can only fall when a model is added. So the
optimum over all models that are still allowed bounds every subset of them from below
(less its certificate), and branch and bound finds the exact best subsets without trying
all 2^M. Beyond 20 models backward elimination is used, and the result says so.

A model costs what its parts cost: heads on the same backbone share it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from ...core.errors import ProbabilityError, enumerate_some
from .simplex import Solution, minimise_log_loss

__all__ = ["Choice", "Costs", "best_subset", "pareto_front"]

MOST_EXACT = 20
KINDS = ("models", "size", "latency")


@dataclasses.dataclass(frozen=True)
class Costs:
    """What each model needs, and what that costs.

    Parameters
    ----------
    needs : dict of str to sequence of str
        The parts (backbones) of each model.
    size : dict of str to float
        Bytes of each part; may be empty.
    latency : dict of str to float
        Milliseconds for one image of each part; may be empty.
    """

    needs: Mapping[str, Sequence[str]]
    size: Mapping[str, float] = dataclasses.field(default_factory=dict)
    latency: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def of(self, models: Sequence[str], kind: str) -> float:
        """Return the cost of running all of `models`: each part counts once."""
        if kind == "models":
            return float(len(models))
        prices = getattr(self, kind)
        parts = {part for model in models for part in self.needs.get(model, (model,))}
        return float(sum(prices[part] for part in parts))

    def within(self, models: Sequence[str], budgets: Mapping[str, float]) -> bool:
        """Say whether running all of `models` costs no more than any of `budgets`."""
        return all(self.of(models, kind) <= limit for kind, limit in budgets.items())

    def require(self, models: Sequence[str], kind: str) -> None:
        """Raise `ProbabilityError` naming the parts whose price is not known."""
        if kind not in KINDS:
            raise ProbabilityError(f"unknown cost '{kind}'", f"known are {', '.join(KINDS)}")
        if kind == "models":
            return
        prices = getattr(self, kind)
        parts = dict.fromkeys(part for m in models for part in self.needs.get(m, (m,)))
        unknown = [part for part in parts if part not in prices]
        if unknown:
            raise ProbabilityError(
                f"the {kind} of {len(unknown)} parts is not known: {enumerate_some(unknown)}",
                f"give a cost table, or leave out the limit on {kind}",
            )


@dataclasses.dataclass(frozen=True)
class Choice:
    """A subset of the models with its best weights.

    Attributes
    ----------
    models : tuple of str
        Those with a weight above 0.
    weights : dict of str to float
    loss : float
        Log-loss on the tuning rows.
    cost : float
    certificate : float
        As of `Solution`, within the subset.
    exact : bool
        Whether no other subset of this cost or less can be better (by more than 1e-8).
    """

    models: tuple[str, ...]
    weights: dict[str, float]
    loss: float
    cost: float
    certificate: float
    exact: bool


def best_subset(
    true: np.ndarray,
    models: Sequence[str],
    costs: Costs | None = None,
    budgets: Mapping[str, float] | None = None,
) -> Choice:
    """Find the subset of least log-loss within all budgets.

    Parameters
    ----------
    true : ndarray of shape (N, M)
        Each model's probability of the true class.
    models : sequence of str
    costs : Costs, optional
        Needed for budgets other than ``models``.
    budgets : dict of str to float
        Largest cost by kind: ``models``, ``size`` (bytes), ``latency`` (ms).

    Raises
    ------
    ProbabilityError
        No single model fits the budgets, or prices are not known.
    """
    costs = costs or Costs({})
    budgets = dict(budgets or {})
    for kind in budgets:
        costs.require(models, kind)
    return _best(_Solver(true), models, costs, budgets, "models")


def pareto_front(
    true: np.ndarray, models: Sequence[str], costs: Costs | None = None, kind: str = "models"
) -> list[Choice]:
    """Return every subset that nothing both cheaper and better beats, cheapest first.

    Parameters
    ----------
    true, models, costs
        As in `best_subset`.
    kind : {"models", "size", "latency"}
        Which cost.
    """
    costs = costs or Costs({})
    costs.require(models, kind)
    solver = _Solver(true)
    front: list[Choice] = []
    limit = math.inf
    while True:
        try:
            # Just below the last point: each round finds the next cheaper one.
            found = _best(solver, models, costs, {kind: limit}, kind)
        except ProbabilityError:
            break
        front.append(found)
        limit = found.cost * (1 - 1e-9) - 1e-12
    front.reverse()
    return _undominated(front)


def _best(
    solver: _Solver,
    models: Sequence[str],
    costs: Costs,
    budgets: Mapping[str, float],
    kind: str,
) -> Choice:
    """Find the best subset within `budgets`; its cost is told in terms of `kind`."""

    def fits(chosen) -> bool:
        return costs.within([models[index] for index in chosen], budgets)

    allowed = tuple(index for index in range(len(models)) if fits([index]))
    if not allowed:
        raise ProbabilityError(
            f"no model fits the budget {', '.join(f'{k} <= {v:g}' for k, v in budgets.items())}",
            "raise the limit",
        )
    chosen = _eliminate(solver, allowed, fits)
    exact = len(allowed) <= MOST_EXACT
    if exact:
        chosen = _branch_and_bound(solver, allowed, fits, chosen)
    return _choice(solver, chosen, models, costs, kind, exact)


def _branch_and_bound(
    solver: _Solver, allowed: tuple[int, ...], fits, start: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the subset of least loss that fits, no worse than `start`."""
    best, least = start, solver(start).loss

    def visit(forced: tuple[int, ...], open_: tuple[int, ...]) -> None:
        nonlocal best, least
        if not fits(forced):
            return
        free = tuple(i for i in open_ if fits((*forced, i)))
        if not forced + free:
            return
        bound = solver(forced + free)
        if bound.loss - bound.certificate >= least - 1e-12:
            return
        used = solver.support(forced + free)
        if fits(used):
            best, least = used, bound.loss
            return
        # Branch on the heaviest model that is not decided yet.
        choices = [i for i in used if i in free]
        if not choices:
            return
        pick = max(choices, key=lambda i: solver.weight(forced + free, i))
        rest = tuple(i for i in free if i != pick)
        visit((*forced, pick), rest)
        visit(forced, rest)

    visit((), allowed)
    return best


class _Solver:
    """Optimal weights of subsets, each solved once."""

    def __init__(self, true: np.ndarray) -> None:
        self.true = np.asarray(true, dtype=np.float64)
        self._known: dict[frozenset, tuple[tuple[int, ...], Solution]] = {}

    def _solved(self, chosen) -> tuple[tuple[int, ...], Solution]:
        key = frozenset(chosen)
        if key not in self._known:
            order = tuple(sorted(key))
            self._known[key] = order, minimise_log_loss(self.true[:, order])
        return self._known[key]

    def __call__(self, chosen) -> Solution:
        return self._solved(chosen)[1]

    def weight(self, chosen, index: int) -> float:
        order, solution = self._solved(chosen)
        return float(solution.weights[order.index(index)])

    def support(self, chosen) -> tuple[int, ...]:
        order, solution = self._solved(chosen)
        return tuple(i for i, weight in zip(order, solution.weights) if weight > 1e-9)


def _eliminate(solver: _Solver, allowed: tuple[int, ...], fits) -> tuple[int, ...]:
    """Drop the model that is missed least until the rest fits."""
    chosen = solver.support(allowed)
    while not fits(chosen):
        rest = [tuple(i for i in chosen if i != out) for out in chosen]
        chosen = min(rest, key=lambda part: solver(part).loss)
    return solver.support(chosen)


def _choice(solver, chosen, models, costs, kind, exact) -> Choice:
    solution = solver(chosen)
    order = tuple(sorted(chosen))
    weights = {models[i]: float(w) for i, w in zip(order, solution.weights)}
    names = tuple(name for name, weight in weights.items() if weight > 1e-9)
    return Choice(names, weights, solution.loss, costs.of(names, kind), solution.certificate, exact)


def _undominated(front: list[Choice]) -> list[Choice]:
    kept: list[Choice] = []
    for choice in front:
        if not kept or choice.loss < kept[-1].loss - 1e-10:
            kept.append(choice)
    return kept

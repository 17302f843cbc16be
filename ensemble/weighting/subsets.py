"""What fewer networks would cost: best subsets under a budget and the whole Pareto front.

Budgets count networks, not heads: a network that is there may feed any number of heads of any
number of tasks. So what is chosen are feature sets (the parts that models need), for all tasks
together; the log-loss of a choice is the mean over the tasks of the least log-loss that the
models on these parts reach.

The least log-loss can only fall when a part is added. So the optimum over all parts that are
still allowed bounds every subset of them from below (less its certificate), and branch and
bound finds the exact best subsets without trying all 2^P. Beyond 20 networks backward
elimination is used, and the result says so.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np

from ...core.errors import ProbabilityError, counted, enumerate_some
from .simplex import Solution, minimise_log_loss

MOST_EXACT = 20
KINDS = ("networks", "size", "latency")


@dataclasses.dataclass(frozen=True)
class Costs:
    """What each model needs, and what that costs.

    Parameters
    ----------
    needs : dict of str to sequence of str
        The parts (feature sets) of each model. A model that is not there is a part itself.
    size : dict of str to float
        Bytes of the network of each part; may be empty.
    latency : dict of str to float
        Milliseconds for one image of each part; may be empty.
    network : dict of str to str
        The network that makes each part: feature sets of one network (its crops and its whole
        images, say) are one network in memory. A part that is not there is one itself.
    """

    needs: Mapping[str, Sequence[str]]
    size: Mapping[str, float] = dataclasses.field(default_factory=dict)
    latency: Mapping[str, float] = dataclasses.field(default_factory=dict)
    network: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def parts(self, models: Sequence[str]) -> frozenset[str]:
        """Return the parts that `models` need."""
        return frozenset(part for model in models for part in self.needs.get(model, (model,)))

    def of(self, models: Sequence[str], kind: str) -> float:
        """Return the cost of running all of `models`: what they share counts once."""
        return self.of_parts(self.parts(models), kind)

    def of_parts(self, parts: frozenset[str], kind: str) -> float:
        """Return the cost of computing all of `parts`."""
        if kind == "latency":
            return float(sum(self.latency[part] for part in parts))
        networks: dict[str, float] = {}
        for part in parts:
            network = self.network.get(part, part)
            size = self.size[part] if kind == "size" else 1.0
            networks[network] = max(size, networks.get(network, 0.0))
        return float(sum(networks.values()))

    def within(self, parts: frozenset[str], budgets: Mapping[str, float]) -> bool:
        """Say whether computing all of `parts` costs no more than any of `budgets`."""
        return all(self.of_parts(parts, kind) <= limit for kind, limit in budgets.items())

    def require(self, models: Sequence[str], kind: str) -> None:
        """Raise `ProbabilityError` naming the parts whose price is not known."""
        if kind not in KINDS:
            raise ProbabilityError(f"unknown cost '{kind}'", f"known are {', '.join(KINDS)}")
        if kind == "networks":
            return
        prices = getattr(self, kind)
        parts = dict.fromkeys(part for m in models for part in self.needs.get(m, (m,)))
        unknown = [part for part in parts if part not in prices]
        if unknown:
            parts_text = counted(len(unknown), "part")
            raise ProbabilityError(
                f"the {kind} of {parts_text} is not known: {enumerate_some(unknown)}",
                f"give a cost table (--costs), or leave out the limit on {kind}",
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


class Candidates:
    """The models of one task, and the least log-loss that subsets of them reach.

    Parameters
    ----------
    true : ndarray of shape (N, M)
        Each model's probability of the true class.
    """

    def __init__(self, true: np.ndarray, models: Sequence[str], costs: Costs) -> None:
        self.models, self.costs = tuple(models), costs
        self.needs = [costs.parts([model]) for model in models]
        self._true = np.asarray(true, dtype=np.float64)
        self._known: dict[tuple[int, ...], Solution] = {}
        self._below: dict[tuple[int, ...], float] = {}

    def __deepcopy__(self, memo) -> Self:
        # What is solved once is solved for every clone of an estimator.
        return self

    def allowed(self, parts: frozenset[str]) -> tuple[int, ...]:
        """Return the numbers of the models that need no other parts."""
        return tuple(index for index, needs in enumerate(self.needs) if needs <= parts)

    def solve(self, parts: frozenset[str]) -> Solution:
        """Return the optimum over the models that `parts` allow, of which there are some."""
        order = self.allowed(parts)
        if order not in self._known:
            self._known[order] = minimise_log_loss(self._true[:, order])
        return self._known[order]

    def bound(self, parts: frozenset[str], more: frozenset[str], enough: float) -> float:
        """Return what no weights of the models that `parts` allow can be below.

        Parameters
        ----------
        more : frozenset of str
            These and others; what was solved for them gives a start, and the answer itself
            where its weights need nothing else than `parts`.
        enough : float
            A bound of this height will do; a lower one is that of the optimum.
        """
        order = self.allowed(parts)
        if order in self._known:
            return self._known[order].loss - self._known[order].certificate
        if self._below.get(order, -math.inf) >= enough:
            return self._below[order]
        start = None
        before = self.allowed(more)
        if before in self._known:
            known = self._known[before]
            place = {model: number for number, model in enumerate(before)}
            start = known.weights[[place[model] for model in order]]
            if start.sum() > 1 - 1e-12:
                self._known[order] = dataclasses.replace(known, weights=start / start.sum())
                return known.loss - known.certificate
            start = start / start.sum() if start.sum() > 0 else None
        found = minimise_log_loss(self._true[:, order], start=start, enough=enough)
        bound = found.loss - found.certificate
        if bound >= enough:
            self._below[order] = bound
        else:
            self._known[order] = found
        return bound

    def weights(self, parts: frozenset[str]) -> dict[int, float]:
        """Return the weights above 0 of that optimum, by the number of the model."""
        found = zip(self.allowed(parts), self.solve(parts).weights)
        return {index: float(weight) for index, weight in found if weight > 1e-9}


def best_parts(
    tasks: Sequence[Candidates], budgets: Mapping[str, float]
) -> tuple[frozenset[str], bool]:
    """Find the parts of least log-loss, over all tasks together, within all budgets.

    Parameters
    ----------
    tasks : sequence of Candidates
        Each counts the same, whatever its number of rows.
    budgets : dict of str to float
        Largest cost by kind: ``networks``, ``size`` (bytes), ``latency`` (ms).

    Returns
    -------
    parts : frozenset of str
    exact : bool
        Whether no other parts can be better.

    Raises
    ------
    ProbabilityError
        Nothing fits the budgets, or prices are not known.
    """
    for kind in budgets:
        for task in tasks:
            task.costs.require(task.models, kind)
    joint = _joint_costs(tasks)
    every = frozenset().union(*(needs for task in tasks for needs in task.needs))
    order = sorted(part for part in every if joint.within(frozenset({part}), budgets))
    allowed = frozenset(order)
    exact = len({joint.network.get(part, part) for part in allowed}) <= MOST_EXACT

    def fits(parts: frozenset[str]) -> bool:
        return joint.within(parts, budgets)

    best = _eliminate(tasks, allowed, fits)
    if exact:
        best = _branch_and_bound(tasks, order, fits, best)
    if best is None:
        limits = ", ".join(f"{kind} <= {limit:g}" for kind, limit in budgets.items())
        which = "no model fits" if len(tasks) == 1 else "no networks for all tasks fit"
        models = [needs for task in tasks for needs in task.needs]
        least = ", ".join(
            f"{kind} {min(joint.of_parts(needs, kind) for needs in models):g}" for kind in budgets
        )
        raise ProbabilityError(
            f"{which} the budget {limits} (the least that a model takes is {least})",
            "raise the limit, or train heads on fewer networks: icecore train --features each",
        )
    return best, exact


def pareto_front(
    true: np.ndarray, models: Sequence[str], costs: Costs | None = None, kind: str = "networks"
) -> list[Choice]:
    """Return every subset that nothing both cheaper and better beats, cheapest first.

    Parameters
    ----------
    true : ndarray of shape (N, M)
        Each model's probability of the true class.
    models : sequence of str
    costs : Costs, optional
        Needed for other kinds than ``networks``.
    kind : {"networks", "size", "latency"}
        Which cost.
    """
    task = Candidates(true, models, costs or Costs({}))
    task.costs.require(models, kind)
    front: list[Choice] = []
    limit = math.inf
    while True:
        try:
            # Just below the last point: each round finds the next cheaper one.
            found = _choice(task, *best_parts([task], {kind: limit}), kind)
        except ProbabilityError:
            break
        front.append(found)
        limit = found.cost * (1 - 1e-9) - 1e-12
    front.reverse()
    return _undominated(front)


def _joint_costs(tasks: Sequence[Candidates]) -> Costs:
    size: dict = {}
    latency: dict = {}
    network: dict = {}
    for task in tasks:
        size |= task.costs.size
        latency |= task.costs.latency
        network |= task.costs.network
    return Costs({}, size, latency, network)


def _loss(tasks: Sequence[Candidates], parts: frozenset[str]) -> float:
    """Return the mean over the tasks of the least log-loss; infinite where one has no model."""
    if not all(task.allowed(parts) for task in tasks):
        return math.inf
    return math.fsum(task.solve(parts).loss for task in tasks) / len(tasks)


def _beaten(
    tasks: Sequence[Candidates], parts: frozenset[str], more: frozenset[str], least: float
) -> bool:
    """Tell whether no models on `parts` have a mean log-loss below `least`.

    Tasks are solved one after another, each only until the answer is known: for those to
    come the bounds of `more`, a superset that was solved, hold.
    """
    if not all(task.allowed(parts) for task in tasks):
        return True
    need = least * len(tasks) - 1e-12
    bounds = [task.bound(more, more, math.inf) for task in tasks]
    for place, task in enumerate(tasks):
        others = math.fsum(bounds) - bounds[place]
        bounds[place] = task.bound(parts, more, need - others)
        if others + bounds[place] >= need:
            return True
    return False


def _used(tasks: Sequence[Candidates], parts: frozenset[str]) -> dict[str, float]:
    """Return the parts that the optimum needs, each with the weight that hangs on it."""
    used: dict[str, float] = {}
    for task in tasks:
        for index, weight in task.weights(parts).items():
            for part in task.needs[index]:
                used[part] = used.get(part, 0.0) + weight
    return used


def _branch_and_bound(
    tasks: Sequence[Candidates],
    order: Sequence[str],
    fits: Callable[[frozenset[str]], bool],
    start: frozenset[str] | None,
) -> frozenset[str] | None:
    """Return the parts of least loss that fit, no worse than `start`."""
    best, least = start, math.inf if start is None else _loss(tasks, start)

    def visit(forced: frozenset[str], open_: Sequence[str], more: frozenset[str]) -> None:
        nonlocal best, least
        if not fits(forced):
            return
        free = [part for part in open_ if fits(forced | {part})]
        parts = forced | frozenset(free)
        if _beaten(tasks, parts, more, least):
            return
        loss = _loss(tasks, parts)
        used = _used(tasks, parts)
        if fits(frozenset(used)):
            best, least = frozenset(used), loss
            return
        # Branch on the part that matters most of those not decided yet.
        choices = [part for part in free if part in used]
        if not choices:
            return
        pick = max(choices, key=used.__getitem__)
        rest = [part for part in free if part != pick]
        visit(forced | {pick}, rest, parts)
        visit(forced, rest, parts)

    visit(frozenset(), order, frozenset(order))
    return best


def _eliminate(
    tasks: Sequence[Candidates],
    allowed: frozenset[str],
    fits: Callable[[frozenset[str]], bool],
) -> frozenset[str] | None:
    """Drop the part that is missed least until the rest fits; None where that ends nowhere."""
    if math.isinf(_loss(tasks, allowed)):
        return None
    chosen = frozenset(_used(tasks, allowed))
    while not fits(chosen):
        _loss(tasks, chosen)
        best, least = None, math.inf
        for out in sorted(chosen):
            if not _beaten(tasks, chosen - {out}, chosen, least):
                best, least = chosen - {out}, _loss(tasks, chosen - {out})
        if best is None:
            return None
        chosen = best
    return frozenset(_used(tasks, chosen))


def _choice(task: Candidates, parts: frozenset[str], exact: bool, kind: str) -> Choice:
    solution, order = task.solve(parts), task.allowed(parts)
    weights = {task.models[i]: float(w) for i, w in zip(order, solution.weights)}
    names = tuple(name for name, weight in weights.items() if weight > 1e-9)
    cost = task.costs.of(names, kind)
    return Choice(names, weights, solution.loss, cost, solution.certificate, exact)


def _undominated(front: list[Choice]) -> list[Choice]:
    kept: list[Choice] = []
    for choice in front:
        if not kept or choice.loss < kept[-1].loss - 1e-10:
            kept.append(choice)
    return kept

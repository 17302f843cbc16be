import itertools

import numpy as np
import pytest
from drawing import few
from hypothesis import given
from hypothesis import strategies as st

from icecore.core.errors import ProbabilityError
from icecore.ensemble import Costs, pareto_front
from icecore.ensemble.weighting import subsets
from icecore.ensemble.weighting.simplex import minimise_log_loss
from icecore.ensemble.weighting.subsets import Candidates, best_parts


def best_subset(true, names, costs, budgets):
    """Return the models of least log-loss within all budgets, their loss, whether exact."""
    task = Candidates(true, names, costs)
    parts, exact = best_parts([task], budgets)
    return [names[index] for index in task.weights(parts)], task.solve(parts).loss, exact


def brute_force(true, names, costs, kind):
    """Return (cost, loss) of every subset."""
    found = []
    for size in range(1, len(names) + 1):
        for chosen in itertools.combinations(range(len(names)), size):
            cost = costs.of([names[i] for i in chosen], kind)
            found.append((cost, minimise_log_loss(true[:, chosen]).loss))
    return found


def random_case(seed, models=5):
    rng = np.random.default_rng(seed)
    true = np.clip(rng.beta(2, 1, (60, 1)) * rng.uniform(0.3, 1.3, (60, models)), 0.01, 1)
    names = [f"m{i}" for i in range(models)]
    # Heads share parts, so that costs do not simply add up.
    needs = {n: [f"p{j}" for j in range(3) if rng.random() < 0.5] or ["p0"] for n in names}
    prices = {f"p{j}": float(rng.integers(1, 9)) for j in range(3)}
    return true, names, Costs(needs, prices, {p: 2 * v for p, v in prices.items()})


@few(15)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["networks", "size", "latency"]))
def test_subsets_and_fronts_are_those_of_brute_force(seed, kind):
    true, names, costs = random_case(seed)
    everything = brute_force(true, names, costs, kind)
    for limit in sorted({cost for cost, _ in everything}):
        models, least, exact = best_subset(true, names, costs, {kind: limit})
        assert exact
        assert costs.of(models, kind) <= limit
        assert least == pytest.approx(min(x for c, x in everything if c <= limit), abs=1e-8)
    front = pareto_front(true, names, costs, kind)
    expected, best = [], np.inf
    for cost, loss in sorted(everything):
        if loss < best - 1e-7:
            if expected and expected[-1][0] == cost:
                expected.pop()
            expected.append((cost, loss))
            best = loss
    for cost, loss in expected:
        assert min(c.loss for c in front if c.cost <= cost + 1e-9) <= loss + 1e-7
    costs_and_losses = [(choice.cost, choice.loss) for choice in front]
    assert costs_and_losses == sorted(costs_and_losses, key=lambda e: (e[0], -e[1]))
    assert all(a.loss > b.loss for a, b in itertools.pairwise(front))


@few(10)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["networks", "size", "latency"]))
def test_tasks_share_the_networks_that_are_best_for_all_of_them(seed, kind):
    cases = [random_case(seed + number) for number in range(3)]
    prices = cases[0][2]
    tasks = [
        Candidates(true, names, Costs(costs.needs, prices.size, prices.latency))
        for true, names, costs in cases
    ]
    losses = {}
    for size in range(1, 4):
        for chosen in itertools.combinations(["p0", "p1", "p2"], size):
            if all(task.allowed(frozenset(chosen)) for task in tasks):
                solved = [task.solve(frozenset(chosen)) for task in tasks]
                cost = tasks[0].costs.of_parts(frozenset(chosen), kind)
                losses[chosen] = cost, np.mean([solution.loss for solution in solved])
    for limit, _ in losses.values():
        parts, exact = best_parts(tasks, {kind: limit})
        assert exact
        assert tasks[0].costs.of_parts(parts, kind) <= limit
        reached = np.mean([task.solve(parts).loss for task in tasks])
        assert reached <= min(x for c, x in losses.values() if c <= limit) + 1e-8


def test_what_one_network_makes_counts_once():
    costs = Costs(
        {"whole": ["a"], "cut": ["b"], "other": ["c"]},
        {"a": 5, "b": 5, "c": 3},
        {"a": 1, "b": 2, "c": 4},
        {"a": "net", "b": "net"},
    )
    assert costs.of(["whole", "cut"], "networks") == 1
    assert costs.of(["whole", "cut", "other"], "networks") == 2
    assert costs.of(["whole", "cut", "other"], "size") == 8
    assert costs.of(["whole", "cut"], "latency") == 3


def test_no_networks_for_all_tasks():
    true, names, _ = random_case(0)
    one, two = (Candidates(true, names, Costs({name: [part] for name in names})) for part in "ab")
    assert best_parts([one, two], {"networks": 2})[0] == {"a", "b"}
    with pytest.raises(ProbabilityError, match="no networks for all tasks fit .* networks <= 1"):
        best_parts([one, two], {"networks": 1})


def test_twenty_models_are_still_exact(builders):
    probabilities, y = builders.probabilities(20, 150, 5, quality=[1.5] * 20)
    true = probabilities[:, np.arange(150), y].T
    names = [str(i) for i in range(20)]
    _, least, _ = best_subset(true, names, Costs({}), {"networks": 2})
    pairs = itertools.combinations(range(20), 2)
    assert least == pytest.approx(
        min(minimise_log_loss(true[:, pair]).loss for pair in pairs), abs=1e-8
    )


def test_more_models_than_that_say_so(builders):
    probabilities, y = builders.probabilities(22, 60, 4)
    true = probabilities[:, np.arange(60), y].T
    names = [str(i) for i in range(22)]
    models, _, exact = best_subset(true, names, Costs({}), {"networks": 3})
    assert not exact
    assert 1 <= len(models) <= 3


def test_several_budgets_hold_at_once():
    true, names, costs = random_case(3)
    limits = {"networks": 2, "size": 10}
    models, _, _ = best_subset(true, names, costs, limits)
    assert all(costs.of(models, kind) <= limit for kind, limit in limits.items())


def test_refusals():
    true, names, costs = random_case(0)
    with pytest.raises(ProbabilityError, match="no model fits the budget size <= 0"):
        best_subset(true, names, costs, {"size": 0})
    with pytest.raises(ProbabilityError, match="size of 5 parts is not known: m0, m1, m2, m3, m4"):
        best_subset(true, names, Costs({}), {"size": 10})
    with pytest.raises(ProbabilityError, match="unknown cost 'money'"):
        best_subset(true, names, costs, {"money": 10})


@few(6)
@given(seed=st.integers(0, 10_000))
def test_networks_much_alike_are_told_apart_for_several_tasks(seed):
    """Where most subsets are nearly as good, most bounds have to be taken to their end."""
    rng = np.random.default_rng(seed)
    names = [f"n{number}" for number in range(7)]
    tables = [np.clip(rng.beta(3, 1, (80, 7)), 0.02, 1) for _ in range(3)]
    tasks = [Candidates(table, names, Costs({})) for table in tables]
    for limit in (1, 2, 4):
        parts, exact = best_parts(tasks, {"networks": limit})
        assert exact
        assert len(parts) <= limit
        least = min(
            np.mean([minimise_log_loss(table[:, chosen]).loss for table in tables])
            for chosen in itertools.combinations(range(7), limit)
        )
        assert np.mean([task.solve(parts).loss for task in tasks]) == pytest.approx(least, abs=1e-8)


def test_most_of_eight_tasks_times_twenty_networks_is_never_solved(monkeypatch):
    rng = np.random.default_rng(0)
    names = [f"n{number:02}" for number in range(20)]
    quality = rng.uniform(1, 4, 20)
    tasks = [
        Candidates(np.clip(rng.beta(quality, 1, (100, 20)), 0.02, 1), names, Costs({}))
        for _ in range(8)
    ]
    solved = []
    monkeypatch.setattr(
        subsets,
        "minimise_log_loss",
        lambda *args, **more: solved.append(1) or minimise_log_loss(*args, **more),
    )
    parts, exact = best_parts(tasks, {"networks": 3})
    assert exact
    assert len(parts) == 3
    # There are 1,140 subsets of three, for each of eight tasks.
    assert len(solved) < 1500

import numpy as np
import pytest

from icecore.ensemble.metrics import accuracy
from icecore.ensemble.weighting.search import (
    coordinate_search,
    greedy_selection,
    search,
    simplex_grid,
)


@pytest.mark.parametrize(("models", "steps", "points"), [(1, 5, 1), (2, 4, 5), (3, 10, 66)])
def test_the_grid_is_complete(models, steps, points):
    grid = simplex_grid(models, steps)
    assert len(np.unique(grid.round(9), axis=0)) == len(grid) == points
    assert np.allclose(grid.sum(axis=1), 1)
    assert grid.min() >= 0


def test_greedy_ties_mean_fewer_models(builders):
    probabilities, y = builders.probabilities(1, 40)
    twins = np.stack([probabilities[0]] * 3)
    weights = greedy_selection(twins, lambda table: accuracy(y, table))
    assert weights.tolist() == [1, 0, 0]


def test_greedy_agrees_with_a_plain_loop(builders):
    probabilities, y = builders.probabilities(4, 60)

    def score(table):
        return accuracy(y, table)

    chosen, prefixes = [], []
    for _ in range(40):
        order = [m for m in range(4) if m in chosen] + [m for m in range(4) if m not in chosen]
        values = [score(probabilities[[*chosen, m]].mean(axis=0)) for m in order]
        chosen.append(order[int(np.argmax(values))])
        prefixes.append((max(values), -len(chosen), list(chosen)))
    expected = np.bincount(max(prefixes)[2], minlength=4) / len(max(prefixes)[2])
    found = greedy_selection(probabilities, score)
    assert score(np.tensordot(found, probabilities, axes=1)) >= max(prefixes)[0] - 1e-12
    assert found == pytest.approx(expected)


def test_coordinate_search_never_falls_and_stays_on_the_simplex(builders):
    probabilities, y = builders.probabilities(5, 60)

    def score(table):
        return accuracy(y, table)

    for start in np.random.default_rng(0).dirichlet(np.ones(5), 10):
        weights, value = coordinate_search(probabilities, score, start)
        assert value >= score(np.tensordot(start, probabilities, axes=1))
        assert weights.sum() == pytest.approx(1)
        assert weights.min() >= 0
        assert score(np.tensordot(weights, probabilities, axes=1)) == pytest.approx(value)


def test_equal_scores_are_decided_by_the_tie_break(builders):
    probabilities, _ = builders.probabilities(3, 30)
    found = search(probabilities, lambda table: 1.0, lambda table: -table[0, 0], {})
    assert found.weights @ probabilities[:, 0, 0] == pytest.approx(probabilities[:, 0, 0].min())

"""Search of weights for metrics that are not convex: accuracy, mAP, F1, any callable.

Where there are few models a grid over the simplex is tried whole. Otherwise greedy
selection with replacement (Caruana et al., "Ensemble selection from libraries of
models", ICML 2004), on all models and on seeded bags of them, gives starting points;
so do the single models, the plain average, the weights of least log-loss and random
points. Coordinate search improves the best of them. Equal answers go to the one with
the lower log-loss, so that ties in a step-shaped metric are broken by something real.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable

import numpy as np

Score = Callable[[np.ndarray], float]

# Steps between grid points, by the number of models; more models are not gridded.
_GRID_STEPS = {2: 200, 3: 16, 4: 8}
_RESTARTS, _MOST_SWEEPS = 2, 6
_STEP_SIZES = (0.4, 0.2, 0.1, 0.05, 0.02, 0.01)
# One evaluation reads N x C cells; this many cells in all bound the time of a search.
_CELLS = 1e9


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """Weights of a search.

    Attributes
    ----------
    weights : ndarray of shape (M,)
    score : float
        More is better.
    method : str
        Which part of the search gave the answer.
    """

    weights: np.ndarray
    score: float
    method: str


def search(
    probabilities: np.ndarray,
    score: Score,
    tie_break: Score,
    starts: dict[str, np.ndarray],
    seed: int = 0,
) -> SearchResult:
    """Look for the weights with the highest score.

    Parameters
    ----------
    probabilities : ndarray of shape (M, N, C)
    score, tie_break : callable
        ``f(table (N, C)) -> float``, more is better; the second decides equal scores.
    starts : dict of str to ndarray of shape (M,)
        Points to try and to improve, by a name for the record.
    seed : int
        Of the bags and the random restarts.
    """
    models = len(probabilities)
    counter = _Counter(score, max(500, int(_CELLS / probabilities[0].size)))
    rng = np.random.default_rng(seed)
    points = dict(starts)
    for index in range(models):
        points[f"model {index}"] = np.eye(models)[index]
    if models in _GRID_STEPS and counter.room(_grid_size(models)):
        grid = simplex_grid(models, _GRID_STEPS[models])
        values = [counter(_mix(point, probabilities)) for point in grid]
        for index in np.flatnonzero(np.array(values) == max(values))[:20]:
            points[f"grid point {index}"] = grid[index]
    elif models > 1:
        points["greedy"] = greedy_selection(probabilities, counter)
        bags = [_bag(probabilities, counter, rng) for _ in range(4) if counter.room(models)]
        if bags:
            points["greedy in bags"] = np.mean(bags, axis=0)
    for index in range(_RESTARTS if models > 1 else 0):
        points[f"random start {index}"] = rng.dirichlet(np.ones(models))
    return _improve(probabilities, counter, tie_break, points)


def simplex_grid(models: int, steps: int) -> np.ndarray:
    """Return every weight vector whose entries are multiples of ``1 / steps``.

    >>> simplex_grid(2, 2).tolist()
    [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    """
    bars = itertools.combinations(range(steps + models - 1), models - 1)
    cuts = np.array(list(bars), dtype=int)
    edges = np.hstack(
        [np.full((len(cuts), 1), -1), cuts, np.full((len(cuts), 1), steps + models - 1)]
    )
    return (np.diff(edges, axis=1) - 1) / steps


def greedy_selection(
    probabilities: np.ndarray, score: Score, rounds: int = 40, allowed: np.ndarray | None = None
) -> np.ndarray:
    """Add, with replacement, the model that helps most; return the best prefix's weights.

    Ties go to a model that is already in, then to the first; of prefixes that score
    the same the shortest wins, so that ties mean fewer models.
    """
    models = np.arange(len(probabilities)) if allowed is None else allowed
    counts = np.zeros(len(probabilities), dtype=int)
    total = np.zeros_like(probabilities[0], dtype=np.float64)
    best, best_value = counts, -np.inf
    for done in range(1, rounds + 1):
        order = sorted(models, key=lambda index: counts[index] == 0)
        values = [score((total + probabilities[index]) / done) for index in order]
        chosen = order[int(np.argmax(values))]
        counts = counts + (np.arange(len(counts)) == chosen)
        total += probabilities[chosen]
        if max(values) > best_value + 1e-12:
            best, best_value = counts, max(values)
        # Ten rounds without progress are enough: later ones move by less than 1/30.
        if done - best.sum() >= 10:
            break
    return best / best.sum()


def coordinate_search(
    probabilities: np.ndarray, score: Score, weights: np.ndarray
) -> tuple[np.ndarray, float]:
    """Move weight to or from one model at a time while the score rises."""
    table = _mix(weights, probabilities)
    value = score(table)
    for _ in range(_MOST_SWEEPS):
        before = value
        for index, size, sign in itertools.product(range(len(weights)), _STEP_SIZES, (1, -1)):
            # Towards the model by `size`, or as far away from it as its weight allows.
            move = size if sign > 0 else -min(size, weights[index] / max(1 - weights[index], 1e-9))
            if abs(move) < 1e-6:
                continue
            trial = (1 - move) * table + move * probabilities[index]
            reached = score(trial)
            if reached > value + 1e-12:
                weights = np.clip((1 - move) * weights + move * _unit(index, weights), 0, None)
                weights = weights / weights.sum()
                table, value = _mix(weights, probabilities), reached
        if value <= before:
            break
    return weights, value


class _Counter:
    """Counts the evaluations of a score and says when the allowance is spent."""

    def __init__(self, score: Score, allowance: int) -> None:
        self.score = score
        self.allowance = allowance
        self.count = 0

    def __call__(self, table: np.ndarray) -> float:
        self.count += 1
        value = self.score(table)
        return value if np.isfinite(value) else -np.inf

    def room(self, more: int) -> bool:
        return self.count + more <= self.allowance


def _improve(
    probabilities: np.ndarray, counter: _Counter, tie_break: Score, points: dict[str, np.ndarray]
) -> SearchResult:
    scored = {name: counter(_mix(point, probabilities)) for name, point in points.items()}
    promising = sorted(points, key=lambda name: -scored[name])
    finalists = [(scored[name], name, points[name]) for name in points]
    # A sweep costs as many evaluations as there are models: many models, fewer finalists.
    for name in promising[: int(np.clip(24 // len(probabilities), 3, 6))]:
        if not counter.room(20 * len(probabilities)):
            break
        weights, value = coordinate_search(probabilities, counter, points[name])
        finalists.append((value, f"{name}, improved", weights))
    highest = max(value for value, _, _ in finalists)
    equal = [entry for entry in finalists if entry[0] >= highest - 1e-12]
    value, method, weights = max(equal, key=lambda entry: tie_break(_mix(entry[2], probabilities)))
    return SearchResult(weights, value, method)


def _bag(probabilities: np.ndarray, score: Score, rng: np.random.Generator) -> np.ndarray:
    half = max(2, len(probabilities) // 2)
    allowed = np.sort(rng.choice(len(probabilities), half, replace=False))
    return greedy_selection(probabilities, score, rounds=20, allowed=allowed)


def _grid_size(models: int) -> int:
    return math.comb(_GRID_STEPS[models] + models - 1, models - 1)


def _mix(weights: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    used = np.flatnonzero(weights)
    return np.tensordot(weights[used], probabilities[used], axes=1)


def _unit(index: int, like: np.ndarray) -> np.ndarray:
    return (np.arange(len(like)) == index).astype(float)

"""How far chance alone moves a score: intervals, standard errors and a paired test.

The bootstrap draws images with replacement (Efron 1979): rows of equal images are drawn
together. Intervals are percentiles of the draws, a little farther out than 2.5 and 97.5 where
there are few images. The paired test swaps the two answers of images at random: if they were
worth the same, the swapped differences would look like the observed one. Standard errors of
differences come from the jackknife over blocks of images (Efron and Tibshirani 1993,
chapter 11), which takes any metric.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from ..core.bootstrap import bootstrap_percents
from ..core.folds import deal_folds
from .metrics import EPSILON, Metric, macro_map, macro_map_of_counts

DRAWS = 1000
BLOCKS = 20
# Metrics that need a sort for each draw are allowed this many cells in all.
_CELLS = 5e7
# So many images make a mean normal; drawing them would only take time.
_NORMAL = 20_000


@dataclasses.dataclass(frozen=True)
class Scored:
    """The rows that answers are compared on.

    Attributes
    ----------
    y : ndarray of int, shape (N,)
        Column of the true class.
    letters : sequence of str, optional
        FashionAI letters of each row, for the metrics that need them.
    groups : ndarray of int, shape (N,), optional
        Rows of equal number are one image; every row is its own without it.
    seed : int
        Seed for draws and swaps.
    """

    metric: Metric
    y: np.ndarray
    letters: Sequence[str] | None = None
    groups: np.ndarray | None = None
    seed: int = 0

    def score(self, table: np.ndarray, rows: np.ndarray | None = None) -> float:
        """Return the metric of `table` (N, C), more is better, of all or of some rows."""
        if rows is None:
            return self.metric.score(self.y, table, self.letters)
        letters = None if self.letters is None else [self.letters[index] for index in rows]
        return self.metric.score(self.y[rows], table[rows], letters)

    @property
    def images(self) -> np.ndarray:
        """Number of each row's image, (N,), from 0 without gaps."""
        if self.groups is None:
            return np.arange(len(self.y))
        return np.unique(self.groups, return_inverse=True)[1]


@dataclasses.dataclass(frozen=True)
class Difference:
    """One answer's score less another's, on the same rows.

    Attributes
    ----------
    value : float
        More than 0: the first is better, whichever way the metric counts.
    low, high : float
        95% bootstrap interval; NaN where there are too many rows to draw in reasonable time.
    p : float
        Two-sided p-value of the swap test; NaN likewise.
    """

    value: float
    low: float
    high: float
    p: float


def row_scores(metric: Metric, y: np.ndarray, table: np.ndarray) -> np.ndarray | None:
    """Return what each row adds to a metric that is a mean over rows (more is better).

    None for metrics that are not: mAP, F1 and the like.
    """
    rows = np.arange(len(y))
    own = table[rows, y]
    if metric.name == "log_loss":
        return np.log(np.maximum(own, EPSILON))
    if metric.name == "accuracy":
        return (table.argmax(axis=1) == y).astype(float)
    if metric.name == "brier":
        return -((table**2).sum(axis=1) - 2 * own + 1)
    return None


def bootstrap_interval(scored: Scored, table: np.ndarray) -> tuple[float, float]:
    """Return the 95% bootstrap interval of the metric (as it counts, not turned around).

    NaN, NaN where the rows are too many to draw them often enough.
    """
    sign = 1 if scored.metric.higher_is_better else -1
    own = row_scores(scored.metric, scored.y, table)
    if own is not None:
        return _percentiles(sign * _mean_draws(own, scored), scored)
    draws = _draws(table, scored)
    if scored.metric.function is macro_map:
        counts = [np.bincount(rows, minlength=len(table)).astype(np.int32) for rows in draws]
        if not counts:
            return _percentiles(np.empty(0), scored)
        return _percentiles(macro_map_of_counts(scored.y, table, np.array(counts).T), scored)
    return _percentiles(sign * np.array([scored.score(table, rows) for rows in draws]), scored)


def paired_difference(scored: Scored, first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two tables (N, C) of the same rows: `first` less `second`."""
    value = scored.score(first) - scored.score(second)
    ours = row_scores(scored.metric, scored.y, first)
    if ours is not None:
        gain = ours - row_scores(scored.metric, scored.y, second)
        low, high = _percentiles(_mean_draws(gain, scored), scored)
        return Difference(value, low, high, _sign_test(gain, scored))
    drawn, swapped = [], []
    rng = np.random.default_rng(scored.seed + 1)
    images = scored.images
    for rows in _draws(first, scored):
        drawn.append(scored.score(first, rows) - scored.score(second, rows))
        swap = (rng.random(images.max() + 1) < 0.5)[images][:, None]
        one, other = np.where(swap, second, first), np.where(swap, first, second)
        swapped.append(scored.score(one) - scored.score(other))
    low, high = _percentiles(np.array(drawn), scored)
    return Difference(value, low, high, _p_value(np.array(swapped), value))


def jackknife(scored: Scored, tables: Sequence[np.ndarray]) -> np.ndarray:
    """Return each table's score without each of up to `BLOCKS` blocks of images, (B, T).

    The standard error of a difference d of two columns is
    ``sqrt((B - 1) / B * sum((d - mean(d))**2))``.
    """
    blocks = deal_folds(scored.y, scored.images, BLOCKS, [scored.seed, 32])
    rows = [np.flatnonzero(blocks != number) for number in range(int(blocks.max()) + 1)]
    return np.array([[scored.score(table, part) for table in tables] for part in rows if len(part)])


def _mean_draws(scores: np.ndarray, scored: Scored) -> np.ndarray:
    """Return the means of `DRAWS` samples of images with replacement."""
    rng = np.random.default_rng(scored.seed)
    images = scored.images
    count = np.bincount(images)
    total = np.bincount(images, weights=scores)
    if len(count) > _NORMAL:
        spread = np.sqrt(((total - count * scores.mean()) ** 2).sum()) / len(scores)
        return rng.normal(scores.mean(), spread, DRAWS)
    picks = rng.integers(len(count), size=(DRAWS, len(count)), dtype=np.int32)
    return total[picks].sum(axis=1) / count[picks].sum(axis=1)


def _sign_test(gain: np.ndarray, scored: Scored) -> float:
    if not gain.any():
        return 1.0
    rng = np.random.default_rng(scored.seed + 1)
    total = np.bincount(scored.images, weights=gain)
    if len(total) > _NORMAL:
        swapped = rng.normal(0, np.sqrt((total**2).sum()) / len(gain), DRAWS)
    else:
        signs = rng.integers(2, size=(DRAWS, len(total)), dtype=np.int8) * 2 - 1
        swapped = signs @ total / len(gain)
    return _p_value(swapped, float(gain.mean()))


def _p_value(swapped: np.ndarray, value: float) -> float:
    swapped = swapped[np.isfinite(swapped)]
    if not len(swapped):
        return float("nan")
    return float((1 + (np.abs(swapped) >= abs(value) - 1e-15).sum()) / (1 + len(swapped)))


def _draws(table: np.ndarray, scored: Scored) -> Iterator[np.ndarray]:
    count = int(min(DRAWS, 200, _CELLS / table.size))
    rng = np.random.default_rng(scored.seed)
    images = scored.images
    order = np.argsort(images, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(images))[:-1])
    single = len(members) == len(images)
    # Fewer than fifty draws say nothing about the ends of an interval.
    for _ in range(count if count >= 50 else 0):
        picks = rng.integers(len(members), size=len(members))
        yield order[picks] if single else np.concatenate([members[pick] for pick in picks])


def _percentiles(values: np.ndarray, scored: Scored) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if len(values) < 50:
        return float("nan"), float("nan")
    low, high = np.percentile(values, bootstrap_percents(int(scored.images.max()) + 1))
    return float(low), float(high)

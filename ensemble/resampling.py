"""How far chance alone moves a score: bootstrap intervals and a paired test.

The bootstrap draws rows with replacement (Efron 1979); intervals are the 2.5 and 97.5
percentiles. The paired test swaps the two answers of rows at random: if they were worth
the same, the swapped differences would look like the observed one.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .metrics import EPSILON, Metric

__all__ = ["Difference", "bootstrap_interval", "paired_difference", "row_scores"]

DRAWS = 1000
# Metrics that need a sort for each draw are allowed this many cells in all.
_CELLS = 1.5e8


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


def bootstrap_interval(
    metric: Metric, y: np.ndarray, table: np.ndarray, letters=None, seed: int = 0
) -> tuple[float, float]:
    """Return the 95% bootstrap interval of `metric` (as it counts, not turned around).

    NaN, NaN where the rows are too many to draw them often enough.
    """
    sign = 1 if metric.higher_is_better else -1
    scores = row_scores(metric, y, table)
    if scores is not None:
        values = sign * _mean_draws(scores, seed)
    else:
        values = sign * np.array(
            [metric.score(y[rows], table[rows], _at(letters, rows)) for rows in _draws(table, seed)]
        )
    return _percentiles(values)


def paired_difference(
    metric: Metric,
    y: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    letters=None,
    seed: int = 0,
) -> Difference:
    """Compare two tables (N, C) of the same rows.

    Returns
    -------
    Difference
        Of `first` less `second`.
    """
    value = metric.score(y, first, letters) - metric.score(y, second, letters)
    ours, theirs = row_scores(metric, y, first), row_scores(metric, y, second)
    if ours is not None:
        gain = ours - theirs
        low, high = _percentiles(_mean_draws(gain, seed))
        return Difference(value, low, high, _sign_test(gain, seed))
    drawn, swapped = [], []
    rng = np.random.default_rng(seed + 1)
    for rows in _draws(first, seed):
        part = _at(letters, rows)
        drawn.append(
            metric.score(y[rows], first[rows], part) - metric.score(y[rows], second[rows], part)
        )
        swap = (rng.random(len(y)) < 0.5)[:, None]
        one, other = np.where(swap, second, first), np.where(swap, first, second)
        swapped.append(metric.score(y, one, letters) - metric.score(y, other, letters))
    low, high = _percentiles(np.array(drawn))
    return Difference(value, low, high, _p_value(np.array(swapped), value))


def _mean_draws(scores: np.ndarray, seed: int) -> np.ndarray:
    """Return the means of `DRAWS` samples with replacement."""
    rng = np.random.default_rng(seed)
    if len(scores) > 20_000:
        # So many rows make the mean normal; drawing them would only take time.
        return rng.normal(scores.mean(), scores.std() / np.sqrt(len(scores)), DRAWS)
    picks = rng.integers(len(scores), size=(DRAWS, len(scores)), dtype=np.int32)
    return scores[picks].mean(axis=1)


def _sign_test(gain: np.ndarray, seed: int) -> float:
    if not gain.any():
        return 1.0
    rng = np.random.default_rng(seed + 1)
    if len(gain) > 20_000:
        swapped = rng.normal(0, np.sqrt((gain**2).sum()) / len(gain), DRAWS)
    else:
        signs = rng.integers(2, size=(DRAWS, len(gain)), dtype=np.int8) * 2 - 1
        swapped = signs @ gain / len(gain)
    return _p_value(swapped, float(gain.mean()))


def _p_value(swapped: np.ndarray, value: float) -> float:
    swapped = swapped[np.isfinite(swapped)]
    if not len(swapped):
        return float("nan")
    return float((1 + (np.abs(swapped) >= abs(value) - 1e-15).sum()) / (1 + len(swapped)))


def _draws(table: np.ndarray, seed: int):
    count = int(min(DRAWS, 200, _CELLS / table.size))
    rng = np.random.default_rng(seed)
    # Fewer than fifty draws say nothing about the ends of an interval.
    for _ in range(count if count >= 50 else 0):
        yield rng.integers(len(table), size=len(table))


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if len(values) < 50:
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _at(letters, rows: np.ndarray):
    return None if letters is None else [letters[index] for index in rows]

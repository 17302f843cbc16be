"""Which differences of models are beyond noise, when many are looked at.

Every pair of models of a task is compared on the same rows; equal images count once. Of
accuracy the exact sign test (McNemar) is taken, of other means over images Student's paired
test, of the rest (mAP, F1) the swap test. Holm's correction (1979) holds the chance of a
single false alarm in a task at 5%.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, ttest_1samp

from ..resampling import Difference, Scored, paired_difference, row_scores

LEVEL = 0.05


def compare_pairs(
    scored: Scored, tables: Sequence[np.ndarray]
) -> dict[tuple[int, int], Difference]:
    """Compare every pair of tables (N, C); return differences with corrected p-values.

    Returns
    -------
    dict of (int, int) to Difference
        First less second, by their numbers, the smaller first; more than 0: the first is better.
    """
    found = {}
    for one, other in itertools.combinations(range(len(tables)), 2):
        drawn = paired_difference(scored, tables[one], tables[other])
        p = _p_value(scored, tables[one], tables[other])
        found[one, other] = Difference(
            drawn.value, drawn.low, drawn.high, drawn.p if p is None else p
        )
    corrected = holm([one.p for one in found.values()])
    return {
        pair: Difference(one.value, one.low, one.high, p)
        for (pair, one), p in zip(found.items(), corrected)
    }


def _p_value(scored: Scored, first: np.ndarray, second: np.ndarray) -> float | None:
    ours = row_scores(scored.metric, scored.y, first)
    if ours is None:
        return None
    gain = np.bincount(scored.images, ours - row_scores(scored.metric, scored.y, second))
    if not gain.any():
        return 1.0
    if scored.metric.name == "accuracy":
        better, worse = int((gain > 0).sum()), int((gain < 0).sum())
        return float(binomtest(better, better + worse).pvalue)
    return float(ttest_1samp(gain, 0.0).pvalue) if gain.std() else 0.0


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values of several tests.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    known = np.nan_to_num(np.array(values, dtype=float), nan=1.0)
    order = np.argsort(known, kind="stable")
    steps = known[order] * np.arange(len(known), 0, -1)
    corrected = np.empty(len(known))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected.tolist()

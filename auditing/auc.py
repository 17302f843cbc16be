"""The area under the ROC curve with an interval."""

import dataclasses

import numpy as np
from scipy.stats import norm, rankdata


@dataclasses.dataclass(frozen=True)
class Area:
    """An area under a ROC curve: 0.5 is chance, 1 tells all pairs apart."""

    value: float
    low: float
    high: float


def area(positive: np.ndarray, scores: np.ndarray, level: float = 0.95) -> Area:
    """Return the area under the ROC curve with DeLong's interval.

    Parameters
    ----------
    positive : ndarray of bool, shape (N,)
        Has both values, each at least twice.
    scores : ndarray of shape (N,)
        Higher means more probably positive.
    level : float
        Coverage of the interval.

    Notes
    -----
    DeLong, DeLong and Clarke-Pearson 1988; computed from mid-ranks (Sun and Xu 2014).
    """
    ones, zeros = scores[positive], scores[~positive]
    m, n = len(ones), len(zeros)
    ranks = rankdata(np.concatenate([ones, zeros]))
    above = (ranks[:m] - rankdata(ones)) / n
    below = 1 - (ranks[m:] - rankdata(zeros)) / m
    value = float(above.mean())
    error = float(np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))
    reach = float(norm.ppf(0.5 + level / 2)) * error
    return Area(value, max(0.0, value - reach), min(1.0, value + reach))

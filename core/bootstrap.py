"""The bootstrap interval of a mean over images."""

import numpy as np
from scipy.special import ndtr, stdtrit

_DRAWS = 1000


def mean_interval(values: np.ndarray, seed: int = 0) -> list[float]:
    """Return the 95% percentile bootstrap interval of a mean over images, of 1,000 draws.

    Parameters
    ----------
    values : ndarray of shape (N,)
        One number for each image.
    seed : int

    Returns
    -------
    [low, high]

    Notes
    -----
    Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13, with the percents of
    `bootstrap_percents`.
    """
    rng = np.random.default_rng([seed, 8])
    count = len(values)
    means = np.array(
        [
            np.bincount(rng.integers(count, size=count), minlength=count) @ values / count
            for _ in range(_DRAWS)
        ]
    )
    return [float(bound) for bound in np.percentile(means, bootstrap_percents(count))]


def bootstrap_percents(count: int) -> tuple[float, float]:
    """Return the percents of the draws of `count` images at which a 95% interval ends.

    2.5 and 97.5 for many. Of few images draws vary too little, by the factor of the variance of
    a sample, and their deviation is not known: Hesterberg 2015, "What teachers should know
    about the bootstrap", The American Statistician, has the ends for both.
    """
    if count < 2:
        return 2.5, 97.5
    low = 100 * float(ndtr(np.sqrt(count / (count - 1)) * stdtrit(count - 1, 0.025)))
    return low, 100 - low

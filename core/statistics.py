"""Small statistics that several rooms need."""

from __future__ import annotations

import numpy as np

__all__ = ["bootstrap_interval", "softmax"]

_DRAWS = 1000


def bootstrap_interval(values: np.ndarray, seed: int = 0) -> list[float]:
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
    Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13.
    """
    rng = np.random.default_rng([seed, 8])
    count = len(values)
    means = np.array(
        [
            np.bincount(rng.integers(count, size=count), minlength=count) @ values / count
            for _ in range(_DRAWS)
        ]
    )
    return [float(bound) for bound in np.percentile(means, [2.5, 97.5])]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of each row; large logits do not overflow."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted

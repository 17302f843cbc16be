"""Images that are like no other: far from their nearest neighbours."""

import numpy as np

# Iglewicz and Hoaglin 1993, "How to detect and handle outliers".
_FAR = 3.5


def find_outliers(distance: np.ndarray) -> np.ndarray:
    """Return the rows that lie unusually far from their neighbours, farthest first.

    Parameters
    ----------
    distance : ndarray of shape (N,)
        To the nearest neighbours (Ramaswamy, Rastogi and Shim 2000).

    Returns
    -------
    ndarray of int
        Those whose modified z-score, 0.6745 (d - median) / MAD, is above 3.5.
    """
    middle = np.median(distance)
    spread = np.median(np.abs(distance - middle))
    if spread <= 0:
        return np.zeros(0, int)
    score = 0.6745 * (distance - middle) / spread
    far = np.flatnonzero(score > _FAR)
    return far[np.argsort(-score[far], kind="stable")]

"""How far rows are apart that should be equal."""

import numpy as np


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Return how far rows that should be equal are apart: relatively, of all or of one feature.

    A few large features hide what becomes of the others. Of one alone the last bits count for
    more, so a tenth of its distance is taken, and one that is smaller than most is not looked at
    more closely than these.
    """
    told = are_finite(expected)
    away, size = (
        np.linalg.norm(rows.astype(np.float64), axis=0)
        for rows in (found[told] - expected[told], expected[told])
    )
    if not size.any():
        return float(away.max(initial=0))
    usual = np.quantile(size[size > 0], 0.9, method="lower")
    return max(relative_error(found, expected), float((away / np.maximum(size, usual)).max()) / 10)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the relative L2 error; of rows that should not be finite, nothing is told."""
    told = are_finite(expected)
    size = float(np.linalg.norm(expected[told].astype(np.float64)))
    away = float(np.linalg.norm(found[told].astype(np.float64) - expected[told]))
    return away / size if size else away


def distance_of_plain_images(found: np.ndarray, wanted: np.ndarray, usual: np.ndarray) -> float:
    """Return how far features of images of one colour are apart, for the size of usual ones.

    Where all pixels are alike, an engine may take another of several numbers that are equal. All
    else is rounding, and these features may be nothing but that.
    """
    told, both = are_finite(wanted), np.concatenate([wanted, usual])
    away = np.linalg.norm(found[told] - wanted[told], axis=1).max(initial=0)
    size = np.linalg.norm(both[are_finite(both)], axis=1).max(initial=0)
    return float(away / size if size else away)


def are_finite(rows: np.ndarray) -> np.ndarray:
    """Tell of each row whether all of its numbers are finite."""
    return np.isfinite(rows).all(axis=1)

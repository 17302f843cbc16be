"""How far rows are apart that should be equal."""

import numpy as np

# Engines add up in other orders: in eight networks a feature moved by up to 35 times as much.
_TIMES_ROUNDING = 100


def distance(found: np.ndarray, expected: np.ndarray, floor: np.ndarray | None = None) -> float:
    """Return how far rows that should be equal are apart: relatively, of all or of one feature.

    A few large features hide what becomes of the others. Of one alone the last bits count for
    more, so a tenth of its distance is taken.

    Parameters
    ----------
    floor : numpy.ndarray of shape (D,), optional
        Features that are smaller are looked at as if they were so large; as most of the others if
        None.
    """
    away, size = _by_feature(found, expected)
    if not size.any():
        return float(away.max(initial=0))
    floor = _usual(size) if floor is None else floor
    return max(relative_error(found, expected), float((away / np.maximum(size, floor)).max()) / 10)


def rounding_floor(expected: np.ndarray, moved: np.ndarray, allowed: float) -> np.ndarray:
    """Return the least size at which rounding alone does not look like an error.

    Parameters
    ----------
    moved : numpy.ndarray of shape (D,)
        How far rounding moves each feature; one that is 0 whatever is rounded is taken for one of
        those that move least.
    allowed : float
        The `distance` that is no error.
    """
    _, size = _by_feature(expected, expected)
    some = moved[moved > 0]
    if not some.size:
        return np.full(size.shape, _usual(size))
    moved = np.where(moved > 0, moved, np.quantile(some, 0.1, method="lower"))
    return np.minimum(_usual(size), moved * _TIMES_ROUNDING / (10 * allowed))


def worst_feature(found: np.ndarray, expected: np.ndarray) -> float:
    """Return a tenth of the largest relative distance of a feature, however small it is."""
    away, size = _by_feature(found, expected)
    return (
        float(np.divide(away, size, out=np.where(away > 0, np.inf, 0), where=size > 0).max()) / 10
    )


def _by_feature(found: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each feature is apart, and how large it should be: L2 over the rows."""
    told = are_finite(expected)
    away, size = (
        np.linalg.norm(rows.astype(np.float64), axis=0)
        for rows in (found[told].astype(np.float64) - expected[told], expected[told])
    )
    return away, size


def _usual(size: np.ndarray) -> float:
    some = size[size > 0]
    return float(np.quantile(some, 0.9, method="lower")) if some.size else 1.0


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
    # As doubles: the squares of large features are no float32.
    found, wanted, usual = (rows.astype(np.float64) for rows in (found, wanted, usual))
    told, both = are_finite(wanted), np.concatenate([wanted, usual])
    away = np.linalg.norm(found[told] - wanted[told], axis=1).max(initial=0)
    size = np.linalg.norm(both[are_finite(both)], axis=1).max(initial=0)
    return float(away / size if size else away)


def are_finite(rows: np.ndarray) -> np.ndarray:
    """Tell of each row whether all of its numbers are finite."""
    return np.isfinite(rows).all(axis=1)

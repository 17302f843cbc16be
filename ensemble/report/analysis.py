"""What the report shows of one answer: classes, calibration, confusions, equal images."""

from collections.abc import Iterable, Sequence

import numpy as np

from ..metrics import average_precision, get_metric
from ..weighting.search import simplex_grid

TERNARY_STEPS = 24


def confusion_counts(y: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Count rows by true (line) and predicted (column) class, (C, C)."""
    counts = np.zeros((table.shape[1], table.shape[1]), dtype=int)
    np.add.at(counts, (y, table.argmax(axis=1)), 1)
    return counts


def class_table(y: np.ndarray, table: np.ndarray, classes: Sequence[str]) -> list[dict]:
    """Return rows, recall, precision, F1 and average precision of each class.

    What is not defined (no row, no prediction) is None.
    """
    counts = confusion_counts(y, table)
    found = []
    for index, name in enumerate(classes):
        rows, said, right = counts[index].sum(), counts[:, index].sum(), counts[index, index]
        area = average_precision(y == index, table[:, index])
        found.append(
            {
                "name": name,
                "rows": int(rows),
                "recall": float(right / rows) if rows else None,
                "precision": float(right / said) if said else None,
                "f1": float(2 * right / (rows + said)) if rows + said else None,
                "ap": None if np.isnan(area) else area,
            }
        )
    return found


def reliability_bins(y: np.ndarray, table: np.ndarray) -> list[dict]:
    """Return confidence, accuracy and rows of each tenth of confidence that has rows."""
    confidence = table.max(axis=1)
    right = table.argmax(axis=1) == y
    index = np.clip(np.ceil(confidence * 10).astype(int) - 1, 0, 9)
    return [
        {
            "confidence": float(confidence[index == number].mean()),
            "accuracy": float(right[index == number].mean()),
            "rows": int((index == number).sum()),
        }
        for number in np.unique(index)
    ]


def confused_pairs(
    y: np.ndarray, table: np.ndarray, most_pairs: int = 30, most_rows: int = 8
) -> list[dict]:
    """Return the most frequent confusions with the rows that show them best.

    Returns
    -------
    list of dict
        ``true``, ``predicted`` (class numbers), ``count`` and ``rows`` (most confident first).
    """
    predicted = table.argmax(axis=1)
    counts = confusion_counts(y, table)
    np.fill_diagonal(counts, 0)
    pairs = sorted(np.argwhere(counts).tolist(), key=lambda pair: -counts[tuple(pair)])
    found = []
    for true, other in pairs[:most_pairs]:
        rows = np.flatnonzero((y == true) & (predicted == other))
        rows = rows[np.argsort(-table[rows, other], kind="stable")][:most_rows]
        found.append(
            {"true": true, "predicted": other, "count": int(counts[true, other]), "rows": rows}
        )
    return found


def ternary_values(
    probabilities: np.ndarray, y: np.ndarray, metric: str, letters=None
) -> dict[tuple[int, int, int], float]:
    """Score every weight vector of three models on a grid; more is better."""
    chosen = get_metric(metric)
    return {
        tuple(np.rint(point * TERNARY_STEPS).astype(int).tolist()): chosen.score(
            y, np.tensordot(point, probabilities, axes=1), letters
        )
        for point in simplex_grid(3, TERNARY_STEPS)
    }


def conflicting_labels(samples: Iterable) -> list[list]:
    """Group samples of one file content (digest) and task whose labels differ."""
    groups: dict[tuple[str, str], list] = {}
    for sample in samples:
        if sample.digest and sample.label:
            groups.setdefault((sample.task, sample.digest), []).append(sample)
    return [group for group in groups.values() if len({sample.label for sample in group}) > 1]

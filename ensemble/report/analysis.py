"""What the report shows of one answer: classes, calibration, confusions, doubtful labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from ...pages import opened_safely
from ..metrics import average_precision, get_metric
from ..weighting.search import simplex_grid

__all__ = [
    "class_table",
    "conflicting_labels",
    "confused_pairs",
    "confusion_counts",
    "near_duplicates",
    "reliability_bins",
    "ternary_values",
]

TERNARY_STEPS = 24
# Decoding more pictures than this only to compare them would make a report slow.
MOST_PICTURES = 1500
_MOST_BITS = 12


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


def near_duplicates(paths: Sequence[str]) -> list[tuple[int, int]]:
    """Find pairs of pictures that look the same, by 256-bit difference hashes.

    Each bit says whether a pixel of the 17 x 16 grey picture is darker than its right
    neighbour; pairs that differ in 12 or fewer are named. Pictures with hardly
    any structure are left out, as all plain surfaces look alike.

    Returns
    -------
    list of (int, int)
        Positions of the pairs; empty without Pillow or with more than 1,500 pictures.
    """
    try:
        from PIL import Image
    except ImportError:
        return []
    known = [index for index, path in enumerate(paths) if path and os.path.isfile(path)]
    if len(known) > MOST_PICTURES:
        return []
    hashes, places = [], []
    for index in known:
        grey = _grey(Image, paths[index])
        if grey is not None and grey.std() > 8:
            hashes.append((grey[:, 1:] > grey[:, :-1] + 1).ravel())
            places.append(index)
    if len(hashes) < 2:
        return []
    bits = np.array(hashes, dtype=np.float32)
    distance = bits.sum(axis=1)[:, None] + bits.sum(axis=1)[None, :] - 2 * bits @ bits.T
    close = np.argwhere(np.triu(distance <= _MOST_BITS, k=1))
    return [(places[one], places[other]) for one, other in close.tolist()]


def _grey(Image, path: str) -> np.ndarray | None:
    try:
        with opened_safely(path, 24) as image:
            small = image.convert("L").resize((17, 16), Image.Resampling.BOX)
            return np.asarray(small, dtype=np.float32)
    except Exception:  # decoders raise all kinds of errors; such a picture is not compared
        return None

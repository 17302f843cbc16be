"""The confusion matrix of the report, and the pictures behind its cells."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ...pages import Pictures
from ..result import TaskBlend
from . import analysis

# Of 200 classes, pairs that occur once are many; the rest is in the files of probabilities.
MOST_PAIRS = 300
MOST_ROWS = 6
SMALL_EDGE = 120


@dataclasses.dataclass(frozen=True)
class Gallery:
    """The images of one task, and the room that the page has for them."""

    task: TaskBlend
    pictures: Pictures

    def picture(self, row: int, edge: int = 200) -> dict:
        """Return ``id``, ``image`` and ``reason`` of a row."""
        data = self.task.data
        return {"id": data.ids[row]} | self.pictures.of(data.paths[row], edge)


def confusion_view(
    gallery: Gallery, rows: np.ndarray, y: np.ndarray, table: np.ndarray, anchor: str
) -> dict:
    """Count rows by true and predicted class, with a shade and pictures for each cell.

    Parameters
    ----------
    rows : ndarray of shape (N,)
        Where the scored rows are in the task's data.
    y, table : ndarray of shape (N,) and (N, C)
        Their labels and probabilities.
    anchor : str
        What ids of the page's elements begin with.

    Returns
    -------
    dict
        ``classes``, ``lines`` of the matrix, and ``pairs``, the most frequent first.
    """
    classes = gallery.task.data.classes
    counts = analysis.confusion_counts(y, table)
    pairs = []
    for found in analysis.confused_pairs(y, table, most_pairs=MOST_PAIRS, most_rows=MOST_ROWS):
        true, predicted = found["true"], found["predicted"]
        images = [
            gallery.picture(rows[row], SMALL_EDGE) | {"probability": float(table[row, predicted])}
            for row in found["rows"]
        ]
        pairs.append(
            {
                "anchor": f"{anchor}-{true}-{predicted}",
                "true": classes[true],
                "predicted": classes[predicted],
                "count": found["count"],
                "share": float(found["count"] / counts[true].sum()),
                "images": images,
            }
        )
    shown = {pair["anchor"] for pair in pairs}
    lines = [_line(counts, classes, index, anchor, shown) for index in range(len(classes))]
    return {"classes": classes, "lines": lines, "pairs": pairs}


def _line(
    counts: np.ndarray, classes: Sequence[str], index: int, anchor: str, shown: set[str]
) -> dict:
    total = int(counts[index].sum())
    cells = [
        {
            "count": int(counts[index, other]),
            "right": index == other,
            "shade": float(counts[index, other] / max(total, 1)),
            "predicted": classes[other],
            "link": f"{anchor}-{index}-{other}" if f"{anchor}-{index}-{other}" in shown else "",
        }
        for other in range(len(classes))
    ]
    recall = float(counts[index, index] / total) if total else None
    return {"name": classes[index], "cells": cells, "total": total, "recall": recall}

"""What an audit found, as one value."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..core.summary import summary
from .doubtful_labels import Doubts
from .drift import Drift
from .duplicates import Copies, Group, Leak
from .material import Images, TaskRows
from .shortcuts import Shortcuts


@dataclasses.dataclass(frozen=True)
class Conflict:
    """Copies of one photograph whose labels differ.

    Attributes
    ----------
    labels : tuple of str
        Of each row.
    """

    task: str
    rows: tuple[int, ...]
    labels: tuple[str, ...]


class DoubtfulLabel(NamedTuple):
    """A label that is doubtful, the class that is likelier, and the probabilities of both."""

    row: int
    label: str
    probability: float
    instead: str
    instead_probability: float


@dataclasses.dataclass(frozen=True)
class TaskDoubts:
    """The doubtful labels of a task.

    Attributes
    ----------
    rows : TaskRows
        What they were judged by.
    doubts : Doubts
        With numbers of images.
    """

    rows: TaskRows
    doubts: Doubts

    def labels(self) -> list[DoubtfulLabel]:
        """Return the doubtful labels, the most doubtful first."""
        task, pairs = self.rows, zip(self.doubts.rows.tolist(), self.doubts.instead.tolist())
        return [
            DoubtfulLabel(
                row,
                task.classes[task.y[row]],
                float(task.probabilities[row, task.y[row]]),
                task.classes[other],
                float(task.probabilities[row, other]),
            )
            for row, other in pairs
        ]


@dataclasses.dataclass(frozen=True)
class Audit:
    """What is wrong with the data.

    Attributes
    ----------
    images : Images
    copies : Copies
    conflicts : list of Conflict
    leaks : list of Leak
    doubts : list of TaskDoubts
    outliers : ndarray of int
        Images that are like no other, farthest first.
    shortcuts : list of Shortcuts
    drift : list of Drift
    notes : list of str
        What could not be looked at.
    source : str
        What was audited.
    seed : int
    """

    images: Images
    copies: Copies
    conflicts: list[Conflict]
    leaks: list[Leak]
    doubts: list[TaskDoubts]
    outliers: np.ndarray
    shortcuts: list[Shortcuts]
    drift: list[Drift]
    notes: list[str]
    source: str
    seed: int

    __repr__ = summary

    def leaking(self) -> list[Group]:
        """Return the copies that stand in more than one split."""
        return [group for group in self.copies.groups if group.leaks]

    def to_json(self) -> dict:
        """Return everything as JSON types; images are named by their ids."""
        ids = self.images.ids

        def names(rows: Iterable[int]) -> list[str]:
            return [ids[row] for row in rows]

        return {
            "source": self.source,
            "images": len(ids),
            "seed": self.seed,
            "copies": [
                {"ids": names(g.rows), "equal": g.equal, "splits": list(g.splits)}
                for g in self.copies.groups
            ],
            "alike": [
                {"ids": names((p.first, p.second)), "cosine": p.cosine, "agreement": p.agreement}
                for p in self.copies.alike
            ],
            "conflicts": [
                {"task": c.task, "ids": names(c.rows), "labels": list(c.labels)}
                for c in self.conflicts
            ],
            "leaks": [dataclasses.asdict(leak) for leak in self.leaks],
            "doubtful_labels": [_doubts(found, ids) for found in self.doubts],
            "outliers": names(self.outliers),
            "shortcuts": [dataclasses.asdict(one) for one in self.shortcuts],
            "drift": [
                dataclasses.asdict(one) | {"strangest": names(one.strangest)} for one in self.drift
            ],
            "notes": self.notes,
        }


def _doubts(found: TaskDoubts, ids: Sequence[str]) -> dict:
    labels = [one._asdict() for one in found.labels()]
    return {
        "task": found.rows.task,
        "judged": len(found.rows.judged),
        "judged_by": found.rows.how,
        "expected": found.doubts.expected,
        "labels": [{"id": ids[one.pop("row")], **one} for one in labels],
    }

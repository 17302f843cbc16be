"""One task's rows: which images train, validate and test, and their features."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.errors import HeadError, enumerate_some
from ...manifest import Manifest, Sample, look_alike_text, look_alikes

__all__ = ["TaskData", "fold_warnings", "is_constant", "load_features", "task_data"]

_ROWS_AT_ONCE = 4096


@dataclasses.dataclass
class TaskData:
    """The usable rows of one task.

    Attributes
    ----------
    task : str
    classes : tuple of str
        All classes of the task, in the order of the output columns.
    samples : list of Sample
        Training, then validation, then test rows.
    train, validation, test : slice
        Where each lies in `samples`.
    warnings : list of str
        What the reader should know.
    """

    task: str
    classes: tuple[str, ...]
    samples: list[Sample]
    train: slice
    validation: slice
    test: slice
    warnings: list[str]

    @property
    def keys(self) -> list[str]:
        """Row keys of all samples, in order."""
        return [sample.digest for sample in self.samples]

    def labels(self, part: slice) -> np.ndarray:
        """Return the labels of a part of the samples; empty strings where not known."""
        return np.array([sample.label for sample in self.samples[part]], dtype=np.str_)

    def spread(self, probabilities: np.ndarray, columns: Sequence[str]) -> np.ndarray:
        """Put a head's columns into this task's; classes the head lacks get 0."""
        table = np.zeros((len(probabilities), len(self.classes)))
        table[:, [self.classes.index(str(name)) for name in columns]] = probabilities
        return table


def task_data(
    manifest: Manifest, task: str, absent: set[str], accept_unseen: bool = False
) -> TaskData:
    """Sort one task's rows out.

    Parameters
    ----------
    manifest : Manifest
        With digests.
    task : str
    absent : set of str
        Row keys without features; their rows are left out.
    accept_unseen : bool
        Accept validation and test images of classes that no training image has.

    Raises
    ------
    HeadError
        No usable training rows, fewer than two classes among them, or classes in the
        validation or test rows that they lack.
    """
    rows = [s for s in manifest if s.task == task and s.digest and s.digest not in absent]
    train = [s for s in rows if s.split in ("", "train") and s.label]
    validation = [s for s in rows if s.split == "validation" and s.label]
    test = [s for s in rows if s.split == "test"]
    seen = {sample.digest for sample in train}
    repeated = [sample for sample in validation if sample.digest in seen]
    validation = [sample for sample in validation if sample.digest not in seen]
    total = sum(sample.task == task for sample in manifest)
    if not train:
        raise HeadError(
            f"the task '{task}' has no training rows: {total} images, of which "
            f"{total - len(rows)} have no features in the cache",
            "extract its images, or check the splits of the data",
        )
    known = {sample.label for sample in train}
    if len(known) < 2:
        raise HeadError(
            f"the task '{task}' has one class only: all {len(train)} training images are "
            f"'{train[0].label}'",
            "a classifier needs images of at least two classes",
        )
    if not accept_unseen:
        _refuse_unseen(task, known, validation, test)
    ends = np.cumsum([len(train), len(validation), len(test)]).tolist()
    return TaskData(
        task,
        manifest.classes(task),
        train + validation + test,
        slice(0, ends[0]),
        slice(ends[0], ends[1]),
        slice(ends[1], ends[2]),
        _repeated_warnings(repeated, validation)
        + _warnings(manifest, task, known, train, validation, test),
    )


def _repeated_warnings(repeated: list[Sample], validation: list[Sample]) -> list[str]:
    if not repeated:
        return []
    rest = f"{len(validation)} are left" if validation else "none is left, so folds are used"
    return [
        f"{len(repeated)} validation images are training images too, equal to the byte "
        f"({enumerate_some(s.id for s in repeated)}): they are left out of validation, {rest}"
    ]


def _unseen(known, validation, test) -> list[tuple[str, int, list[str]]]:
    """Return, for each split that has any: its name, images and classes unknown to training."""
    found = []
    for name, part in (("validation", validation), ("test", test)):
        strange = sorted({s.label for s in part if s.label} - known)
        if strange:
            found.append((name, sum(sample.label in strange for sample in part), strange))
    return found


def _refuse_unseen(task: str, known, validation, test) -> None:
    parts = [
        f"{count} {name} images ({enumerate_some(strange)})"
        for name, count, strange in _unseen(known, validation, test)
    ]
    if parts:
        raise HeadError(
            f"the task '{task}' has images of classes that no training image has: "
            f"{' and '.join(parts)}",
            "give these classes training images, take the images out, or accept that they are "
            "always wrong with --min-class-count 1",
        )


def _warnings(manifest, task, known, train, validation, test) -> list[str]:
    found = []
    if alike := look_alikes(known):
        found.append(f"classes have names that look alike: {look_alike_text(alike)}")
    for name, count, strange in _unseen(known, validation, test):
        found.append(
            f"{count} {name} images have classes without training images "
            f"({enumerate_some(strange)}): they are kept and count as wrong"
        )
    seen = known | {s.label for s in validation + test}
    bare = [name for name in manifest.classes(task) if name not in seen]
    if bare:
        found.append(
            f"{len(bare)} classes have no images ({enumerate_some(bare)}): "
            "their probability is always 0"
        )
    labels: dict[str, set[str]] = {}
    for sample in train:
        labels.setdefault(sample.digest, set()).add(sample.label)
    torn = [s.id for s in train if len(labels[s.digest]) > 1]
    if torn:
        found.append(
            f"{len(torn)} training images are exact duplicates with different labels: "
            f"{enumerate_some(torn)}"
        )
    return found


def fold_warnings(data: TaskData, smallest: int) -> list[str]:
    """Return what is to be known about rows that are dealt into folds.

    Parameters
    ----------
    data : TaskData
    smallest : int
        Classes with fewer training images are not trained at all.
    """
    images: dict[str, set[str]] = {}
    rows: dict[str, int] = {}
    for sample in data.samples[data.train]:
        images.setdefault(sample.label, set()).add(sample.digest)
        rows[sample.label] = rows.get(sample.label, 0) + 1
    single = sorted(
        name for name, own in images.items() if len(own) == 1 and rows[name] >= smallest
    )
    if not single:
        return []
    return [
        f"{len(single)} classes have one training image ({enumerate_some(single)}): "
        "out of fold it is predicted by heads that never saw its class"
    ]


def is_constant(features: np.ndarray) -> bool:
    """Tell whether all rows are the same, so that nothing can be learnt from them."""
    few = features[:64]
    return bool((few == few[:1]).all() and (features == features[:1]).all())


def load_features(sets: Sequence[Any], keys: Sequence[str]) -> np.ndarray:
    """Return the rows of `keys` of several feature sets with the same views, side by side.

    float16 where all sets are stored so (half the memory, the same numbers),
    else float32; shape (N, views * sum of widths): the sets lie side by side
    within each view.
    """
    half = all(one.dtype == "float16" for one in sets)
    views = len(sets[0].views)
    ends = np.cumsum([one.width for one in sets]).tolist()
    matrix = np.empty((len(keys), views, ends[-1]), np.float16 if half else np.float32)
    for top in range(0, len(keys), _ROWS_AT_ONCE):
        part = keys[top : top + _ROWS_AT_ONCE]
        for one, end in zip(sets, ends, strict=True):
            rows = one.matrix(part).reshape(len(part), views, one.width)
            matrix[top : top + len(part), :, end - one.width : end] = rows
    return matrix.reshape(len(keys), views * ends[-1])

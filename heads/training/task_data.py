"""One task's rows: which images train, validate and test, and their features."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...core.errors import HeadError, counted, enumerate_some
from ...manifest import Manifest, Sample, look_alike_notes

_ROWS_AT_ONCE = 4096


@dataclasses.dataclass(frozen=True)
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
    known : frozenset of str
        Digests of images that heads learn from.
    warnings : list of str
        What the reader should know.
    """

    task: str
    classes: tuple[str, ...]
    samples: list[Sample]
    train: slice
    validation: slice
    test: slice
    known: frozenset[str]
    warnings: list[str]

    @property
    def labelled(self) -> slice:
        """Training and validation rows."""
        return slice(0, self.validation.stop)

    def keys(self, part: slice) -> list[str]:
        """Return the row keys of a part of the samples, in order."""
        return [sample.digest for sample in self.samples[part]]

    def images(self, part: slice) -> list[str]:
        """Return what tells the images of a part of the samples: boxes of one file are one."""
        return [sample.image for sample in self.samples[part]]

    def labels(self, part: slice) -> np.ndarray:
        """Return the labels of a part of the samples; empty strings where not known."""
        return np.array([sample.label for sample in self.samples[part]], dtype=np.str_)

    def fresh(self, part: slice) -> np.ndarray:
        """Tell for each row of a held-out part whether heads did not learn from its image.

        Rows without a label are always fresh: they are in no score.
        """
        rows = self.samples[part]
        return np.array([not s.label or s.image not in self.known for s in rows], dtype=bool)

    def spread(self, probabilities: np.ndarray, columns: Iterable[str]) -> np.ndarray:
        """Put a head's columns into this task's; classes the head lacks get 0."""
        table = np.zeros((len(probabilities), len(self.classes)))
        places = {name: place for place, name in enumerate(self.classes)}
        table[:, [places[str(name)] for name in columns]] = probabilities
        return table


def task_data(
    manifest: Manifest,
    task: str,
    absent: set[str],
    holdout: bool = False,
    accept_unseen: bool = False,
) -> TaskData:
    """Sort one task's rows out.

    Parameters
    ----------
    manifest : Manifest
        With digests.
    absent : set of str
        Row keys without features; their rows are left out.
    holdout : bool
        The heads that are scored learn nothing from validation rows.
    accept_unseen : bool
        Accept held-out images of classes that no training image has.

    Raises
    ------
    HeadError
        No usable training rows, fewer than two classes among them, classes in the
        held-out rows that they lack, or none of those rows that is not among them.
    """
    rows = [s for s in manifest if s.task == task and s.digest and s.digest not in absent]
    train = [s for s in rows if s.split in ("", "train") and s.label]
    validation = [s for s in rows if s.split == "validation" and s.label]
    test = [s for s in rows if s.split == "test"]
    learnt = train if holdout and validation else train + validation
    of_task = [sample for sample in manifest if sample.task == task]
    held_out = [] if learnt else validation
    _require_classes(task, learnt, of_task, len(of_task) - len(rows), len(held_out))
    known = {sample.label for sample in learnt}
    held = [("test", test)] if learnt != train else [("validation", validation), ("test", test)]
    unseen = _unseen(known, held)
    if unseen and not accept_unseen:
        raise _unseen_error(task, unseen)
    classes = manifest.classes(task)
    images = frozenset(sample.image for sample in learnt)
    if learnt == train and validation and all(sample.image in images for sample in validation):
        copies = _known(validation, "validation")
        raise HeadError(
            f"the task '{task}' has no row to score: {copies}",
            "hold out images that are not trained on, or say --validation folds, where equal "
            "images share a fold",
        )
    warnings = _warn_of_classes(known, unseen) + _bare(classes, known, held)
    learning, labelled = len(train), len(train) + len(validation)
    return TaskData(
        task,
        classes,
        train + validation + test,
        slice(0, learning),
        slice(learning, labelled),
        slice(labelled, labelled + len(test)),
        images,
        warnings + _repeated(learnt, images, held),
    )


def _require_classes(
    task: str, learnt: list[Sample], rows: list[Sample], absent: int, held_out: int
) -> None:
    if not learnt:
        lacks = {
            "without features in the cache": absent,
            "without a label": sum(not sample.label for sample in rows),
            "of the split 'test'": sum(sample.split == "test" for sample in rows),
            "held out as the split 'validation'": held_out,
        }
        found = ", ".join(f"{count} {what}" for what, count in lacks.items() if count)
        raise HeadError(
            f"the task '{task}' has no training rows: {counted(len(rows), 'image')}, {found}",
            "give training images, or say --validation folds, which learns from these too"
            if held_out
            else "extract its images, give them labels, or check the splits of the data",
        )
    if len({sample.label for sample in learnt}) < 2:
        raise HeadError(
            f"the task '{task}' has one class only: all {len(learnt)} training images are "
            f"'{learnt[0].label}'",
            "a classifier needs images of at least two classes",
        )


def _warn_of_classes(known: set[str], unseen: list[tuple[str, int, list[str]]]) -> list[str]:
    return look_alike_notes("classes", known) + [
        f"{counted(count, f'{name} image has a class', f'{name} images have classes')} without "
        f"training images ({enumerate_some(strange)}): kept, and counted as wrong"
        for name, count, strange in unseen
    ]


def _unseen(known: set[str], held) -> list[tuple[str, int, list[str]]]:
    """Return, for each split that has any: its name, images and classes unknown to training."""
    found = []
    for name, part in held:
        strange = sorted({s.label for s in part if s.label} - known)
        if strange:
            found.append((name, sum(sample.label in strange for sample in part), strange))
    return found


def _unseen_error(task: str, unseen) -> HeadError:
    parts = [
        f"{counted(count, f'{name} image')} ({enumerate_some(strange)})"
        for name, count, strange in unseen
    ]
    return HeadError(
        f"the task '{task}' has images of classes that no training image has: "
        f"{' and '.join(parts)}",
        "give these classes training images, take the images out, or accept that they are "
        "always wrong with --min-class-count 1",
    )


def _bare(classes, known: set[str], held) -> list[str]:
    seen = known | {s.label for _, part in held for s in part}
    bare = [name for name in classes if name not in seen]
    if not bare:
        return []
    return [
        f"{counted(len(bare), 'class has', 'classes have')} no images ({enumerate_some(bare)}): "
        f"{'its' if len(bare) == 1 else 'their'} probability is always 0"
    ]


def _across_splits(learnt: list[Sample]) -> list[str]:
    training = {sample.image for sample in learnt if sample.split != "validation"}
    again = [s for s in learnt if s.split == "validation" and s.image in training]
    if not again:
        return []
    names = enumerate_some(sample.id for sample in again)
    return [f"{_known(again, 'validation')} ({names}): equal images share a fold"]


def _known(again: list[Sample], split: str) -> str:
    one, more = f"{split} image is a training image", f"{split} images are training images"
    parts = ", or a part of the same file" if any(sample.box for sample in again) else ""
    return f"{counted(len(again), one, more)} too, equal to the byte{parts}"


def _repeated(learnt: list[Sample], images: frozenset[str], held) -> list[str]:
    """Say what is to be known of images that are there more than once."""
    found = []
    if "validation" not in dict(held):
        found += _across_splits(learnt)
    for name, part in held:
        again = [s for s in part if s.label and s.image in images]
        if again:
            names = enumerate_some(sample.id for sample in again)
            found.append(f"{_known(again, name)} ({names}): left out of scores")
    for name, part in [("training", learnt), *held]:
        labels: dict[str, set[str]] = {}
        for sample in part:
            labels.setdefault(sample.digest, set()).update([sample.label] if sample.label else [])
        torn = [s.id for s in part if len(labels[s.digest]) > 1]
        if torn:
            found.append(
                f"{len(torn)} {name} images are exact duplicates with different labels: "
                f"{enumerate_some(torn)}"
            )
    return found


def fold_warnings(data: TaskData, part: slice, smallest: int) -> list[str]:
    """Return what is to be known about rows that are dealt into folds.

    Parameters
    ----------
    part : slice
        The rows.
    smallest : int
        Classes with fewer training images are not trained at all.
    """
    images: dict[str, set[str]] = {}
    rows: dict[str, int] = {}
    for sample in data.samples[part]:
        images.setdefault(sample.label, set()).add(sample.image)
        rows[sample.label] = rows.get(sample.label, 0) + 1
    single = sorted(
        name for name, own in images.items() if len(own) == 1 and rows[name] >= smallest
    )
    if not single:
        return []
    return [
        f"{counted(len(single), 'class has', 'classes have')} one training image "
        f"({enumerate_some(single)}): "
        f"out of fold {'it is' if len(single) == 1 else 'they are'} predicted by heads that never "
        f"saw {'its class' if len(single) == 1 else 'their classes'}"
    ]


def is_constant(features: np.ndarray) -> bool:
    """Tell whether all rows are the same, so that nothing can be learnt from them."""
    few = features[:64]
    return bool((few == few[:1]).all() and (features == features[:1]).all())


def load_features(sets: Sequence[Any], keys: Sequence[str]) -> np.ndarray:
    """Return the rows of `keys` of several feature sets with the same views, side by side.

    Where an image has several views, its row is the mean of their features. float16 where
    all sets are stored so (half the memory, the same numbers), else float32; shape
    (N, sum of widths over views).
    """
    half = all(one.dtype == "float16" for one in sets)
    views = len(sets[0].views)
    ends = np.cumsum([one.width for one in sets]).tolist()
    matrix = np.empty((len(keys), ends[-1]), np.float16 if half else np.float32)
    for top in range(0, len(keys), _ROWS_AT_ONCE):
        part = keys[top : top + _ROWS_AT_ONCE]
        for one, end in zip(sets, ends, strict=True):
            rows = one.matrix(part)
            if views > 1:
                rows = rows.reshape(len(part), views, -1).mean(axis=1, dtype=np.float32)
            matrix[top : top + len(part), end - one.width : end] = rows
    return matrix

"""What a task's rows teach: their targets and weights, as the options of the training ask."""

import numpy as np

from ...core.errors import HeadError, counted, enumerate_some
from ...manifest import Manifest
from ..rows import Rows
from .groups import group_columns
from .options import TrainOptions
from .task_data import TaskData


def labelled_rows(
    data: TaskData,
    part: slice,
    features: np.ndarray,
    sets: tuple[int, ...],
    options: TrainOptions,
) -> Rows:
    """Work out the targets and weights of a part of a task's labelled rows.

    Parameters
    ----------
    part : slice
        Of the samples; all have labels.
    features : ndarray of shape (n, D)
        Of these rows.
    sets : tuple of int
        Widths of the feature sets.

    Raises
    ------
    HeadError
        Fewer than two classes are left.
    """
    labels = data.labels(part)
    names, counts = np.unique(labels, return_counts=True)
    classes = names[_learnt(data, names, counts, options)]
    if len(classes) < 2:
        raise _too_few(data.task, names, counts, options)
    kept = np.flatnonzero(np.isin(labels, classes))
    codes = np.searchsorted(classes, labels[kept])
    targets = np.zeros((len(labels), len(classes)), np.float32)
    targets[kept, codes] = 1
    if options.maybe > 0:
        _add_maybe(data, part, kept, classes, targets, options.maybe)
    weights = np.zeros(len(labels))
    weights[kept] = 1.0
    balance = None
    if options.class_weight == "balanced":
        balance = len(kept) / (len(classes) * np.bincount(codes))
    groups = group_columns(data, part) if options.groups else None
    return Rows(features, targets, weights, classes, sets, groups, balance)


def _too_few(task: str, names, counts, options: TrainOptions) -> HeadError:
    """Say which classes the options leave out, where fewer than two are left."""
    dropped = np.isin(names, list(options.dropped(task)))
    few = ~dropped & (counts < options.min_class_count)
    reasons, hints = [], []
    if dropped.any():
        reasons.append(f"dropped: {enumerate_some(names[dropped])}")
        hints.append("drop fewer classes")
    if few.any():
        least = options.min_class_count
        reasons.append(f"fewer than {least} training images: {enumerate_some(names[few])}")
        hints.append("lower --min-class-count")
    left = int((~dropped & ~few).sum())
    return HeadError(
        f"of the {counted(len(names), 'class', 'classes')} of the task '{task}' only {left} can be "
        f"learnt, and a head needs two ({'; '.join(reasons)})",
        ", or ".join(hints),
    )


def dropped_notes(data: TaskData, part: slice, options: TrainOptions) -> list[str]:
    """Name the classes of a part of the rows that are not trained, with their images."""
    names, counts = np.unique(data.labels(part), return_counts=True)
    learnt = _learnt(data, names, counts, options)
    dropped = [
        f"{n} ({counted(int(c), 'training image')})"
        for n, c in zip(names[~learnt], counts[~learnt])
    ]
    if not dropped:
        return []
    return [
        f"classes that are dropped: {enumerate_some(dropped, 20)}; their probability is always 0, "
        "and their rows count as wrong in the scores"
    ]


def require_known_classes(manifest: Manifest, options: TrainOptions) -> None:
    """Raise `HeadError` if classes are to be dropped, or letters counted, that are not there."""
    known = {f"{task}={name}" for task in manifest.tasks for name in manifest.classes(task)}
    dropped = {f"{task}={name}" for task in manifest.tasks for name in options.dropped(task)}
    strange = sorted(dropped - known)
    strange += [t for t in options.drop_classes if t.partition("=")[0] not in manifest.tasks]
    if options.maybe and not any("m" in sample.letters for sample in manifest):
        raise HeadError(
            f"no label of {manifest.source} has a letter m that could count",
            "leave --maybe out; letters come with FashionAI's labels",
        )
    if strange:
        raise HeadError(
            f"there is nothing to drop: {enumerate_some(strange)}; there are "
            f"{enumerate_some(sorted(known), 20)}",
            "write --drop-class TASK=NAME",
        )


def _learnt(data: TaskData, names, counts, options: TrainOptions) -> np.ndarray:
    """Tell which classes are trained, (C,) of bool."""
    return (counts >= options.min_class_count) & ~np.isin(names, list(options.dropped(data.task)))


def _add_maybe(data: TaskData, part: slice, kept, classes, targets, weight: float) -> None:
    """Give the classes with the letter m a share of the targets."""
    samples = data.samples[part]
    column = {name: place for place, name in enumerate(classes.tolist())}
    for row in kept:
        for name, letter in zip(data.classes, samples[row].letters, strict=False):
            if letter == "m" and name in column:
                targets[row, column[name]] = weight
    targets[kept] /= targets[kept].sum(axis=1, keepdims=True)

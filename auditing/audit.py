"""The audit: every look at the data, one after another."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ..core.errors import counted, enumerate_some
from . import neighbours
from .doubtful_labels import Doubts, doubtful_labels
from .drift import Drift, measure_drift
from .duplicates import Copies, find_copies, measure_leak
from .facts import read_facts
from .material import Images, TaskRows, subset
from .options import AuditOptions
from .out_of_fold import deal_rows, logistic, out_of_fold
from .outliers import find_outliers
from .result import Audit, Conflict, TaskDoubts
from .shortcuts import Shortcuts, find_shortcuts

NEW = "new"
_FEWEST = 20


def audit_images(
    images: Images,
    tasks: Sequence[TaskRows],
    options: AuditOptions,
    source: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Find out what is wrong with images and labels, see `icecore.audit`.

    Images of the split ``new`` are compared with the others and nothing more. Where no row of a
    task has probabilities, a logistic regression on the features gives some.
    """
    copies, distance = find_copies(images, options)
    groups = [group.rows for group in copies.groups]
    notes = _notes(copies, len(images))
    doubts, leaks = [], []
    for task in tasks:
        judged, scored = task, task
        if not len(task.judged):
            judged, scored = _quick(images, task, groups, options.seed)
        if len(judged.judged) < _FEWEST:
            notes.append(f"{task.task}: too few labels to judge them")
            continue
        unseen = int((task.y >= 0).sum()) - len(judged.judged)
        if unseen:
            notes.append(
                f"{task.task}: {counted(unseen, 'label was', 'labels were')} trained on and not "
                "predicted by heads that had not seen them; audit the cache to judge these, too"
            )
        doubts.append(TaskDoubts(judged, _doubts(judged)))
        leaks += measure_leak(copies.groups, images, scored, options.seed)
    old = np.array([split != NEW for split in images.splits])
    far = find_outliers(distance)
    return Audit(
        images,
        copies,
        _conflicts(copies, tasks),
        leaks,
        doubts,
        far[old[far]],
        _shortcuts(images, tasks, options, notes, progress),
        _drift(images, groups, options.seed),
        notes,
        source,
        options.seed,
    )


def _notes(copies: Copies, count: int) -> list[str]:
    notes = []
    if count > neighbours.EXACT:
        notes.append(
            f"of more than {neighbours.EXACT:,} images each is compared with about 32,768 that are "
            "near it: a near copy may be missed"
        )
    if copies.unseen:
        notes.append(
            f"the pixels of {copies.unseen} close pairs could not be compared (no file, or no "
            "Pillow): near copies among them are listed as alike"
        )
    return notes


def _doubts(task: TaskRows) -> Doubts:
    rows = task.judged
    found = doubtful_labels(task.y[rows], task.probabilities[rows])
    return dataclasses.replace(found, rows=rows[found.rows])


def _conflicts(copies: Copies, tasks: Sequence[TaskRows]) -> list[Conflict]:
    found = []
    for task in tasks:
        for group in copies.groups:
            rows = tuple(row for row in group.rows if task.y[row] >= 0)
            labels = tuple(task.classes[task.y[row]] for row in rows)
            if len(set(labels)) > 1:
                found.append(Conflict(task.task, rows, labels))
    return found


def _quick(images: Images, task: TaskRows, groups, seed: int) -> tuple[TaskRows, TaskRows]:
    """Predict labels from features: once for doubts, and once to see what copies do to a score.

    For doubts all labelled rows are predicted out of fold, copies together; for the score
    the training rows predict the others, as anybody would measure it.
    """
    splits = np.array(images.splits)
    table = np.full((len(images), len(task.classes)), np.nan)
    scores, empty = table.copy(), np.full(len(images), "", dtype="U12")
    known = np.flatnonzero(task.y >= 0)
    how = "logistic regression on the features, out of fold"
    if len(known) < _FEWEST or len(np.unique(task.y[known])) < 2:
        return (dataclasses.replace(task, probabilities=table, held_out=empty, how=how),) * 2
    place = {int(row): number for number, row in enumerate(known)}
    together = [[place[row] for row in group if row in place] for group in groups]
    fold = deal_rows(task.y[known], [rows for rows in together if rows], seed)
    model, X = logistic(seed), images.components
    found = out_of_fold(model, X[known], task.y[known], fold)
    table[known] = 0
    table[np.ix_(known, np.arange(found.shape[1]))] = found
    judged = np.where(np.isfinite(table[:, 0]), "out-of-fold", "")
    train = np.flatnonzero((splits == "train") & (task.y >= 0))
    held = np.flatnonzero(np.isin(splits, ("validation", "test")) & (task.y >= 0))
    if len(held) >= _FEWEST and len(np.unique(task.y[train])) > 1:
        model.fit(X[train], task.y[train])
        scores[held] = 0
        scores[np.ix_(held, model.classes_)] = model.predict_proba(X[held])
        empty[held] = splits[held]
    fields = [(table, judged), (scores, empty)]
    both = [
        dataclasses.replace(task, probabilities=one, held_out=kind, how=how) for one, kind in fields
    ]
    return both[0], both[1]


def _shortcuts(
    images: Images, tasks, options: AuditOptions, notes: list[str], progress
) -> list[Shortcuts]:
    """Look for facts of files that tell the labels; note which files could not be opened."""
    known = np.array([split != NEW and bool(path) for split, path in zip(
        images.splits, images.paths)])  # fmt: skip
    labelled = np.any([task.y >= 0 for task in tasks], axis=0) if tasks else np.zeros(0, bool)
    rows = np.flatnonzero(known & labelled)
    rows = rows[subset(len(rows), options.pictures, options.seed)]
    facts = read_facts([images.paths[row] for row in rows], progress)
    unread = rows[np.isnan(facts[:, 0])]
    if len(unread):
        notes.append(
            f"{len(unread)} of {len(rows)} pictures could not be opened, so their brightness, size "
            f"and the like are not known: {enumerate_some(images.ids[row] for row in unread)}"
        )
    found = [
        find_shortcuts(task.task, task.classes, task.y[rows], facts, options.seed) for task in tasks
    ]
    return [one for one in found if one is not None]


def _drift(images: Images, groups, seed: int) -> list[Drift]:
    splits = np.array(images.splits)
    found = []
    for name in ("validation", "test", NEW):
        training = splits != NEW if name == NEW else (splits == "train")
        new = np.where(splits == name, 1, np.where(training, 0, -1))
        found.append(measure_drift(images.components, new, name, groups, seed))
    return [one for one in found if one is not None]

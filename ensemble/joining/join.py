"""Join the probability tables of several models with the labels, by id.

Nothing is ever joined by position: rows may stand in any order and so may the class
columns. What is missing, extra or unknown is named for all files at once and refused,
or made to fit if the caller asks for it.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NoReturn

import numpy as np

from ...core.errors import ProbabilityError, counted, enumerate_some
from ...core.summary import summary
from ...core.text import repeated
from ...manifest import Sample, look_alike_notes
from ...runs import ProbabilityTable
from .images import equal_image_notes, equal_images
from .splits import LEFT_OUT, TEST, TUNING, row_splits, without_learnt

# How the note on rows begins that not all files have.
COMMON_ALONE = "only the"
_ONLY_SPELT_APART = "they differ in folders, endings, capitals or leading zeros alone"


@dataclasses.dataclass(frozen=True)
class TaskData:
    """Probabilities of all models of one task with what is known of each row.

    Attributes
    ----------
    task : str
    classes, models, ids : tuple of str
        Of lengths C, M and N.
    probabilities : ndarray of shape (M, N, C)
    splits : ndarray of str, shape (N,)
        ``validation`` for the rows that weights are tuned on, else ``test``.
    y : ndarray of int, shape (N,)
        Column of the true class; -1 where it is not known (test rows only).
    letters, paths : tuple of str, length N
        FashionAI letters and image files; empty strings where there are none.
    notes : tuple of str
        What was made to fit while joining.
    images : ndarray of int, shape (N,), optional
        Rows of equal number are one image (their digests agree); every row is its own
        image without it.
    repeated : ndarray of bool, shape (N,), optional
        Rows whose image stands in an earlier split, too: they get answers, but no part in
        tuning and in scores.
    routes : ProbabilityTable or None
        How likely each row is of each group of images (its ``classes``), by the head ``model``.
    """

    task: str
    classes: tuple[str, ...]
    models: tuple[str, ...]
    ids: tuple[str, ...]
    probabilities: np.ndarray
    splits: np.ndarray
    y: np.ndarray
    letters: tuple[str, ...]
    paths: tuple[str, ...]
    notes: tuple[str, ...] = ()
    images: np.ndarray | None = None
    repeated: np.ndarray | None = None
    routes: ProbabilityTable | None = None

    __repr__ = summary

    def rows(self, split: str) -> np.ndarray:
        """Return the numbers of the labelled rows of `split` that count."""
        counting = (self.splits == split) & (self.y >= 0)
        return np.flatnonzero(counting if self.repeated is None else counting & ~self.repeated)

    def images_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of the image of each of `rows`."""
        return rows if self.images is None else self.images[rows]

    def routes_of(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray | None:
        """Return the probabilities of groups of images of `rows`, None if they are not known."""
        return None if self.routes is None else self.routes.probabilities[rows]

    def letters_of(self, rows: np.ndarray) -> list[str] | None:
        """Return the letters of `rows`, None unless every one has them."""
        found = [self.letters[index] for index in rows]
        return found if found and all(found) else None


def join_tasks(
    tables: Sequence[ProbabilityTable],
    labels: Iterable[Sample],
    align: bool = False,
    needed: Sequence[str] = (TUNING,),
) -> list[TaskData]:
    """Join all tables with the labels, task by task, in order of first appearance.

    If the tables are of one task and the labels of one too, their names need not agree.
    """
    by_task: dict[str, list[ProbabilityTable]] = {}
    for table in tables:
        by_task.setdefault(table.task, []).append(table)
    labels = list(labels)
    known: dict[str, dict[str, Sample]] = {}
    for sample in labels:
        known.setdefault(sample.task, {})[sample.id] = sample
    if len(by_task) == 1 and len(known) == 1:
        known = {next(iter(by_task)): next(iter(known.values()))}
    unknown = [task for task in by_task if task not in known]
    if unknown:
        raise ProbabilityError(
            f"no labels for the tasks {enumerate_some(unknown)}; there are labels for "
            f"{enumerate_some(known) or 'none'}",
            "give a label table that has these tasks",
        )
    return [join_task(of_task, known[task], align, needed) for task, of_task in by_task.items()]


def join_task(
    tables: Sequence[ProbabilityTable],
    labels: dict[str, Sample],
    align: bool = False,
    needed: Sequence[str] = (TUNING,),
) -> TaskData:
    """Join the tables of one task with its labels.

    Parameters
    ----------
    tables : sequence of ProbabilityTable
        One for each model.
    labels : dict of str to Sample
        By id. Ids that no table has are not used.
    align : bool
        Keep the ids that all tables have and give classes that a table lacks a
        probability of 0, instead of refusing tables that do not fit.
    needed : sequence of str
        Splits of which a labelled row is needed: `align` is not advised where it keeps none.

    Raises
    ------
    ProbabilityError
        Ids or classes differ between tables, a tuning row has no label, a label is not
        among the classes.
    """
    tables = _with_unique_names(tables)
    notes: list[str] = []
    classes = _common_classes(tables, align, notes)
    ids, faults = _common_ids(tables)
    splits = row_splits(tables, ids, labels)
    if faults and not align:
        useful = any(splits[one] in needed and one in labels and labels[one].label for one in ids)
        raise _unlike_ids(faults, len(ids), useful)
    if faults:
        notes.append(
            f"{COMMON_ALONE} {counted(len(ids), 'id')} that all files have are used: {faults}"
        )
    ids, known = without_learnt(tables, ids, splits, labels, notes)
    task = tables[0].task
    y = _label_columns(task, ids, splits, labels, classes)
    images, repeated = equal_images(ids, splits, labels)
    notes += equal_image_notes(ids, images, repeated & ~known, labels)
    rows = [labels.get(identity) for identity in ids]
    return TaskData(
        task=task,
        classes=classes,
        models=tuple(table.model for table in tables),
        ids=tuple(ids),
        probabilities=np.stack([_aligned(table, ids, classes) for table in tables]),
        splits=np.array([splits[identity] for identity in ids], dtype=np.str_),
        y=y,
        letters=tuple(row.letters if row else "" for row in rows),
        paths=tuple(row.path if row else "" for row in rows),
        notes=tuple(notes),
        images=images,
        repeated=repeated | known,
    )


def _with_unique_names(tables: Sequence[ProbabilityTable]) -> list[ProbabilityTable]:
    names = [table.model for table in tables]
    if twice := repeated(names):
        raise ProbabilityError(
            f"several tables are of a model of one name: {enumerate_some(twice)}",
            "name the files differently, or leave out what was given twice",
        )
    return list(tables)


def _common_classes(
    tables: Sequence[ProbabilityTable], align: bool, notes: list[str]
) -> tuple[str, ...]:
    every = list(dict.fromkeys(name for table in tables for name in table.classes))
    lacking = {}
    for table in tables:
        there = set(table.classes)
        lacking[table.model] = [name for name in every if name not in there]
    faults = [f"{model} lacks {enumerate_some(names)}" for model, names in lacking.items() if names]
    _require_some_in_common(tables, every, faults)
    if faults and not align:
        alike = look_alike_notes("they", every)
        raise ProbabilityError(
            f"the files have different classes: {'; '.join([*faults, *alike])}",
            "spell each class alike in all files"
            if alike
            else "give files of the same classes, or use --align: a class that a file lacks "
            "then gets probability 0 there",
        )
    if faults:
        notes.append(f"classes that a file lacks have probability 0 there: {'; '.join(faults)}")
    elsewhere = [t.model for t in tables if t.classes != tables[0].classes and not lacking[t.model]]
    if elsewhere and not faults:
        notes.append(
            f"the classes of {enumerate_some(elsewhere)} stand in another order; they were joined "
            "by name"
        )
    return tuple(every)


def _require_some_in_common(
    tables: Sequence[ProbabilityTable], every: list[str], faults: list[str]
) -> None:
    """Refuse files without a class that another one has: they are of other things, or words."""
    for table in tables:
        others = {name for one in tables if one is not table for name in one.classes}
        if others and others.isdisjoint(table.classes):
            alike = look_alike_notes("they", every)
            raise ProbabilityError(
                f"{table.model} has no class in common with the others: "
                f"{'; '.join([*faults, *alike])}",
                "spell each class alike in all files, and blend files of one task",
            )


def _common_ids(tables: Sequence[ProbabilityTable]) -> tuple[list[str], str]:
    """Return the ids that all tables have, and which of the others each lacks."""
    sets = [set(table.ids) for table in tables]
    every, common = set.union(*sets), set.intersection(*sets)
    order = [identity for identity in tables[0].ids if identity in common]
    if len(every) == len(common):
        return order, ""
    faults = []
    for table, own in zip(tables, sets):
        missing = [identity for identity in dict.fromkeys(_all_ids(tables)) if identity not in own]
        if missing:
            faults.append(
                f"{table.model} lacks {counted(len(missing), 'id')} ({enumerate_some(missing, 3)})"
            )
    if not common:
        stems = [{_stem(identity) for identity in own} for own in sets]
        raise ProbabilityError(
            f"the files have no id in common: {'; '.join(faults)}",
            f"{_ONLY_SPELT_APART}: write the ids alike in all files"
            if set.intersection(*stems)
            else "give files of the same rows; where one file has a model's rows out of fold and "
            "another one its test rows, put both into one file",
        )
    return order, "; ".join(faults)


def _unlike_ids(faults: str, common: int, useful: bool) -> ProbabilityError:
    hint = "give files of the same rows, labelled ones among them"
    if useful:
        hint += f"; or use --align: the {counted(common, 'id')} that all have are then used"
    return ProbabilityError(f"the files do not have the same ids: {faults}", hint)


def _stem(identity: str) -> str:
    """Return the name of an image without its folders, its ending and zeros in front.

    >>> _stem("photos/0012.JPG") == _stem("12")
    True
    """
    stem = os.path.splitext(identity.replace("\\", "/").rpartition("/")[2])[0]
    return stem.strip().lstrip("0").casefold() or "0"


def _all_ids(tables: Sequence[ProbabilityTable]) -> list[str]:
    return [identity for table in tables for identity in table.ids]


def require_tuning_rows(data: TaskData) -> None:
    """Refuse a task without rows that weights can be tuned on."""
    if not len(data.rows(TUNING)):
        raise ProbabilityError(
            f"the task {data.task} has no row to tune weights on: {_counted_splits(data)}",
            "give validation or out-of-fold probabilities of images that no model was trained on; "
            "a column split calls them 'validation', since its 'train' are rows learnt from",
        )


def require_judged_rows(data: TaskData) -> None:
    """Refuse a task of whose rows no label is known."""
    if not (len(data.rows(TEST)) or len(data.rows(TUNING))):
        raise ProbabilityError(
            f"the task {data.task} has no row with a label: {_counted_splits(data)}",
            "give labels of these images with --labels",
        )


def _counted_splits(data: TaskData) -> str:
    counts = Counter(data.splits.tolist())
    told = [f"{counts[name]} of the split '{name}'" for name in sorted(counts)]
    left = [note for note in data.notes if f" {LEFT_OUT}: " in note]
    return "; ".join([", ".join(told)] * bool(told) + left)


def _label_columns(
    task: str,
    ids: list[str],
    splits: dict[str, str],
    labels: dict[str, Sample],
    classes: tuple[str, ...],
) -> np.ndarray:
    column = {name: index for index, name in enumerate(classes)}
    y = np.full(len(ids), -1)
    bare: list[str] = []
    unknown: dict[str, int] = {}
    for index, identity in enumerate(ids):
        label = labels[identity].label if identity in labels else ""
        if not label:
            if splits[identity] == TUNING:
                bare.append(identity)
        elif label not in column:
            unknown[label] = unknown.get(label, 0) + 1
        else:
            y[index] = column[label]
    if unknown:
        _refuse_unknown(unknown, classes)
    if bare:
        known = {_stem(identity) for identity in labels}
        spelt_apart = all(i not in labels and _stem(i) in known for i in bare)
        raise ProbabilityError(
            f"{counted(len(bare), 'row has', 'rows have')} no label of the task {task}: "
            f"{enumerate_some(bare)}",
            f"{_ONLY_SPELT_APART} from ids of the labels: write them alike"
            if spelt_apart
            else "label them, or give them the split 'test' in a column split of the labels; rows "
            "that the sheet of a contest asks for (--sample) need no label",
        )
    return y


def _refuse_unknown(unknown: dict[str, int], classes: tuple[str, ...]) -> NoReturn:
    """Refuse labels that are no classes; `unknown` has their numbers of rows."""
    named = [f"{label} ({counted(count, 'row')})" for label, count in unknown.items()]
    said = look_alike_notes("labels and classes", [*unknown, *classes])
    alike = [note for note in said if "look alike" in note]
    raise ProbabilityError(
        f"{counted(len(unknown), 'label is', 'labels are')} none of the classes that "
        f"the models know: {'; '.join([enumerate_some(named), *alike])}",
        "spell each class alike in the labels and the files; "
        * bool(alike)
        + f"the models were trained on {enumerate_some(classes, 60)}; train with rows of every "
        "class, take these rows out of all files, or leave their labels empty and give them "
        "the split 'test' in a column split",
    )


def _aligned(table: ProbabilityTable, ids: list[str], classes: tuple[str, ...]) -> np.ndarray:
    row = {identity: index for index, identity in enumerate(table.ids)}
    column = {name: index for index, name in enumerate(table.classes)}
    whole = table.probabilities[[row[identity] for identity in ids]]
    aligned = np.zeros((len(ids), len(classes)))
    for index, name in enumerate(classes):
        if name in column:
            aligned[:, index] = whole[:, column[name]]
    return aligned

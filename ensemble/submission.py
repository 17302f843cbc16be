"""Final answers as files: plain tables, and the forms that contests want."""

import collections
import dataclasses
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.csv_files import write_csv
from ..core.errors import ProbabilityError, counted, enumerate_some
from ..manifest import DEFAULT_TASK, fashionai_classes
from ..runs import ProbabilityTable, class_column, write_probabilities
from .answer_sheet import AnswerSheet

SUBMISSIONS = ("kaggle", "fashionai")
# Files that are read by their endings.
_BINARY = ("npz", "h5", "parquet")
FORMATS = ("csv", "npz", "h5", "parquet", *SUBMISSIONS)


@dataclasses.dataclass(frozen=True)
class TaskAnswers:
    """The final probabilities of one task.

    Attributes
    ----------
    task : str
    classes : tuple of str, length C
    rows : dict of str to ndarray of shape (C,)
        By image id.
    prior : ndarray of shape (C,)
        Shares of the classes among the training images.
    """

    task: str
    classes: tuple[str, ...]
    rows: Mapping[str, np.ndarray]
    prior: np.ndarray


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerRow:
    """One row of an answer file: the id as it is written, the task, and (C,) or nothing."""

    text: str
    task: str
    probabilities: np.ndarray | None


def form_of(
    path: Path, tasks: Collection[str], asked: str | None, excel: bool, sheet: AnswerSheet | None
) -> str:
    """Return the form of a file of answers; refuse one that cannot hold those of `tasks`.

    Parameters
    ----------
    asked : str, optional
        The form that was asked for.
    """
    ending = path.suffix.lower().removeprefix(".") or "csv"
    own = {"hdf5": "h5"}.get(ending, ending)
    form = asked or (sheet.form if sheet else own)
    if form not in FORMATS:
        raise ProbabilityError(
            f"{path.name} has the ending '.{form}'", f"give --format {', '.join(FORMATS)}"
        )
    if own != form and {own, form} & set(_BINARY):
        raise ProbabilityError(
            f"{path.name} has the ending '.{ending}', and is to be written as {form}",
            f"give a name that ends in .{form if form in _BINARY else 'csv'}",
        )
    if form in _BINARY and excel:
        raise ProbabilityError(
            f"{path.name} is to be written as {form}, and --excel is for CSVs", "write the form csv"
        )
    if form in (*_BINARY, "kaggle") and len(tasks) != 1:
        raise ProbabilityError(
            f"the format {form} holds one task, there are {len(tasks)}: {enumerate_some(tasks)}",
            "choose csv or fashionai",
        )
    return form


def require_form_fits(
    path: str | os.PathLike, tasks: Collection[str], asked: str | None, excel: bool
) -> None:
    """Find out before the work whether a file can hold the answers of these tasks.

    Raises
    ------
    ProbabilityError
        As of `form_of`. What only a contest's sheet can tell shows later.
    """
    ending = Path(path).suffix.lower().removeprefix(".")
    if asked is not None or {"hdf5": "h5"}.get(ending, ending) in _BINARY:
        form_of(Path(path), tasks, asked, excel, None)


def write_rows(
    path: str | os.PathLike,
    form: str,
    tasks: Mapping[str, TaskAnswers],
    rows: Sequence[AnswerRow],
    sheet: AnswerSheet | None = None,
    excel: bool = False,
) -> None:
    """Write rows of answers, atomically.

    Parameters
    ----------
    form : {"csv", "npz", "h5", "parquet", "kaggle", "fashionai"}
        ``kaggle``: header ``id,<class>,...`` or that of the sheet, ids without folder and ending
        or as in the sheet. ``fashionai``: no header, ``image,attribute,p;p;p`` with four
        decimals, classes in letter order. ``csv``: ``id``, then for each task the likeliest
        class and a column for each class (named ``task:class`` where there are several
        tasks). `icecore.ensemble.read_tables` reads them all.
    sheet : AnswerSheet, optional
        Header and columns of ``kaggle``.
    excel : bool
        Put an apostrophe before names that a spreadsheet would take for a formula.
    """
    if form == "fashionai":
        write_csv(path, _fashionai_lines(tasks, rows), excel=excel)
    elif form == "csv":
        write_csv(path, _plain_lines(tasks, rows), excel=excel)
    elif form == "kaggle":
        (task,) = tasks.values()
        lines = _kaggle_lines(task, rows, sheet)
        if sheet is not None and sheet.id_last:
            lines = (line[::-1] for line in lines)
        write_csv(path, lines, excel=excel)
    else:
        (task,) = tasks.values()
        write_probabilities(path, _table(task, rows))


def _fashionai_lines(
    tasks: Mapping[str, TaskAnswers], rows: Sequence[AnswerRow]
) -> Iterator[list[str]]:
    orders = {name: _letter_order(task) for name, task in tasks.items()}
    for row in rows:
        if row.probabilities is not None:
            numbers = (f"{row.probabilities[index]:.4f}" for index in orders[row.task])
            yield [row.text, row.task, ";".join(numbers)]


def _letter_order(task: TaskAnswers) -> list[int]:
    """Return the columns of an attribute the contest has in its letter order, others as is."""
    wanted = fashionai_classes(task.task, len(task.classes))
    if set(wanted) == set(task.classes):
        places = {name: place for place, name in enumerate(task.classes)}
        return [places[name] for name in wanted]
    return list(range(len(task.classes)))


def _plain_lines(
    tasks: Mapping[str, TaskAnswers], rows: Sequence[AnswerRow]
) -> Iterator[list[str]]:
    single = list(tasks) == [DEFAULT_TASK]
    header = ["id"]
    for task in tasks.values():
        names = (class_column(n) if single else f"{task.task}:{n}" for n in task.classes)
        header += [task.task if single else class_column(task.task), *names]
    yield header
    images: dict[str, dict[str, np.ndarray | None]] = {}
    for row in rows:
        images.setdefault(row.text, {})[row.task] = row.probabilities
    for identity, found in images.items():
        line = [identity]
        for name, task in tasks.items():
            numbers = found.get(name)
            if numbers is None:
                line += [""] * (1 + len(task.classes))
            else:
                line += [task.classes[int(numbers.argmax())], *map(_number, numbers)]
        yield line


def _number(probability: float) -> str:
    """Return enough digits that rows add up to 1 for whoever checks, and no small one is a 0.

    Where the truth has 1e-7 its log-loss is 16; a 0, which scorers clip at 1e-15, has 34.5.
    """
    return f"{probability:.9g}"


def _kaggle_lines(
    task: TaskAnswers, rows: Sequence[AnswerRow], sheet: AnswerSheet | None
) -> Iterator[list[str]]:
    if sheet is None or not sheet.header:
        names, header = task.classes, ("id", *task.classes)
    else:
        names, header = sheet.columns, sheet.header
    yield list(header)
    column = {name: index for index, name in enumerate(task.classes)}
    for text, row in zip(kaggle_ids(task, rows, sheet), rows):
        if row.probabilities is None:
            yield [text, *[""] * len(names)]
        elif len(names) == 1 and names[0] not in column:
            yield [text, task.classes[int(row.probabilities.argmax())]]
        else:
            yield [text, *(_number(row.probabilities[column[name]]) for name in names)]


def kaggle_ids(
    task: TaskAnswers, rows: Sequence[AnswerRow], sheet: AnswerSheet | None
) -> list[str]:
    """Return the ids of the form ``kaggle``: those of its sheet, else without folder and ending.

    Raises
    ------
    ProbabilityError
        They are not unique, or a class has the name of their column.
    """
    if sheet is not None and sheet.header:
        return [row.text for row in rows]
    if any(name.lower() == "id" for name in task.classes):
        raise ProbabilityError(
            "the format kaggle has a column 'id', and so is a class called",
            "write the format csv, which marks such a class, or rename the class",
        )
    ids = [os.path.splitext(row.text.rsplit("/", 1)[-1])[0] for row in rows]
    if len(set(ids)) < len(ids):
        counts = collections.Counter(ids)
        repeated = [identity for identity, count in counts.items() if count > 1]
        raise ProbabilityError(
            f"{counted(len(repeated), 'id is', 'ids are')} no longer unique without folder and "
            f"ending: {enumerate_some(repeated)}",
            "give the contest's --sample, rename the images, or write the format csv",
        )
    return ids


def _table(task: TaskAnswers, rows: Sequence[AnswerRow]) -> ProbabilityTable:
    kept = [row for row in rows if row.probabilities is not None]
    return ProbabilityTable(
        tuple(row.text for row in kept),
        task.classes,
        np.array([row.probabilities for row in kept]).reshape(len(kept), len(task.classes)),
        ("test",) * len(kept),
        task=task.task,
    )

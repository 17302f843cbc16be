"""Probability files of other people's making.

`read_tables` reads everything that `icecore.runs.read_probabilities` reads, and two kinds of
CSV with many tasks: FashionAI submissions (``image,attribute,p;p;p``), and the
answers of `predict` and `blend` (``id``, and for each task its likeliest class in a column of
its name, followed by ``task:class`` columns).

Rows that do not sum to 1 are refused, as are logits, unless mending them is asked for.
"""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ...core.csv_files import CsvLine, CsvTable, csv_lines, csv_number, line_faults, read_csv
from ...core.errors import ProbabilityError
from ...manifest import fashionai_classes, is_fashionai_header
from ...runs import (
    LARGEST_FILE,
    ProbabilityTable,
    column_class,
    mended,
    read_probabilities,
)


def read_tables(path: str | os.PathLike, mend: str = "refuse") -> list[ProbabilityTable]:
    """Read the tables of one model: one for each task in the file.

    Parameters
    ----------
    path : path-like
        ``.csv``, ``.npz``, ``.h5`` or ``.parquet``.
    mend : {"refuse", "renormalise", "softmax"}
        What to do with rows that are no probabilities: refuse them, divide non-negative
        rows by their sum, or take the numbers as logits.

    Raises
    ------
    MissingFileError, MissingDependencyError, ProbabilityError
        The file is not there, needs pyarrow, or is not readable as probabilities.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv" and _is_fashionai(path):
        return _fashionai(path, mend)
    if path.suffix.lower() == ".csv" and _may_have_tasks(path):
        table = read_csv(path, ProbabilityError, LARGEST_FILE, any_case=True)
        if columns := _task_columns(table):
            return _several_tasks(table, columns, mend)
    return [read_probabilities(path, mend)]


def _is_fashionai(path: Path) -> bool:
    return any(_is_answer(line) for line in itertools.islice(_answer_lines(path), 2))


def _answer_lines(path: Path) -> Iterator[CsvLine]:
    """Return the lines below the header, which a submission need not have."""
    lines = csv_lines(path, ProbabilityError, LARGEST_FILE)
    return (line for line in lines if line.number != 1 or not is_fashionai_header(line.fields))


def _may_have_tasks(path: Path) -> bool:
    first = next(csv_lines(path, ProbabilityError, LARGEST_FILE), None)
    names = first.fields[1:3] if first else []
    return len(names) == 2 and names[1].startswith(f"{column_class(names[0])}:")


def _task_columns(table: CsvTable) -> dict[str, list[int]]:
    """Return the columns of each task's classes; nothing if it is a table of one task.

    Classes may be called like tasks with their classes (``shirt`` and ``shirt:long``); what
    stands before a task's probabilities is the name of a class in every line, and no number.
    """
    found: dict[str, list[int]] = {}
    task = None
    for at, name in enumerate(table.header[1:], 1):
        if _names_classes(table, at):
            task = column_class(name)
            found[task] = []
        elif task is not None and name.startswith(f"{task}:"):
            found[task].append(at)
        else:
            return {}
    return found


def _names_classes(table: CsvTable, at: int) -> bool:
    """Tell whether a column names the likeliest of the classes whose columns follow it."""
    task = f"{column_class(table.header[at])}:"
    follow = itertools.takewhile(lambda name: name.startswith(task), table.header[at + 1 :])
    classes = {name.removeprefix(task) for name in follow}
    # --excel puts an apostrophe before some.
    named = {line.fields[at] for line in table.rows} - classes - {""}
    return bool(classes) and {name.removeprefix("'") for name in named} <= classes


def _several_tasks(
    table: CsvTable, columns: dict[str, list[int]], mend: str
) -> list[ProbabilityTable]:
    faults, found = list(table.faults), []
    for task, places in columns.items():
        ids, rows = [], []
        for line in table.rows:
            cells = [line.fields[at] for at in places]
            if not any(cells):  # The image has no answer of this task.
                continue
            try:
                rows.append([csv_number(cell) for cell in cells])
                ids.append(line.fields[0])
            except ValueError as error:
                faults.append((line.number, f"{task}: {error}"))
        names = tuple(table.header[at].removeprefix(f"{task}:") for at in places)
        found.append((task, names, ids, rows))
    if faults:
        hint = "every line has an id and, for each task, a number for each class or nothing"
        raise line_faults(table.path, faults, ProbabilityError, hint)
    return [_table(table.path, *of_task, mend) for of_task in found if of_task[2]]


def _is_answer(line: CsvLine) -> bool:
    return len(line.fields) == 3 and ";" in line.fields[2]


def _fashionai(path: Path, mend: str) -> list[ProbabilityTable]:
    by_task: dict[str, tuple[list[str], list[list[float]]]] = {}
    faults = []
    for line in _answer_lines(path):
        try:
            identity, task, values = _answer(line)
            ids, rows = by_task.setdefault(task, ([], []))
            if rows and len(values) != len(rows[0]):
                raise ValueError(f"has {len(values)} numbers, not {len(rows[0])}")
        except ValueError as error:
            faults.append((line.number, str(error)))
            continue
        ids.append(identity)
        rows.append(values)
    if faults:
        hint = "a line is image,attribute,p;p;p with one number for each class"
        raise line_faults(path, faults, ProbabilityError, hint)
    return [
        _table(path, task, fashionai_classes(task, len(rows[0])), ids, rows, mend)
        for task, (ids, rows) in by_task.items()
    ]


def _answer(line: CsvLine) -> tuple[str, str, list[float]]:
    if line.fault or not _is_answer(line):
        raise ValueError(line.fault or f"is {','.join(line.fields)[:60]}")
    identity, task, numbers = line.fields
    return identity, task, [csv_number(text.strip()) for text in numbers.split(";")]


def _table(
    path: Path,
    task: str,
    classes: tuple[str, ...],
    ids: list[str],
    rows: list[list[float]],
    mend: str,
) -> ProbabilityTable:
    fields = {"ids": tuple(ids), "classes": classes, "model": path.stem, "task": task}
    try:
        return mended(fields, np.array(rows), mend)
    except ProbabilityError as error:
        raise ProbabilityError(f"{path}: {error.message}", error.hint) from error


def unique_models(
    tables: Sequence[tuple[Path, ProbabilityTable]], taken: Iterable[tuple[str, str]] = ()
) -> list[ProbabilityTable]:
    """Name tables of a name that others have by their files, and what tells those apart.

    Parameters
    ----------
    tables : sequence of (pathlib.Path, ProbabilityTable)
        The same file given twice stays a mistake.
    taken : iterable of (str, str)
        Task and model of tables that keep their names.
    """
    seen: dict[tuple[str, str], set[Path]] = {}
    for path, table in tables:
        seen.setdefault((table.task, table.model), set()).add(path.resolve())
    taken, found = set(taken), []
    for path, table in tables:
        name, rivals = table.model, seen[table.task, table.model]
        if len(rivals) > 1:
            name = _telling_name(path.resolve(), rivals, name)
        if (table.task, name) in taken:
            name = path.name
        found.append(dataclasses.replace(table, model=name))
    return found


def _telling_name(path: Path, rivals: set[Path], name: str) -> str:
    """Return a name with the folder above a file that is another one for each of its rivals.

    Where no such folder is, as for files side by side, they are called by their own names.
    """
    above = {rival: rival.parts[-2::-1] for rival in rivals}
    for level in range(min(map(len, above.values()))):
        if len({parts[level] for parts in above.values()}) == len(rivals):
            return f"{above[path][level]}/{name}"
    own = {rival.name for rival in rivals}
    return path.name if len(own) == len(rivals) else "/".join(path.parts[-4:])

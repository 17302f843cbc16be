"""Probability files of other people's making.

`read_tables` reads everything that `icecore.runs.read_probabilities` reads, and FashionAI
submissions: CSV without header, ``image,attribute,p;p;p``, many tasks in a file.

Rows that do not sum to 1 are refused, as are logits, unless mending them is asked for.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from pathlib import Path

import numpy as np

from ...core.csv_files import CsvLine, csv_lines, csv_number, line_faults
from ...core.errors import ProbabilityError
from ...manifest import fashionai_classes
from ...runs import LARGEST_FILE, ProbabilityTable, mended, read_probabilities

__all__ = ["read_tables", "unique_models"]


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
    return [read_probabilities(path, mend)]


def _is_fashionai(path: Path) -> bool:
    lines = csv_lines(path, ProbabilityError, LARGEST_FILE)
    return any(_is_answer(line) for line in itertools.islice(lines, 1))


def _is_answer(line: CsvLine) -> bool:
    return len(line.fields) == 3 and ";" in line.fields[2]


def _fashionai(path: Path, mend: str) -> list[ProbabilityTable]:
    by_task: dict[str, tuple[list[str], list[list[float]]]] = {}
    faults = []
    for line in csv_lines(path, ProbabilityError, LARGEST_FILE):
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
    return [_table(path, task, *found, mend) for task, found in by_task.items()]


def _answer(line: CsvLine) -> tuple[str, str, list[float]]:
    if line.fault or not _is_answer(line):
        raise ValueError(line.fault or f"is {','.join(line.fields)[:60]}")
    identity, task, numbers = line.fields
    return identity, task, [csv_number(text.strip()) for text in numbers.split(";")]


def _table(
    path: Path, task: str, ids: list[str], rows: list[list[float]], mend: str
) -> ProbabilityTable:
    classes = fashionai_classes(task, len(rows[0]))
    fields = {"ids": tuple(ids), "classes": classes, "model": path.stem, "task": task}
    try:
        return mended(fields, np.array(rows), mend)
    except ProbabilityError as error:
        raise ProbabilityError(f"{path}: {error.message}", error.hint) from error


def unique_models(tables: list[tuple[Path, ProbabilityTable]]) -> list[ProbabilityTable]:
    """Name tables by folder and file where two models of a task share a name.

    Several runs have heads of the same names; the same file given twice stays a mistake.
    """
    seen: dict[tuple[str, str], set[Path]] = {}
    for path, table in tables:
        seen.setdefault((table.task, table.model), set()).add(path.resolve())
    found = []
    for path, table in tables:
        name = table.model
        if len(seen[table.task, name]) > 1:
            name = "/".join([*path.resolve().parts[-4:-1], path.stem])
        found.append(dataclasses.replace(table, model=name))
    return found

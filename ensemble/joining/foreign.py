"""Probability files of other people: submissions, Parquet, and rows that need mending.

`read_tables` reads everything that `icecore.runs.probabilities.read_probabilities` reads, and:

- FashionAI submissions, CSV without header: ``image,attribute,p;p;p``, many tasks in a file;
- Kaggle submissions, CSV with a header ``id,<class>,...``;
- Parquet with a column ``id`` and one for each class, if pyarrow is installed.

Rows that do not sum to 1 are refused, as are logits, unless mending them is asked for.
"""

from __future__ import annotations

import csv
import dataclasses
import os
from pathlib import Path

import numpy as np

from ...core.errors import (
    MissingDependencyError,
    MissingFileError,
    ProbabilityError,
    enumerate_some,
)
from ...manifest import fashionai_classes
from ...runs import LARGEST_FILE, ProbabilityTable, read_probabilities
from ..weighting.averaging import softmax

__all__ = ["MENDINGS", "read_tables", "unique_models"]

MENDINGS = ("refuse", "renormalise", "softmax")


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
    if mend not in MENDINGS:
        raise ProbabilityError(f"unknown way to mend rows '{mend}'", f"give {', '.join(MENDINGS)}")
    if not path.is_file():
        raise MissingFileError(f"{path} is not there", "check the path of the probability file")
    if path.stat().st_size > LARGEST_FILE:
        raise ProbabilityError(f"{path} is larger than 8 GiB", "split it by task or by rows")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return [_mended(path, *_parquet(path), mend)]
    if suffix == ".csv" and _is_fashionai(path):
        return _fashionai(path, mend)
    if mend == "refuse":
        return [read_probabilities(path)]
    reader = {".csv": _csv, ".npz": _npz, ".h5": _hdf5, ".hdf5": _hdf5}.get(suffix)
    if reader is None:
        raise ProbabilityError(
            f"{path.name} has the ending '{path.suffix}'", "give .npz, .csv, .h5 or .parquet"
        )
    return [_mended(path, *reader(path), mend)]


def _mended(path: Path, fields: dict, numbers: np.ndarray, mend: str) -> ProbabilityTable:
    """Make a table of raw numbers, mended as asked; errors name the file."""
    try:
        if mend == "renormalise":
            numbers = _renormalised(fields["ids"], numbers)
        elif mend == "softmax" and np.isfinite(numbers).all():
            numbers = softmax(numbers)
        return ProbabilityTable(probabilities=numbers, **fields)
    except ProbabilityError as error:
        raise ProbabilityError(f"{path}: {error.message}", error.hint) from error


def _renormalised(ids: tuple[str, ...], numbers: np.ndarray) -> np.ndarray:
    sums = numbers.sum(axis=1)
    bad = (numbers < 0).any(axis=1) | ~(sums > 0) | ~np.isfinite(sums)
    if bad.any():
        named = enumerate_some(ids[index] for index in np.flatnonzero(bad))
        raise ProbabilityError(
            f"{int(bad.sum())} rows cannot be divided by their sum, ids {named}",
            "negative numbers look like logits (take a softmax of them); empty rows and NaN "
            "cannot be mended",
        )
    return numbers / sums[:, None]


def _is_fashionai(path: Path) -> bool:
    for row in _rows(path, most=1):
        return len(row) == 3 and ";" in row[2]
    return False


def _fashionai(path: Path, mend: str) -> list[ProbabilityTable]:
    by_task: dict[str, tuple[list[str], list[list[float]]]] = {}
    faults = []
    for number, row in enumerate(_rows(path), start=1):
        try:
            identity, task, text = row
            values = [float(value) for value in text.split(";")]
        except ValueError:
            faults.append(f"line {number} is {','.join(row)[:60]}")
            continue
        ids, lines = by_task.setdefault(task.strip(), ([], []))
        if lines and len(values) != len(lines[0]):
            faults.append(f"line {number} has {len(values)} numbers, not {len(lines[0])}")
            continue
        ids.append(identity.strip())
        lines.append(values)
    if faults:
        raise ProbabilityError(
            f"{len(faults)} lines of {path} cannot be read: {enumerate_some(faults)}",
            "a line is image,attribute,p;p;p with one number for each class",
        )
    return [
        _mended(
            path,
            {
                "ids": tuple(ids),
                "classes": fashionai_classes(task, len(lines[0])),
                "model": path.stem,
                "task": task,
            },
            np.array(lines),
            mend,
        )
        for task, (ids, lines) in by_task.items()
    ]


def _csv(path: Path) -> tuple[dict, np.ndarray]:
    rows = list(_rows(path))
    header = [name.strip() for name in rows[0]] if rows else []
    split_at = header.index("split") if "split" in header else None
    columns = [index for index in range(1, len(header)) if index != split_at]
    try:
        numbers = np.array([[float(row[i]) for i in columns] for row in rows[1:]])
        numbers = numbers.reshape(len(rows) - 1, len(columns))
    except (IndexError, ValueError) as error:
        raise ProbabilityError(
            f"{path}: a line is short or not of numbers: {error}", "the header is id,<class>,..."
        ) from error
    fields = {
        "ids": tuple(row[0].strip() for row in rows[1:]),
        "classes": tuple(header[index] for index in columns),
        "model": path.stem,
    }
    if split_at is not None:
        fields["splits"] = tuple(row[split_at].strip() for row in rows[1:])
    return fields, numbers


def _npz(path: Path) -> tuple[dict, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return _fields(path, {name: arrays[name] for name in arrays.files})


def _hdf5(path: Path) -> tuple[dict, np.ndarray]:
    import h5py

    with h5py.File(path, "r") as file:
        text = {n: file[n].asstr()[()] for n in ("ids", "classes", "splits") if n in file}
        return _fields(path, {**text, "probabilities": file["probabilities"][()], **file.attrs})


def _fields(path: Path, arrays: dict) -> tuple[dict, np.ndarray]:
    lacking = {"ids", "classes", "probabilities"} - set(arrays)
    if lacking:
        raise ProbabilityError(
            f"{path} lacks {enumerate_some(sorted(lacking))}",
            "the arrays ids, classes and probabilities are needed",
        )
    names = ("ids", "classes", "splits")
    fields = {n: tuple(map(str, np.atleast_1d(arrays[n]))) for n in names if n in arrays}
    fields |= {name: str(arrays[name]) for name in ("model", "task") if name in arrays}
    fields["model"] = fields.get("model") or path.stem
    return fields, np.asarray(arrays["probabilities"], dtype=np.float64)


def _parquet(path: Path) -> tuple[dict, np.ndarray]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is a Parquet file, and pyarrow cannot be used: {error}",
            "pip install pyarrow (of a version that fits NumPy), or save the table as CSV",
        ) from error
    try:
        columns = pyarrow.parquet.read_table(path).to_pydict()
    except (OSError, pyarrow.ArrowException) as error:
        raise ProbabilityError(f"{path} is not readable Parquet: {error}", "write it again") from (
            error
        )
    if "id" not in columns:
        raise ProbabilityError(
            f"{path} has no column 'id', only {enumerate_some(columns)}",
            "the columns are id and one for each class",
        )
    fields = {"ids": tuple(map(str, columns.pop("id"))), "model": path.stem}
    if "split" in columns:
        fields["splits"] = tuple(str(value or "") for value in columns.pop("split"))
    fields["classes"] = tuple(columns)
    try:
        return fields, np.array(list(columns.values()), dtype=np.float64).T
    except (TypeError, ValueError) as error:
        raise ProbabilityError(
            f"{path} has a class column that is not of numbers: {error}", "give numbers"
        ) from error


def _rows(path: Path, most: int | None = None):
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(row for row in csv.reader(file) if row):
                if most is not None and number >= most:
                    return
                yield row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ProbabilityError(
            f"{path} is not a CSV in UTF-8: {error}", "save it as CSV"
        ) from error


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

"""The probability file: what heads write and blending reads.

One file holds one model's probabilities for one task: ids, class names, a row
of probabilities for each id, and the split of each row. NPZ is the form that
icecore writes; CSV (``id,<class>,...``, as Kaggle submissions have it), HDF5 and
Parquet are read and written too. Nothing in any of them is executed.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.content import told_apart
from ..core.csv_files import csv_number, line_faults, read_csv, write_csv
from ..core.errors import (
    IcecoreError,
    MissingDependencyError,
    ProbabilityError,
    counted,
    enumerate_some,
    escaped,
)
from ..core.files import publish
from ..core.hdf5_files import new_hdf5
from ..core.npz_files import NpzEntry, read_npz, write_npz
from ..core.regular_files import open_regular, size_text
from ..manifest import DEFAULT_TASK
from .csv_columns import answer_column, are_shares, id_column, require_numbers, split_column
from .hdf5_child import read_hdf5
from .table import MENDINGS, ProbabilityTable, as_texts, column_class, mended

# A file larger than this is a mistake or an attack: 8 GiB holds 20 million rows of 54 classes.
LARGEST_FILE = 8 * 2**30
_AGAIN = "write the file again"
# What pandas hands out as names are objects, which NumPy would pickle.
_ARRAYS_AGAIN = (
    "write the file again: ids (N) and classes (C) as text (.astype(str) where they are objects), "
    "probabilities (N, C), of several folds or views their mean"
)
_LOOKED_AT = 4096

Fields = dict[str, Any]


def write_probabilities(path: str | os.PathLike, table: ProbabilityTable) -> None:
    """Write `table` atomically, in the form that the file's ending names.

    Parameters
    ----------
    path : path-like
        Ends in ``.npz``, ``.csv``, ``.h5`` or ``.parquet``.
    table : ProbabilityTable
    """
    path = Path(path)
    _by_ending(path, _WRITERS)(path, table)


def read_probabilities(path: str | os.PathLike, mend: str = "refuse") -> ProbabilityTable:
    """Read one model's probabilities from CSV, NPZ, HDF5 or Parquet.

    Parameters
    ----------
    path : path-like
        A CSV or Parquet file with a column ``id`` and one for each class (a column ``split``
        is understood), an NPZ or an HDF5 file with ``ids``, ``classes``,
        ``probabilities`` and, optionally, ``splits``, ``model`` and ``task``.
    mend : {"refuse", "renormalise", "softmax"}
        What to do with rows that are no probabilities: refuse them, divide non-negative
        rows by their sum, or take the numbers as logits.

    Raises
    ------
    MissingFileError
        There is no such file.
    MissingDependencyError
        It is a Parquet file, and pyarrow is not installed.
    ProbabilityError
        The file is not readable as probabilities; the message says why.
    """
    path = Path(path)
    if mend not in MENDINGS:
        raise ProbabilityError(f"unknown way to mend rows '{mend}'", f"give {', '.join(MENDINGS)}")
    fields, numbers = _by_ending(path, _READERS)(path)
    fields["model"] = fields.get("model") or path.stem
    fields["task"] = fields.get("task") or DEFAULT_TASK
    try:
        return mended(fields, numbers, mend)
    except ProbabilityError as error:
        raise ProbabilityError(f"{path}: {error.message}", error.hint) from error


def _by_ending(path: Path, known: Mapping[str, Callable]) -> Callable:
    if path.suffix.lower() not in known:
        raise ProbabilityError(
            f"{path.name} has the ending '{path.suffix}'",
            f"give a file whose name ends in {', '.join(known)}",
        )
    return known[path.suffix.lower()]


# CSV --------------------------------------------------------------------------------------


def _write_csv(path: Path, table: ProbabilityTable) -> None:
    columns = table.to_dict()
    if not any(table.splits):
        del columns["split"]
    rows = zip(*(c.tolist() if isinstance(c, np.ndarray) else c for c in columns.values()))
    write_csv(path, [list(columns), *rows])


def _read_csv(path: Path) -> tuple[Fields, np.ndarray]:
    table = read_csv(path, ProbabilityError, LARGEST_FILE, any_case=True)
    id_at = id_column(table)
    split_at = split_column(table)
    label_at = answer_column(table)
    columns = [i for i in range(len(table.header)) if i not in (id_at, split_at, label_at)]
    if (not table.rows and not table.faults) or len(columns) < 2:
        raise ProbabilityError(
            f"{path} needs a header and at least one row with an id and two classes; its header "
            f"is {table.header_text}",
            "the header is id,<class>,<class>,...",
        )
    faults, rows, ids = list(table.faults), [], []
    # `predict` leaves the rows of unreadable images empty.
    lines = [
        line for line in table.rows if label_at is None or any(line.fields[i] for i in columns)
    ]
    for line in lines:
        try:
            rows.append([csv_number(line.fields[i]) for i in columns])
            ids.append(line.fields[id_at])
        except ValueError as error:
            faults.append((line.number, str(error)))
    if faults:
        require_numbers(table, columns)
        hint = "every line has an id and a number for each class; a record is one line"
        raise line_faults(path, faults, ProbabilityError, hint)
    if are_shares([table.header[i] for i in columns]):
        raise ProbabilityError(
            f"{path} has no header: its first line is {table.header_text}",
            "put a line id,<class>,<class>,... in front, with the names of the classes",
        )
    fields: Fields = {"ids": tuple(ids)}
    fields["classes"] = tuple(column_class(table.header[i]) for i in columns)
    if split_at is not None:
        fields["splits"] = tuple(line.fields[split_at] for line in lines)
    return fields, np.array(rows, dtype=np.float64).reshape(len(ids), len(columns))


# NPZ --------------------------------------------------------------------------------------


def _write_npz(path: Path, table: ProbabilityTable) -> None:
    texts = {name: np.array(getattr(table, name), np.str_) for name in ("ids", "classes", "splits")}
    ends = {name: np.array(getattr(table, name), np.str_) for name in ("model", "task")}
    write_npz(path, {**texts, "probabilities": table.probabilities, **ends})


def _read_npz(path: Path) -> tuple[Fields, np.ndarray]:
    names = (*_ARRAYS, "splits", "model", "task")
    arrays = read_npz(path, ProbabilityError, _ARRAYS_AGAIN, check=_fault, names=names)
    numbers = np.asarray(arrays.pop("probabilities"), dtype=np.float64)
    fields: Fields = {}
    for name, array in arrays.items():
        try:
            values = as_texts(name, array.reshape(-1).tolist())
        except ValueError as error:
            raise ProbabilityError(f"{path}: {error}", _AGAIN) from error
        fields[name] = values[0] if name in ("model", "task") else values
    return fields, numbers


_ARRAYS = ("ids", "classes", "probabilities")


def _fault(entries: Mapping[str, NpzEntry]) -> str:
    """Say what is wrong with the arrays that an NPZ declares, before they are read."""
    missing = sorted(set(_ARRAYS) - set(entries))
    if missing:
        there = enumerate_some(sorted(entries)) or "nothing"
        return (
            f"lacks {enumerate_some(missing)}; it has {there}: "
            "the arrays ids, classes and probabilities are needed"
        )
    numbers, ids, classes = (entries[n].shape for n in ("probabilities", "ids", "classes"))
    if len(ids) != 1 or len(classes) != 1 or numbers != (*ids, *classes):
        return f"has ids of shape {ids} and classes of {classes}, but probabilities of {numbers}"
    if "splits" in entries and entries["splits"].shape != ids:
        return f"has ids of shape {ids}, but splits of {entries['splits'].shape}"
    if entries["probabilities"].dtype.kind not in "fiu":
        return f"has probabilities of {entries['probabilities'].dtype}, not numbers"
    texts = [n for n in ("classes", "model", "task", "splits") if n in entries]
    strange = [n for n in texts if entries[n].dtype.kind not in "SU"]
    strange += ["ids"] if entries["ids"].dtype.kind not in "SUiu" else []
    several = [n for n in ("model", "task") if n in entries and entries[n].shape not in ((), (1,))]
    if strange or several:
        named = [f"{name} of {entries[name]}" for name in strange + several]
        return f"has {enumerate_some(named)}, not text"
    return ""


# HDF5 -------------------------------------------------------------------------------------


def _write_hdf5(path: Path, table: ProbabilityTable) -> None:
    with publish(path) as temporary, new_hdf5(temporary) as file:
        file["probabilities"] = table.probabilities
        for name in ("ids", "classes", "splits"):
            # Text of one length: nothing in the file points elsewhere in it.
            encoded = [one.encode("utf-8") for one in getattr(table, name)]
            file[name] = np.array(encoded, f"S{max(1, *map(len, encoded))}")
        file.attrs.update({"model": table.model, "task": table.task})


# Parquet ----------------------------------------------------------------------------------


def load_parquet(path: Path):
    """Import pyarrow, which few need."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is a Parquet file, and pyarrow cannot be used: {error}",
            "pip install pyarrow (of a version that fits NumPy), or save the table as CSV",
        ) from error
    return pyarrow


def _write_parquet(path: Path, table: ProbabilityTable) -> None:
    pyarrow = load_parquet(path)
    # Opened here: Arrow takes names that are not text for a fault, and some for URLs.
    with publish(path) as temporary, open(temporary, "wb") as file:
        pyarrow.parquet.write_table(pyarrow.table(table.to_dict()), file)


def _read_parquet(path: Path) -> tuple[Fields, np.ndarray]:
    pyarrow = load_parquet(path)
    try:
        with open_regular(path) as file:
            columns = _parquet_columns(pyarrow, path, file)
    except IcecoreError as error:
        raise (
            error
            if isinstance(error, ProbabilityError)
            else ProbabilityError(error.message, error.hint)
        ) from error
    except FileNotFoundError:
        raise
    # Damage shows itself as many kinds of error there.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ProbabilityError(f"{path} is not readable Parquet: {reason}", _AGAIN) from error
    if "id" not in columns:
        raise ProbabilityError(
            f"{path} has no column 'id', only {enumerate_some(columns)}",
            "the columns are id and one for each class",
        )
    ids = columns.pop("id")
    if None in ids:
        raise ProbabilityError(
            f"{path} has {counted(ids.count(None), 'row')} without an id", "name each row's image"
        )
    lists = {"ids": ids}
    if "split" in columns:
        lists["splits"] = [one or "" for one in columns.pop("split")]
    try:
        fields: Fields = {name: as_texts(name, values) for name, values in lists.items()}
    except ValueError as error:
        raise ProbabilityError(f"{path}: {error}", "write them as text") from error
    fields["classes"] = tuple(map(column_class, columns))
    return fields, _numbers(path, columns).reshape(len(columns), len(ids)).T


def _numbers(path: Path, columns: Mapping[str, list]) -> np.ndarray:
    found, strange = [], []
    for name, values in columns.items():
        try:
            found.append(np.array(values, dtype=np.float64).reshape(len(values)))
        except (TypeError, ValueError):
            strange.append(f"{name} ({str(values[0])[:40]})")
    if strange:
        raise ProbabilityError(
            f"{path} has columns that are not of numbers: {escaped(enumerate_some(strange))}",
            "take them out, or give numbers: every column but id and split is that of a class",
        )
    return np.array(found)


def _parquet_columns(pyarrow, path: Path, file) -> dict[str, list]:
    head = file.read(_LOOKED_AT)
    file.seek(0)
    if not head.startswith(b"PAR1"):
        found, hint = told_apart(head, _AGAIN)
        found = found or ("it is of another kind" if head else "the file is empty")
        raise ProbabilityError(f"{path} is not readable Parquet: {found}", hint)
    about = pyarrow.parquet.ParquetFile(file)
    size, names = os.fstat(file.fileno()).st_size, about.schema_arrow.names
    meta = about.metadata
    groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
    unpacked = sum(group.total_byte_size for group in groups)
    # Columns are encoded as well as compressed: what counts are the values.
    values = 8 * meta.num_rows * len(names)
    if max(unpacked, values) > max(64 * 2**20, 1000 * size) or values > LARGEST_FILE:
        raise ProbabilityError(
            f"{path} would unpack from {size_text(size)} to {size_text(max(unpacked, values))}",
            _AGAIN,
        )
    if len(set(names)) < len(names):
        raise ProbabilityError(f"{path} has columns of one name", "name each column differently")
    return about.read().to_pydict()


_WRITERS = {
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".h5": _write_hdf5,
    ".hdf5": _write_hdf5,
    ".parquet": _write_parquet,
}
_READERS = {
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".parquet": _read_parquet,
}

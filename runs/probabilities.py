"""The probability file: what heads write and blending reads.

One file holds one model's probabilities for one task: ids, class names, a row
of probabilities for each id, and the split of each row. NPZ is the form that
icecore writes; CSV (``id,<class>,...``, as Kaggle submissions have it) and
HDF5 are read and written too. Nothing in any of them is executed.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import zipfile
from pathlib import Path

import numpy as np

from ..core.errors import MissingFileError, ProbabilityError, enumerate_some
from ..core.files import publish, publish_text
from ..manifest import DEFAULT_TASK

__all__ = ["ProbabilityTable", "read_probabilities", "write_probabilities"]

# Four decimals and a few hundred classes may add up to this much.
SUM_TOLERANCE = 0.02
# A file larger than this is a mistake or an attack: 8 GiB holds 20 million rows of 54 classes.
LARGEST_FILE = 8 * 2**30


@dataclasses.dataclass(frozen=True)
class ProbabilityTable:
    """Probabilities of one model for one task.

    Parameters
    ----------
    ids : tuple of str, length N
        Sample ids, each once.
    classes : tuple of str, length C
        Class names, in the order of the columns.
    probabilities : ndarray of shape (N, C)
        Rows in [0, 1] that sum to 1.
    splits : tuple of str, length N, optional
        Split of each row; empty strings where there are none.
    model : str
        Name of the model.
    task : str
        Name of the task.

    Raises
    ------
    ProbabilityError
        Shapes do not fit, ids or classes repeat, or rows are not probabilities.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    splits: tuple[str, ...] = ()
    model: str = ""
    task: str = DEFAULT_TASK

    def __post_init__(self) -> None:
        where = self.model or "the table"
        if not self.splits:
            object.__setattr__(self, "splits", ("",) * len(self.ids))
        expected = (len(self.ids), len(self.classes))
        if self.probabilities.shape != expected or len(self.splits) != len(self.ids):
            raise ProbabilityError(
                f"{where} has {len(self.ids)} ids and {len(self.classes)} classes, but "
                f"probabilities of shape {self.probabilities.shape}",
                "give one row for each id and one column for each class",
            )
        for kind, names in (("ids", self.ids), ("classes", self.classes)):
            repeated = _repeated(names)
            if repeated:
                raise ProbabilityError(
                    f"{where} has {len(repeated)} {kind} more than once: "
                    f"{enumerate_some(repeated)}",
                    f"each of the {kind} may appear once",
                )
        self._require_probabilities(where)

    def _require_probabilities(self, where: str) -> None:
        table = self.probabilities
        if not table.size:
            raise ProbabilityError(f"{where} has no rows", "give at least one id and two classes")
        finite = np.isfinite(table).all(axis=1)
        if not finite.all():
            raise ProbabilityError(
                f"{where} has {int((~finite).sum())} rows with NaN or infinite values, ids "
                f"{enumerate_some(self._ids_at(~finite))}",
                "give a probability for every class of every row",
            )
        outside = ((table < -1e-9) | (table > 1 + 1e-6)).any(axis=1)
        if outside.any():
            raise ProbabilityError(
                f"{where} has {int(outside.sum())} rows outside [0, 1] (from {table.min():.4g} to "
                f"{table.max():.4g}), ids {enumerate_some(self._ids_at(outside))}",
                "these look like logits: apply a softmax first",
            )
        off = np.abs(table.sum(axis=1) - 1) > SUM_TOLERANCE
        if off.any():
            first = int(np.flatnonzero(off)[0])
            raise ProbabilityError(
                f"{where} has {int(off.sum())} rows that do not sum to 1 (id {self.ids[first]}: "
                f"{table[first].sum():.4g}), ids {enumerate_some(self._ids_at(off))}",
                "divide each row by its sum, if that is what is meant",
            )

    def _ids_at(self, mask: np.ndarray) -> list[str]:
        return [self.ids[index] for index in np.flatnonzero(mask)]

    def rows_of(self, splits: set[str]) -> ProbabilityTable:
        """Return the rows whose split is one of `splits`."""
        kept = [index for index, split in enumerate(self.splits) if split in splits]
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[index] for index in kept),
            probabilities=self.probabilities[kept],
            splits=tuple(self.splits[index] for index in kept),
        )


def write_probabilities(path: str | os.PathLike, table: ProbabilityTable) -> None:
    """Write `table` atomically, in the form that the file's ending names.

    Parameters
    ----------
    path : path-like
        Ends in ``.npz``, ``.csv`` or ``.h5``.
    table : ProbabilityTable
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        _write_csv(path, table)
    elif suffix == ".npz":
        arrays = {
            "ids": np.array(table.ids, dtype=np.str_),
            "classes": np.array(table.classes, dtype=np.str_),
            "splits": np.array(table.splits, dtype=np.str_),
            "probabilities": table.probabilities,
            "model": np.array(table.model),
            "task": np.array(table.task),
        }
        with publish(path) as temporary, open(temporary, "wb") as file:
            # Text and numbers alone: nothing here needs a pickle.
            np.savez(file, **arrays)
    elif suffix in (".h5", ".hdf5"):
        _write_hdf5(path, table)
    else:
        raise ProbabilityError(
            f"{path.name} has the ending '{suffix}'", "name the file .npz, .csv or .h5"
        )


def read_probabilities(path: str | os.PathLike) -> ProbabilityTable:
    """Read one model's probabilities from CSV, NPZ or HDF5.

    Parameters
    ----------
    path : path-like
        A CSV with a header ``id,<class>,...`` (a column ``split`` is understood),
        an NPZ or an HDF5 file with ``ids``, ``classes``, ``probabilities`` and,
        optionally, ``splits``, ``model`` and ``task``.

    Raises
    ------
    MissingFileError
        There is no such file.
    ProbabilityError
        The file is not readable as probabilities; the message says why.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} is not there", "check the path of the probability file")
    if path.stat().st_size > LARGEST_FILE:
        raise ProbabilityError(f"{path} is larger than 8 GiB", "split it by task or by rows")
    readers = {".csv": _read_csv, ".npz": _read_npz, ".h5": _read_hdf5, ".hdf5": _read_hdf5}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ProbabilityError(
            f"{path.name} has the ending '{path.suffix}'", "give a .npz, .csv or .h5 file"
        )
    try:
        return reader(path)
    except ProbabilityError as error:
        raise ProbabilityError(f"{path}: {error.message}", error.hint) from error


def _write_csv(path: Path, table: ProbabilityTable) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    with_splits = any(table.splits)
    writer.writerow(["id", *(["split"] if with_splits else []), *table.classes])
    for identity, split, row in zip(table.ids, table.splits, table.probabilities.tolist()):
        writer.writerow([identity, *([split] if with_splits else []), *map(repr, row)])
    publish_text(path, text.getvalue())


def _write_hdf5(path: Path, table: ProbabilityTable) -> None:
    import h5py

    text = h5py.string_dtype()
    with publish(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
        file["probabilities"] = table.probabilities
        for name in ("ids", "classes", "splits"):
            file.create_dataset(name, data=list(getattr(table, name)), dtype=text)
        file.attrs.update({"model": table.model, "task": table.task})


def _read_csv(path: Path) -> ProbabilityTable:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ProbabilityError(f"not a CSV in UTF-8: {error}", "save it as CSV") from error
    if len(rows) < 2 or len(rows[0]) < 3:
        raise ProbabilityError(
            "needs a header and at least one row with an id and two classes",
            "the header is id,<class>,<class>,...",
        )
    header = [name.strip() for name in rows[0]]
    split_at = header.index("split") if "split" in header else None
    columns = [index for index in range(1, len(header)) if index != split_at]
    short = [number for number, row in enumerate(rows[1:], 2) if len(row) != len(header)]
    if short:
        raise ProbabilityError(
            f"{len(short)} lines do not have {len(header)} fields: {enumerate_some(short)}",
            "every line has an id and a number for each class",
        )
    try:
        numbers = np.array([[float(row[i]) for i in columns] for row in rows[1:]])
    except ValueError as error:
        raise ProbabilityError(
            f"a probability is not a number: {error}", "give numbers between 0 and 1"
        ) from error
    return ProbabilityTable(
        ids=tuple(row[0].strip() for row in rows[1:]),
        classes=tuple(header[i] for i in columns),
        probabilities=numbers,
        splits=tuple(row[split_at].strip() for row in rows[1:]) if split_at is not None else (),
        model=path.stem,
    )


def _read_npz(path: Path) -> ProbabilityTable:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            _require_names(arrays.files)
            text = {
                name: tuple(str(value) for value in np.atleast_1d(arrays[name]))
                for name in ("ids", "classes", "splits", "model", "task")
                if name in arrays.files
            }
            numbers = np.asarray(arrays["probabilities"], dtype=np.float64)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, ProbabilityError):
            raise
        raise ProbabilityError(f"not a readable NPZ: {error}", "write it again") from error
    return _table_from(path, text, numbers)


def _read_hdf5(path: Path) -> ProbabilityTable:
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            _require_names(list(file))
            text = {
                name: tuple(file[name].asstr()[()])
                for name in ("ids", "classes", "splits")
                if name in file
            }
            text |= {key: (str(file.attrs[key]),) for key in ("model", "task") if key in file.attrs}
            numbers = np.asarray(file["probabilities"], dtype=np.float64)
    except (OSError, TypeError) as error:
        raise ProbabilityError(f"not a readable HDF5 file: {error}", "write it again") from error
    return _table_from(path, text, numbers)


def _require_names(names: list[str]) -> None:
    missing = {"ids", "classes", "probabilities"} - set(names)
    if missing:
        raise ProbabilityError(
            f"lacks {enumerate_some(sorted(missing))}; it has {enumerate_some(sorted(names))}",
            "the arrays ids, classes and probabilities are needed",
        )


def _table_from(path: Path, text: dict[str, tuple], numbers: np.ndarray) -> ProbabilityTable:
    return ProbabilityTable(
        ids=text["ids"],
        classes=text["classes"],
        probabilities=numbers,
        splits=text.get("splits", ()),
        model=text.get("model", ("",))[0] or path.stem,
        task=text.get("task", (DEFAULT_TASK,))[0] or DEFAULT_TASK,
    )


def _repeated(names: tuple[str, ...]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]

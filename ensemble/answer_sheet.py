"""What a contest asks for: the rows of an answer file, their order and its columns.

Two kinds are read: Kaggle's ``sample_submission.csv`` (a header, an id, and a column for each
class or one for the label) and FashionAI's ``question.csv`` (``image,attribute,?``).
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..core.csv_files import csv_lines, line_faults, read_csv
from ..core.errors import MissingFileError, ProbabilityError, counted, enumerate_some
from ..manifest import IMAGE_SUFFIXES, Sample, class_name, is_fashionai_header, split_name
from ..runs import ID_COLUMNS, column_class

_KAGGLE = ("sample_submission.csv", "samplesubmission.csv")
_QUESTIONS = ("Tests/question.csv", "question.csv")


@dataclasses.dataclass(frozen=True)
class AnswerSheet:
    """An answer file still to be filled in.

    Attributes
    ----------
    path : pathlib.Path
    form : {"kaggle", "fashionai"}
    rows : tuple of (str, str)
        Id and task of each row, in order; the task is empty in Kaggle's form.
    header : tuple of str
        Empty in FashionAI's form, whose answers have none. The ids' column comes first here.
    values : frozenset of str
        What stands beside the ids where there are two columns, in Kaggle's form.
    id_last : bool
        Two columns are ``label,id`` in the file.
    """

    path: Path
    form: str
    rows: tuple[tuple[str, str], ...]
    header: tuple[str, ...] = ()
    values: frozenset[str] = frozenset()
    id_last: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The classes that the columns of Kaggle's form name."""
        return tuple(class_name(column_class(name)) for name in self.header[1:])


def read_sheet(path: str | os.PathLike) -> AnswerSheet:
    """Read a ``sample_submission.csv`` or a ``question.csv``.

    Raises
    ------
    MissingFileError, ProbabilityError
        The file is not there, or is neither; all faulty lines are named.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise MissingFileError(
            f"{path} is not there", "give --sample a sample_submission.csv or a question.csv"
        )
    first = next(csv_lines(path, ProbabilityError), None)
    if first is not None and _is_question(first.fields):
        return _questions(path)
    return _kaggle(path)


def find_sheet(folders: Iterable[Path]) -> Path | None:
    """Look for a contest's sheet in the folders of the data.

    Raises
    ------
    ProbabilityError
        There are several.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            continue
        names = [name for name in sorted(os.listdir(folder)) if name.lower() in _KAGGLE]
        for path in [folder / name for name in (*names, *_QUESTIONS)]:
            if path.is_file():
                found.setdefault(os.path.realpath(path), path)
    if len(found) > 1:
        raise ProbabilityError(
            f"the data has {len(found)} sheets to answer: {enumerate_some(found.values())}",
            "say which one with --sample, or --format csv for the answers alone",
        )
    return next(iter(found.values()), None)


def data_folders(samples: Iterable[Sample]) -> tuple[Path, ...]:
    """Return the folders that the test images were read from, as far as their ids tell it."""
    samples = list(samples)
    tests = [sample for sample in samples if sample.split == "test"] or samples
    roots: dict[Path, None] = {}
    for sample in tests:
        path = Path(sample.path).as_posix()
        if sample.path and path.endswith(f"/{sample.id}"):
            roots.setdefault(Path(path[: -len(sample.id) - 1]))
    found = dict.fromkeys(roots)
    for root in roots:
        # The folder of the test images alone may have been given.
        if split_name(root.name) == "test" or root.name == "Tests":
            found.setdefault(root.parent)
    return tuple(found)


def _is_question(fields: list[str]) -> bool:
    if len(fields) not in (2, 3):
        return False
    if is_fashionai_header(fields):
        return fields[1].lower().replace("_", "") in ("attrkey", "attribute")
    image = os.path.splitext(fields[0])[1].lower() in IMAGE_SUFFIXES
    return image and re.fullmatch(r"[A-Za-z]\w*", fields[1]) is not None


def _questions(path: Path) -> AnswerSheet:
    rows: dict[tuple[str, str], None] = {}
    faults = []
    for line in csv_lines(path, ProbabilityError):
        fields = line.fields
        if line.number == 1 and is_fashionai_header(fields):
            continue
        if line.fault or len(fields) not in (2, 3) or not all(fields[:2]):
            faults.append((line.number, line.fault or "is not image,attribute,?"))
        elif (fields[0], fields[1]) in rows:
            faults.append((line.number, f"asks for {fields[0]},{fields[1]} again"))
        else:
            rows[fields[0], fields[1]] = None
    if faults:
        raise line_faults(path, faults, ProbabilityError, "a line is image,attribute,?")
    return AnswerSheet(path, "fashionai", tuple(rows))


def _kaggle(path: Path) -> AnswerSheet:
    table = read_csv(path, ProbabilityError, any_case=True)
    faults, rows = list(table.faults), {}
    if len(table.header) < 2 or (not table.rows and not faults):
        raise ProbabilityError(
            f"{path} is no sample of a submission: its first line is {table.header_text}",
            "it has a header id,<class>,... or id,label, and a line for each test image",
        )
    two = [name.lower() for name in table.header] if len(table.header) == 2 else []
    id_last = bool(two) and two[0] not in ID_COLUMNS and two[1] in ID_COLUMNS
    for line in table.rows:
        identity = line.fields[id_last]
        if not identity or identity in rows:
            faults.append((line.number, f"repeats the id {identity}" if identity else "has no id"))
        rows[identity] = None
    if faults:
        raise line_faults(
            path,
            faults,
            ProbabilityError,
            "each line has as many fields as the header, and an id of its own; ids come first",
        )
    values = frozenset(line.fields[not id_last] for line in table.rows if two)
    header = table.header[::-1] if id_last else table.header
    return AnswerSheet(path, "kaggle", tuple((i, "") for i in rows), header, values, id_last)


def column_faults(sheet: AnswerSheet, names: Sequence[str]) -> list[str]:
    """Say which columns of Kaggle's sheet are no classes, and which classes have no column."""
    columns, classes = sheet.columns, set(names)
    if len(columns) == 1 and len(classes) > 1:
        if columns[0] in classes or not (sheet.values - {""}) - classes:
            return []
        return [
            f"the values of its column '{columns[0]}' are no classes: "
            f"{enumerate_some(sorted(sheet.values - classes))}; there are "
            f"{enumerate_some(names)}"
        ]
    faults = []
    strange = [name for name in columns if name not in classes]
    absent = [name for name in names if name not in columns]
    if strange:
        faults.append(
            f"{counted(len(strange), 'column is no class', 'columns are no classes')} "
            f"({enumerate_some(strange, 20)})"
        )
    if absent:
        faults.append(
            f"{counted(len(absent), 'class has', 'classes have')} no column "
            f"({enumerate_some(absent, 20)})"
        )
    return faults

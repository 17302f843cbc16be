"""A table of samples: CSV or JSON lines with ``path,label[,split]``, or one that icecore wrote."""

import dataclasses
import heapq
import os
import re
from pathlib import Path

from ..core.arguments import require_types
from ..core.csv_files import (
    FAULTS_SHOWN,
    CsvLine,
    CsvTable,
    line_faults,
    read_csv,
    split_fields,
)
from ..core.errors import ManifestError, StoreError, enumerate_some, escaped
from ..core.json_lines import read_json_lines
from ..core.places import is_there
from ..core.stores import is_url, require_usable_url
from ..core.text import repeated
from .box import parse_box
from .names import class_name, respelt_labels
from .table import COLUMNS, DEFAULT_TASK, IMAGE_SUFFIXES, Manifest, Sample, split_name


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """How a CSV of samples is read.

    Attributes
    ----------
    path_column : str
        Name of the column, in any case.
    label_columns : tuple of str
        The same for labels. Several are one task each, of the column's name; where a field
        is empty, the image has no row for that task.
    skip_bad_rows : bool
        Leave faulty lines out, and name them in the manifest's warnings: those that cannot be
        read, that repeat an image, and training rows without a label or a file.
    """

    path_column: str = "path"
    label_columns: tuple[str, ...] = ("label",)
    skip_bad_rows: bool = False

    def __post_init__(self) -> None:
        # Of a shell or a notebook, one name may come alone.
        given = self.label_columns
        names = (given,) if isinstance(given, str) else tuple(given) or ("label",)
        object.__setattr__(self, "label_columns", names)
        require_types(self)
        if not all((self.path_column, *names)):
            # As of a variable of the shell that is not set; pandas writes its index under none.
            raise ManifestError(
                "a column of the table is named by an empty text",
                "give the name that stands in the table's first line, and a name to one without",
            )


# What the column of paths is called in the metadata of Hugging Face's image folders.
_OF_IMAGE_FOLDERS = "file_name"
# Spellings of three words.
_MOST_SPLITS = 12
# What to do about a fault, by its words.
_REMEDIES = (
    ("has the split", "a split is train, validation (val, valid) or test"),
    (r"has \d+ fields?,", "each line has as many fields as the header"),
    ("names .* again", "each line names an image of its own"),
    (
        "names a file that is not there",
        "write paths as the files are called, with their folder below the table's own and their "
        "ending",
    ),
    (
        "has the id .* again",
        "the column 'id' has another one for each image: call it otherwise if it says something "
        "else",
    ),
    (".* (quote|separates)", "a record is one line; quotes inside a quoted field are doubled"),
    (".* JSON", "each line is a JSON object of its own, in UTF-8"),
    (
        ".* is a file of this machine",
        "write plain paths in place of file:// URLs (in these %20 stands for a space)",
    ),
    (".* is no URL of a store", "write URLs in small letters up to ://, as s3://bucket/1.jpg"),
    (".* of no store|.* with a query", "download such images, and write the paths of the files"),
    (".* with a password", "leave passwords out of the URLs: give them as the store's tools do"),
    (
        "has space around",
        "put the path into quotes where the space belongs to the file's name; else rename that "
        "file, or take the space out of the line",
    ),
    ("has no path", "each line names its image, in a field of one name"),
    ("has the digest", "a digest is a SHA-256: leave the column out, or call it otherwise"),
    ("has no usable box", "leave the column 'box' out, or call it otherwise"),
)
# Columns of yes and no that speak of splits, as fastai's does.
_OF_A_SPLIT = re.compile(
    r"(is|for|in)?[_ -]?(train|training|val|valid|validation|test)"
    r"|(data|dataset|image|eval)?[_ -]?(partition|subset|split|usage)",
    re.I,
)
# PublicTest, held-out, eval: what splits are called elsewhere.
_OTHER_SPLIT = re.compile(r"train|test|valid|\bval\b|\bdev\b|\beval|hold|held", re.I)
# In capitals, too, in which no store is known.
_LIKE_A_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.I)
# No system opens a longer one.
_LONGEST_PATH = 4096


def read_table(
    path: Path, labels_required: bool = True, options: TableOptions | None = None
) -> Manifest:
    """Read a CSV with ``path,label[,split]``, or a table that icecore wrote.

    A file of JSON lines (``.jsonl``) is read as a table of the same columns.
    Relative paths are taken from the table's own folder. Without `labels_required` a
    column ``path`` is enough. Further columns are passed over.

    Raises
    ------
    MissingFileError
        There is no such file.
    ManifestError
        It is no such table, or lines are faulty: all are named.
    """
    options = options or TableOptions()
    table = _read_lines(path)
    columns, labels = _columns(table, options, labels_required)
    samples, faults, raw_labels = [], list(table.faults), set()
    seen: dict[tuple[str, str], int] = {}
    for line in table.rows:
        fields = {name: line.fields[at] for name, at in columns.items()}
        given = {task: line.fields[at] for task, at in labels.items()}
        try:
            _require_no_space(line, columns["path"], path.parent)
            rows = _samples(fields, given, path.parent)
            places = [(row.id if "id" in columns else _place(row), row.task) for row in rows]
            for row, place in zip(rows, places):
                if place in seen:
                    named = "has the id" if "id" in columns else "names"
                    raise ValueError(f"{named} {row.id} again, as line {seen[place]} does")
                _require_usable(row, labels_required, options.skip_bad_rows)
        except ValueError as error:
            faults.append((line.number, str(error)))
        else:
            seen |= dict.fromkeys(places, line.number)
            samples += rows
            raw_labels |= set(given.values())
    error = (
        line_faults(path, faults, ManifestError, _remedies(faults, bool(samples)))
        if faults
        else None
    )
    if error and (not options.skip_bad_rows or not samples):
        raise error
    warnings = [f"left out: {error.message}"] if error else []
    used = {*columns.values(), *labels.values()}
    extra = [name for at, name in enumerate(table.header) if at not in used and name]
    if extra:
        warnings.append(f"columns of {path.name} that are not used: {enumerate_some(extra)}")
    warnings += [*_like_splits(table, used), *respelt_labels(raw_labels), *_one_hot(table, labels)]
    return Manifest(tuple(samples), str(path), warnings=tuple(warnings))


def _remedies(faults: list[tuple[int, str]], others: bool) -> str:
    """Return what to do about the kinds of the first faults, which are named."""
    first = heapq.nsmallest(FAULTS_SHOWN, faults)
    found = [
        remedy for words, remedy in _REMEDIES if any(re.match(words, what) for _, what in first)
    ]
    rest = "--skip-bad-rows leaves such lines out" if others else "mend these lines"
    return "; ".join([*found, rest])


def _columns(
    table: CsvTable, options: TableOptions, labels_required: bool
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the column of each field, and that of each task's labels."""
    found, labels = {}, {}
    wide = len(options.label_columns) > 1
    for name in COLUMNS:
        if name == "label" or (wide and name in ("task", "letters")):
            continue
        at = table.column(options.path_column if name == "path" else name)
        if at is None and name == options.path_column:
            at = table.column(_OF_IMAGE_FOLDERS)
        if at is not None:
            found[name] = at
    lacking = [options.path_column] if "path" not in found else []
    for name in options.label_columns:
        at = table.column(name)
        if at is not None:
            labels[table.header[at] if wide else DEFAULT_TASK] = at
        elif labels_required or name != "label":
            lacking.append(name)
    if lacking:
        raise _lacking(table, lacking)
    named = [table.header[found["path"]]]
    for name in dict.fromkeys(options.label_columns):
        named += [table.header[at]] if (at := table.column(name)) is not None else []
    if repeated(named):
        raise ManifestError(
            f"a column of {table.path} is named twice, by --path-column {options.path_column} and "
            f"--label-column {', '.join(options.label_columns)}",
            f"name a column once; its columns are: {table.header_text}",
        )
    return found, labels


def _lacking(table: CsvTable, columns: list[str]) -> ManifestError:
    names = f"column '{columns[0]}'" if len(columns) == 1 else f"columns {', '.join(columns)}"
    hint, has = "name them with --path-column and --label-column", "its fields are"
    if not _of_lines(table.path):
        hint = f"give the columns a header line, path,label or path,label,split; or {hint}"
        has = "its first line is"
        if table.path.suffix.lower() != ".csv":  # it may have been meant as an image
            hint += f"; images have the endings {', '.join(sorted(IMAGE_SUFFIXES))}"
    return ManifestError(f"{table.path} has no {names}; {has}: {table.header_text}", hint)


def _read_lines(path: Path) -> CsvTable:
    if _of_lines(path):
        return read_json_lines(path, ManifestError)
    try:
        return read_csv(path, ManifestError)
    except ManifestError as error:
        if not error.message.endswith("it is JSON"):
            raise
        other = "as JSON lines (.jsonl: one object in each line, and nothing between them)"
        raise ManifestError(error.message, f"{error.hint}, or {other}") from error


def _of_lines(path: Path) -> bool:
    return path.suffix.lower() in (".jsonl", ".ndjson")


def _samples(fields: dict[str, str], labels: dict[str, str], folder: Path) -> list[Sample]:
    """Make the samples of a line, one for each of several tasks that has a label."""
    if len(labels) < 2:
        return [_sample({**fields, "label": next(iter(labels.values()), "")}, folder)]
    # An image to be answered, or one without any label, has a row for every task.
    rows = {task: label for task, label in labels.items() if label} or labels
    return [_sample({**fields, "task": task, "label": rows[task]}, folder) for task in rows]


def _place(row: Sample) -> str:
    """Return the path of an image in the one spelling of it."""
    return row.path if is_url(row.path) else os.path.normpath(row.path)


def _require_usable(row: Sample, labels_required: bool, files: bool) -> None:
    """Raise a `ValueError` that says why a row cannot be used."""
    # Whole tables without labels or files have words of their own; lines are to be skipped.
    if files and row.split != "test":
        if labels_required and not row.label:
            raise ValueError("has no label")
        if not row.digest and not is_there(row.path):
            raise ValueError(f"names a file that is not there: {row.path}")


def _require_no_space(line: CsvLine, at: int, folder: Path) -> None:
    """Refuse a path without quotes, as pandas writes it, if a file is called so with its space."""
    name = line.fields[at]
    if not line.text or (raw := split_fields(line.text, str)[0][at]) == name or is_url(name):
        return
    one, other = folder / name, folder / raw
    # A system may leave out spaces at the end itself.
    if is_there(f"{other}") and not (is_there(f"{one}") and os.path.samefile(one, other)):
        raise ValueError(f"has space around the path '{raw}', and a file is called so")


def _sample(fields: dict[str, str], folder: Path) -> Sample:
    """Make a sample of a line; a `ValueError` says what is wrong with it."""
    split, name = fields.get("split", ""), fields["path"]
    # Rows of images whose digest is known are found without the file.
    if _LIKE_A_URL.match(name) and not fields.get("digest"):
        _require_usable_url(name)
    canonical = split_name(split) if split else ""
    if not name:
        raise ValueError("has no path")
    longest = max(len(name), len(fields.get("id", "")), len(fields.get("task", "")))
    if longest > _LONGEST_PATH:
        raise ValueError(f"has a name of {longest} characters, more than {_LONGEST_PATH}")
    if canonical is None:
        raise ValueError(f"has the split '{split}'")
    try:
        parse_box(fields.get("box", ""))
    except ValueError as error:
        raise ValueError(f"has no usable box: {error}") from None
    path = Path(name)
    return Sample(
        id=fields.get("id") or (name if is_url(name) else path.as_posix()),
        path=name if is_url(name) else str(path if path.is_absolute() else folder / path),
        split=canonical,
        task=fields.get("task") or DEFAULT_TASK,
        label=class_name(fields.get("label", "")),
        letters=fields.get("letters", ""),
        digest=_digest(fields.get("digest", "")),
        box=fields.get("box", ""),
        group=class_name(fields.get("group", "")),
        file_digest=_digest(fields.get("file_digest", "")),
    )


def _require_usable_url(name: str) -> None:
    try:
        require_usable_url(name)
    except StoreError as error:
        raise ValueError(f"names what cannot be read: {error.message}") from None


def _digest(text: str) -> str:
    if text and (len(text) != 64 or not set(text) <= set("0123456789abcdef")):
        raise ValueError(f"has the digest '{text[:20]}', which is no SHA-256")
    return text


def _like_splits(table: CsvTable, used: set[int]) -> list[str]:
    """Name the columns that speak of splits under another name: subset, phase, data_split."""
    found = [
        f"'{escaped(name)}' ({enumerate_some(sorted(values))})"
        for at, name in enumerate(table.header)
        if at not in used
        and (values := {line.fields[at] for line in table.rows} - {""})
        and len(values) <= _MOST_SPLITS
        and (all(map(_OTHER_SPLIT.search, values)) or _OF_A_SPLIT.fullmatch(name))
    ]
    if not found:
        return []
    return [
        f"columns that seem to say the split, and are not used: {', '.join(found)}; call the one "
        "that does 'split', with train, validation or test in it, or all images are taken for "
        "training"
    ]


def _one_hot(table: CsvTable, labels: dict[str, int]) -> list[str]:
    """Say so where a column for each class has 1 in the class of the image, and 0 elsewhere."""
    rows = ([line.fields[at].removesuffix(".0") for at in labels.values()] for line in table.rows)
    known = [row for row in rows if any(row)]
    zeros = len(labels) - 1
    if zeros < 1 or not known:
        return []
    if any(row.count("1") != 1 or row.count("0") != zeros for row in known):
        return []
    return [
        f"each image has 1 in one of the columns {enumerate_some(labels)}, and 0 in the others: "
        "they are taken as tasks of their own; if they are classes of one task, write their names "
        "in one column 'label'"
    ]

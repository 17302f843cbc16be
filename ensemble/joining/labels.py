"""The truth to compare with: labels by task and id, from whatever table holds them."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

from ... import manifest
from ...core.errors import MissingFileError, ProbabilityError, enumerate_some
from ...manifest import DEFAULT_TASK, Sample, fashionai_classes

__all__ = ["read_labels"]

_KNOWN = {"id", "path", "split", "task", "label", "letters", "digest"}
_ID_NAMES = ("id", "path", "image", "imagename", "filename", "file")
_LABEL_NAMES = ("label", "class", "breed", "category", "target")


def read_labels(path: str | os.PathLike) -> tuple[Sample, ...]:
    """Read the true classes from a table or a data folder.

    Parameters
    ----------
    path : path-like
        A table that icecore wrote (``samples.csv``); a CSV with a header of an id column
        (``id``, ``path``, ``image``) and a label column (``label``, or whatever stands in
        the second of two columns, as in Kaggle's ``id,breed``), optionally ``split``,
        ``task``, ``letters``; FashionAI's ``label.csv`` (``image,attribute,letters``); or a
        folder that `icecore.manifest.read` understands.

    Returns
    -------
    tuple of Sample
        ``path`` is empty where the table does not name image files.

    Raises
    ------
    MissingFileError, ProbabilityError, ManifestError
        The table is not there or cannot be read; all faulty lines are named.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"{path} is not there", "check the path of the labels")
    if path.is_dir():
        return manifest.read(path, labels_required=False).samples
    rows = _rows(path)
    if not rows:
        raise ProbabilityError(f"{path} is empty", "give a CSV with id,label")
    if len(rows[0]) == 3 and (_is_letters(rows[0][2]) or rows[0][2].lower() == "attrvalues"):
        return _fashionai(path, rows)
    header = [name.lower() for name in rows[0]]
    if "path" in header and "label" in header and set(header) <= _KNOWN:
        return manifest.read(path, labels_required=False).samples
    return _plain(path, header, rows)


def _plain(path: Path, header: list[str], rows: list[list[str]]) -> tuple[Sample, ...]:
    id_at = next((header.index(name) for name in _ID_NAMES if name in header), None)
    label_at = next((header.index(name) for name in _LABEL_NAMES if name in header), None)
    if label_at is None and len(header) == 2 and id_at == 0:
        label_at = 1
    if id_at is None or label_at is None:
        raise ProbabilityError(
            f"{path} has the columns {','.join(rows[0])}",
            "the labels need a header with id and label",
        )
    faults, samples, seen = [], [], set()
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            faults.append(f"line {number} has {len(row)} fields, not {len(header)}")
            continue
        field = dict(zip(header, row))
        split = manifest.split_name(field.get("split", "")) if field.get("split") else ""
        task = field.get("task") or DEFAULT_TASK
        if split is None:
            faults.append(f"line {number} has the split '{field['split']}'")
        elif (row[id_at], task) in seen:
            faults.append(f"line {number} repeats the id {row[id_at]}")
        else:
            seen.add((row[id_at], task))
            letters = field.get("letters", "")
            samples.append(Sample(row[id_at], "", split, task, row[label_at], letters))
    return _or_refuse(path, samples, faults)


def _fashionai(path: Path, rows: list[list[str]]) -> tuple[Sample, ...]:
    body = rows if _is_letters(rows[0][2]) else rows[1:]
    offset = 1 + len(rows) - len(body)
    faults, samples, seen = [], [], set()
    for number, row in enumerate(body, start=offset):
        letters = row[2] if len(row) == 3 else ""
        if not _is_letters(letters) or letters.count("y") != 1:
            faults.append(f"line {number} has the letters '{letters}'")
        elif (row[0], row[1]) in seen:
            faults.append(f"line {number} repeats {row[0]} for {row[1]}")
        else:
            seen.add((row[0], row[1]))
            label = fashionai_classes(row[1], len(letters))[letters.index("y")]
            samples.append(Sample(row[0], "", "", row[1], label, letters))
    return _or_refuse(path, samples, faults)


def _or_refuse(path: Path, samples: list[Sample], faults: list[str]) -> tuple[Sample, ...]:
    if faults:
        raise ProbabilityError(
            f"{len(faults)} lines of {path} cannot be used: {enumerate_some(faults)}",
            "each id has one line for each task; a split is train, validation or test; letters "
            "hold exactly one y",
        )
    return tuple(samples)


def _is_letters(text: str) -> bool:
    return re.fullmatch("[ymn]{2,}", text) is not None


def _rows(path: Path) -> list[list[str]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return [[field.strip() for field in row] for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ProbabilityError(
            f"{path} is not a CSV in UTF-8: {error}", "save the labels as CSV with UTF-8 text"
        ) from error

"""The truth to compare with: labels by task and id, from whatever table holds them."""

import itertools
import os
import re
from pathlib import Path

from ... import manifest
from ...core.csv_files import CsvTable, csv_lines, line_faults, read_csv
from ...core.errors import MissingFileError, ProbabilityError
from ...manifest import DEFAULT_TASK, Sample, class_name, fashionai_classes, is_fashionai_header
from ...runs import ID_COLUMNS

_LABEL_NAMES = ("label", "class", "breed", "category", "target")


def read_labels(path: str | os.PathLike) -> tuple[Sample, ...]:
    """Read the true classes from a table or a data folder.

    Parameters
    ----------
    path : path-like
        A table that icecore wrote (``samples.csv``); a CSV with a header of an id column
        (``id``, ``path``, ``image``) and a label column (``label``, or whatever stands in
        the other of two columns, as in Kaggle's ``id,breed``), optionally ``split``,
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
    first = list(itertools.islice(csv_lines(path, ProbabilityError), 2))
    named = [name.lower() for name in first[0].fields] if first else []
    header = int(is_fashionai_header(named))
    # A column of letters may stand beside that of the labels.
    labelled = bool(header) and named[1] in _LABEL_NAMES
    if not labelled and any(
        len(line.fields) == 3 and _is_letters(line.fields[2]) for line in first[header:]
    ):
        return _fashionai(path, header)
    table = read_csv(path, ProbabilityError)
    if table.column("path") is not None and table.column("label") is not None:
        return manifest.read(path, labels_required=False).samples
    return _plain(table)


def _plain(table: CsvTable) -> tuple[Sample, ...]:
    id_at, label_at = table.column(*ID_COLUMNS), table.column(*_LABEL_NAMES)
    if label_at is None and len(table.header) == 2 and id_at is not None:
        other = 1 - id_at
        label_at = other if table.header[other].lower() not in ID_COLUMNS else None
    if id_at is None or label_at is None:
        raise ProbabilityError(
            f"{table.path} has the columns {table.header_text}",
            "the labels need a header with id and label",
        )
    others = {name: table.column(name) for name in ("split", "task", "letters")}
    faults, samples, seen = list(table.faults), [], set()
    for line in table.rows:
        split, task, letters = (line.fields[at] if at is not None else "" for at in others.values())
        identity, task = line.fields[id_at], task or DEFAULT_TASK
        known = manifest.split_name(split) if split else ""
        if known is None:
            faults.append((line.number, f"has the split '{split}'"))
        elif (identity, task) in seen:
            faults.append((line.number, f"repeats the id {identity}"))
        else:
            seen.add((identity, task))
            try:
                label = class_name(line.fields[label_at])
            except ValueError as error:
                faults.append((line.number, str(error)))
            else:
                samples.append(Sample(identity, "", known, task, label, letters))
    return _or_refuse(table.path, samples, faults)


def _fashionai(path: Path, header: int) -> tuple[Sample, ...]:
    faults, samples, seen = [], [], set()
    for line in itertools.islice(csv_lines(path, ProbabilityError), header, None):
        letters = line.fields[2] if len(line.fields) == 3 else ""
        if line.fault or not _is_letters(letters) or letters.count("y") != 1:
            faults.append((line.number, line.fault or f"has the letters '{letters}'"))
            continue
        identity, task = line.fields[:2]
        if (identity, task) in seen:
            faults.append((line.number, f"repeats {identity} for {task}"))
        else:
            seen.add((identity, task))
            label = fashionai_classes(task, len(letters))[letters.index("y")]
            samples.append(Sample(identity, "", "", task, label, letters))
    return _or_refuse(path, samples, faults)


def _or_refuse(
    path: Path, samples: list[Sample], faults: list[tuple[int, str]]
) -> tuple[Sample, ...]:
    if faults:
        hint = "each id has one line for each task; a split is train, validation or test; "
        raise line_faults(path, faults, ProbabilityError, hint + "letters hold exactly one y")
    return tuple(samples)


def _is_letters(text: str) -> bool:
    return re.fullmatch("[ymn]{2,}", text) is not None

"""A table of samples: CSV with ``path,label[,split]``, or one that icecore wrote."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..core.csv_files import CsvTable, line_faults, read_csv
from ..core.errors import ManifestError, enumerate_some
from .box import parse_box
from .names import class_name
from .table import COLUMNS, DEFAULT_TASK, IMAGE_SUFFIXES, Manifest, Sample, split_name

__all__ = ["TableOptions", "read_table"]


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """How a CSV of samples is read.

    Attributes
    ----------
    path_column, label_column : str
        Names of the columns, in any case.
    skip_bad_rows : bool
        Leave faulty lines out, and name them in the manifest's warnings.
    """

    path_column: str = "path"
    label_column: str = "label"
    skip_bad_rows: bool = False


# No system opens a longer one.
_LONGEST_PATH = 4096


def read_table(
    path: Path, labels_required: bool = True, options: TableOptions | None = None
) -> Manifest:
    """Read a CSV with ``path,label[,split]``, or a table that icecore wrote.

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
    table = read_csv(path, ManifestError)
    columns = _columns(table, options, labels_required)
    samples, faults, raw_labels = [], list(table.faults), set()
    for line in table.rows:
        fields = {name: line.fields[at] for name, at in columns.items()}
        try:
            samples.append(_sample(fields, path.parent))
        except ValueError as error:
            faults.append((line.number, str(error)))
        else:
            raw_labels.add(fields.get("label", ""))
    hint = (
        "a split is train, validation (val, valid) or test; each line has as many fields as the "
        "header; --skip-bad-rows of 'icecore manifest' leaves such lines out"
    )
    error = line_faults(path, faults, ManifestError, hint) if faults else None
    if error and (not options.skip_bad_rows or not samples):
        raise error
    warnings = [f"left out: {error.message}"] if error else []
    extra = [name for at, name in enumerate(table.header) if at not in columns.values() and name]
    if extra:
        warnings.append(f"columns of {path.name} that are not used: {enumerate_some(extra)}")
    return Manifest(tuple(samples), str(path), warnings=(*warnings, *_respelt(raw_labels)))


def _columns(table: CsvTable, options: TableOptions, labels_required: bool) -> dict[str, int]:
    wanted = {"path": options.path_column, "label": options.label_column}
    found = {}
    for name in COLUMNS:
        at = table.column(wanted.get(name, name))
        if at is not None:
            found[name] = at
    lacking = [wanted["path"]] if "path" not in found else []
    if "label" not in found and (labels_required or options.label_column != "label"):
        lacking.append(wanted["label"])
    if lacking:
        raise ManifestError(
            f"{table.path} has no column '{lacking[0]}'; its first line is: {table.header_text}",
            "give the columns a header line, path,label or path,label,split; or name them with "
            "--path-column and --label-column of 'icecore manifest'; images have the endings "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}",
        )
    return found


def _sample(fields: dict[str, str], folder: Path) -> Sample:
    """Make a sample of a line; a `ValueError` says what is wrong with it."""
    split, name = fields.get("split", ""), fields["path"]
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
        id=fields.get("id") or path.as_posix(),
        path=str(path if path.is_absolute() else folder / path),
        split=canonical,
        task=fields.get("task") or DEFAULT_TASK,
        label=class_name(fields.get("label", "")),
        letters=fields.get("letters", ""),
        digest=_digest(fields.get("digest", "")),
        box=fields.get("box", ""),
        group=class_name(fields.get("group", "")),
    )


def _digest(text: str) -> str:
    if text and (len(text) != 64 or not set(text) <= set("0123456789abcdef")):
        raise ValueError(f"has the digest '{text[:20]}', which is no SHA-256")
    return text


def _respelt(labels: set[str]) -> list[str]:
    """Name the labels that are spelt in two ways and are one class."""
    spelt: dict[str, set[str]] = {}
    for label in labels:
        spelt.setdefault(class_name(label), set()).add(label)
    return [
        "labels that differ in the Unicode form or in spaces alone are one class: "
        f"{', '.join(map(ascii, sorted(raws)))}"
        for raws in spelt.values()
        if len(raws) > 1
    ]

"""Boxes: the part of each image that counts, as a detector or a person marked it.

A table of boxes is a CSV with the columns ``path,x0,y0,x1,y1`` and any others. The
numbers are pixels of the upright image (EXIF orientation applied) from its top left
corner; ``x1`` and ``y1`` are the first column and row that no longer belong to the box.
A line without numbers says that the image was looked at and stays whole.

An image and its box together are what a row of features is made of, so the row's key
is a digest of both (`row_key`): correct one box, and one row is computed again.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..core.errors import ManifestError, MissingFileError
from ..core.files import publish_text
from .box import Box, format_box, outside, parse_box, row_key
from .table import Manifest

__all__ = ["append_boxes", "apply_boxes"]
__all__ += ["read_boxes", "row_key"]

COLUMNS = ("path", "x0", "y0", "x1", "y1")
_FAULTS_SHOWN = 50
_LARGEST_TABLE = 2**29


def read_boxes(
    path: str | os.PathLike,
    manifest: Manifest,
    size_of: Callable[[str], tuple[int, int] | None] | None = None,
    *,
    strangers: str = "refuse",
) -> dict[str, Box | None]:
    """Read a table of boxes for the images of `manifest`.

    Parameters
    ----------
    path : path-like
        CSV with the columns ``path,x0,y0,x1,y1``; others are passed over. A path is a
        sample's id, the path of its file, or that path seen from the table's folder.
        Fractions are rounded.
    manifest : Manifest
    size_of : callable, optional
        Gives width and height of an image file, None if it cannot be read; with it
        boxes that reach out of their image are found.
    strangers : {"refuse", "skip"}
        What to do with lines for images that `manifest` does not have.

    Returns
    -------
    dict of str to (x0, y0, x1, y1) or None
        By sample id, None where the table says that the image stays whole.

    Raises
    ------
    MissingFileError
        The table is not there.
    ManifestError
        It is no such table, or lines are faulty: all are named.
    """
    path = Path(path)
    identities = _identities(manifest, path.parent)
    found: dict[str, Box | None] = {}
    faults: list[str] = []
    lines: dict[str, int] = {}
    for number, fields in _rows(path):
        identity = identities.get(fields["path"])
        if identity is None:
            if strangers == "refuse":
                faults.append(f"line {number}: {fields['path'] or 'no path'} is not in the data")
            continue
        if identity in found:
            faults.append(f"line {number}: {identity} has a box already, in line {lines[identity]}")
            continue
        lines[identity] = number
        try:
            found[identity] = _box_of(fields)
        except ValueError as error:
            found[identity] = None
            faults.append(f"line {number}: {identity}: {error}")
    if size_of is not None:
        faults += _outside(manifest, found, lines, size_of)
    if faults:
        raise _faulty(path, faults)
    return found


def apply_boxes(manifest: Manifest, boxes: Mapping[str, Box | None]) -> Manifest:
    """Return the manifest with the box of each sample; images that have none stay as they are."""
    rows = []
    for sample in manifest:
        box = format_box(boxes[sample.id]) if sample.id in boxes else sample.box
        if box != sample.box:
            # Its digest was that of another part.
            sample = dataclasses.replace(sample, box=box, digest="")
        rows.append(sample)
    return Manifest(tuple(rows), manifest.source)


def append_boxes(path: str | os.PathLike, rows: Iterable[Mapping]) -> None:
    """Add lines to a table of boxes, or make it, atomically; what it holds stays as it is.

    Parameters
    ----------
    rows : iterable of mapping
        ``path``, ``box`` (None where nothing was found), ``score`` and ``class``.
    """
    path = Path(path)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if path.exists():
        there = path.read_text(encoding="utf-8-sig")
        header = [name.strip().lower() for name in next(csv.reader(io.StringIO(there)))]
        text.write(there if there.endswith("\n") else there + "\n")
    else:
        header = [*COLUMNS, "score", "class"]
        writer.writerow(header)
    for row in rows:
        box, score = row["box"] or ("",) * 4, row.get("score")
        fields = dict(zip(COLUMNS, (row["path"], *box)))
        fields["score"] = "" if score is None else f"{score:.4f}"
        fields["class"] = row.get("class") or ""
        writer.writerow([fields.get(name, "") for name in header])
    publish_text(path, text.getvalue())


def _identities(manifest: Manifest, folder: Path) -> dict[str, str]:
    """Return the sample id of each name that a table in `folder` may use for an image."""
    names: dict[str, str] = {}
    base = os.path.abspath(folder)
    for identity, sample in manifest.images.items():
        absolute = os.path.abspath(sample.path)
        for name in (sample.path, absolute, os.path.relpath(absolute, base)):
            # Of two samples of one file neither is meant by the file's name.
            names[name] = identity if names.get(name, identity) == identity else ""
    return {name: one for name, one in names.items() if one} | {i: i for i in manifest.images}


def _rows(path: Path):
    """Yield line number and fields of each line."""
    if not path.is_file():
        raise MissingFileError(
            f"{path} is not there", "check --boxes: a CSV with the columns path,x0,y0,x1,y1"
        )
    try:
        if path.stat().st_size > _LARGEST_TABLE:
            raise csv.Error("it is larger than half a gigabyte")
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip().lower() for name in next(reader, [])]
            absent = [name for name in COLUMNS if name not in header]
            if absent:
                raise ManifestError(
                    f"{path} lacks the columns {', '.join(absent)}; its first line is: "
                    f"{','.join(header)[:200]}",
                    "give it a header line: path,x0,y0,x1,y1; further columns are passed over",
                )
            for row in reader:
                if row:
                    fields = dict.fromkeys(COLUMNS, "") | dict(zip(header, map(str.strip, row)))
                    yield reader.line_num, fields
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            f"{path} is not a CSV in UTF-8: {error}", "save the table as CSV with UTF-8 text"
        ) from error


def _box_of(fields: Mapping[str, str]) -> Box | None:
    given = [fields[name] for name in COLUMNS[1:]]
    if not any(given):
        return None
    try:
        numbers = [float(text) for text in given]
    except ValueError:
        numbers = [math.nan]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{','.join(given)} are not four numbers")
    box = tuple(math.floor(number + 0.5) for number in numbers)
    if min(box) < 0:
        raise ValueError(f"the box {format_box(box)} begins outside the image")
    return parse_box(format_box(box))


def _outside(manifest, found, lines, size_of) -> list[str]:
    """Name the boxes that reach out of their images; unreadable files are left to others."""
    images = manifest.images
    boxed = [(identity, box) for identity, box in found.items() if box is not None]
    with ThreadPoolExecutor(8) as pool:
        sizes = pool.map(lambda one: size_of(images[one[0]].path), boxed)
        return [
            f"line {lines[identity]}: {identity}: {outside(box, *size)}"
            for (identity, box), size in zip(boxed, sizes)
            if size is not None and (box[2] > size[0] or box[3] > size[1])
        ]


def _faulty(path: Path, faults: list[str]) -> ManifestError:
    shown = "\n    ".join(faults[:_FAULTS_SHOWN])
    more = len(faults) - _FAULTS_SHOWN
    return ManifestError(
        f"{len(faults)} lines of {path} cannot be used:\n    {shown}"
        + (f"\n    and {more} more" if more > 0 else ""),
        "a line is path,x0,y0,x1,y1 in pixels of the upright image, x0 < x1 and y0 < y1, one line "
        "for an image; images without a line, or with one without numbers, stay whole",
    )

"""Boxes: the part of each image that counts, as a detector or a person marked it.

A table of boxes is a CSV with the columns ``path,x0,y0,x1,y1`` and any others. The
numbers are pixels of the upright image (EXIF orientation applied) from its top left
corner; ``x1`` and ``y1`` are the first column and row that no longer belong to the box.
A line without numbers says that the image was looked at and stays whole.

An image and its box together are what a row of features is made of, so the row's key
is a digest of both (`row_key`): correct one box, and one row is computed again.
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..core.csv_files import CsvTable, csv_lines, csv_number, line_faults, read_csv, write_csv
from ..core.errors import ManifestError, MissingFileError, counted, escaped, shortened
from .box import Box, format_box, outside, parse_box
from .table import Manifest

COLUMNS = ("path", "x0", "y0", "x1", "y1")
_FAULTS_SHOWN = 50
_LARGEST_TABLE = 2**29
_SAVE_EVERY_S = 30.0
_FARTHEST_PIXEL = 2**31


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
    if not os.path.lexists(path):
        raise MissingFileError(
            f"{path} is not there", "check --boxes: a CSV with the columns path,x0,y0,x1,y1"
        )
    table = read_csv(path, ManifestError, _LARGEST_TABLE)
    identities = _identities(manifest, path.parent)
    boxes, lines, faults = _boxes_of(table, identities, strangers == "refuse")
    if size_of is not None:
        faults += _outside(manifest, boxes, lines, size_of)
    if faults:
        raise _faulty(path, [f"line {number}: {what}" for number, what in sorted(faults)])
    return boxes


def _boxes_of(
    table: CsvTable, identities: Mapping[str, str], refuse_strangers: bool
) -> tuple[dict[str, Box | None], dict[str, int], list[tuple[int, str]]]:
    """Return the box and the line number of each sample, and all faults with their lines."""
    columns = _columns(table)
    boxes: dict[str, Box | None] = {}
    lines: dict[str, int] = {}
    faults = list(table.faults)
    for line in table.rows:
        name = line.fields[columns["path"]]
        # `find` writes ./a.jpg.
        identity = identities.get(name) or identities.get(os.path.normpath(name))
        if identity is None:
            if refuse_strangers:
                faults.append((line.number, f"{name or 'no path'} is not in the data"))
            continue
        if identity in boxes:
            faults.append((line.number, f"{identity} has a box already, in line {lines[identity]}"))
            continue
        lines[identity] = line.number
        try:
            boxes[identity] = _box_of([line.fields[columns[name]] for name in COLUMNS[1:]])
        except ValueError as error:
            boxes[identity] = None
            faults.append((line.number, f"{identity}: {error}"))
    return boxes, lines, faults


def apply_boxes(manifest: Manifest, boxes: Mapping[str, Box | None]) -> Manifest:
    """Return the manifest with the box of each sample; images that have none stay as they are."""
    rows = []
    for sample in manifest:
        box = format_box(boxes[sample.id]) if sample.id in boxes else sample.box
        if box != sample.box:
            # Its digest was that of another part.
            sample = dataclasses.replace(sample, box=box, digest="")
        rows.append(sample)
    return dataclasses.replace(manifest, samples=tuple(rows))


def append_boxes(path: str | os.PathLike, rows: Iterable[Mapping]) -> None:
    """Add lines to a table of boxes, or make it, atomically; what it holds stays as it is.

    Parameters
    ----------
    rows : iterable of mapping
        ``path``, ``box`` (None where nothing was found), ``score`` and ``class``.
    """
    path = Path(path)
    if path.exists():
        lines = list(csv_lines(path, ManifestError, _LARGEST_TABLE))
        faults = [(line.number, line.fault) for line in lines if line.fault]
        if faults:
            raise line_faults(path, faults, ManifestError)
        kept = [line.fields for line in lines]
    else:
        kept = [[*COLUMNS, "score", "class"]]
    header = [name.lower() for name in kept[0]] if kept else []
    for row in rows:
        box, score = row["box"] or ("",) * 4, row.get("score")
        fields = dict(zip(COLUMNS, (row["path"], *box)))
        fields["score"] = "" if score is None else f"{score:.4f}"
        fields["class"] = row.get("class") or ""
        kept.append([fields.get(name, "") for name in header])
    write_csv(path, kept)


def append_as_found(path: str | os.PathLike, rows: Iterable[Mapping]) -> int:
    """Add lines to a table of boxes as they come, every half minute; return how many.

    What has come is kept where the rest does not: on Ctrl-C, or where looking fails.
    """
    waiting: list[Mapping] = []
    count, saved_at = 0, time.monotonic()
    try:
        for row in rows:
            waiting.append(row)
            count += 1
            if time.monotonic() - saved_at > _SAVE_EVERY_S:
                append_boxes(path, waiting)
                waiting, saved_at = [], time.monotonic()
    finally:
        append_boxes(path, waiting)
    return count


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


def _columns(table: CsvTable) -> dict[str, int]:
    columns = {name: table.column(name) for name in COLUMNS}
    found = {name: at for name, at in columns.items() if at is not None}
    absent = [name for name in columns if name not in found]
    if absent:
        raise ManifestError(
            f"{table.path} lacks the columns {', '.join(absent)}; its first line is: "
            f"{table.header_text}",
            "give it a header line: path,x0,y0,x1,y1 (pixels; x1,y1 is the corner opposite x0,y0, "
            "so not width and height); further columns are passed over",
        )
    return found


def _box_of(given: list[str]) -> Box | None:
    if not any(given):
        return None
    try:
        numbers = [csv_number(text) for text in given]
    except ValueError:
        raise ValueError(f"{','.join(given)} are not four numbers") from None
    # In pixels 0,0,1,1 would be one of them, and no picture.
    if max(numbers) <= 1 and (any(number % 1 for number in numbers) or numbers == [0, 0, 1, 1]):
        raise ValueError(f"{','.join(given)} are shares of the image, not pixels")
    if max(map(abs, numbers)) > _FARTHEST_PIXEL:
        raise ValueError(f"{','.join(given)} are beyond every image")
    x0, y0, x1, y1 = (math.floor(number + 0.5) for number in numbers)
    box = (x0, y0, x1, y1)
    if min(box) < 0:
        raise ValueError(f"the box {format_box(box)} begins outside the image")
    return parse_box(format_box(box))


def _outside(manifest, found, lines, size_of) -> list[tuple[int, str]]:
    """Name the boxes that reach out of their images; unreadable files are left to others."""
    images = manifest.images
    boxed = [(identity, box) for identity, box in found.items() if box is not None]
    with ThreadPoolExecutor(8) as pool:
        sizes = pool.map(lambda one: size_of(images[one[0]].path), boxed)
        return [
            (lines[identity], f"{identity}: {outside(box, *size)}")
            for (identity, box), size in zip(boxed, sizes)
            if size is not None and (box[2] > size[0] or box[3] > size[1])
        ]


def _faulty(path: Path, faults: list[str]) -> ManifestError:
    shown = "\n    ".join(escaped(shortened(one)) for one in faults[:_FAULTS_SHOWN])
    more = len(faults) - _FAULTS_SHOWN
    return ManifestError(
        f"{counted(len(faults), 'line')} of {path} cannot be used:\n    {shown}"
        + (f"\n    and {more} more" if more > 0 else ""),
        "a line is path,x0,y0,x1,y1 in pixels of the upright image, x0 < x1 and y0 < y1, one line "
        "for an image, called by its path or its id (icecore manifest DATA -o table.csv writes "
        "them); images without a line, or with one without numbers, stay whole",
    )

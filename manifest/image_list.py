"""MXNet's lists of images: ``number, label, path``, parted by tabs, as im2rec writes them."""

import math
import os
from pathlib import Path

from ..core.csv_files import LARGEST_CSV, line_faults, require_few_lines
from ..core.errors import ManifestError
from ..core.regular_files import read_whole
from .table import Manifest, Sample

SUFFIX = ".lst"
_FORM = "each line is a number, a label and a path, parted by tabs, and names an image once"


def read_image_list(path: Path) -> Manifest:
    """Read a ``.lst``; paths are taken from the list's own folder.

    Raises
    ------
    ManifestError
        It is no such list, or lines are faulty: all are named.
    """
    samples: list[Sample] = []
    faults: list[tuple[int, str]] = []
    seen: dict[str, int] = {}
    several = 0
    for number, line in enumerate(list_lines(path), 1):
        if not line.strip():
            continue
        try:
            name, labels = _fields(line)
            place = os.path.normpath(path.parent / name)
            if place in seen:
                raise ValueError(f"names {name} again, as line {seen[place]} does")
        except ValueError as error:
            faults.append((number, str(error)))
        else:
            seen[place] = number
            several += len(labels) > 1
            samples.append(Sample(name, str(path.parent / name), label=label_text(labels[0])))
    if faults:
        raise line_faults(path, faults, ManifestError, _FORM)
    warnings = [several_labels(f"lines of {path}", several)] if several else []
    return Manifest(tuple(samples), str(path), warnings=tuple(warnings))


def label_text(label: float) -> str:
    """Return a label as a text; it is a float32, in which classes are whole numbers."""
    if not math.isfinite(label):
        return ""
    return f"{label:.0f}" if label.is_integer() else f"{label:g}"


def several_labels(what: str, count: int) -> str:
    """Return what is said of records or lines with several labels."""
    return (
        f"{count} of the {what} {'has' if count == 1 else 'have'} several labels: the first is "
        "taken, which in those for detection is no class"
    )


def _fields(line: str) -> tuple[str, list[float]]:
    number, *labels = line.split("\t")
    name = labels.pop().strip() if len(labels) > 1 else ""
    if not name:
        raise ValueError("has no number, label and path, parted by tabs")
    try:
        int(number)
        return name, [float(label) for label in labels]
    except ValueError:
        raise ValueError(f"has a number or label that is none: {line[:40]!r}") from None


def list_lines(path: str | os.PathLike) -> list[str]:
    """Read the lines of a list.

    Raises
    ------
    ManifestError
        It cannot be read, is too large or no text in UTF-8.
    """
    content = read_whole(path, LARGEST_CSV, ManifestError, "check the path of the list")
    require_few_lines(path, content.count(b"\n"), ManifestError)
    try:
        # Other separators of lines may be in names.
        return content.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is no text in UTF-8", "save it as UTF-8") from error

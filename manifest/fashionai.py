"""FashionAI: the classes of its attributes, and the layout of the contest of 2018.

An archive has ``Annotations/label.csv`` with rows ``image,attribute,letters`` (that of the
warm-up, ``web/``, has one CSV for each attribute), or ``Tests/question.csv`` with the letters
open. Several archives may lie side by side: ``base/``, ``web/`` and ``rank/``, say.
"""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from ..core.csv_files import csv_lines
from ..core.errors import ManifestError, counted, enumerate_some
from .classes import fashionai_classes, is_fashionai_header
from .layout import LabelledFiles, Layout
from .listing import Listing
from .table import Sample

_LABELS = re.compile(r"(?:[^/]+/)?Annotations/(?:label|\w+_labels)\.csv")
_QUESTIONS = re.compile(r"(?:[^/]+/)?Tests/question\.csv")


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row of a table: its image and attribute, and where the image is."""

    image: str
    task: str
    letters: str
    archive: str
    path: str
    split: str


class FashionAI(Layout):
    """Labelled rows, and the questions as the ``test`` split.

    Where ``Tests/answer.csv`` exists it gives the questions' letters.
    """

    name = "FashionAI"

    def fits(self, listing: Listing) -> bool:
        """Look for one of the contest's tables."""
        return any(_is_table(name) for name, _ in listing.others)

    def read(self, listing: Listing) -> LabelledFiles:
        """Read the samples; see `Layout.read`."""
        names = [name for name, _ in listing.others]
        tables = [name for name in names if _is_table(name)]
        # The questions stand last, in the order that is asked for.
        tables.sort(key=lambda name: _QUESTIONS.fullmatch(name) is not None)
        answers = [f"{_archive(name)}Tests/answer.csv" for name in tables]
        present = frozenset({*tables, *(name for name in answers if name in names)})
        rows: list[_Row] = []
        faults: list[str] = []
        for table in tables:
            rows += _read_table(listing, table, present, faults)
        faults += _uneven_letters(rows)
        if faults:
            raise ManifestError(
                f"{counted(len(faults), 'fault')} in the tables of {listing.root}: "
                f"{enumerate_some(faults)}",
                "a line is image,attribute,letters with exactly one y and else m or n",
            )
        return LabelledFiles(_samples(rows), present)


def _is_table(name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in (_LABELS, _QUESTIONS))


def _archive(table: str) -> str:
    """Return the folder of the archive, with its slash, that a table is of."""
    parts = table.split("/")
    return f"{parts[0]}/" if len(parts) == 3 else ""


def _read_table(
    listing: Listing, table: str, present: frozenset[str], faults: list[str]
) -> Iterator[_Row]:
    root, archive = Path(listing.root), _archive(table)
    questions = _QUESTIONS.fullmatch(table) is not None
    answered = f"{archive}Tests/answer.csv"
    answers = {}
    if questions and answered in present:
        answers = _answers(root, answered, faults)
    # The contest packed the questions' images below Tests/, others merged them.
    apart = questions and f"{archive}Tests/Images" in listing.folders
    base = f"{root}/{archive}" + ("Tests/" if apart else "")
    asked = list(_lines(root, table, faults))
    if strange := sorted(set(answers) - {(image, task) for _, image, task, _ in asked}):
        named = enumerate_some([f"{image},{task}" for image, task in strange])
        faults.append(f"{answered} answers what {table} does not ask: {named}")
    for number, image, task, letters in asked:
        letters = answers.get((image, task), letters)
        letters = "" if letters.strip("?") == "" else letters
        if fault := _fault(letters, questions):
            faults.append(f"{table} line {number} {fault}")
        else:
            split = "test" if questions else ""
            yield _Row(image, task, letters, archive, f"{base}{image}", split)


def _answers(root: Path, table: str, faults: list[str]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for number, image, task, letters in _lines(root, table, faults):
        if (image, task) in found:
            faults.append(f"{table} line {number} answers {image},{task} again")
        found[image, task] = letters
    return found


def _samples(rows: list[_Row]) -> list[Sample]:
    """Return the samples; of two archives that name one image, the labelled one says which."""
    archives: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        archives.setdefault((row.image, row.task), set()).add(row.archive)
    samples = []
    for row in rows:
        rivals = len(archives[row.image, row.task]) > 1 and not row.split
        identity = f"{row.archive}{row.image}" if rivals else row.image
        label = _label(row.task, row.letters)
        samples.append(Sample(identity, row.path, row.split, row.task, label, row.letters))
    return samples


def _fault(letters: str, questions: bool) -> str:
    if not letters:
        return "" if questions else "has no letters"
    wrong = set(letters) - set("ymn") or letters.count("y") != 1
    return f"has the letters '{letters}'" if wrong else ""


def _label(task: str, letters: str) -> str:
    return fashionai_classes(task, len(letters))[letters.index("y")] if letters else ""


def _lines(root: Path, table: str, faults: list[str]) -> Iterator[tuple[int, str, str, str]]:
    for line in csv_lines(root / table, ManifestError):
        fields = line.fields
        if line.number == 1 and is_fashionai_header(fields):
            continue
        if line.fault or not 2 <= len(fields) <= 3 or not all(fields[:2]):
            faults.append(f"{table} line {line.number} {line.fault or _count(fields)}")
        else:
            yield line.number, fields[0], fields[1], fields[2] if len(fields) > 2 else ""


def _count(fields: list[str]) -> str:
    if not 2 <= len(fields) <= 3:
        return f"has {counted(len(fields), 'field')}"
    return "has no attribute" if fields[0] else "has no image"


def _uneven_letters(rows: list[_Row]) -> list[str]:
    lengths: dict[str, set[int]] = {}
    for row in rows:
        if row.letters:
            lengths.setdefault(row.task, set()).add(len(row.letters))
    return [
        f"{task} has rows of {enumerate_some(sorted(found))} letters"
        for task, found in lengths.items()
        if len(found) > 1
    ]

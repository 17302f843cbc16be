"""FashionAI: the classes of its attributes, and the layout of the contest of 2018.

The layout has ``Annotations/label.csv`` with rows ``image,attribute,letters`` and
``Tests/question.csv`` with the letters open.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..core.csv_files import csv_lines
from ..core.errors import ManifestError, enumerate_some
from .classes import fashionai_classes
from .layout import LabelledFiles, Layout
from .listing import Listing
from .table import Sample

__all__ = ["FashionAI"]

_LABELS, _QUESTIONS, _ANSWERS = "Annotations/label.csv", "Tests/question.csv", "Tests/answer.csv"


class FashionAI(Layout):
    """Labelled rows, and the questions as the ``test`` split.

    Where ``Tests/answer.csv`` exists it gives the questions' letters.
    """

    name = "FashionAI"

    def fits(self, listing: Listing) -> bool:
        """Look for one of the contest's tables."""
        return bool({_LABELS, _QUESTIONS} & {name for name, _ in listing.others})

    def read(self, listing: Listing) -> LabelledFiles:
        """Read the samples; see `Layout.read`."""
        root = listing.root
        present = frozenset({_LABELS, _QUESTIONS, _ANSWERS} & {n for n, _ in listing.others})
        samples: list[Sample] = []
        faults: list[str] = []
        answers = {}
        if _ANSWERS in present:
            rows = _rows(root, _ANSWERS, faults)
            answers = {(image, task): letters for _, image, task, letters in rows}
        for table in (name for name in (_LABELS, _QUESTIONS) if name in present):
            # The contest packed the questions' images below Tests/, others merged them.
            apart = table == _QUESTIONS and "Tests/Images" in listing.folders
            base = f"{root}/Tests" if apart else str(root)
            for number, image, task, letters in _rows(root, table, faults):
                letters = answers.get((image, task), letters)
                letters = "" if letters.strip("?") == "" else letters
                fault = _fault(letters, table)
                if fault:
                    faults.append(f"{table} line {number} {fault}")
                    continue
                label = _label(task, letters)
                split = "test" if table == _QUESTIONS else ""
                samples.append(Sample(image, f"{base}/{image}", split, task, label, letters))
        faults += _uneven_letters(samples)
        if faults:
            raise ManifestError(
                f"{len(faults)} faults in the tables of {root}: {enumerate_some(faults)}",
                "a line is image,attribute,letters with exactly one y and else m or n",
            )
        return LabelledFiles(samples, present)


def _fault(letters: str, table: str) -> str:
    if not letters:
        return "has no letters" if table == _LABELS else ""
    wrong = set(letters) - set("ymn") or letters.count("y") != 1
    return f"has the letters '{letters}'" if wrong else ""


def _label(task: str, letters: str) -> str:
    return fashionai_classes(task, len(letters))[letters.index("y")] if letters else ""


def _rows(root: Path, table: str, faults: list[str]) -> Iterator[tuple[int, str, str, str]]:
    for line in csv_lines(root / table, ManifestError):
        fields = line.fields
        if line.number == 1 and fields and fields[0].lower() in _FIRST_COLUMN:
            continue
        if line.fault or not 2 <= len(fields) <= 3 or not fields[0]:
            faults.append(f"{table} line {line.number} {line.fault or _count(fields)}")
        else:
            yield line.number, fields[0], fields[1], fields[2] if len(fields) > 2 else ""


_FIRST_COLUMN = ("imagename", "image", "image_name")


def _count(fields: list[str]) -> str:
    return f"has {len(fields)} fields" if fields[0] else "has no image"


def _uneven_letters(samples: list[Sample]) -> list[str]:
    lengths: dict[str, set[int]] = {}
    for sample in samples:
        if sample.letters:
            lengths.setdefault(sample.task, set()).add(len(sample.letters))
    return [
        f"{task} has rows of {enumerate_some(sorted(found))} letters"
        for task, found in lengths.items()
        if len(found) > 1
    ]

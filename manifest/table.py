"""One table of samples, whatever the user brought.

A manifest has one row for each image and task: ``id, path, split, task, label,
letters, digest``, and ``box`` where only a part of an image counts. `read` makes it
from a folder of class folders, a CSV, a FashionAI root or a Kaggle folder (the layouts
are in `icecore.manifest.layouts`); `Manifest.write` saves it as a CSV that `read` takes
back.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping

from ..core.errors import ManifestError, MissingFileError, enumerate_some
from ..core.files import publish_text

__all__ = ["DEFAULT_TASK", "IMAGE_SUFFIXES", "Manifest", "Sample", "split_name"]

DEFAULT_TASK = "label"
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
)
COLUMNS = ("id", "path", "split", "task", "label", "letters", "digest", "box")

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One image with what is known of it for one task.

    Attributes
    ----------
    id : str
        Name of the image: its path below the data root, with ``/``.
    path : str
        Where the file is.
    split : str
        ``train``, ``validation``, ``test``, or empty where the data has no splits.
    task : str
        The attribute to predict; ``label`` where there is only one.
    label : str
        Class name; empty where it is not known.
    letters : str
        FashionAI's ``y``/``m``/``n`` for each class, where the data has them.
    digest : str
        Key of its features: SHA-256 of the file's bytes, with its box if it has one (see
        `icecore.manifest.row_key`); empty if it was not computed yet.
    box : str
        The part of the image that counts, ``x0 y0 x1 y1``; empty for the whole image.
    """

    id: str
    path: str
    split: str = ""
    task: str = DEFAULT_TASK
    label: str = ""
    letters: str = ""
    digest: str = ""
    box: str = ""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """An immutable table of samples.

    Parameters
    ----------
    samples : tuple of Sample
        One row for each image and task.
    source : str
        What the table was read from, for messages.
    """

    samples: tuple[Sample, ...]
    source: str = ""

    def __post_init__(self) -> None:
        if not self.samples:
            raise ManifestError(
                f"no images in {self.source or 'the data'}",
                "give a folder of class folders, a CSV with path,label[,split], "
                "or a FashionAI root with Annotations/label.csv",
            )
        seen: set[tuple[str, str]] = set()
        repeated = []
        for sample in self.samples:
            key = (sample.id, sample.task)
            if key in seen:
                repeated.append(sample.id)
            seen.add(key)
        if repeated:
            raise ManifestError(
                f"{len(repeated)} rows of {self.source} name an image twice for one task: "
                f"{enumerate_some(repeated)}",
                "keep one row for each image and task",
            )

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in order of first appearance."""
        return tuple(dict.fromkeys(sample.task for sample in self.samples))

    @property
    def images(self) -> dict[str, Sample]:
        """First row of each image, by sample id."""
        found: dict[str, Sample] = {}
        for sample in self.samples:
            found.setdefault(sample.id, sample)
        return found

    def classes(self, task: str = DEFAULT_TASK) -> tuple[str, ...]:
        """Class names of `task`: letter order for FashionAI, else natural order of names."""
        from .fashionai import fashionai_classes

        rows = [sample for sample in self.samples if sample.task == task]
        letters = {len(sample.letters) for sample in rows if sample.letters}
        if letters:
            return fashionai_classes(task, max(letters))
        return tuple(sorted({sample.label for sample in rows if sample.label}, key=natural_key))

    def select(self, task: str, splits: Iterable[str] | None = None) -> Manifest:
        """Return the rows of `task` in any of `splits` (all splits if None)."""
        wanted = None if splits is None else set(splits)
        rows = tuple(
            sample
            for sample in self.samples
            if sample.task == task and (wanted is None or sample.split in wanted)
        )
        return Manifest(rows, self.source)

    def with_digests(self, digests: Mapping[str, str]) -> Manifest:
        """Return the same table with the digest of each sample id that `digests` names."""
        rows = tuple(
            dataclasses.replace(sample, digest=digests.get(sample.id, sample.digest))
            for sample in self.samples
        )
        return Manifest(rows, self.source)

    def require_files(self) -> None:
        """Raise `MissingFileError`, naming them, if any image file is absent."""
        absent = [s.path for s in self.images.values() if not os.path.isfile(s.path)]
        if absent:
            raise MissingFileError(
                f"{len(absent)} of {len(self.images)} image files of {self.source} "
                f"are not there: {enumerate_some(absent)}",
                "restore the files or take their rows out of the table",
            )

    def write(self, path: str | os.PathLike) -> None:
        """Write the table as CSV, atomically. Paths are kept as they are."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        # Tables without boxes look as they always did.
        columns = COLUMNS if any(sample.box for sample in self.samples) else COLUMNS[:-1]
        writer.writerow(columns)
        for sample in self.samples:
            writer.writerow(getattr(sample, column) for column in columns)
        publish_text(path, text.getvalue())

    def summary(self) -> list[dict]:
        """Count rows for each task and split: ``[{task, split, images, classes, labelled}]``."""
        rows = []
        for task in self.tasks:
            of_task = [sample for sample in self.samples if sample.task == task]
            for split in sorted({s.split for s in of_task}, key=_split_order):
                part = [sample for sample in of_task if sample.split == split]
                rows.append(
                    {
                        "task": task,
                        "split": split or "all",
                        "images": len(part),
                        "classes": len({s.label for s in part if s.label}),
                        "labelled": sum(bool(s.label) for s in part),
                    }
                )
        return rows


def split_name(name: str) -> str | None:
    """Return the canonical split for a folder or column value, None if it is not one.

    >>> split_name("val"), split_name("Training"), split_name("hat")
    ('validation', 'train', None)
    """
    return _SPLIT_NAMES.get(name.strip().lower())


def natural_key(name: str) -> tuple:
    """Sort key that puts ``class 2`` before ``class 10``.

    >>> sorted(["10", "2", "b", "a1"], key=natural_key)
    ['2', '10', 'a1', 'b']
    """
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p)


def _split_order(split: str) -> int:
    return ["", "train", "validation", "test"].index(split)

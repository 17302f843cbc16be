"""One table of samples, whatever the user brought.

A manifest has one row for each image and task: ``id, path, split, task, label,
letters, digest``, ``box`` where only a part of an image counts, and ``group`` where images
are of several kinds. `read` makes it
from a folder of class folders, a CSV, a FashionAI root or a Kaggle folder (see
`icecore.manifest.layouts`); `Manifest.write` saves it as a CSV that `read` takes
back.
"""

import collections
import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Self

from ..core.csv_files import write_csv
from ..core.errors import ManifestError, MissingFileError, counted, enumerate_some, escaped
from ..core.places import is_there, look_ahead
from ..core.summary import summary
from .box import parse_box
from .class_notes import class_notes
from .classes import fashionai_classes, letters_fault
from .contradictions import require_one_image_of_an_id, require_one_label_of_an_image
from .misspelt import meant_files
from .names import class_name, class_order, look_alike_notes

DEFAULT_TASK = "label"
IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .gif .webp .tif .tiff .heic .heif .hif .avif".split()
)
# A larger image file is a mistake or an attack; nothing of it is read.
LARGEST_IMAGE_FILE = 2**29
COLUMNS = (
    "id",
    "path",
    "split",
    "task",
    "label",
    "letters",
    "digest",
    "box",
    "group",
    "file_digest",
)
_SPLITS = frozenset(("", "train", "validation", "test"))
# Left out of a written table where no sample has them.
_OPTIONAL = ("box", "group", "file_digest")

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
    group : str
        The kind of image it is (worn or laid out, front or back); empty where not known.
    file_digest : str
        SHA-256 of the file's bytes, where `digest` is of a box; empty if it was not computed yet.
    """

    id: str
    path: str
    split: str = ""
    task: str = DEFAULT_TASK
    label: str = ""
    letters: str = ""
    digest: str = ""
    box: str = ""
    group: str = ""
    file_digest: str = ""

    @property
    def image(self) -> str:
        """What equal files, and boxes of them, have in common; empty where it is not known."""
        if not self.box:
            return self.digest
        return self.file_digest or (self.digest and self.path)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """An immutable table of samples.

    Parameters
    ----------
    samples : tuple of Sample
        One row for each image and task.
    source : str
        What the table was read from, for messages.
    passed_over : tuple of (str, str)
        Files and folders of the data that are no samples, each with the reason.
    warnings : tuple of str
        What looked wrong when the data was read.
    """

    samples: tuple[Sample, ...]
    source: str = ""
    passed_over: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    __repr__ = summary

    def __post_init__(self) -> None:
        if not self.samples:
            raise ManifestError(
                f"no images in {self.source or 'the data'}",
                "give a folder of class folders, a CSV with path,label[,split] and a line for each "
                "image, or a FashionAI root with Annotations/label.csv",
            )
        object.__setattr__(self, "samples", tuple(self.samples))
        self._require_plain_fields()
        rows = collections.Counter((sample.id, sample.task) for sample in self.samples)
        if repeated := [identity for (identity, _), count in rows.items() if count > 1]:
            raise ManifestError(
                f"{counted(len(repeated), 'row')} of {self.source or 'the data'} name an image "
                f"twice for one task: {enumerate_some(repeated)}",
                "keep one row for each image and task, one file of a name in a tar, and one record "
                "of a number in a record file",
            )
        require_one_image_of_an_id(self.samples, self.source)
        require_one_label_of_an_image(self.samples, self.source)
        self._require_letters()

    def _require_plain_fields(self) -> None:
        """Raise `ManifestError` if a sample is none, or has a field of another kind than text."""
        faults = [
            f"row {row} is of type {type(one).__name__}"
            for row, one in enumerate(self.samples)
            if not isinstance(one, Sample)
        ]
        for name in () if faults else COLUMNS:
            values = [getattr(one, name) for one in self.samples]
            if not all(issubclass(kind, str) for kind in set(map(type, values))):
                faults += [f"{name}={value!r}" for value in values if not isinstance(value, str)]
            elif name in ("task", "label", "group"):
                faults += [
                    f"{name}={value!r}" for value in set(values) if not _as_tables_say(value)
                ]
                faults += ["task=''"] if name == "task" and "" in values else []
        for split in sorted({one.split for one in self.samples} - _SPLITS) if not faults else ():
            faults.append(f"split={split!r}")
        for box in {one.box for one in self.samples} if not faults else ():
            try:
                parse_box(box)
            except ValueError as error:
                faults.append(str(error))
        if faults:
            raise ManifestError(
                f"{self.source or 'the data'} has rows that are no samples: "
                f"{enumerate_some(faults)}",
                "give instances of Sample whose fields are text, empty where nothing is known; "
                "names of tasks, classes and groups as icecore.manifest.class_name spells them; "
                f"splits are {', '.join(sorted(_SPLITS - {''}))}, and a box is 'x0 y0 x1 y1'",
            )

    def _require_letters(self) -> None:
        """Raise `ManifestError` if labels are none of the classes that letters stand for."""
        longest: dict[str, int] = {}
        for sample in self.samples:
            if sample.letters:
                longest[sample.task] = max(longest.get(sample.task, 0), len(sample.letters))
        faults = [
            (sample, fault)
            for sample in self.samples
            if sample.label and sample.task in longest
            if (fault := letters_fault(*_labelled(sample), longest[sample.task]))
        ]
        if not faults:
            return
        names = fashionai_classes(faults[0][0].task, longest[faults[0][0].task])
        raise ManifestError(
            f"letters and labels of {counted(len(faults), 'row')} of {self.source or 'the data'} "
            f"do not agree: {enumerate_some(f'{s.id} ({s.task}) {fault}' for s, fault in faults)}",
            f"all rows of a task have as many letters, one of them y and the others m or n; its "
            f"classes are then called {enumerate_some(names)}, in the order of the letters; or "
            "leave the column letters out",
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
        rows = [sample for sample in self.samples if sample.task == task]
        letters = {len(sample.letters) for sample in rows if sample.letters}
        if letters:
            return fashionai_classes(task, max(letters))
        return tuple(sorted({sample.label for sample in rows if sample.label}, key=class_order))

    def select(self, task: str) -> Self:
        """Return the rows of `task`; raise `ManifestError` if it is none."""
        rows = tuple(sample for sample in self.samples if sample.task == task)
        if not rows:
            raise ManifestError(
                f"{self.source or 'the data'} has no task '{task}'",
                f"choose one of: {enumerate_some(self.tasks, 10)}",
            )
        return dataclasses.replace(self, samples=rows)

    def with_digests(
        self, digests: Mapping[str, str], files: Mapping[str, str] | None = None
    ) -> Self:
        """Return the same table with the digest of each sample id that `digests` names.

        Parameters
        ----------
        files : mapping of str to str, optional
            The digests of whole files, for samples with a box.
        """
        files = files or {}
        rows = tuple(
            dataclasses.replace(
                sample,
                digest=digests.get(sample.id, sample.digest),
                file_digest=files.get(sample.id, sample.file_digest) if sample.box else "",
            )
            for sample in self.samples
        )
        return dataclasses.replace(self, samples=rows)

    def require_files(self) -> None:
        """Raise `MissingFileError`, naming them, if image files are absent.

        Test images may be absent, but not all of them: contests ask for an answer to every
        one, and what has none is listed and filled in (see `icecore.ensemble.write_answers`).
        """
        look_ahead(sample.path for sample in self.images.values())
        absent = [s for s in self.images.values() if not is_there(s.path)]
        if any(s.split != "test" for s in absent) or len(absent) == len(self.images):
            hint = "restore the files, or leave these images out"
            if meant := meant_files([s.path for s in absent], self.source):
                hint = (
                    f"write the paths as the files are called: {enumerate_some(meant)}; relative "
                    "paths are taken from the table's own folder"
                )
            raise MissingFileError(
                f"{len(absent)} of {len(self.images)} image files of {self.source or 'the data'} "
                f"are not there, or are no files: {enumerate_some(s.path for s in absent)}",
                hint,
            )

    def write(self, path: str | os.PathLike) -> None:
        """Write the table as CSV, atomically. Paths are kept as they are."""
        columns = [
            name
            for name in COLUMNS
            if name not in _OPTIONAL or any(getattr(one, name) for one in self.samples)
        ]
        rows = ([getattr(sample, column) for column in columns] for sample in self.samples)
        write_csv(path, [columns, *rows])

    def notes(self) -> list[str]:
        """Say what a reader should know before anything is made of the data.

        Returns
        -------
        list of str
            The warnings, names that look like one another, and images that stand in
            several splits, as far as digests are known.
        """
        found = list(self.warnings)
        groups = [sample.group for sample in self.samples if sample.group]
        names = {"tasks": self.tasks, "groups of images": groups}
        names |= {f"classes of '{escaped(task)}'": self.classes(task) for task in self.tasks}
        for what, used in names.items():
            found += look_alike_notes(what, used)
        for task in self.tasks:
            labels = [(one.split, one.label) for one in self.samples if one.task == task]
            found += class_notes(task, labels)
        if repeated := list(self.repeated_across_splits().values()):
            named = [" = ".join(sample.id for sample in group) for group in repeated]
            boxed = any(sample.box for group in repeated for sample in group)
            parts = ", or parts of one file" if boxed else ""
            found.append(
                f"{counted(len(repeated), 'image stands', 'images stand')} in several splits, "
                f"equal to the byte{parts}: {enumerate_some(named)}"
            )
        return found

    def repeated_across_splits(self) -> dict[str, list[Sample]]:
        """Return the images that stand in more than one split, by the digest of their file.

        Images without a digest are not compared.
        """
        by_digest: dict[str, dict[str, Sample]] = collections.defaultdict(dict)
        for sample in self.images.values():
            if sample.image:
                by_digest[sample.image].setdefault(sample.split, sample)
        return {
            digest: list(by_split.values())
            for digest, by_split in by_digest.items()
            if len(by_split) > 1
        }

    def summary(self) -> list[dict]:
        """Count rows for each task and split: ``[{task, split, images, classes, labelled}]``."""
        rows = []
        for task in self.tasks:
            of_task = [sample for sample in self.samples if sample.task == task]
            for split in ("", "train", "validation", "test"):
                part = [sample for sample in of_task if sample.split == split]
                if not part:
                    continue
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


def _labelled(sample: Sample) -> tuple[str, str, str]:
    return sample.task, sample.label, sample.letters


def _as_tables_say(name: str) -> bool:
    """Tell whether a name is read as it is from the tables that it is written to."""
    try:
        return class_name(name) == name
    except ValueError:
        return False


def split_name(name: str) -> str | None:
    """Return the canonical split for a folder or column value, None if it is not one.

    >>> split_name("val"), split_name("Training"), split_name("hat")
    ('validation', 'train', None)
    """
    return _SPLIT_NAMES.get(name.strip().lower())

"""What the rows of a table may not say of one image, or of one id."""

import os
from collections.abc import Iterable
from typing import Protocol

from ..core.errors import ManifestError, counted, enumerate_some
from ..core.stores import is_url


class Row(Protocol):
    """What is compared of a sample."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def box(self) -> str: ...  # noqa: D102
    @property
    def task(self) -> str: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102


def require_one_image_of_an_id(samples: Iterable[Row], source: str) -> None:
    """Raise `ManifestError` if rows of one id name different files, or parts of a file."""
    images: dict[str, tuple[str, str]] = {}
    faults = {
        one.id: f"{one.id} ({_image_text(image)}; {_image_text((one.path, one.box))})"
        for one in samples
        if (image := images.setdefault(one.id, (one.path, one.box))) != (one.path, one.box)
    }
    if faults:
        raise ManifestError(
            f"{counted(len(faults), 'id')} of {source or 'the data'} "
            f"{'stands' if len(faults) == 1 else 'stand'} for several images: "
            f"{enumerate_some(faults.values())}",
            "an image has one file and one box in all tasks; give each image an id of its own, "
            "or leave the column id out",
        )


def require_one_label_of_an_image(samples: Iterable[Row], source: str) -> None:
    """Raise `ManifestError` if one file, or part of it, has unlike labels under several ids."""
    first: dict[tuple[str, str, str], Row] = {}
    faults = []
    for one in samples:
        if one.label and one.path:
            path = one.path if is_url(one.path) else os.path.normpath(one.path)
            known = first.setdefault((path, one.box, one.task), one)
            if known.label != one.label:
                faults.append(f"{known.id}, {one.id} ({known.label} or {one.label})")
    if faults:
        raise ManifestError(
            f"{source or 'the data'} says unlike labels of one file under several ids, "
            f"{counted(len(faults), 'time')}: {enumerate_some(faults)}",
            "an image has one label in a task: keep the row that is right; give parts of an image "
            "a column 'box', and further labels a column of their own",
        )


def _image_text(image: tuple[str, str]) -> str:
    return " box ".join(filter(None, image))

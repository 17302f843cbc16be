"""The split that the name of a container speaks of, or a folder that it lies in."""

import os
import re
from collections.abc import Iterable, Iterator

from ..core.errors import ManifestError, enumerate_some
from .table import split_name


def splits_of(names: Iterable[str]) -> dict[str, str]:
    """Return the split that the path of each container says; empty where it says none.

    The file and the folders above it say one each, or none; of several in one name
    (``train-test-split``) none is meant.

    Raises
    ------
    ManifestError
        The parts of a path say unlike splits; all such are named.
    """
    said = {
        name: {split for one in _said(name) if len(one) == 1 for split in one} for name in names
    }
    unlike = [f"{name} ({' or '.join(sorted(s))})" for name, s in said.items() if len(s) > 1]
    if unlike:
        raise ManifestError(
            f"names of files and of the folders that they lie in say unlike splits: "
            f"{enumerate_some(unlike)}",
            "rename the folder or the file; or give the folder that holds the file, whose own "
            "name is not looked at",
        )
    return {name: next(iter(s), "") for name, s in said.items()}


def speaks_of_several(name: str) -> bool:
    """Tell whether a part of a path speaks of several splits.

    >>> speaks_of_several("train_test/0.tar"), speaks_of_several("train/0.tar")
    (True, False)
    """
    return any(len(one) > 1 for one in _said(name))


def _said(name: str) -> Iterator[set[str]]:
    """Yield the splits that each part of a path speaks of."""
    for part in os.path.splitext(name)[0].lower().split("/"):
        # As in train2017, trainset and split=train.
        words = re.findall(r"[^\W\d_]+", part)
        yield {one for word in words if (one := split_name(word.removesuffix("set")))}

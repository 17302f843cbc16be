"""Which containers DATA names: one, several by a pattern, or a file that is one by its content."""

import os
import re

from ..core.content import kind_of_file
from ..core.errors import ManifestError, MissingFileError, counted, enumerate_some
from ..core.places import absolute, is_there, look_ahead
from ..core.stores import is_url
from .containers import CONTAINERS
from .image_list import SUFFIX
from .listing import Listing

_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
_MOST_NAMED = 10**5
# What is called so is read as it is called.
_OF_TABLES = frozenset((".csv", ".jsonl", ".ndjson", SUFFIX))
_SUFFIXES = tuple(ending for one in CONTAINERS for ending in (one.suffix, *one.endings))
# What `describe_content` calls them.
_KINDS = {"a tar archive": ".tar", "a Parquet file": ".parquet", "a record file of MXNet": ".rec"}


def named_containers(data: str) -> Listing | None:
    """Return the containers that a name or a pattern like ``{000..099}.tar`` stands for.

    Returns
    -------
    Listing or None
        None where no container is named, or one by its plain name that is no file.

    Raises
    ------
    MissingFileError
        Some of them are not there; they are named.
    """
    if not data.lower().endswith(_SUFFIXES) or (not is_url(data) and os.path.isdir(data)):
        return None
    places = [absolute(name) for name in _expanded(data)]
    look_ahead(places)
    absent = [place for place in places if not is_there(place)]
    if absent == [absolute(data)] and not is_url(data):
        return None
    if absent:
        raise MissingFileError(
            f"{len(absent)} of {len(places)} files of {data} are not there, or are no files: "
            f"{enumerate_some(absent)}",
            "check the numbers in the pattern: {00000..00099} counts both ends",
        )
    # The first and the last of them in order differ most: the folder of both has all.
    root = os.path.commonprefix([min(places), max(places)]).rpartition("/")[0]  # noqa: RUF071
    others = [(place[len(root) + 1 :], os.path.splitext(place)[1].lower()) for place in places]
    return Listing(root, (), tuple(others), ())


def container_by_content(data: str | os.PathLike) -> Listing | None:
    """Return the container that a file is, whatever it is called; None if it is none.

    Raises
    ------
    ManifestError
        It is a table of images of which no row could be named.
    """
    try:
        suffix = _KINDS.get(kind_of_file(data))
    except OSError:  # Whoever reads it says what is wrong.
        return None
    if suffix == ".parquet":  # One that is called as such was taken for one by its name.
        raise ManifestError(
            f"{data} is a Parquet table, and is not called as one",
            "give its name the ending .parquet; a CSV or an image is another kind of file",
        )
    if os.path.splitext(data)[1].lower() in _OF_TABLES:
        return None
    folder, name = os.path.split(os.path.abspath(data))
    return Listing(folder, (), ((name, suffix),), ()) if suffix else None


def _expanded(pattern: str) -> list[str]:
    """Write out the first range of a pattern, and those behind it.

    >>> _expanded("a{08..10}.tar")
    ['a08.tar', 'a09.tar', 'a10.tar']
    """
    found = _RANGE.search(pattern)
    if not found:
        return [pattern]
    first, last = int(found[1]), int(found[2])
    if not 0 <= last - first < _MOST_NAMED:
        raise ManifestError(
            f"{pattern} stands for {counted(max(0, last - first + 1), 'file')}",
            f"name 1 to {_MOST_NAMED}, and the smaller number first",
        )
    digits = len(found[1]) if found[1].startswith("0") else 1
    names = [f"{number:0{digits}}" for number in range(first, last + 1)]
    # What stands behind is written out once; a pattern of patterns is a product.
    behind = _expanded(pattern[found.end() :])
    if len(names) * len(behind) > _MOST_NAMED:
        raise ManifestError(f"{pattern} stands for too many files", f"name 1 to {_MOST_NAMED}")
    return [pattern[: found.start()] + name + rest for name in names for rest in behind]

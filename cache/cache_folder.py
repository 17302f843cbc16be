"""The folder of a cache: what makes it one, and its small JSON files."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import (
    CacheError,
    DamagedCacheError,
    MissingFileError,
    counted,
    enumerate_some,
)
from ..core.files import flush_folder, publish_json
from ..core.stores import require_path_or_url
from .featureset import FeatureSet
from .format.disk import open_own, require_own, require_own_folder
from .format.header import SetHeader
from .format.shard import FORMAT, check_format, damaged, fault_of, parsed

MARKER_NAME, FAILURES_NAME, RECORD_NAME = "icecore-cache.json", "failures.json", "record.json"
# What they hold beside their format: names, and the values of a new one.
MARKER = {"what": "icecore feature cache"}
FAILURES: dict[str, list] = {"failures": []}
_FAILURE = ("id", "path", "digest", "reason")
_LARGEST_JSON = 256 << 20
# What an extraction that ended early may leave in a folder that is no cache yet.
_BEFORE = frozenset({"claims", "digests"})


def set_folders(path: Path) -> list[Path]:
    """Return the folders of feature sets in a cache."""
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return [
        path / name
        for name in sorted(names)
        if not name.startswith(".")
        and ((path / name / RECORD_NAME).exists() or (path / name / "shards").is_dir())
    ]


def check_free(path: Path) -> None:
    """Refuse to make a cache at `path` if something else is there."""
    if path.exists() and not path.is_dir():
        raise CacheError(f"{path} is a file, not a folder", "choose another place for the cache")
    if path.is_dir():
        names = sorted(os.listdir(path))
        others = [name for name in names if not name.startswith(".") and name not in _BEFORE]
        # Another process may have made the cache since it was looked for.
        if others and MARKER_NAME not in others and not set_folders(path):
            raise CacheError(
                f"{path} is not empty and not a feature cache: "
                f"it holds {enumerate_some(others, 3)}",
                "choose a new folder for the cache",
            )


def check_marker(path: Path) -> None:
    """Refuse what is no cache, a newer one, links in it, and a marker that cannot be read."""
    if not path.is_dir():
        if path.exists():
            raise CacheError(
                f"{path} is no feature cache: a cache is a folder",
                "give the folder that `icecore extract -o` wrote",
            )
        raise MissingFileError(
            f"there is no cache at {path}", "run `icecore extract DATA -o CACHE` to make one"
        )
    require_own(path)
    try:
        read_part(path / MARKER_NAME, {})
    except FileNotFoundError as error:
        if set_folders(path):
            # The marker was lost; the sets speak for themselves.
            return
        raise CacheError(
            f"{path} is not a feature cache: it has no {MARKER_NAME}",
            "give the folder that `icecore extract -o` wrote",
        ) from error


def require_cache(path: Path) -> None:
    """Refuse what is no cache, or a newer one; let a damaged marker pass."""
    with contextlib.suppress(DamagedCacheError):
        check_marker(path)


# Small files ------------------------------------------------------------------------------


def read_part(path: Path, parts: Mapping[str, object]) -> dict[str, Any]:
    """Read a small file of a cache that must have these parts.

    Raises
    ------
    DamagedCacheError
        It is not what was written.
    CacheError
        It is a link, or of a newer format.
    FileNotFoundError
    """
    try:
        with open_own(path) as file:
            if os.fstat(file.fileno()).st_size > _LARGEST_JSON:
                raise damaged(path, "it is far too large")
            text = file.read()
        content = parsed(text, path)
        check_format(path, content.get("format"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, CacheError):
            raise
        raise damaged(path, f"it cannot be read: {error}".splitlines()[0]) from error
    wrong = [n for n, value in parts.items() if not isinstance(content.get(n), type(value))]
    if wrong:
        raise damaged(path, f"it has no {wrong[0]!r}")
    other = [n for n, value in parts.items() if value and content[n] != value]
    if other:
        raise damaged(path, f"its {other[0]!r} is {str(content[other[0]])[:40]!r}")
    return content


def read_failures(path: Path) -> list[dict[str, str]]:
    """Read the list of the images that could not be read.

    Raises
    ------
    DamagedCacheError, CacheError, FileNotFoundError
        As of `read_part`; or something in it is no such image.
    """
    failures = read_part(path, FAILURES)["failures"]
    wrong = [one for one in failures if not _is_failure(one)]
    if wrong:
        count = f"{len(wrong)} of {counted(len(failures), 'failure')}"
        lacking = f"failures that lack one of the texts {', '.join(_FAILURE)}: {count}"
        raise damaged(path, lacking)
    return failures


def sound_failures(path: Path) -> list[dict[str, str]]:
    """Return what can be read of a damaged list of failures."""
    try:
        return [one for one in read_part(path, FAILURES)["failures"] if _is_failure(one)]
    except (CacheError, FileNotFoundError):
        return []


def _is_failure(one: object) -> bool:
    return isinstance(one, dict) and all(isinstance(one.get(name), str) for name in _FAILURE)


def named_folder(path: str | os.PathLike) -> Path:
    """Return a cache's folder, which the user may name by a link; below it none is followed."""
    require_path_or_url(path)
    # Path.resolve raises RuntimeError where a link leads to itself.
    return Path(os.path.realpath(path) if os.path.islink(path) else path)


def write_part(path: Path, content: Mapping[str, object]) -> None:
    """Publish a small file of a cache."""
    require_own_folder(path.parent)
    publish_json(path, {**content, "format": FORMAT})


def json_fault(path: Path, parts: Mapping[str, object]) -> str | None:
    """Say what is wrong with a small file of a cache that must have these parts.

    Raises
    ------
    CacheError
        It is a link, or of a newer format.
    """
    try:
        read_failures(path) if parts is FAILURES else read_part(path, parts)
    except FileNotFoundError:
        return "it is missing"
    except DamagedCacheError as error:
        return fault_of(error, path)
    return None


# Feature sets -----------------------------------------------------------------------------


def create_set(root: Path, header: SetHeader) -> Path:
    """Make the folder of a new feature set in the cache at `root`, and return it."""
    require_own_folder(root)
    folder = root / header.folder_name
    # The record comes first: shards without one would look like damage.
    write_record(folder, header)
    (folder / "shards").mkdir(exist_ok=True)
    flush_folder(folder)
    flush_folder(root)
    return folder


def write_record(folder: Path, header: SetHeader) -> None:
    """Publish the ``record.json`` of a set."""
    write_part(folder / RECORD_NAME, header.as_dict() | {"checksum": header.checksum})


def load_set(folder: Path) -> FeatureSet:
    """Open the feature set in `folder`; raises as `load_header` does."""
    try:
        header = load_header(folder)
        if header.folder_name != folder.name:
            # A copied set would count twice, and a record put here would set all shards aside.
            other = f"it is that of a folder called {header.folder_name}"
            raise damaged(folder / RECORD_NAME, other)
    except DamagedCacheError as error:
        raise DamagedCacheError(
            error.message,
            "run `icecore cache repair`, which restores the record or gives the folder its name "
            "back, or says why it can do neither",
        ) from error
    return FeatureSet(folder, header)


def load_header(folder: Path) -> SetHeader:
    """Read the record of a feature set, whatever the folder that it lies in is called.

    Raises
    ------
    DamagedCacheError
        It is not what was written.
    CacheError
        It is a link, or of a newer format.
    """
    path = folder / RECORD_NAME
    try:
        content = read_part(path, {"checksum": ""})
    except FileNotFoundError as error:
        raise damaged(path, "it is missing") from error
    try:
        header = SetHeader.from_dict(content)
    except CacheError as error:
        raise damaged(path, error.message) from error
    if header.checksum != content["checksum"]:
        raise damaged(path, "it does not match its checksum")
    return header

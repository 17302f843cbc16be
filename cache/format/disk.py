"""A cache is made of files and folders of its own: no links, pipes or devices.

A link in a cache that came from elsewhere could lead writing and cleaning to any folder of
the user's, and a pipe would block whoever opens it. So none is followed or opened.
"""

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ...core.errors import CacheError, enumerate_some
from ...core.files import is_abandoned
from ...core.folders import remove_abandoned
from ...core.regular_files import RegularFile, kind_of, open_regular

LEFTOVER_PREFIX = ".tmp-"
# A temporary file this old belongs to a writer that is gone: a shard takes seconds.
LEFTOVER_AGE_S = 900.0
# A cache, its feature sets, their shards.
_LEVELS = 3
# What is called so must be a file.
_FILES = (".h5", ".json", ".csv", ".claim", ".txt")


def open_own(path: str | os.PathLike) -> RegularFile:
    """Open a file of a cache for reading, unbuffered.

    Raises
    ------
    CacheError
        It is a link.
    IrregularFileError
        It is a pipe, a socket, a device or a folder.
    OSError
        As of `open`.
    """
    if stat.S_ISLNK(os.lstat(path).st_mode):
        raise _not_own([Path(path)])
    return open_regular(path, 0)


def require_own(root: Path) -> None:
    """Refuse a cache that holds anything but files and folders.

    Raises
    ------
    CacheError
        Something in it is a link, a pipe, a socket or a device, or a folder where a file
        belongs; all are named.
    """
    strange = sorted(_strange(root, _LEVELS))
    if strange:
        raise _not_own(strange)


def require_own_folder(*folders: Path) -> None:
    """Refuse folders that are links or no folders; they may be missing."""
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                raise _not_own([folder])


def require_own_set(folder: Path) -> None:
    """Refuse to change a feature set that is gone, or that a link leads to on its way."""
    require_own_folder(folder.parent, folder, folder / "shards")
    if not folder.exists():
        raise CacheError(
            f"{folder} is gone: it was moved or removed in the middle of the job",
            "put it back, and run the same command again",
        )


def _strange(folder: str | os.PathLike, levels: int) -> Iterator[Path]:
    with os.scandir(os.fspath(folder)) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name.endswith(_FILES):
                    yield Path(entry.path)
                elif levels > 1:
                    yield from _strange(entry.path, levels - 1)
            elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                yield Path(entry.path)


def _not_own(paths: list[Path]) -> CacheError:
    if copies := list(filter(_is_table_of_copy, paths)):
        copy = copies[0].parent.parent
        return CacheError(
            f"{copy} is the copy of a cache that `icecore cache push` made, which has its tables "
            "of samples in folders",
            f"copy it back with `icecore cache pull {copy} CACHE`, and work with that CACHE",
        )
    each = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            mode = os.lstat(path).st_mode
            kind = "a file in place of a folder" if stat.S_ISREG(mode) else kind_of(mode)
            each.append(f"{path} is {kind}{' in place of a file' if kind == 'a folder' else ''}")
    return CacheError(
        f"{enumerate_some(each, 3)}; a cache is made of files and folders of its own",
        "remove it, or put there what it leads to: what is not a cache's own is not followed, "
        "so that nothing outside of it is read or changed",
    )


def _is_table_of_copy(path: Path) -> bool:
    """Tell whether a folder holds the versions of a table, each called by its digest."""
    if path.parent.name != "manifests" or path.suffix != ".csv" or path.is_symlink():
        return False
    names = os.listdir(path) if path.is_dir() else []
    return bool(names) and all(re.fullmatch("[0-9a-f]{64}", name) for name in names)


def remove_leftovers(folder: Path) -> list[Path]:
    """Delete temporary files and folders that killed writers have left in `folder`.

    Files of writers that may live, on another machine, are left for long enough.
    """
    require_own_folder(folder)
    removed = remove_abandoned(folder, LEFTOVER_PREFIX)
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(LEFTOVER_PREFIX):
                continue
            if not entry.is_file(follow_symlinks=False):
                continue
            # Another process may clear up at the same time.
            with contextlib.suppress(FileNotFoundError):
                age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if age >= LEFTOVER_AGE_S or is_abandoned(entry.name):
                    os.unlink(entry.path)
                    removed.append(Path(entry.path))
    return removed

"""The few ways in which the cache touches the disk, so that faults can be tried at each."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path

from ..files import publish

__all__ = ["LEFTOVER_PREFIX", "flush_folder", "publish_pieces", "remove_leftovers"]

LEFTOVER_PREFIX = ".tmp-"
# A temporary file this old belongs to a writer that is gone: a shard takes seconds.
LEFTOVER_AGE_S = 900.0


def publish_pieces(path: Path, pieces: Iterable[object]) -> None:
    """Write buffers one after the other to `path`, atomically and durably.

    Raises
    ------
    DiskFullError
        No room; nothing is left behind.
    """
    with publish(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            for piece in pieces:
                _write_all(descriptor, memoryview(piece).cast("B"))
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, view: memoryview) -> None:
    while len(view):
        view = view[os.write(descriptor, view) :]


def flush_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the file system lets one."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems know no such thing; a failing disk is another matter.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path, age_s: float = LEFTOVER_AGE_S) -> list[Path]:
    """Delete temporary files that a killed writer left in `folder` long enough ago."""
    removed = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            if not entry.name.startswith(LEFTOVER_PREFIX):
                continue
            # Another process may clear up at the same time.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - entry.stat().st_mtime >= age_s:
                    os.unlink(entry.path)
                    removed.append(Path(entry.path))
    return removed

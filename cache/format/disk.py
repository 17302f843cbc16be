"""The few ways in which the cache touches the disk, so that faults can be tried at each."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ...core.errors import DiskFullError
from ...core.files import publish

__all__ = ["LEFTOVER_PREFIX", "WriteBehind", "flush_folder", "publish_pieces", "publish_unnamed"]
__all__ += ["remove_leftovers", "write_at"]

LEFTOVER_PREFIX = ".tmp-"
# A temporary file this old belongs to a writer that is gone: a shard takes seconds.
LEFTOVER_AGE_S = 900.0
# The disk gets to work after so many bytes.
_SPAN_BYTES = 1 << 20


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
            at = 0
            for piece in pieces:
                at = write_at(descriptor, piece, at)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def publish_unnamed(folder: Path) -> Iterator[NewFile]:
    """Give a new file to write to, whose name need not be known before its content is.

    The file is flushed and renamed to `NewFile.name` on success; whatever goes wrong, it
    goes away. Otherwise like `icecore.core.files.publish`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{LEFTOVER_PREFIX}{secrets.token_hex(8)}"
    try:
        new = NewFile(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            yield new
            os.fsync(new.descriptor)
        finally:
            os.close(new.descriptor)
        os.replace(temporary, folder / new.name)
        flush_folder(folder)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no room left on the disk while writing to {folder}",
                "free some space there and run the same command again; "
                "what was finished before is kept",
            ) from error
        raise


@dataclasses.dataclass
class NewFile:
    """A file being written: its descriptor, and the name it shall get."""

    descriptor: int
    name: str = ""


def write_at(descriptor: int, content: object, at: int) -> int:
    """Write all of a buffer at a position; return where it ends."""
    view = memoryview(content).cast("B")
    while len(view):
        count = os.pwrite(descriptor, view, at)
        view, at = view[count:], at + count
    return at


class WriteBehind:
    """Writes blocks one after the other, in a thread while the caller makes the next ones.

    A context manager; what goes wrong in the thread is raised by a later `write` or at the
    end of the context. Little content is written at the end, without a thread.

    Parameters
    ----------
    descriptor : int
        Of an open file.
    at : int
        Where in the file the first block goes.

    Attributes
    ----------
    at : int
        Where the next block goes.
    """

    def __init__(self, descriptor: int, at: int) -> None:
        self.at = at
        self._descriptor = descriptor
        self._span: list[np.ndarray] = []
        self._begun = at
        self._thread: ThreadPoolExecutor | None = None
        self._running: Future | None = None

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                if self._running is not None:
                    self._running.result()
                self._write(self._span, self._begun)
        finally:
            if self._thread is not None:
                self._thread.shutdown()

    def write(self, block: np.ndarray) -> None:
        """Write a block, which must not change until the context ends."""
        self._span.append(block)
        self.at += block.nbytes
        if self.at - self._begun >= _SPAN_BYTES:
            # One span is written while one is made, so memory stays bounded.
            if self._running is not None:
                self._running.result()
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="write")
            self._running = self._thread.submit(self._write, self._span, self._begun)
            self._span, self._begun = [], self.at

    def _write(self, span: list[np.ndarray], start: int) -> None:
        at = start
        for block in span:
            at = write_at(self._descriptor, block, at)
        if at - start >= _SPAN_BYTES:
            start_writing(self._descriptor, start, at - start)


def start_writing(descriptor: int, at: int, count: int) -> None:
    """Ask the system to begin moving these bytes to the disk, without waiting.

    Only a hint: what goes wrong then is told by the fsync that follows.
    """
    if _SYNC_FILE_RANGE is not None:
        _SYNC_FILE_RANGE(descriptor, at, count, _WRITE)


def _find_sync_file_range() -> Callable | None:
    # Linux has it, Python does not offer it, and other systems do without.
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function


_SYNC_FILE_RANGE = _find_sync_file_range()
_WRITE = 2  # SYNC_FILE_RANGE_WRITE


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

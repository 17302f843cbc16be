"""Open files that users and strangers name: regular files alone, and no more than fits.

A pipe without a writer would block for ever, a device may do anything when it is opened,
and a sparse file of terabytes costs nothing to make. Whatever is read from a path that
somebody gave is opened here.
"""

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from .errors import FileFormatError, IcecoreError, IrregularFileError, MissingFileError

_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_FLAGS |= getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


# What `open` gives for bytes; the second is unbuffered.
RegularFile = io.BufferedReader | io.FileIO


class _NamedFile(io.FileIO):
    """A file that says which one it is where the disk cannot read it; Python's does not."""

    def read(self, size: int | None = -1, /) -> Any:
        """See `io.FileIO`."""
        with self._named():
            return super().read(-1 if size is None else size)

    def readall(self) -> Any:
        """See `io.FileIO`."""
        with self._named():
            return super().readall()

    def readinto(self, buffer: Any, /) -> Any:
        """See `io.FileIO`."""
        with self._named():
            return super().readinto(buffer)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = error.filename or self.name
            raise


def open_regular(path: str | os.PathLike, buffering: int = -1) -> RegularFile:
    """Open a regular file for reading bytes.

    Parameters
    ----------
    path : path-like
        Links are followed.
    buffering : int
        0 for none.

    Raises
    ------
    IrregularFileError
        The path leads to anything but a regular file. It is never waited for.
    OSError
        As of `open`.
    """
    # Opening a device can have effects, so it is looked at before; what was opened is
    # looked at again, because the name may have changed hands in between.
    require_regular(path, os.stat(path).st_mode)
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise IrregularFileError(path, "a socket") from error
        raise
    try:
        require_regular(path, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    raw = _NamedFile(os.fspath(path), opener=lambda *_: descriptor)
    return raw if buffering == 0 else io.BufferedReader(raw)


def append_regular(path: str | os.PathLike) -> TextIO:
    """Open a file to add lines of text to it, each written at once; it is made if need be.

    Raises
    ------
    IrregularFileError
        There is something else than a regular file: a link is not followed, a pipe without a
        reader is not waited for.
    OSError
        As of `open`.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        require_regular(path, os.lstat(path).st_mode)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | (_FLAGS ^ os.O_RDONLY)
    descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        require_regular(path, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return open(descriptor, "a", encoding="utf-8", errors="backslashreplace", buffering=1)


def read_regular(path: str | os.PathLike, most: int) -> bytes:
    """Read a regular file of at most `most` bytes.

    Raises
    ------
    IrregularFileError
        The path leads to anything but a regular file.
    FileFormatError
        The file is larger; nothing of it was read.
    OSError
        As of `open`.
    """
    with open_regular(path) as file:
        return file.read(require_at_most(file, path, most))


def require_at_most(file: RegularFile, path: str | os.PathLike, most: int | None) -> int:
    """Return the size of an open file; raise `FileFormatError` if it has more than `most` bytes."""
    size = os.fstat(file.fileno()).st_size
    if most is not None and size > most:
        raise FileFormatError(
            f"{path} has {size_text(size)}, more than the {size_text(most)} that such a "
            "file may have",
            "check that it is the file that was meant",
        )
    return size


def read_whole(
    path: str | os.PathLike, most: int, error: type[IcecoreError], hint: str = ""
) -> bytes:
    """Read a file as `read_regular` does, with every failure as one error of a room's own type.

    Raises
    ------
    MissingFileError
        There is no such file.
    IcecoreError
        Of the type `error`: it cannot be read, is not a regular file, or is too large.
    """
    try:
        return read_regular(path, most)
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise MissingFileError(f"{path} is not there", hint or "check the path") from cause
    except IcecoreError as cause:
        raise error(cause.message, cause.hint) from cause
    except (OSError, ValueError) as cause:
        # A name with a NUL is a ValueError.
        reason = getattr(cause, "strerror", None) or cause
        raise error(f"{path} cannot be read: {reason}", "check its permissions") from cause
    except MemoryError as cause:
        raise error(f"{path} does not fit into the memory", "free some memory") from cause


def size_text(size: float) -> str:
    """Write a number of bytes in the unit that suits it.

    >>> size_text(512), size_text(3 * 2**29)
    ('512 bytes', '1.5 GiB')
    """
    if size < 2**10:
        return f"{size} bytes"
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        size /= 2**10
        if size < 2**10 or unit == "PiB":
            return f"{size:.3g} {unit}"
    raise AssertionError


def require_regular(path: str | os.PathLike, mode: int) -> None:
    """Raise `IrregularFileError` unless `mode`, from `os.stat`, is that of a regular file."""
    if not stat.S_ISREG(mode):
        raise IrregularFileError(Path(path), kind_of(mode))


def kind_of(mode: int) -> str:
    """Say what a file is by its mode, as `os.lstat` gives it."""
    return _KINDS.get(stat.S_IFMT(mode), "a special file")

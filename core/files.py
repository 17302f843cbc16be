"""Publish files atomically and digest their bytes.

A reader sees the old file or the whole new one, never a part: everything is
written under a temporary name beside the target, flushed to the disk, and
renamed. Whatever interrupts the writing, the temporary file goes away: that of a process which
was killed, with the next file that is published in the folder.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from .errors import DiskFullError, IrregularFileError
from .processes import start_of, this_machine
from .regular_files import open_regular, require_at_most, require_regular

_TEMPORARY_PREFIX = ".tmp-"
# With the machine and the process that writes it.
_TEMPORARY = re.compile(
    rf"{re.escape(_TEMPORARY_PREFIX)}.*-([0-9a-f]{{8}})-(\d+)-[0-9a-f]{{6}}", re.DOTALL
)
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
# Folders that were looked through for what killed processes have left.
_TIDIED: set[str] = set()
_SHOWN_OF_A_NAME = 40
_SMALL_FILE = 2**20
_SPAN = 4 * 2**20


@contextlib.contextmanager
def publish(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path to write to; rename it to `path` on success.

    Parameters
    ----------
    path : path-like
        Where the finished file shall be. Its folder is made if need be.

    Yields
    ------
    pathlib.Path
        A name in the same folder, so that the rename is atomic.

    Raises
    ------
    DiskFullError
        The file system (or the user's quota) has no room; nothing is left.
    IrregularFileError
        There is a pipe, a socket or a device, or a link to one, which a file must not replace.
    """
    path = Path(path)
    _require_replaceable(path)
    temporary = path.with_name(_temporary_name(path.name))
    try:
        with disk_full_named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _tidy(path.parent)
            yield temporary
            _flush_to_disk(temporary)
            os.replace(temporary, path)
            flush_folder(path.parent)
    except BaseException as error:
        _remove(temporary)
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename, error.filename2 = str(path), None  # The name that was given.
        raise


def is_abandoned(name: str) -> bool:
    """Tell whether a name is that of a temporary file whose writer, of this machine, is gone."""
    found = _TEMPORARY.fullmatch(name)
    return found is not None and found[1] == _machine() and start_of(int(found[2])) is None


def _temporary_name(name: str) -> str:
    shown = name[:_SHOWN_OF_A_NAME]
    return f"{_TEMPORARY_PREFIX}{shown}-{_machine()}-{os.getpid()}-{secrets.token_hex(3)}"


@functools.cache
def _machine() -> str:
    return sha256_bytes(this_machine().encode())[:8]


def _tidy(folder: Path) -> None:
    """Remove what killed processes have left in a folder; once, for it may hold a million files."""
    if (place := os.path.abspath(folder)) in _TIDIED:
        return
    _TIDIED.add(place)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if is_abandoned(entry.name) and entry.is_file(follow_symlinks=False):
                _remove(Path(entry.path))


def _require_replaceable(path: Path) -> None:
    """Refuse a place where there is something else than a file, or a link to a file."""
    if path.is_dir() or not path.name:
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file to write", str(path))
    folder = os.path.realpath(path.parent)
    if folder == "/dev":
        # /dev/stdout is a link, which root would replace for all programs where it leads to a file.
        raise IrregularFileError(path, "a device")
    if f"{folder}/".startswith("/proc/"):
        raise IrregularFileError(path, "a part of the system in /proc")
    # A link that leads nowhere is replaced as one to a file is; other faults show in writing.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        try:
            mode = path.stat().st_mode
        except OSError as error:
            if error.errno == errno.ELOOP:
                return
            raise
        require_regular(path, mode)


@contextlib.contextmanager
def disk_full_named(path: str | os.PathLike) -> Iterator[None]:
    """Turn the system's errors for a full disk, quota or file into `DiskFullError` about `path`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, DiskFullError):
            raise
        if _is(error, errno.EFBIG):
            raise DiskFullError(
                f"{path} becomes larger than the disk's format, or ulimit -f, lets a file be",
                "write to another disk; FAT32 ends at 4 GB",
            ) from error
        if not (_is(error, errno.ENOSPC) or _is(error, errno.EDQUOT)):
            raise
        raise DiskFullError(
            f"no room left on the disk while writing {path}",
            "free some space there, and run the same command again",
        ) from error


def publish_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write `content` to `path`, atomically."""
    with publish(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            view, at = memoryview(content), 0
            while at < len(view):
                count = os.write(descriptor, view[at : at + _SPAN])
                _start_writing(descriptor, at, count)
                at += count
        finally:
            os.close(descriptor)


def _start_writing(descriptor: int, at: int, count: int) -> None:
    """Let the disk begin with these bytes while the next ones are copied to the system."""
    # To say that they are not needed any more is how Python asks for it; other systems than
    # Linux begin when the file is flushed. What goes wrong is told by that, too.
    if count == _SPAN and hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, at, count, os.POSIX_FADV_DONTNEED)


def publish_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically."""
    with publish(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def publish_json(path: str | os.PathLike, content: object) -> None:
    """Write `content` as JSON to `path`, atomically."""
    publish_text(path, json_text(content) + "\n")


def json_text(content: object) -> str:
    """Return `content` as JSON; NUL, which no JSON file has, as ``\\x00``."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return _NUL.sub(r"\1\\\\x00", text)


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: str | os.PathLike, most: int | None = None) -> str:
    """Return the SHA-256 of a regular file's bytes, as ``sha256sum`` prints it.

    Raises
    ------
    FileFormatError
        The file has more than `most` bytes; nothing of it was read.
    """
    with open_regular(path, 0) as file:
        require_at_most(file, path, most)
        # One small file is read at once; the buffer for large ones would cost more than it.
        if os.fstat(file.fileno()).st_size <= _SMALL_FILE:
            return sha256_bytes(file.read())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is(error: OSError, number: int) -> bool:
    # HDF5 wraps the system's error: h5py then gives only its text.
    return error.errno == number or f"errno = {number}" in str(error)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the file system lets one."""
    # Without this a power cut can forget the rename itself. Some file systems
    # cannot flush a folder; a failing disk is another matter.
    try:
        _flush_to_disk(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM):
            raise


def _remove(path: Path) -> None:
    # Whatever hinders it (a disk that became read-only), the first error is what matters.
    with contextlib.suppress(OSError):
        os.unlink(path)

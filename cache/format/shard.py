"""One shard: an immutable HDF5 file of feature rows, named by the digest of its content.

Writing makes the HDF5 structure in memory and puts the rows between its parts, so that the
rows themselves are not copied and a full disk is an ordinary Python error.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from ...core.errors import CacheError, DamagedCacheError
from ..record import fingerprint
from .checksum import add_rows, key_checksums
from .disk import WriteBehind, publish_unnamed, write_at
from .encoding import stored_dtype
from .hdf5_bytes import SparseFile, new_hdf5, reserve

__all__ = ["FORMAT", "UNREADABLE", "Shard", "as_keys", "ascii_json", "damaged", "open_hdf5"]
__all__ += ["publish_shard", "read_attributes", "read_shard"]

FORMAT = 1
_WHAT = "icecore feature shard"
_NAME_DIGITS = 24
# What h5py and the parsing raise at a file that is not as it was written.
UNREADABLE = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError)
_NOT_DAMAGE = (errno.EMFILE, errno.ENFILE, errno.EACCES, errno.ENOMEM, errno.ESTALE)


@dataclasses.dataclass(frozen=True)
class Shard:
    """What a reader needs to know of one shard.

    Attributes
    ----------
    name : str
        File name inside ``shards/``.
    size : int
        Bytes of the whole file.
    offset : int
        Where the first row begins in the file.
    keys : ndarray (n,) of S64
    checksums : ndarray (n,) uint64
    """

    name: str
    size: int
    offset: int
    keys: np.ndarray
    checksums: np.ndarray


def publish_shard(
    folder: Path,
    record: Mapping,
    keys: np.ndarray,
    blocks: Iterable[np.ndarray],
    dim: int,
    provenance: Mapping,
) -> Shard:
    """Write one shard into `folder`; when this returns it is on the disk.

    Parameters
    ----------
    folder : pathlib.Path
        The set's ``shards/``.
    record : mapping
        The set's record.
    keys : ndarray (n,) of S64
    blocks : iterable of ndarray (k, dim)
        The n rows in the form they are stored in, some at a time. What it raises undoes
        everything.
    dim : int
        Numbers in a row.
    provenance : mapping
        What may vary between rows of one set: engine, host, times.

    Raises
    ------
    DiskFullError
        No room; nothing is left behind.
    """
    texts = ascii_json(record), ascii_json(provenance)
    head = _structure(fingerprint(record), record["precision"], len(keys), dim, *texts)
    with publish_unnamed(folder) as new:
        checksums, end = _write_rows(new.descriptor, keys, blocks, len(head.before))
        before, after = head.around(keys, checksums)
        write_at(new.descriptor, before, 0)
        write_at(new.descriptor, after, end)
        new.name = _name(before, after)
    return Shard(new.name, end + len(after), len(before), keys, checksums)


def _write_rows(
    descriptor: int, keys: np.ndarray, blocks: Iterable[np.ndarray], offset: int
) -> tuple[np.ndarray, int]:
    """Write rows from `offset` on; return their checksums and where they end.

    Each block is checksummed while it is in the processor's cache; a thread copies those
    before to the system, and the disk is at work on those before that.
    """
    checksums, row = key_checksums(keys), 0
    with WriteBehind(descriptor, offset) as file:
        for block in blocks:
            add_rows(checksums[row : row + len(block)], block)
            file.write(block)
            row += len(block)
    return checksums, file.at


@dataclasses.dataclass(frozen=True)
class _Structure:
    """All bytes of a shard but its rows, without keys and checksums yet.

    Attributes
    ----------
    before, after : bytes
        What stands before the rows and after them.
    keys_at, checksums_at, after_at : int
        Where the two data sets and `after` begin.
    """

    before: bytes
    after: bytes
    keys_at: int
    checksums_at: int
    after_at: int

    def around(self, keys: np.ndarray, checksums: np.ndarray) -> tuple[bytearray, bytearray]:
        """Return the bytes before the rows and those after, with keys and checksums."""
        before, after = bytearray(self.before), bytearray(self.after)
        for at, values in ((self.keys_at, keys), (self.checksums_at, checksums.astype("<u8"))):
            # HDF5 may put few rows before what begins on a page.
            part, at = (before, at) if at < len(before) else (after, at - self.after_at)
            part[at : at + values.nbytes] = values.tobytes()
        return before, after


# HDF5 gives the same bytes for shards of one shape, record and provenance.
@functools.lru_cache(maxsize=4)
def _structure(
    print_: str, precision: str, count: int, dim: int, record: str, provenance: str
) -> _Structure:
    sparse = SparseFile()
    dtype = stored_dtype(precision)
    with new_hdf5(sparse) as file:
        file.attrs["what"] = np.bytes_(_WHAT)
        file.attrs["format"] = FORMAT
        file.attrs["fingerprint"] = np.bytes_(print_)
        file.attrs["encoding"] = np.bytes_(precision)
        file.attrs["record"] = np.bytes_(record)
        file.attrs["provenance"] = np.bytes_(provenance)
        keys_at = reserve(file, "keys", (count,), np.dtype("S64"))
        sums_at = reserve(file, "checksums", (count,), np.dtype("<u8"))
        offset = reserve(file, "features", (count, dim), dtype)
    end = offset + count * dim * dtype.itemsize
    return _Structure(sparse.part(0, offset), sparse.part(end, sparse.size), keys_at, sums_at, end)


def ascii_json(content: Mapping) -> str:
    """Write `content` as ASCII JSON, short enough for an HDF5 attribute."""
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    if len(text) > 60_000:
        raise CacheError(
            f"{len(text)} characters of record or provenance do not fit into a shard",
            "keep each below 60,000 characters of JSON",
        )
    return text


def _name(head: object, tail: object) -> str:
    digest = hashlib.sha256(head)
    digest.update(tail)
    return f"{digest.hexdigest()[:_NAME_DIGITS]}.h5"


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, without the file locks that fail on NFS."""
    return h5py.File(path, "r", locking=False)


def read_shard(path: Path, record: Mapping | None = None, dim: int | None = None) -> Shard:
    """Read a shard's header: everything but the rows, checked against the file's name.

    Parameters
    ----------
    path : pathlib.Path
    record : mapping, optional
        The record the shard must have been made with.
    dim : int, optional
        How many numbers its rows must have.

    Raises
    ------
    DamagedCacheError
        The file is cut short, altered, misnamed or of another feature set.
    CacheError
        It was written by a newer icecore.
    OSError
        The file is gone, or the system cannot open it now.
    """
    # Opened by hand first: no permission or no descriptor left is not damage.
    with open(path, "rb") as plain:
        size = os.fstat(plain.fileno()).st_size
    try:
        with open_hdf5(path) as file:
            shard, found, width = _parse(path, size, file)
    except (FileNotFoundError, PermissionError, CacheError):
        raise
    except UNREADABLE as error:
        if getattr(error, "errno", None) in _NOT_DAMAGE:
            raise
        raise damaged(path, f"not readable as HDF5: {_first_line(error)}") from error
    if record is not None and found != fingerprint(record):
        raise damaged(
            path, f"it belongs to another feature set (fingerprint {found[:12]}, "
            f"not {fingerprint(record)[:12]})"
        )  # fmt: skip
    if dim is not None and width != dim:
        raise damaged(path, f"its rows have {width} numbers, not {dim}")
    return shard


def _parse(path: Path, size: int, file: h5py.File) -> tuple[Shard, str, int]:
    if file.attrs["what"].decode() != _WHAT:
        raise damaged(path, "it is not a feature shard")
    number = int(file.attrs["format"])
    if number > FORMAT:
        raise CacheError(
            f"{path} has cache format {number}; this icecore reads up to {FORMAT}",
            "install a newer icecore to read it",
        )
    features = file["features"]
    offset = features.id.get_offset()
    length = features.dtype.itemsize * features.size
    if offset is None or size < offset + length:
        raise damaged(path, f"it is cut short ({size} bytes)")
    if _name(*_surroundings(path, offset, length, size)) != path.name:
        raise damaged(path, "its header does not match the digest in its name")
    keys, checksums = file["keys"][()], file["checksums"][()]
    shard = Shard(path.name, size, offset, keys, checksums.astype(np.uint64))
    return shard, file.attrs["fingerprint"].decode(), features.shape[1]


def _surroundings(path: Path, offset: int, length: int, size: int) -> tuple[bytes, bytes]:
    with open(path, "rb") as file:
        head = file.read(offset)
        file.seek(offset + length)
        return head, file.read(size - offset - length)


def read_attributes(path: Path) -> dict:
    """Return a shard's record and provenance, as ``{"record": ..., "provenance": ...}``."""
    try:
        with open_hdf5(path) as file:
            texts = {name: file.attrs[name] for name in ("record", "provenance")}
        return {name: json.loads(text) for name, text in texts.items()}
    except (OSError, KeyError, ValueError, RuntimeError, MemoryError) as error:
        raise damaged(path, f"not readable: {_first_line(error)}") from error


def as_keys(keys: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return row keys as an array of S64, or say which is not one.

    Raises
    ------
    CacheError
        A key is not 64 lower-case hexadecimal digits.
    """
    wrong = [] if set(map(len, keys)) <= {64} else [key for key in keys if len(key) != 64]
    array = np.array([] if wrong else list(keys), dtype="S64")
    digits = array.view(np.uint8) if len(array) else np.zeros(0, np.uint8)
    is_digit = ((digits >= 48) & (digits <= 57)) | ((digits >= 97) & (digits <= 102))
    if wrong or not is_digit.all():
        bad = wrong[0] if wrong else keys[int(np.flatnonzero(~is_digit)[0] // 64)]
        raise CacheError(
            f"{bad!r} is not a row key",
            "keys are SHA-256 digests: 64 hexadecimal digits in lower case",
        )
    return array


def damaged(path: Path, reason: str) -> DamagedCacheError:
    """Make the error for a damaged file."""
    return DamagedCacheError(
        f"{path} is damaged: {reason}",
        "run `icecore cache verify` to see what is affected; the next extract, or "
        "`icecore cache repair`, puts it right",
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

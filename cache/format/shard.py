"""One shard: an immutable HDF5 file of feature rows, named by the digest of its content.

A shard is made in memory and published in one step, so that a full disk is an ordinary
error, and so that whatever takes whole files can take it.
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...core.errors import CacheError, DamagedCacheError, FileFormatError
from ...core.files import publish_bytes
from ...core.hdf5_files import UNUSABLE, hdf5_in, new_hdf5, read_array, read_attribute
from ...core.hdf5_rules import Hdf5Rules
from ...core.json_files import parse_json
from ...core.regular_files import RegularFile
from ..record import plain_json
from .checksum import row_checksums
from .disk import open_own, require_own_set
from .header import LARGEST_ROW, SetHeader

FORMAT = 1
# Rows, with their keys and checksums, are written in shards of up to this size.
SHARD_BYTES = 64 << 20
HINT = (
    "run `icecore cache verify` to see what is affected; the next extract, or "
    "`icecore cache repair`, puts it right"
)
_WHAT = "icecore feature shard"
_NAME_DIGITS = 24
# A shard of ours is never larger, even if it holds a single row.
_LARGEST_FILE = SHARD_BYTES + 2 * LARGEST_ROW
# Superblock, headers and attributes, besides keys and checksums.
_MOST_STRUCTURE = 1 << 20
# A key and a checksum.
BESIDE_ROW = 64 + 8
_LONGEST_PROVENANCE = 60_000
_RULES = Hdf5Rules(filters=frozenset(), most_bytes=_LARGEST_FILE, lists=False)


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
    header: SetHeader,
    keys: np.ndarray,
    rows: np.ndarray,
    provenance: Mapping,
) -> Shard:
    """Write one shard into `folder`; when this returns it is on the disk.

    Parameters
    ----------
    folder : pathlib.Path
        The set's ``shards/``.
    keys : ndarray (n,) of S64
    rows : ndarray (n, dim)
        In the form they are stored in.
    provenance : mapping
        What may vary between rows of one set: engine, host, times.

    Raises
    ------
    DiskFullError
        No room; nothing is left behind.
    """
    buffer, checksums = io.BytesIO(), row_checksums(rows, keys)
    with new_hdf5(buffer) as file:
        file.attrs.update(header_attributes(_WHAT, header))
        file.attrs["provenance"] = np.bytes_(_provenance_text(provenance))
        file.create_dataset("keys", data=keys)
        file.create_dataset("checksums", data=checksums.astype("<u8", copy=False))
        offset = file.create_dataset("features", data=rows).id.get_offset()
    # No copy. Python 3.12.1 crashes when an error's traceback kept a view of the BytesIO itself.
    content = buffer.getvalue()
    view, end = memoryview(content), offset + len(keys) * header.row_bytes
    name = _name([view[:offset], view[end:]])
    require_own_set(folder.parent)
    publish_bytes(folder / name, content)
    return Shard(name, len(content), offset, keys, checksums)


def shard_rows(header: SetHeader, most_bytes: int = SHARD_BYTES) -> int:
    """Return how many rows of a set make a shard of about `most_bytes`."""
    return max(1, most_bytes // (header.row_bytes + BESIDE_ROW))


def header_attributes(what: str, header: SetHeader) -> dict[str, object]:
    """Return the attributes that files of a set have in common."""
    return {
        "what": np.bytes_(what),
        "format": FORMAT,
        "fingerprint": np.bytes_(header.fingerprint),
        "set": np.bytes_(header.text),
    }


def _provenance_text(provenance: Mapping) -> str:
    text = plain_json("the provenance of rows", provenance, sort_keys=True)
    if len(text) > _LONGEST_PROVENANCE:
        raise CacheError(
            f"{len(text)} characters of provenance do not fit into a shard",
            f"keep it below {_LONGEST_PROVENANCE:,} characters of JSON",
        )
    return text


def is_short_enough(provenance: Mapping) -> bool:
    """Tell whether a shard has room for it."""
    try:
        return bool(_provenance_text(provenance))
    except CacheError:
        return False


def _name(parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return f"{digest.hexdigest()[:_NAME_DIGITS]}.h5"


# Reading ----------------------------------------------------------------------------------


@contextlib.contextmanager
def reading_shard(path: Path, marked: bool = True) -> Iterator[tuple[RegularFile, h5py.File]]:
    """Open a shard: the plain file, and the HDF5 file in it.

    Parameters
    ----------
    marked : bool, default True
        Whether it must say that it is a shard, and of which format.

    Raises
    ------
    DamagedCacheError
        It is not HDF5, leads to other files, or is larger than any shard.
    CacheError
        It is a link, or of a newer icecore.
    OSError
        It is gone, or the system cannot open it now.
    """
    with open_own(path) as plain:
        size = os.fstat(plain.fileno()).st_size
        if size > _LARGEST_FILE:
            raise damaged(path, f"it is larger than any shard ({size} bytes)")
        try:
            with hdf5_in(plain, path, FileFormatError, HINT, _RULES) as file:
                if marked:
                    _check_marks(path, file)
                yield plain, file
        except FileFormatError as error:
            reason = error.message.removeprefix(f"{path} {UNUSABLE}: ")
            raise damaged(path, reason) from error


def _check_marks(path: Path, file: h5py.File) -> None:
    if read_attribute(file, "what") != _WHAT:
        raise ValueError("it is not a feature shard")
    check_format(path, read_attribute(file, "format"))


def check_format(path: Path, number: object) -> None:
    """Refuse a file of a newer format.

    Raises
    ------
    CacheError
        It is newer.
    ValueError
        It is no number at all.
    """
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"its format is {str(number)[:20]!r}")
    if number > FORMAT:
        raise CacheError(
            f"{path} has cache format {number}; this icecore reads up to {FORMAT}",
            "install a newer icecore to read it",
        )


def read_shard(path: Path, header: SetHeader) -> Shard:
    """Read a shard's tables: everything but the rows, checked against the file's name.

    Raises
    ------
    DamagedCacheError
        The file is cut short, altered, misnamed or of another feature set.
    CacheError
        It is a link, or was written by a newer icecore.
    OSError
        The file is gone, or the system cannot open it now.
    """
    with reading_shard(path) as (plain, file):
        shard = _tables(path, plain, file, header)
        if _name(_surroundings(plain, shard, header)) != path.name:
            raise ValueError("its header does not match the digest in its name")
        # All that any reader will ask for.
        _provenance(file, path)
        if _header(file, path) != header:
            raise ValueError("its attribute 'set' is not that of its feature set")
        return shard


def tables_as_found(path: Path, header: SetHeader) -> Shard | None:
    """Read the tables of a damaged shard of this set, if they can be read at all."""
    try:
        with reading_shard(path, marked=False) as (plain, file):
            return _tables(path, plain, file, header)
    except CacheError:
        return None


def keys_as_found(path: Path) -> np.ndarray | None:
    """Read the keys of a damaged shard of any set; None if they cannot be read."""
    with contextlib.suppress(CacheError), reading_shard(path, marked=False) as (_, file):
        keys = read_array(file, "keys", 1, "S64")
        if _are_keys(keys):
            return keys
    return None


def _tables(path: Path, plain: RegularFile, file: h5py.File, header: SetHeader) -> Shard:
    print_ = read_attribute(file, "fingerprint")
    if print_ != header.fingerprint:
        raise ValueError(
            f"it belongs to another feature set (fingerprint {str(print_)[:12]}, "
            f"not {header.fingerprint[:12]})"
        )
    features = file.get("features")
    if not isinstance(features, h5py.Dataset) or features.ndim != 2:
        raise ValueError("it has no table 'features'")
    if features.dtype != header.stored or features.shape[1] != header.dim:
        raise ValueError(
            f"its rows have {features.shape[1]} numbers of {features.dtype}, "
            f"not {header.dim} of {header.stored}"
        )
    offset = features.id.get_offset()
    if offset is None:
        raise ValueError("its rows do not lie in one piece")
    keys, checksums = read_array(file, "keys", 1, "S64"), read_array(file, "checksums", 1, "<u8")
    if not len(features) == len(keys) == len(checksums):
        raise ValueError(
            f"it has {len(features)} rows, {len(keys)} keys and {len(checksums)} checksums"
        )
    if not _are_keys(keys):
        raise ValueError("its keys are not all 64 hexadecimal digits")
    size = os.fstat(plain.fileno()).st_size
    return Shard(path.name, size, offset, keys, checksums.astype(np.uint64, copy=False))


def _surroundings(plain: RegularFile, shard: Shard, header: SetHeader) -> Iterator[bytes]:
    """Yield all bytes of a shard but its rows."""
    end = shard.offset + len(shard.keys) * header.row_bytes
    if end > shard.size:
        raise ValueError(f"it is cut short ({shard.size} bytes)")
    beside = shard.size - len(shard.keys) * (header.row_bytes + BESIDE_ROW)
    if beside > _MOST_STRUCTURE:
        raise ValueError(f"it holds {beside} bytes that are neither rows nor of their table")
    for start, stop in ((0, shard.offset), (end, shard.size)):
        plain.seek(start)
        while start < stop:
            part = plain.read(min(stop - start, 1 << 20))
            if not part:
                raise ValueError("it is cut short")
            yield part
            start += len(part)


def read_provenance(path: Path) -> dict:
    """Return what a shard says of how its rows were made."""
    with reading_shard(path) as (_, file):
        return _provenance(file, path)


def _provenance(file: h5py.File, path: Path) -> dict:
    try:
        given = parsed(read_attribute(file, "provenance"), path)
        # What is longer could not be written again.
        _provenance_text(given)
        return given
    except CacheError as error:
        raise damaged(path, f"its provenance: {fault_of(error, path)}") from error


def read_header(path: Path) -> SetHeader:
    """Return what a shard says of its feature set.

    Raises
    ------
    CacheError
        It does not say it.
    """
    with reading_shard(path) as (_, file):
        return _header(file, path)


def _header(file: h5py.File, path: Path) -> SetHeader:
    try:
        return SetHeader.from_dict(parsed(read_attribute(file, "set"), path))
    except CacheError as error:
        raise damaged(path, f"its attribute 'set': {fault_of(error, path)}") from error


def as_keys(keys: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return row keys as an array of S64, or say which is not one.

    Raises
    ------
    CacheError
        A key is not 64 lower-case hexadecimal digits.
    """
    if isinstance(keys, str) or not isinstance(keys, Collection):
        raise CacheError(f"row keys are a {type(keys).__name__}", "give a list of digests")
    if all(isinstance(key, str) for key in keys) and set(map(len, keys)) <= {64}:
        # Several times as fast as letting NumPy take them one by one.
        raw = bytearray("".join(keys).encode("ascii", "replace"))
        array = np.frombuffer(raw, "S64") if raw else np.zeros(0, "S64")
        if _are_keys(array):
            return array
    bad = next(k for k in keys if not (isinstance(k, str) and re.fullmatch("[0-9a-f]{64}", k)))
    raise CacheError(
        f"{bad!r} is not a row key",
        "keys are SHA-256 digests: 64 hexadecimal digits in lower case",
    )


def _are_keys(array: np.ndarray) -> bool:
    digits = array.view(np.uint8) if len(array) else np.zeros(0, np.uint8)
    known = ((digits >= 48) & (digits <= 57)) | ((digits >= 97) & (digits <= 102))
    return bool(known.all())


def parsed(text: object, path: Path) -> dict[str, Any]:
    """Parse the JSON object that a file of the cache holds.

    Raises
    ------
    DamagedCacheError
        It is no JSON object.
    """
    if not isinstance(text, str | bytes):
        raise damaged(path, f"it holds {type(text).__name__} in place of JSON")
    try:
        return parse_json(text, path, FileFormatError, HINT)
    except FileFormatError as error:
        raise damaged(path, error.message.replace(str(path), "it", 1)) from error


def fault_of(error: CacheError, path: Path) -> str:
    """Return what an error says of a file, without its name."""
    return error.message.removeprefix(f"{path} ").removeprefix("is damaged: ")


def damaged(path: Path, reason: str) -> DamagedCacheError:
    """Make the error for a damaged file."""
    return DamagedCacheError(f"{path} is damaged: {reason}", HINT)

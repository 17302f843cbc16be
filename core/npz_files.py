"""Read and write NPZ files: one reader under all, which looks at everything before it inflates.

Numbers and text alone are read, never objects, so nothing is unpickled. What an archive
declares (members, types, shapes, sizes) is read first, from the first bytes of each member; a
caller that knows the shapes refuses what does not fit before memory is taken.
"""

import dataclasses
import io
import math
import os
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, BinaryIO

import numpy as np

from .content import told_apart
from .errors import FileFormatError, IcecoreError, MissingFileError
from .files import publish
from .regular_files import open_regular, size_text

LARGEST_NPZ = 8 * 2**30
_MOST_MEMBERS = 1000
_KINDS = "biufSU"
# Zeros compress a thousandfold; rows of numbers that mean something hardly tenfold.
_MOST_EXPANSION = 100
_LONGEST_HEADER = 8192
_SMALL = 64 * 2**20
_LOOKED_AT = 4096


class _UnfitError(ValueError):
    """What a caller's check says of an archive."""


class _OtherKindError(ValueError):
    """A file is something else; the hint, if there is one, is better than the caller's."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclasses.dataclass(frozen=True)
class NpzEntry:
    """What an archive declares of one array."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size of the array in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def read_npz(
    path: str | os.PathLike,
    error: type[IcecoreError] = FileFormatError,
    hint: str = "make it again",
    *,
    check: Callable[[Mapping[str, NpzEntry]], str] | None = None,
    names: Iterable[str] | None = None,
    most: int = LARGEST_NPZ,
) -> dict[str, np.ndarray]:
    """Read the arrays of an NPZ file.

    Parameters
    ----------
    error : type
        What to raise about content that cannot be used.
    hint : str
        What the user can do then.
    check : callable, optional
        Is shown what the archive declares before an array is read, and says what is wrong
        with it, as what follows the file's name in a sentence; nothing if all is well.
    names : iterable of str, optional
        Read these arrays alone, as far as they are there.
    most : int
        Largest size of all arrays together, in bytes.

    Raises
    ------
    MissingFileError
        There is no such file.
    IcecoreError
        Of the type `error`: it is no regular file, damaged, encrypted, compressed in a way
        that NumPy does not write, too large, or holds something else than plain arrays.
    """
    try:
        with open_regular(path) as file:
            return _read(file, check, None if names is None else set(names), most)
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise MissingFileError(f"{path} is not there", hint) from cause
    except IcecoreError as cause:
        raise error(cause.message, cause.hint) from cause
    except _UnfitError as cause:
        raise error(f"{path} {cause}", hint) from cause
    except MemoryError as cause:
        raise error(f"{path} does not fit into the memory", "free some memory") from cause
    # zipfile and NumPy answer damage with many kinds of error: struct.error, zlib.error, EOFError,
    # NotImplementedError, SyntaxError, tokenize.TokenError and OverflowError among them.
    except Exception as cause:
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        hint = getattr(cause, "hint", hint) or hint
        reason = " ".join(str(reason).split())[:200]
        raise error(f"{path} is not a readable NPZ: {reason}", hint) from cause


def write_npz(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray], compress: bool = False
) -> None:
    """Write arrays as NPZ, atomically; equal arrays make equal files.

    `numpy.savez` would pickle objects, and has no way to forbid it before NumPy 2.1.
    """
    with publish(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def _read(file: BinaryIO, check, names: set[str] | None, most: int) -> dict[str, np.ndarray]:
    size = os.fstat(file.fileno()).st_size
    head = file.read(64)
    if not head:
        raise ValueError("the file is empty")
    if not head.startswith(b"PK"):
        kind, remedy = told_apart(head + file.read(_LOOKED_AT), "")
        raise _OtherKindError(kind or "it is no ZIP archive, which every NPZ is", remedy)
    if not zipfile.is_zipfile(file):
        raise ValueError("it is cut short: the list of its arrays, at its end, is not there")
    with zipfile.ZipFile(file) as archive:
        members = _members(archive)
        entries = {}
        for name, member in members.items():
            with archive.open(member) as stream:
                entries[name], _ = _header(name, member, stream)
        if check is not None and (fault := check(entries)):
            raise _UnfitError(fault)
        _require_room(entries, size, most)
        return {
            name: _array(archive, name, member, entries[name])
            for name, member in members.items()
            if names is None or name in names
        }


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    listed = archive.infolist()
    if len(listed) > _MOST_MEMBERS:
        raise ValueError(f"it has {len(listed)} members, more than {_MOST_MEMBERS}")
    for member in listed:
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise ValueError(f"its member {ascii(name)[:60]} is not an array")
        if name in members:
            raise ValueError(f"it has the array {ascii(name)[:60]} twice")
        if member.flag_bits & 1:
            raise ValueError(f"its member {ascii(name)[:60]} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"its member {ascii(name)[:60]} is compressed in an unknown way")
        members[name] = member
    return members


def _header(name: str, member: zipfile.ZipInfo, stream: IO[bytes]) -> tuple[NpzEntry, bool]:
    """Read what an array declares, and hold it against the size of its member."""
    with warnings.catch_warnings():
        # Headers of Python 2 are parsed with a warning.
        warnings.simplefilter("ignore")
        start = stream.read(12)
        version = np.lib.format.read_magic(io.BytesIO(start))
        wide = {(1, 0): 2, (2, 0): 4}.get(version)
        if wide is None or len(start) < 12:
            raise ValueError(f"the array {ascii(name)[:60]} has the format {version}")
        length = int.from_bytes(start[8 : 8 + wide], "little") + 8 + wide
        if not len(start) <= length <= _LONGEST_HEADER:
            raise ValueError(f"the array {ascii(name)[:60]} has a header of {length} bytes")
        header = io.BytesIO(start + stream.read(length - len(start)))
        header.seek(8)
        read = (
            np.lib.format.read_array_header_1_0
            if wide == 2
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(header)
    if dtype.kind not in _KINDS or dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"the array {ascii(name)[:60]} holds {dtype}, not numbers or text")
    # Older NumPys let the length of a text overflow: one of 2**30 + 1 characters has 1.
    if dtype.kind in "SU" and f"{dtype.str[1:]}'".encode() not in header.getvalue():
        raise ValueError(f"the array {ascii(name)[:60]} holds texts of a length beyond all bounds")
    if not all(type(length) is int and length >= 0 for length in shape) or len(shape) > 8:
        raise ValueError(f"the array {ascii(name)[:60]} has the shape {shape}")
    entry = NpzEntry(dtype, shape)
    stated = member.file_size - length
    if entry.nbytes != stated:
        raise ValueError(
            f"the array {ascii(name)[:60]} of {entry} needs {entry.nbytes} bytes, and {stated} "
            "are there"
        )
    return entry, fortran


def _require_room(entries: Mapping[str, NpzEntry], size: int, most: int) -> None:
    total = sum(entry.nbytes for entry in entries.values())
    if total > most:
        raise ValueError(f"it unpacks to {size_text(total)}, more than {size_text(most)}")
    if total > max(_SMALL, _MOST_EXPANSION * size):
        raise ValueError(
            f"its {size_text(size)} unpack to {size_text(total)}, which no table of numbers does"
        )


def _array(
    archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo, entry: NpzEntry
) -> np.ndarray:
    stream: Any  # zipfile's, which reads into a buffer
    with archive.open(member) as stream:
        _, fortran = _header(name, member, stream)
        content = bytearray(entry.nbytes)
        view, at = memoryview(content), 0
        while at < len(content):
            if not (count := stream.readinto(view[at:])):
                raise ValueError(f"the array {ascii(name)[:60]} is cut short")
            at += count
        # Reading on to the end compares the checksum.
        if stream.read(1):
            raise ValueError(f"the array {ascii(name)[:60]} goes on behind its end")
    flat = np.frombuffer(content, entry.dtype, math.prod(entry.shape))
    array = flat.reshape(entry.shape[::-1]).T if fortran else flat.reshape(entry.shape)
    if entry.dtype.kind == "U" and array.size:
        _require_characters(name, flat)
    return array


def _require_characters(name: str, flat: np.ndarray) -> None:
    codes = flat.view(np.uint32 if flat.dtype.isnative else flat.dtype.byteorder + "u4")
    bad = (codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))
    if bad.any():
        raise ValueError(f"the array {ascii(name)[:60]} holds what is no text")

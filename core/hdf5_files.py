"""Open HDF5 files that may come from anybody, and make small ones in memory.

An HDF5 file can lead to other files (external links and storage, virtual data sets), name
programs that unpack it (filters), and declare numbers that it does not hold (fill values,
chunks that unpack to a thousand times their size). One walk over the whole file answers
for all of that before anything is read from it. What is damaged in any other way is one
error with the file's name.
"""

import contextlib
import errno
import io
import itertools
import math
import os
import re
import zlib
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from .content import told_apart
from .errors import FileFormatError, IcecoreError
from .hdf5_rules import USUAL_RULES, Hdf5Rules, most_unpacked, require_allowed
from .hdf5_source import Hdf5Source
from .regular_files import RegularFile, open_regular, size_text

# How every message about a file begins, after its name.
UNUSABLE = "cannot be used as HDF5"
# Of addresses and lengths in a file; all that write it take these.
_SIZES = (8, 8)
# What HDF5 1.10 and later read.
_VERSIONS = ("v108", "v110")
# What h5py raises at files that are not as HDF5 wrote them. It names no type of its own.
_UNREADABLE = (
    OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, IndexError,
    OverflowError, NotImplementedError,
)  # fmt: skip
# These tell of the system, not of the file.
_OF_THE_SYSTEM = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
)
_SIGNATURE, _LOOKED_AT = b"\x89HDF\r\n\x1a\n", 4096
_PACKERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF)
_TEXTS_AT_ONCE = 64 << 20


@contextlib.contextmanager
def open_hdf5(
    path: str | os.PathLike,
    error: type[IcecoreError] = FileFormatError,
    hint: str = "make it again",
    rules: Hdf5Rules = USUAL_RULES,
) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; see `hdf5_in`.

    Raises
    ------
    IcecoreError
        Of the type `error`: the file is damaged, or it breaks the rules.
    IrregularFileError
        The path leads to a pipe, a socket, a device or a folder.
    OSError
        As of `open`.
    """
    with open_regular(path, 0) as plain, hdf5_in(plain, path, error, hint, rules) as file:
        yield file


@contextlib.contextmanager
def hdf5_in(
    plain: RegularFile,
    path: str | os.PathLike,
    error: type[IcecoreError],
    hint: str,
    rules: Hdf5Rules,
) -> Iterator[h5py.File]:
    """Give the HDF5 file in an open file, after a walk over all of it.

    Whatever is found to be wrong, here or by the reader in the context, becomes one error.

    Parameters
    ----------
    plain : unbuffered binary file
        HDF5 reads through it, so it takes no locks and finds no other file.
    path : path-like
        What to call it in messages.
    error : type
        What to raise about a file that is damaged, or that breaks the rules.
    hint : str
        What the user can do then.
    """
    try:
        with h5py.File(Hdf5Source(plain, rules.lists), "r") as file:
            if file.id.get_create_plist().get_sizes() != _SIZES:
                raise ValueError("its addresses and lengths are not of eight bytes")
            require_allowed(file, os.fstat(plain.fileno()).st_size, rules)
            yield file
    except IcecoreError:
        raise
    except MemoryError as cause:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), str(path)) from cause
    except _UNREADABLE as cause:
        if getattr(cause, "errno", None) in _OF_THE_SYSTEM:
            raise
        with contextlib.suppress(OSError):
            plain.seek(0)
            head = plain.read(_LOOKED_AT)
            if not head.startswith(_SIGNATURE):
                found, hint = told_apart(head, hint)
                cause = ValueError(found) if found else cause
        raise error(f"{path} {UNUSABLE}: {_first_line(cause)}", hint) from cause


def _first_line(error: Exception) -> str:
    # A KeyError prints its argument as a repr.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    line = (text.splitlines() or [type(error).__name__])[0]
    told = re.fullmatch(r"Unable to [\w ]+ \((.+)\)", line)
    return told[1] if told else line


# Reading ----------------------------------------------------------------------------------


def read_array(file: h5py.File, name: str, ndim: int, dtype: str | np.dtype) -> np.ndarray:
    """Read a data set of numbers or of strings of one length.

    Parameters
    ----------
    file : h5py.File
        As `open_hdf5` gives it.
    ndim : int
        How many dimensions it must have.
    dtype : dtype or str
        Its exact type, or only the kind of it as `numpy.dtype.kind` has it: ``"f"``.

    Raises
    ------
    ValueError
        It is not there or not of that shape and type; `open_hdf5` gives it the file's name.
    """
    data = _data_set(file, name, ndim)
    fits = data.dtype.kind == dtype if dtype in list("biufS") else data.dtype == dtype
    if not fits:
        raise ValueError(f"{name!r} holds {data.dtype}, not {np.dtype(dtype)}")
    return data[()]


def read_texts(file: h5py.File, name: str) -> list[str]:
    """Read a data set of texts, of one length or of any.

    Raises
    ------
    ValueError
        It is not there, not a list of texts, or not in UTF-8.
    """
    data = _data_set(file, name, 1)
    _require_text(name, data)
    if data.dtype.kind == "S":
        return [raw.decode("utf-8") for raw in data[()].tolist()]
    # All texts may be one and the same place in the file, so that a small one unpacks to
    # any size: as many at a time as can do no harm, and no more in all than the file could.
    limit = most_unpacked(file.id.get_filesize())
    step = max(1, _TEXTS_AT_ONCE // max(1, file.id.get_filesize()))
    texts: list[str] = []
    size = 0
    for start in range(0, len(data), step):
        texts += [raw.decode("utf-8") for raw in data[start : start + step].tolist()]
        size += sum(map(len, texts[start:]))
        if size > limit:
            raise ValueError(f"{name!r} would unpack to more than {size_text(limit)}")
    return texts


def read_text(file: h5py.File, name: str) -> str:
    """Read a data set that is one text.

    Raises
    ------
    ValueError
        It is not there, something else, or not in UTF-8.
    """
    if getattr(file.get(name), "shape", ()) == (1,):
        return read_texts(file, name)[0]
    data = _data_set(file, name, 0)
    _require_text(name, data)
    return data[()].decode("utf-8")


def _require_text(name: str, data: h5py.Dataset) -> None:
    if h5py.check_string_dtype(data.dtype) is None:
        raise ValueError(f"{name!r} holds {data.dtype}, not text")


def read_attribute(thing: h5py.HLObject, name: str) -> str | int | float | bool:
    """Read one text or number that is an attribute.

    Raises
    ------
    ValueError
        It is not there, or something else.
    """
    attributes = thing.attrs
    try:
        kept = attributes.get_id(name)
    except KeyError as error:
        raise ValueError(f"it has no attribute {name!r}") from error
    plain = kept.dtype.kind in "biufS" or h5py.check_string_dtype(kept.dtype) is not None
    if kept.shape != () or not plain:
        raise ValueError(f"its attribute {name!r} is no single text or number")
    value = attributes[name]
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value if isinstance(value, str) else value.item()


def _data_set(file: h5py.File, name: str, ndim: int) -> h5py.Dataset:
    data = file.get(name)
    if not isinstance(data, h5py.Dataset):
        raise ValueError(f"it has no data set {name!r}")
    if data.ndim != ndim:
        raise ValueError(f"{name!r} has the shape {data.shape}, not {ndim} dimensions")
    _require_true_chunks(name, data)
    return data


def _require_true_chunks(name: str, data: h5py.Dataset) -> None:
    """See that no chunk unpacks to more than it declares: HDF5 would unpack all of it."""
    made = data.id.get_create_plist()
    filters = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
    packed = [number for number, kind in enumerate(filters) if kind in _PACKERS]
    if len(packed) > 1:
        raise ValueError(f"{name!r} is packed {len(packed)} times over")
    if not packed:
        return
    most = math.prod(data.chunks) * data.id.get_type().get_size()
    most += most // 64 + 1024  # of what packing did not help, and checksums
    starts = (range(0, side, step) for side, step in zip(data.shape, data.chunks, strict=True))
    for start in itertools.product(*starts):
        info = data.id.get_chunk_info_by_coord(start)
        found, deflated = info.size, filters[packed[0]] == h5py.h5z.FILTER_DEFLATE
        if found <= most and deflated and not info.filter_mask >> packed[0] & 1:
            _, content = data.id.read_direct_chunk(start)
            with contextlib.suppress(zlib.error):  # HDF5 will say so.
                found = len(zlib.decompressobj().decompress(content, most + 1))
        if found > most:
            raise ValueError(f"{name!r} has chunks that unpack to more than they declare")


# Writing ----------------------------------------------------------------------------------


@contextlib.contextmanager
def new_hdf5(target: io.BytesIO | str | os.PathLike) -> Iterator[h5py.File]:
    """Make an HDF5 file that HDF5 1.10 and later read, in memory or under a temporary name.

    What does not fit into memory (or on the disk) is an ordinary error of Python.
    """
    plain = target if isinstance(target, io.BytesIO) else _Forgiving(target, "w+b")
    try:
        with h5py.File(plain, "w", libver=_VERSIONS) as file:
            yield file
    finally:
        if isinstance(plain, _Forgiving):
            plain.close()
            if plain.fault is not None:
                raise plain.fault


class _Forgiving(io.FileIO):
    """A file that keeps the first fault of writing to itself, until HDF5 has closed it.

    The library ends the process where a disk is full while it closes a file.
    """

    fault: OSError | None = None

    def write(self, content: Any) -> int:
        """Write all of it, unless something failed before."""
        rest = memoryview(content).cast("B")
        try:
            while self.fault is None and len(rest):
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.fault = error
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        """Give it this size, unless something failed."""
        try:
            return super().truncate(size) if self.fault is None else self.tell()
        except OSError as error:
            self.fault = error
            return self.tell()

"""Open HDF5 files that may come from anybody, and make small ones in memory.

An HDF5 file can lead to other files (external links and storage, virtual data sets), name
programs that unpack it (filters), and declare numbers that it does not hold (fill values,
chunks that unpack to a thousand times their size). One walk over the whole file answers
for all of that before anything is read from it. What is damaged in any other way is one
error with the file's name.
"""

import contextlib
import dataclasses
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

from .errors import FileFormatError, IcecoreError
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
# What needs no further program; lzf comes with h5py.
_USUAL_FILTERS = frozenset(
    {
        h5py.h5z.FILTER_DEFLATE,
        h5py.h5z.FILTER_SHUFFLE,
        h5py.h5z.FILTER_FLETCHER32,
        h5py.h5z.FILTER_LZF,
    }
)
_PACKERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF)
_MANY_OBJECTS = 4096
# Unpacked data may be so many times the file, or so large, whichever is more.
_UNPACKED_RATIO, _UNPACKED_BYTES = 100, 64 << 20
_TEXTS_AT_ONCE = 64 << 20


@dataclasses.dataclass(frozen=True)
class Hdf5Rules:
    """What a file may hold.

    Attributes
    ----------
    filters : frozenset of int
        HDF5's numbers of the filters that data sets may have.
    virtual : str
        Name of the one data set that may be virtual. It is not read here.
    most_bytes : int
        What all data sets together may take in memory.
    """

    filters: frozenset[int] = _USUAL_FILTERS
    virtual: str = ""
    most_bytes: int = 8 << 30


@contextlib.contextmanager
def open_hdf5(
    path: str | os.PathLike,
    error: type[IcecoreError] = FileFormatError,
    hint: str = "make it again",
    rules: Hdf5Rules = Hdf5Rules(),
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
        with h5py.File(Hdf5Source(plain), "r") as file:
            if file.id.get_create_plist().get_sizes() != _SIZES:
                raise ValueError("its addresses and lengths are not of eight bytes")
            _walk(file, os.fstat(plain.fileno()).st_size, rules)
            yield file
    except IcecoreError:
        raise
    except MemoryError as cause:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), str(path)) from cause
    except _UNREADABLE as cause:
        if getattr(cause, "errno", None) in _OF_THE_SYSTEM:
            raise
        raise error(f"{path} {UNUSABLE}: {_first_line(cause)}", hint) from cause


def _first_line(error: Exception) -> str:
    # A KeyError prints its argument as a repr.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    line = (text.splitlines() or [type(error).__name__])[0]
    told = re.fullmatch(r"Unable to [\w ]+ \((.+)\)", line)
    return told[1] if told else line


# The walk ---------------------------------------------------------------------------------


def _walk(file: h5py.File, file_bytes: int, rules: Hdf5Rules) -> None:
    """Refuse what the rules do not allow, anywhere in the file."""
    waiting, seen, unpacked = [("", file.id)], set(), 0
    while waiting:
        name, thing = waiting.pop()
        address = h5py.h5o.get_info(thing).addr
        # Groups may hold each other.
        if address in seen:
            continue
        seen.add(address)
        if len(seen) > _MANY_OBJECTS:
            raise ValueError(f"it has more than {_MANY_OBJECTS} groups and data sets")
        if isinstance(thing, h5py.h5d.DatasetID):
            unpacked += _check_data_set(name, thing, file_bytes, rules)
        elif isinstance(thing, h5py.h5g.GroupID):
            waiting += _members(name, thing)
        else:
            raise ValueError(f"{name!r} is neither a group nor a data set")
    if unpacked > rules.most_bytes:
        raise ValueError(
            f"its data sets declare {size_text(unpacked)}, more than the "
            f"{size_text(rules.most_bytes)} that they may take"
        )


def _members(name: str, group: h5py.h5g.GroupID) -> list[tuple[str, object]]:
    if group.get_num_objs() > _MANY_OBJECTS:
        raise ValueError(f"it has more than {_MANY_OBJECTS} groups and data sets")
    found = []
    for raw in list(group):
        inside = f"{name}/{raw.decode('utf-8', 'backslashreplace')}".lstrip("/")
        if group.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{inside!r} is a link to elsewhere, which is not followed")
        found.append((inside, h5py.h5o.open(group, raw)))
    return found


def _check_data_set(name: str, data: h5py.h5d.DatasetID, file_bytes: int, rules: Hdf5Rules) -> int:
    """Check one data set; return how many bytes it takes in memory."""
    made = data.get_create_plist()
    layout, itemsize = made.get_layout(), data.get_type().get_size()
    if layout == h5py.h5d.VIRTUAL:
        if name != rules.virtual:
            raise ValueError(f"{name!r} is a virtual data set, which is not followed")
        return 0
    if made.get_external_count():
        raise ValueError(f"{name!r} is stored in another file, which is not read")
    filters = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
    strange = [number for number in filters if number not in rules.filters]
    if strange:
        raise ValueError(f"{name!r} is packed with filter {strange[0]}, which is not used here")
    shape = data.shape
    if shape is None:
        raise ValueError(f"{name!r} is an empty data set without a shape")
    count = math.prod(shape)
    whole = count * itemsize
    stored = data.get_storage_size()
    if stored > file_bytes:
        raise ValueError(f"{name!r} declares {size_text(stored)} in a smaller file")
    if layout == h5py.h5d.CHUNKED:
        whole = _check_chunks(name, data, made.get_chunk(), itemsize)
        if whole > most_unpacked(file_bytes):
            raise ValueError(
                f"{name!r} would unpack to {size_text(whole)} from {size_text(file_bytes)}"
            )
    elif stored < whole:
        raise ValueError(f"{name!r} declares {size_text(whole)} and holds {size_text(stored)}")
    return whole


def most_unpacked(file_bytes: int) -> int:
    """Return how many bytes a packed data set, or one of texts, in such a file may become."""
    return max(_UNPACKED_BYTES, _UNPACKED_RATIO * file_bytes)


def _check_chunks(
    name: str, data: h5py.h5d.DatasetID, chunk: tuple[int, ...], itemsize: int
) -> int:
    """See that every chunk is there; return what they unpack to."""
    if math.prod(data.shape) == 0:
        return 0
    wanted = math.prod(-(-side // step) for side, step in zip(data.shape, chunk, strict=True))
    held = data.get_num_chunks()
    if held != wanted:
        raise ValueError(f"{name!r} declares {wanted} chunks and holds {held}")
    return wanted * math.prod(chunk) * itemsize


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
    if h5py.check_string_dtype(data.dtype) is None:
        raise ValueError(f"{name!r} holds {data.dtype}, not text")
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

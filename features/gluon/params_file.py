"""Read and write MXNet's container of arrays, the ``.params`` files of Gluon.

MXNet's own reader trusts what it reads: a file that is cut short or made to
harm can crash the process or make it claim all memory. So every file from
outside is read here first, where each length is checked against the bytes that
are there; what passes, MXNet can read too.

The format (little-endian; ``NDArray::Save`` in MXNet's ``src/ndarray``): a
magic number, a reserved word, the number of arrays, the arrays, the number of
names, the names. An array is a mark of its version, its storage type, its
shape, its device, its element type, and its elements. Three older forms of an
array, up to that of 2015, are read as well.
"""

import dataclasses
import hashlib
import math
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ...core.errors import (
    IrregularFileError,
    MissingFileError,
    WeightsError,
    counted,
    enumerate_some,
)
from ...core.files import publish
from ...core.regular_files import open_regular, size_text
from ..graphs.formats import other_format_of_weights

# The largest published classifier has 0.6 GB of parameters.
LARGEST_FILE = 4 * 2**30
_MOST_ARRAYS = 100_000
_MOST_DIMENSIONS = 32
_LONGEST_NAME = 4096
_MAGIC = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DENSE = 0
_DTYPES: dict[int, np.dtype] = {
    0: np.dtype("<f4"),
    1: np.dtype("<f8"),
    2: np.dtype("<f2"),
    3: np.dtype("<u1"),
    4: np.dtype("<i4"),
    5: np.dtype("<i1"),
    6: np.dtype("<i8"),
    7: np.dtype("?"),
}
_FLAGS = {dtype: flag for flag, dtype in _DTYPES.items()}
_CPU = (1, 0)


@dataclasses.dataclass(frozen=True)
class _Entry:
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int


def read_params(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read all arrays of a ``.params`` file.

    Returns
    -------
    dict of str to ndarray
        In the file's order, under the file's names (``features.0.weight``, or with
        ``arg:`` and ``aux:`` in front where a symbol's parameters were saved).

    Raises
    ------
    MissingFileError
        There is no such file.
    WeightsError
        It is no such file, is cut short, or claims what cannot be.
    """
    path = Path(path)
    entries = _entries(path)
    arrays = {}
    with open_regular(path) as file:
        for name, entry in entries.items():
            file.seek(entry.offset)
            values = np.fromfile(file, entry.dtype, math.prod(entry.shape))
            arrays[name] = values.reshape(entry.shape)
    return arrays


def read_parameters(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read all arrays under the names of parameters, without ``arg:`` and ``aux:`` in front.

    Raises
    ------
    MissingFileError, WeightsError
        As `read_params`; or two arrays are of one parameter.
    """
    found: dict[str, np.ndarray] = {}
    twice = []
    for name, array in read_params(path).items():
        plain = name.removeprefix("arg:").removeprefix("aux:")
        if plain in found:
            twice.append(plain)
        found[plain] = array
    if twice:
        raise WeightsError(
            f"{path} holds two arrays for {enumerate_some(twice)}", "export the network again"
        )
    return found


def check_params(path: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """Check a ``.params`` file without reading its elements.

    Returns
    -------
    dict of str to tuple of int
        The shape of each array.

    Raises
    ------
    MissingFileError, WeightsError
        As `read_params`.
    """
    return {name: entry.shape for name, entry in _entries(Path(path)).items()}


def write_params(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as MXNet's ``nd.save`` would, atomically.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Of types that MXNet knows. Scalars are not among them: it takes their empty
        shape for an array that was never made.

    Raises
    ------
    WeightsError
        An array cannot be kept in this format; all such are named.
    """
    wrong = [
        f"{name} ({array.dtype}, {array.ndim} dimensions)"
        for name, array in arrays.items()
        if array.dtype.newbyteorder("<") not in _FLAGS or not 1 <= array.ndim <= _MOST_DIMENSIONS
    ]
    if wrong:
        raise WeightsError(f"not to be kept in a .params file: {', '.join(wrong)}")
    with publish(path) as temporary, open(temporary, "wb") as file:
        for part in _parts(arrays):
            file.write(part)


def params_sha1(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-1, by which Gluon names its files, of what `write_params` would write."""
    digest = hashlib.sha1()
    for part in _parts(arrays):
        digest.update(part)
    return digest.hexdigest()


def _parts(arrays: Mapping[str, np.ndarray]) -> Iterator[bytes | memoryview]:
    yield struct.pack("<QQQ", _MAGIC, 0, len(arrays))
    for array in arrays.values():
        dtype = array.dtype.newbyteorder("<")
        shape = struct.pack(f"<i{array.ndim}q", array.ndim, *array.shape)
        yield struct.pack("<Ii", _V2, _DENSE) + shape
        yield struct.pack("<iii", *_CPU, _FLAGS[dtype])
        yield np.ascontiguousarray(array, dtype).data
    yield struct.pack("<Q", len(arrays))
    for name in arrays:
        encoded = name.encode()
        yield struct.pack("<Q", len(encoded)) + encoded


def _entries(path: Path) -> dict[str, _Entry]:
    try:
        with open_regular(path) as file:
            return _Reader(file).entries()
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path} is not there", "check the path of the .params file"
        ) from error
    except IrregularFileError as error:
        raise WeightsError(error.message, error.hint) from error
    except WeightsError as error:
        kind, hint = other_format_of_weights(path, "MXNet")
        said = f"it is {kind}" if kind else error.message
        raise WeightsError(f"{path} is not a whole .params file: {said}", hint) from error


class _Reader:
    """Walks over the file; no length is believed before the bytes are seen to be there."""

    def __init__(self, file) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        if self._size > LARGEST_FILE:
            raise WeightsError(f"it has {self._size} bytes")

    def entries(self) -> dict[str, _Entry]:
        magic, _, count = self._unpack("QQQ")
        if magic != _MAGIC:
            raise WeightsError(f"it begins with {magic:#x}, not {_MAGIC:#x}")
        if count > _MOST_ARRAYS:
            raise WeightsError(f"it claims {count} arrays")
        arrays = [self._array(number) for number in range(count)]
        (named,) = self._unpack("Q")
        if named != count:
            raise WeightsError(f"it has {counted(count, 'array')} and {counted(named, 'name')}")
        names = [self._name() for _ in range(count)]
        if self._file.tell() != self._size:
            raise WeightsError(f"{size_text(self._size - self._file.tell())} follow its end")
        if len(set(names)) != count:
            raise WeightsError("two of its arrays have the same name")
        return dict(zip(names, arrays))

    def _array(self, number: int) -> _Entry:
        (mark,) = self._unpack("I")
        if mark in (_V2, _V3):
            (storage,) = self._unpack("i")
            if storage != _DENSE:
                raise WeightsError(f"array {number} is sparse (storage type {storage})")
        shape = self._shape(mark, number)
        if not shape:
            raise WeightsError(f"array {number} has no dimensions")
        device, index, flag = self._unpack("iii")
        if not 1 <= device <= 5 or not 0 <= index < 1024:
            raise WeightsError(f"array {number} lies on an unknown device ({device}, {index})")
        if flag not in _DTYPES:
            raise WeightsError(f"array {number} has an unknown element type ({flag})")
        entry = _Entry(shape, _DTYPES[flag], self._file.tell())
        self._skip(math.prod(shape) * entry.dtype.itemsize, f"array {number} of shape {shape}")
        return entry

    def _shape(self, mark: int, number: int) -> tuple[int, ...]:
        if mark in (_V1, _V2, _V3):
            (dimensions,) = self._unpack("i")
        else:
            dimensions = mark  # up to 2017 an array began with this number
        if not 0 <= dimensions <= _MOST_DIMENSIONS:
            raise WeightsError(f"array {number} claims {dimensions} dimensions")
        shape = self._unpack(f"{dimensions}{'q' if mark in (_V1, _V2, _V3) else 'I'}")
        # An extent of zero is unknown to MXNet, which would then fail elsewhere.
        if any(extent <= 0 for extent in shape):
            raise WeightsError(f"array {number} has the shape {shape}")
        return shape

    def _name(self) -> str:
        (length,) = self._unpack("Q")
        if not 1 <= length <= _LONGEST_NAME:
            raise WeightsError(f"a name claims {length} bytes")
        try:
            name = self._take(length, "a name").decode()
        except UnicodeDecodeError as error:
            raise WeightsError("a name is not UTF-8") from error
        if "\0" in name:  # to MXNet it would end there
            raise WeightsError("a name has a zero in it")
        return name

    def _unpack(self, layout: str) -> tuple:
        layout = "<" + layout
        return struct.unpack(layout, self._take(struct.calcsize(layout), "a number"))

    def _take(self, length: int, what: str) -> bytes:
        content = self._file.read(length)
        if len(content) < length:
            raise WeightsError(f"it ends in {what}, after {self._size} bytes")
        return content

    def _skip(self, length: int, what: str) -> None:
        if length > self._size - self._file.tell():
            raise WeightsError(f"it ends in {what}, after {self._size} bytes")
        self._file.seek(length, os.SEEK_CUR)

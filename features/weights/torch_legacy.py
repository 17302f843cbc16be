"""Read ``.pth`` files of torch's old format without torch, and without risk.

The format (before torch 1.6) is four pickles and the raw storages: a magic
number, a protocol number, facts on the system, the object, and the storages'
keys in file order; then for each storage its element count and its bytes.
Unpickling can call any function that a file names, so this unpickler knows
just the few names that a dictionary of tensors needs, and makes them data.
"""

import collections
import pickle
import pickletools
import struct
from pathlib import Path

import numpy as np

from ...core.content import describe_content, remedy_for
from ...core.errors import IrregularFileError, WeightsError, counted
from ...core.regular_files import RegularFile, open_regular, size_text

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# A file this large is no network that a single machine extracts features with.
_LARGEST_FILE = 4 * 2**30
_MOST_PARTS = 1_000_000
_LOOKED_AT = 256
_STORAGES: dict[str, np.dtype] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("<i1"),
    "ByteStorage": np.dtype("<u1"),
    "BoolStorage": np.dtype("?"),
}


def read_legacy_torch(path: str | Path) -> dict[str, np.ndarray]:
    """Read a dictionary of tensors.

    Parameters
    ----------
    path : path-like
        A file that ``torch.save`` of torch < 1.6 wrote.

    Returns
    -------
    dict of str to ndarray
        In the file's order.

    Raises
    ------
    WeightsError
        The file is of another format, is cut short, or names anything but the
        parts of a dictionary of tensors. Nothing that it names is called.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > _LARGEST_FILE:
        raise WeightsError(
            f"{path} has {size_text(size)}, and weights have {size_text(_LARGEST_FILE)} at most",
            "check that it is the file that was meant",
        )
    try:
        with open_regular(path) as file:
            tensors, storages = _read_object(file)
            _fill_storages(file, storages, size)
        return {name: tensor.view() for name, tensor in _checked(tensors).items()}
    except WeightsError as error:
        raise WeightsError(f"{path}: {error.message}", error.hint) from error
    except IrregularFileError as error:
        raise WeightsError(error.message, error.hint) from error
    except Exception as error:  # A damaged pickle can fail in any way.
        raise WeightsError(
            f"{path} cannot be read as a .pth file of torch's old format "
            f"({type(error).__name__}: {error})",
            "get the file again",
        ) from error


class _Storage:
    """Elements that one or more tensors share; filled after the pickles."""

    def __init__(self, dtype: np.dtype, count: int) -> None:
        self.dtype = dtype
        self.count = count
        self.values: np.ndarray | None = None


class _Tensor:
    """A shape and strides on a storage."""

    def __init__(self, storage, offset, shape, strides, *_ignored) -> None:
        if not isinstance(storage, _Storage):
            raise WeightsError("a tensor has no storage", "get the file again")
        self.storage, self.offset = storage, offset
        self.shape, self.strides = tuple(shape), tuple(strides)

    def view(self) -> np.ndarray:
        reach = self.offset + sum(
            (n - 1) * s for n, s in zip(self.shape, self.strides, strict=True) if n
        )
        negative = min((self.offset, *self.shape, *self.strides)) < 0
        if negative or (np.prod(self.shape, dtype=object) and reach >= self.storage.count):
            raise WeightsError("a tensor reaches beyond its storage", "get the file again")
        values = self.storage.values
        assert values is not None  # they were filled in
        step = values.itemsize
        strided = np.lib.stride_tricks.as_strided(
            values[self.offset :], self.shape, [s * step for s in self.strides], writeable=False
        )
        # Broadcast strides (0) could make a small file a huge array.
        if strided.size > self.storage.count:
            raise WeightsError("a tensor is larger than its storage", "get the file again")
        return np.ascontiguousarray(strided)


class _StorageType:
    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype


class _SafeUnpickler(pickle.Unpickler):
    """Admits an ordered dictionary, tensors and storages; refuses all else."""

    def __init__(self, file) -> None:
        super().__init__(file, encoding="utf-8")
        self._file = file
        self.storages: dict[str, _Storage] = {}

    def load(self):
        _check_memory(self._file)
        return super().load()

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        raise WeightsError(
            f"the file asks for {module}.{name}, which a file of weights does not need",
            "do not use this file: it may carry code",
        )

    def persistent_load(self, identity):
        kind, storage_type, key, _device, count, *view = identity
        if kind != "storage" or not isinstance(storage_type, _StorageType) or any(view):
            raise WeightsError("a storage is described in an unknown way", "get the file again")
        if not isinstance(count, int) or count < 0:
            raise WeightsError(f"a storage claims {count!r} elements", "get the file again")
        return self.storages.setdefault(str(key), _Storage(storage_type.dtype, count))


def _check_memory(file) -> None:
    """Refuse a pickle that numbers its parts beyond all measure: each number costs memory."""
    start = file.tell()
    for code, argument, _ in pickletools.genops(file):
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > _MOST_PARTS:
            raise WeightsError(f"the file numbers a part {argument}", "do not use this file")
    file.seek(start)


def _read_object(file) -> tuple[object, list[_Storage]]:
    head = file.read(_LOOKED_AT)
    if not head.startswith(b"\x80\x02"):
        kind = describe_content(head)
        hint = remedy_for(kind, "get the file again")
        if head.startswith(b"PK"):
            hint = (
                "newer .pth files are zip archives: load it in PyTorch, and save it anew with "
                "torch.save(tensors, FILE, _use_new_zipfile_serialization=False)"
            )
        raise WeightsError(
            f"not a file of torch's old format{f' but {kind}' if kind else ''}", hint
        )
    file.seek(0)
    if _plain(file) != _MAGIC or _plain(file) != _PROTOCOL:
        raise WeightsError("not a file of torch's old format", "get the file again")
    if not _plain(file).get("little_endian", False):
        raise WeightsError("the file was written on a big-endian machine", "convert it there")
    unpickler = _SafeUnpickler(file)
    content = unpickler.load()
    keys = _plain(file)
    missing = set(unpickler.storages) ^ set(keys)
    if missing:
        what = counted(len(missing), "storage does", "storages do")
        raise WeightsError(f"{what} not fit the tensors", "get the file again")
    return content, [unpickler.storages[key] for key in keys]


def _plain(file):
    return _SafeUnpickler(file).load()


def _fill_storages(file: RegularFile, storages: list[_Storage], size: int) -> None:
    for storage in storages:
        (count,) = struct.unpack("<q", file.read(8))
        length = count * storage.dtype.itemsize
        if count != storage.count or not 0 <= length <= size - file.tell():
            raise WeightsError("the file is cut short", "get the file again")
        storage.values = np.frombuffer(file.read(length), dtype=storage.dtype)


def _checked(tensors: object) -> dict[str, _Tensor]:
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, _Tensor) for name, tensor in tensors.items()
    ):
        raise WeightsError(
            "the file does not hold a dictionary of tensors",
            "save the network's state_dict(), not the network",
        )
    return tensors

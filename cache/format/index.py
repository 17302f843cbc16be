"""index.h5: all shards of a set seen as one HDF5 data set, and a shortcut for opening.

The index is never needed and never believed against the shards: readers list the folder
and use the index only for shards whose name (a digest of their content) and size it gives.
"""

import hashlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from ...core.errors import CacheError, DamagedCacheError, FileFormatError
from ...core.files import publish_bytes
from ...core.hdf5_files import hdf5_in, new_hdf5, read_array, read_attribute
from ...core.hdf5_rules import Hdf5Rules
from .disk import open_own, require_own_set
from .header import SetHeader
from .shard import HINT, Shard, check_format, header_attributes

INDEX_NAME = "index.h5"
_WHAT = "icecore feature index"
_TABLES = {
    "keys": "S64", "checksums": "<u8", "order": "<i8", "shards/name": "S32",
    "shards/size": "<i8", "shards/offset": "<i8", "shards/rows": "<i8",
}  # fmt: skip
_SHARD_NAME = re.compile(r"[0-9a-f]{24}\.h5")
# The tables take less than the shards' own; a file that is far larger is none of ours.
_MOST_BESIDE_SHARDS = 16 << 20


class Index:
    """The tables of an index: its shards by name, and all keys in sorted order.

    Raises
    ------
    ValueError
        The tables do not belong together.
    """

    def __init__(self, tables: Mapping[str, np.ndarray]) -> None:
        self.keys, self.order = tables["keys"], tables["order"]
        self.checksums = tables["checksums"].astype(np.uint64, copy=False)
        self.shards: dict[str, Shard] = {}
        facts = [tables[f"shards/{name}"].tolist() for name in ("name", "size", "offset", "rows")]
        end = 0
        for raw, size, offset, count in zip(*facts, strict=True):
            part, name = slice(end, end + count), raw.decode("ascii")
            # It is going to be opened, and a cache may come from strangers.
            if not _SHARD_NAME.fullmatch(name) or name in self.shards:
                raise ValueError(f"{name!r} is not the name of a shard, or is there twice")
            if count < 1 or size < 1 or not 0 < offset < size:
                raise ValueError(f"{name} has {count} rows at {offset} of {size} bytes")
            self.shards[name] = Shard(name, size, offset, self.keys[part], self.checksums[part])
            end += count
        if not end == len(self.keys) == len(self.checksums) == len(self.order):
            raise ValueError(f"it names {end} rows and has {len(self.keys)} keys")
        self._check_order()

    def _check_order(self) -> None:
        count = len(self.keys)
        if count and not (self.order.min() >= 0 and self.order.max() < count):
            raise ValueError("its order leads to rows that it does not have")
        in_order = self.keys[self.order]
        if np.bincount(self.order).max(initial=0) > 1 or (in_order[1:] < in_order[:-1]).any():
            raise ValueError("its order repeats rows or is not that of the keys")


def write_index(folder: Path, header: SetHeader, shards: Sequence[Shard]) -> None:
    """Publish ``index.h5`` in the set's folder.

    Parameters
    ----------
    folder : pathlib.Path
        The set's folder.
    shards : sequence of Shard
        In the order in which their rows shall be seen.
    """
    tables = _tables(shards)
    buffer = io.BytesIO()
    with new_hdf5(buffer) as file:
        file.attrs.update(header_attributes(_WHAT, header))
        file.attrs["checksum"] = np.bytes_(_digest(tables))
        for name, table in tables.items():
            file.create_dataset(name, data=table)
        _create_view(file, header, shards)
    require_own_set(folder)
    publish_bytes(folder / INDEX_NAME, buffer.getvalue())


def _tables(shards: Sequence[Shard]) -> dict[str, np.ndarray]:
    keys = np.concatenate([np.zeros(0, "S64"), *(shard.keys for shard in shards)])
    checksums = np.concatenate([np.zeros(0, "<u8"), *(shard.checksums for shard in shards)])
    return {
        "keys": keys,
        "checksums": checksums.astype("<u8", copy=False),
        "order": np.argsort(keys, kind="stable").astype("<i8"),
        "shards/name": np.array([shard.name for shard in shards], "S32"),
        "shards/size": np.array([shard.size for shard in shards], "<i8"),
        "shards/offset": np.array([shard.offset for shard in shards], "<i8"),
        "shards/rows": np.array([len(shard.keys) for shard in shards], "<i8"),
    }


def _digest(tables: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in _TABLES:
        digest.update(np.ascontiguousarray(tables[name]).data)
    return digest.hexdigest()


def _create_view(file: h5py.File, header: SetHeader, shards: Sequence[Shard]) -> None:
    """Create `features` as a virtual data set over the shards, by relative names."""
    total = sum(len(shard.keys) for shard in shards)
    layout = h5py.VirtualLayout((total, header.dim), header.stored)
    start = 0
    for shard in shards:
        count = len(shard.keys)
        source = h5py.VirtualSource(f"shards/{shard.name}", "features", (count, header.dim))
        layout[start : start + count] = source
        start += count
    # A row whose shard is gone must not look like a row of zeros.
    missing = np.array(0x7FC0 if header.stored.kind == "u" else np.nan, header.stored)
    file.create_virtual_dataset("features", layout, fillvalue=missing[()])


def read_index(folder: Path, header: SetHeader, shard_bytes: int) -> Index | None:
    """Read the index of a set; None if it is absent, damaged, newer or of another set.

    Parameters
    ----------
    folder : pathlib.Path
        The set's folder.
    shard_bytes : int
        Size of all shards together. An index that is larger than those is not read.
    """
    path = folder / INDEX_NAME
    most = shard_bytes + _MOST_BESIDE_SHARDS
    # Whatever is wrong with it, the shards themselves tell the truth.
    try:
        with open_own(path) as plain:
            if os.fstat(plain.fileno()).st_size > most:
                return None
            rules = Hdf5Rules(filters=frozenset(), virtual="features", most_bytes=most, lists=False)
            with hdf5_in(plain, path, DamagedCacheError, HINT, rules) as file:
                check_format(path, read_attribute(file, "format"))
                if read_attribute(file, "fingerprint") != header.fingerprint:
                    return None
                tables = {name: read_array(file, name, 1, kind) for name, kind in _TABLES.items()}
                if read_attribute(file, "checksum") != _digest(tables):
                    return None
                return Index(tables)
    except (OSError, CacheError):
        return None


def view_fault(folder: Path, header: SetHeader, index: Index) -> str | None:
    """Say what is wrong with the view, which other programs read, if anything is."""
    path = folder / INDEX_NAME
    rules = Hdf5Rules(filters=frozenset(), virtual="features", lists=False)
    try:
        with open_own(path) as plain, hdf5_in(plain, path, FileFormatError, HINT, rules) as file:
            expected = header_attributes(_WHAT, header)
            told = {name: read_attribute(file, name) for name in expected}
            view = file["features"]
            parts = [
                (part.file_name, part.dset_name, _row_range(part.vspace))
                for part in (view.virtual_sources() if view.is_virtual else [])
            ]
            shape, dtype = view.shape, view.dtype
    except (OSError, FileFormatError) as error:
        return f"its virtual data set cannot be used: {error}".splitlines()[0]
    rows, start = [], 0
    for name, shard in index.shards.items():
        rows.append((f"shards/{name}", "features", (start, start + len(shard.keys))))
        start += len(shard.keys)
    as_text = {n: v.decode() if isinstance(v, bytes) else v for n, v in expected.items()}
    if told != as_text or dtype != header.stored:
        return "it describes another feature set"
    if shape != (start, header.dim) or sorted(parts) != sorted(rows):
        return "its virtual data set does not match its tables"
    return None


def _row_range(space: h5py.h5s.SpaceID) -> tuple[int, int]:
    low, high = space.get_select_bounds()
    return int(low[0]), int(high[0]) + 1

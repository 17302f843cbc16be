"""index.h5: all shards of a set seen as one HDF5 data set, and a shortcut for opening.

The index is never needed and never believed against the shards: readers list the folder
and use the index only for shards whose name (a digest of their content) and size it gives.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from ..record import fingerprint
from .disk import publish_pieces
from .encoding import stored_dtype
from .hdf5_bytes import SparseFile, new_hdf5
from .shard import FORMAT, UNREADABLE, Shard, ascii_json, open_hdf5

__all__ = ["INDEX_NAME", "Index", "read_index", "write_index"]

INDEX_NAME = "index.h5"
_WHAT = "icecore feature index"
_TABLES = ("keys", "checksums", "order", "shards/name", "shards/size", "shards/offset")
_TABLES += ("shards/rows",)
_SHARD_NAME = re.compile(r"[0-9a-f]{24}\.h5")


class Index:
    """The tables of an index: its shards by name, and all keys in sorted order."""

    def __init__(self, tables: Mapping[str, np.ndarray]) -> None:
        self.keys = tables["keys"]
        self.checksums = tables["checksums"].astype(np.uint64, copy=False)
        self.order = tables["order"]
        ends = np.cumsum(tables["shards/rows"])
        self.shards: dict[str, Shard] = {}
        rows = zip(
            tables["shards/name"].tolist(), tables["shards/size"].tolist(),
            tables["shards/offset"].tolist(), tables["shards/rows"].tolist(), ends.tolist(),
            strict=True,
        )  # fmt: skip
        for raw, size, offset, count, end in rows:
            part, name = slice(end - count, end), raw.decode()
            # It is going to be opened, and a cache may come from strangers.
            if not _SHARD_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a shard")
            self.shards[name] = Shard(name, size, offset, self.keys[part], self.checksums[part])


def write_index(folder: Path, record: Mapping, dim: int, shards: Sequence[Shard]) -> None:
    """Publish ``index.h5`` in the set's folder.

    Parameters
    ----------
    folder : pathlib.Path
        The set's folder.
    record : mapping
    dim : int
        Numbers in a row.
    shards : sequence of Shard
        In the order in which their rows shall be seen.
    """
    tables = _tables(shards)
    sparse = SparseFile()
    with new_hdf5(sparse) as file:
        file.attrs["what"] = np.bytes_(_WHAT)
        file.attrs["format"] = FORMAT
        file.attrs["fingerprint"] = np.bytes_(fingerprint(record))
        file.attrs["encoding"] = np.bytes_(record["precision"])
        file.attrs["record"] = np.bytes_(ascii_json(record))
        file.attrs["checksum"] = np.bytes_(_digest(tables))
        for name, table in tables.items():
            file.create_dataset(name, data=table)
        _create_view(file, stored_dtype(record["precision"]), dim, shards)
    publish_pieces(folder / INDEX_NAME, [sparse.part(0, sparse.size)])


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
        digest.update(np.ascontiguousarray(tables[name]))
    return digest.hexdigest()


def _create_view(file: h5py.File, dtype: np.dtype, dim: int, shards: Sequence[Shard]) -> None:
    """Create `features` as a virtual data set over the shards, by relative names."""
    total = sum(len(shard.keys) for shard in shards)
    wish = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    # A row whose shard is gone must not look like a row of zeros.
    wish.set_fill_value(np.array(0x7FC0 if dtype.kind == "u" else np.nan, dtype))
    start = 0
    for shard in shards:
        count = len(shard.keys)
        here = h5py.h5s.create_simple((total, dim))
        here.select_hyperslab((start, 0), (count, dim))
        there = h5py.h5s.create_simple((count, dim))
        wish.set_virtual(here, f"shards/{shard.name}".encode(), b"features", there)
        start += count
    space = h5py.h5s.create_simple((total, dim))
    if not shards:
        wish = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    h5py.h5d.create(file.id, b"features", h5py.h5t.py_create(dtype, logical=True), space, wish)


def read_index(folder: Path, print_: str) -> Index | None:
    """Read the index of a set; None if it is absent, damaged, newer or of another set."""
    try:
        with open_hdf5(folder / INDEX_NAME) as file:
            if int(file.attrs["format"]) > FORMAT or file.attrs["fingerprint"].decode() != print_:
                return None
            tables = {name: file[name][()] for name in _TABLES}
            if file.attrs["checksum"].decode() != _digest(tables):
                return None
            return Index(tables)
    # Whatever is wrong with it, the shards themselves tell the truth.
    except UNREADABLE:
        return None

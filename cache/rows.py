"""Reading the rows of one feature set: which shards there are, and gathering rows."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..errors import DamagedCacheError, MissingRowsError, enumerate_some
from .checksum import row_checksums
from .index import read_index
from .record import fingerprint
from .shard import Shard, damaged, decode, read_shard, stored_dtype

__all__ = ["Rows"]

_BLOCK_BYTES = 1 << 20
# Below this many bytes starting threads costs more than they save.
_THREADED_BYTES = 8 << 20
_OPEN_FILES = 128


class Rows:
    """The rows on disk of one set, as they were at the last `refresh`.

    Parameters
    ----------
    folder : pathlib.Path
        The set's folder.
    record : mapping
    dim : int
    """

    def __init__(self, folder: Path, record: Mapping, dim: int) -> None:
        self.folder, self.record, self.dim = folder, record, dim
        self.shards: dict[str, Shard] = {}
        self.damaged: dict[str, DamagedCacheError] = {}
        self._sizes: dict[str, int] | None = None
        self._table: tuple[np.ndarray, ...] | None = None
        self._known: set[str] | None = None
        self._files = _Files(folder / "shards")

    def refresh(self) -> None:
        """Look at the folder again; new shards are read, vanished ones forgotten."""
        sizes = _list(self.folder / "shards")
        if sizes == self._sizes:
            return
        shards = {n: s for n, s in self.shards.items() if sizes.get(n) == s.size}
        bad = {n: e for n, e in self.damaged.items() if sizes.get(n) == self._sizes.get(n)}
        new = [name for name in sizes if name not in shards and name not in bad]
        table = None
        if len(new) > 1:
            index = read_index(self.folder, fingerprint(self.record))
            known = index.shards if index else {}
            fresh = {n: known[n] for n in new if n in known and known[n].size == sizes[n]}
            if index and fresh.keys() == sizes.keys() == known.keys():
                table = _lookup(list(known.values()), index.keys, index.checksums, index.order)
                shards = {}
                fresh = known
            shards.update(fresh)
        for name in new:
            if name not in shards:
                self._read_one(name, shards, bad, sizes)
        self.shards = shards
        self.damaged, self._sizes, self._table, self._known = bad, sizes, table, None

    def _read_one(self, name: str, shards: dict, bad: dict, sizes: dict) -> None:
        try:
            shards[name] = read_shard(self.folder / "shards" / name, self.record, self.dim)
        except DamagedCacheError as error:
            bad[name] = error
        except FileNotFoundError:
            # Compacted or pruned since the folder was listed.
            sizes.pop(name)

    def add(self, shard: Shard) -> None:
        """Count a shard that this process has just published."""
        if self._sizes is None:
            self.refresh()
        elif shard.name not in self.shards:
            self.shards[shard.name] = shard
            self._sizes[shard.name] = shard.size
            self._table = None
            if self._known is not None:
                self._known.update(_texts(shard.keys))

    def known(self) -> set[str]:
        """Return the keys of all readable rows."""
        if self._sizes is None:
            self.refresh()
        if self._known is None:
            self._known = set()
            for shard in self.shards.values():
                self._known.update(_texts(shard.keys))
        return self._known

    def sorted_keys(self) -> list[str]:
        """Return the keys of all readable rows, each once, in sorted order."""
        keys = self.table()[0]
        first = np.ones(len(keys), bool)
        first[1:] = keys[1:] != keys[:-1]
        return _texts(keys[first])

    def table(self) -> tuple[np.ndarray, ...]:
        """Return (sorted keys, shard number, row number, checksum) of every row."""
        if self._sizes is None:
            self.refresh()
        if self._table is None:
            shards = [self.shards[name] for name in sorted(self.shards)]
            self.shards = {shard.name: shard for shard in shards}
            keys = np.concatenate([np.zeros(0, "S64"), *(s.keys for s in shards)])
            checksums = np.concatenate([np.zeros(0, np.uint64), *(s.checksums for s in shards)])
            order = np.argsort(keys, kind="stable")
            self._table = _lookup(shards, keys, checksums, order)
        return self._table

    def check(self) -> None:
        """Raise if a shard is damaged."""
        if self._sizes is None:
            self.refresh()
        if len(self.damaged) == 1:
            raise next(iter(self.damaged.values()))
        if self.damaged:
            first = next(iter(self.damaged.values()))
            names = enumerate_some(self.folder / "shards" / name for name in self.damaged)
            raise DamagedCacheError(f"{len(self.damaged)} shards are damaged: {names}", first.hint)

    def gather(self, keys: np.ndarray, out: np.ndarray) -> None:
        """Read the rows of `keys` into `out`, float32 (N, dim), which may be a column range.

        Raises
        ------
        MissingRowsError
            Keys without a row.
        DamagedCacheError
            A row does not match its checksum, or a shard cannot be read.
        """
        try:
            self._gather(keys, out)
        except FileNotFoundError:
            # A compaction replaced shards while we read: the rows are in new ones.
            self._files.close()
            self._sizes = None
            self.refresh()
            self._gather(keys, out)

    def _gather(self, keys: np.ndarray, out: np.ndarray) -> None:
        at = self.find(keys)
        _, shard_of, row_of, checksums = self.table()
        shards = list(self.shards.values())
        # Files are read from front to back, whatever the order of the answer.
        order = np.lexsort((row_of[at], shard_of[at]))
        step = max(1, _BLOCK_BYTES // max(1, self._row_bytes))
        parts = [order[start : start + step] for start in range(0, len(order), step)]

        def read(part: np.ndarray) -> None:
            here = at[part]
            stored = self._read(shards, shard_of[here], row_of[here])
            wanted = checksums[here]
            wrong = np.flatnonzero(row_checksums(stored, keys[part]) != wanted)
            if len(wrong):
                raise self._row_error(shards, shard_of[here[wrong]], keys[part][wrong])
            # The cast goes through the cache-sized block; rows then move as they are.
            _place(out, part, decode(stored, self.record["precision"]))

        if len(order) * self._row_bytes < _THREADED_BYTES:
            for part in parts:
                read(part)
        else:
            with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
                for _ in pool.map(read, parts):
                    pass

    def holds(self, keys: np.ndarray) -> bool:
        """Tell whether all of `keys` were there at the last refresh."""
        sorted_keys = self.table()[0]
        if not len(sorted_keys):
            return False
        at = np.searchsorted(sorted_keys, keys)
        at[at == len(sorted_keys)] = 0
        return bool((sorted_keys[at] == keys).all())

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return where in the table each key is.

        Raises
        ------
        MissingRowsError
            Some are not there (or are in damaged shards: DamagedCacheError).
        """
        sorted_keys = self.table()[0]
        at = np.searchsorted(sorted_keys, keys)
        at[at == len(sorted_keys)] = 0
        absent = keys != sorted_keys[at] if len(sorted_keys) else np.ones(len(keys), bool)
        if absent.any():
            self.check()
            missing = _texts(keys[absent])
            raise MissingRowsError(
                f"{len(missing)} of {len(keys)} rows are not in the feature set "
                f"{self.folder.name}: {enumerate_some(missing, 3)}",
                "run `icecore extract` on these images into this cache; "
                "images that could not be read are listed by `icecore cache show`",
            )
        return at

    @property
    def _row_bytes(self) -> int:
        return self.dim * stored_dtype(self.record["precision"]).itemsize

    def _read(self, shards: list[Shard], shard_of: np.ndarray, row_of: np.ndarray) -> np.ndarray:
        """Read rows, sorted by shard and row, as they are stored."""
        stored = np.empty((len(row_of), self.dim), stored_dtype(self.record["precision"]))
        for start, end in _runs(shard_of, row_of):
            shard = shards[shard_of[start]]
            first = shard.offset + int(row_of[start]) * self._row_bytes
            self._files.read(shard, first, stored[start:end])
        return stored

    def _row_error(self, shards: list, shard_of: np.ndarray, keys: np.ndarray) -> DamagedCacheError:
        path = self.folder / "shards" / shards[shard_of[0]].name
        rows = enumerate_some(_texts(keys), 3)
        return damaged(path, f"{len(keys)} rows do not match their checksums ({rows})")

    def close(self) -> None:
        """Close open files; reading opens them again."""
        self._files.close()


class _Files:
    """Open shard files, the least recently used closed first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @contextlib.contextmanager
    def _descriptor(self, shard: Shard) -> Iterator[int]:
        if os.getpid() != self._pid:
            # Forked: a thread that held the lock does not exist here.
            self._lock, self._pid = threading.Lock(), os.getpid()
        # A descriptor in use is taken out of the table, so nobody closes it meanwhile.
        with self._lock:
            descriptor = self._open.pop(shard.name, None)
        if descriptor is None:
            descriptor = os.open(self._folder / shard.name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            with self._lock:
                surplus = [self._open.pop(shard.name)] if shard.name in self._open else []
                self._open[shard.name] = descriptor
                if len(self._open) > _OPEN_FILES:
                    surplus.append(self._open.popitem(last=False)[1])
            for old in surplus:
                os.close(old)

    def read(self, shard: Shard, position: int, into: np.ndarray) -> None:
        """Fill `into` from the file, with positioned reads that share no state."""
        view = memoryview(into).cast("B")
        with self._descriptor(shard) as descriptor:
            while len(view):
                count = os.preadv(descriptor, [view], position)
                if count == 0:
                    raise damaged(self._folder / shard.name, "it is cut short")
                view, position = view[count:], position + count

    def close(self) -> None:
        with self._lock:
            descriptors, self._open = list(self._open.values()), OrderedDict()
        for descriptor in descriptors:
            os.close(descriptor)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


def _list(folder: Path) -> dict[str, int]:
    """Return the shards in a folder and their sizes, by name in sorted order."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".h5") and not entry.name.startswith("."):
                with contextlib.suppress(FileNotFoundError):
                    found[entry.name] = entry.stat().st_size
    return {name: found[name] for name in sorted(found)}


def _lookup(
    shards: list[Shard], keys: np.ndarray, checksums: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, ...]:
    counts = [len(shard.keys) for shard in shards]
    shard_of = np.repeat(np.arange(len(shards)), counts)
    starts = np.cumsum([0, *counts])[:-1]
    row_of = np.arange(len(keys)) - np.repeat(starts, counts)
    return keys[order], shard_of[order], row_of[order], checksums[order]


def _runs(shard_of: np.ndarray, row_of: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the ranges in which rows follow each other in one file."""
    if not len(row_of):
        return
    jumps = (np.diff(row_of) != 1) | (np.diff(shard_of) != 0)
    edges = [0, *(np.flatnonzero(jumps) + 1).tolist(), len(row_of)]
    yield from zip(edges[:-1], edges[1:], strict=True)


def _place(out: np.ndarray, where: np.ndarray, rows: np.ndarray) -> None:
    if len(where) and where[-1] - where[0] == len(where) - 1 and (np.diff(where) == 1).all():
        out[where[0] : where[0] + len(where)] = rows
    else:
        out[where] = rows


def _texts(keys: np.ndarray) -> list[str]:
    return keys.astype("U64").tolist()

"""Reading the rows of one feature set: which shards there are, and gathering rows."""

import collections
import contextlib
import errno
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..core.errors import DamagedCacheError, MissingRowsError, counted, enumerate_some
from ..core.hardware import available_cpus
from .format.checksum import row_checksums
from .format.disk import open_own, require_own
from .format.encoding import all_finite, decode_into
from .format.header import SetHeader
from .format.index import read_index
from .format.shard import Shard, damaged, read_shard

# Rows are read in parts of this size into a buffer that each thread keeps.
_PART_BYTES = 4 << 20
# Loading this many parts and more is shared out among threads, up to so many.
_MANY_PARTS = 4
_THREADS = 4
# How often shards may be replaced while one gather goes on.
_ATTEMPTS = 5
# What the system says of a file that was removed: on NFS also if it was open.
_REPLACED = (errno.ENOENT, errno.ESTALE)


class Rows:
    """The rows on disk of one set, as they were at the last `refresh`.

    Parameters
    ----------
    folder : pathlib.Path
        The set's folder.
    header : SetHeader
    """

    def __init__(self, folder: Path, header: SetHeader) -> None:
        self.folder, self.header = folder, header
        self.shards: dict[str, Shard] = {}
        self.damaged: dict[str, DamagedCacheError] = {}
        self._sizes: dict[str, int] | None = None
        self._table: tuple[np.ndarray, ...] | None = None
        self._known: set[str] | None = None
        self._scratch = threading.local()

    def refresh(self, doubt: bool = False) -> None:
        """Look at the folder again; new shards are read, vanished ones forgotten.

        On a shared file system the list of a folder's files may be a minute old. With
        `doubt` each of them is tried, and those that the index names.
        """
        sizes = list_shards(self.folder / "shards")
        if doubt:
            index = read_index(self.folder, self.header, sum(sizes.values()))
            sizes = _try(self.folder / "shards", {*sizes, *(index.shards if index else ())})
        if sizes == self._sizes:
            return
        shards = {n: s for n, s in self.shards.items() if sizes.get(n) == s.size}
        bad = {n: e for n, e in self.damaged.items() if sizes.get(n) == (self._sizes or {}).get(n)}
        new = [name for name in sizes if name not in shards and name not in bad]
        table = None
        if len(new) > 1:
            index = read_index(self.folder, self.header, sum(sizes.values()))
            known = index.shards if index else {}
            fresh = {n: known[n] for n in new if n in known and known[n].size == sizes[n]}
            if index and fresh.keys() == sizes.keys() == known.keys():
                table = _lookup(list(known.values()), index.keys, index.checksums, index.order)
                shards = {}
                fresh = known
            shards.update(fresh)
        unread = [name for name in new if name not in shards]
        if not all([self._read_one(name, shards, bad) for name in unread]) and not doubt:
            # Compacted or pruned since the folder was listed.
            return self.refresh(doubt=True)
        self.shards = shards
        self._sizes = {n: size for n, size in sizes.items() if n in shards or n in bad}
        self.damaged, self._table, self._known = bad, table, None

    def reset(self) -> None:
        """Forget everything seen; the next look starts afresh."""
        self.shards, self.damaged, self._sizes = {}, {}, None
        self._table = self._known = None

    def _read_one(self, name: str, shards: dict, bad: dict) -> bool:
        """Read the tables of one shard; tell whether it is there."""
        try:
            shards[name] = read_shard(self.folder / "shards" / name, self.header)
        except DamagedCacheError as error:
            bad[name] = error
        except FileNotFoundError:
            return False
        return True

    def add(self, shard: Shard, keys: Sequence[str] | None = None) -> None:
        """Count a shard that this process has just published, with its keys as text."""
        if self._sizes is None:
            self.refresh()
        elif shard.name not in self.shards:
            self.shards[shard.name] = shard
            self._sizes[shard.name] = shard.size
            self._table = None
            if self._known is not None:
                self._known.update(_texts(shard.keys) if keys is None else keys)

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
            raise DamagedCacheError(
                f"{counted(len(self.damaged), 'shard is', 'shards are')} damaged: {names}",
                first.hint,
            )

    def gather(self, keys: np.ndarray, out: np.ndarray) -> None:
        """Read the rows of `keys` into `out`, float32 (N, dim), which may be a column range.

        Raises
        ------
        MissingRowsError
            Keys without a row.
        DamagedCacheError
            A row does not match its checksum, or a shard cannot be read.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return self._gather(keys, out)
            except OSError as error:
                # A compaction replaced shards while we read: the rows are in new ones.
                if error.errno not in _REPLACED or attempt == _ATTEMPTS - 1:
                    raise
                self.refresh(doubt=True)

    def _gather(self, keys: np.ndarray, out: np.ndarray) -> None:
        at = self.find(keys)
        _, shard_of, row_of, checksums = self.table()
        shards = list(self.shards.values())
        # Files are read from front to back, whatever the order of the answer.
        order = np.lexsort((row_of[at], shard_of[at]))
        step = max(1, _PART_BYTES // self.header.row_bytes)

        def read(start: int) -> None:
            where = order[start : start + step]
            here = at[where]
            target, places = _contiguous(out, where)
            stored = self._buffer(len(where))
            self._read(shards, shard_of[here], row_of[here], stored, places)
            expected, names = checksums[here], keys[where]
            if places is not None:
                back = np.argsort(places)
                expected, names, here = expected[back], names[back], here[back]
            wrong = np.flatnonzero(row_checksums(stored, names) != expected)
            if len(wrong):
                raise self._row_error(shards, shard_of[here[wrong]], names[wrong])
            if not all_finite(stored, self.header.dtype):
                unfit = [not all_finite(row, self.header.dtype) for row in stored]
                raise self._row_error(
                    shards, shard_of[here[unfit]], names[unfit], "hold numbers that are not finite"
                )
            if target is not None:
                decode_into(stored, self.header.dtype, target)
            else:
                rows = np.empty(stored.shape, np.float32)
                decode_into(stored, self.header.dtype, rows)
                out[where] = rows

        _for_each(read, range(0, len(order), step))

    def _buffer(self, rows: int) -> np.ndarray:
        """Return this thread's buffer for stored rows, (rows, dim)."""
        buffer = getattr(self._scratch, "buffer", None)
        if buffer is None or len(buffer) < rows:
            buffer = np.empty((rows, self.header.dim), self.header.stored)
            self._scratch.buffer = buffer
        return buffer[:rows]

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

    def _read(
        self, shards: list[Shard], shard_of: np.ndarray, row_of: np.ndarray,
        stored: np.ndarray, places: np.ndarray | None,
    ) -> None:  # fmt: skip
        """Read rows, sorted by shard and row, into `stored`, or into its rows `places`."""
        size = self.header.row_bytes
        edges = [0, *(np.flatnonzero(np.diff(shard_of)) + 1).tolist(), len(shard_of)]
        for start, end in itertools.pairwise(edges):
            shard = shards[shard_of[start]]
            path = self.folder / "shards" / shard.name
            with open_own(path) as file:
                for first, last in _runs(row_of[start:end], places, start):
                    position = shard.offset + int(row_of[first]) * size
                    to = first if places is None else int(places[first])
                    _read_at(file, path, position, stored[to : to + last - first])

    def _row_error(
        self,
        shards: list[Shard],
        shard_of: np.ndarray,
        keys: np.ndarray,
        fault: str = "not as checksums say",
    ) -> DamagedCacheError:
        path = self.folder / "shards" / shards[shard_of[0]].name
        rows = enumerate_some(_texts(keys), 3)
        return damaged(path, f"{counted(len(keys), 'row')} {fault} ({rows})")


def _read_at(file: BinaryIO, path: Path, position: int, into: np.ndarray) -> None:
    """Fill `into` from a place in a file."""
    view = into.data.cast("B")
    while len(view):
        count = os.preadv(file.fileno(), [view], position)
        if not count:
            raise damaged(path, "it is cut short")
        view, position = view[count:], position + count


def _for_each(read: Callable[[int], None], starts: Sequence[int]) -> None:
    """Read the parts at `starts`, many of them by several threads; raise the first error."""
    threads = min(_THREADS, available_cpus()) if len(starts) >= _MANY_PARTS else 1
    if threads == 1:
        for start in starts:
            read(start)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:
        # Where one fails, those that have not begun are cancelled.
        collections.deque(pool.map(read, starts), maxlen=0)


def list_shards(folder: Path) -> dict[str, int]:
    """Return the shards in a folder and their sizes, by name in sorted order."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".h5") and not entry.name.startswith("."):
                if not entry.is_file(follow_symlinks=False):
                    require_own(folder)
                with contextlib.suppress(FileNotFoundError):
                    found[entry.name] = entry.stat(follow_symlinks=False).st_size
    return {name: found[name] for name in sorted(found)}


def _try(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Return the sizes of those shards that can be opened, by name in sorted order."""
    found = {}
    for name in sorted(names):
        with contextlib.suppress(FileNotFoundError), open_own(folder / name) as file:
            found[name] = os.fstat(file.fileno()).st_size
    return found


def _lookup(
    shards: list[Shard], keys: np.ndarray, checksums: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, ...]:
    counts = [len(shard.keys) for shard in shards]
    shard_of = np.repeat(np.arange(len(shards)), counts)
    starts = np.cumsum([0, *counts])[:-1]
    row_of = np.arange(len(keys)) - np.repeat(starts, counts)
    return keys[order], shard_of[order], row_of[order], checksums[order]


def _runs(row_of: np.ndarray, places: np.ndarray | None, start: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges, counted from `start`, in which rows follow each other in the file."""
    jumps = np.diff(row_of) != 1
    if places is not None:
        jumps |= np.diff(places[start : start + len(row_of)]) != 1
    edges = [0, *(np.flatnonzero(jumps) + 1).tolist(), len(row_of)]
    for first, last in itertools.pairwise(edges):
        yield start + first, start + last


def _contiguous(out: np.ndarray, where: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the range of `out` that `where` fills, if it fills one, and the order inside.

    The order is None where the rows come as they shall lie.
    """
    low = int(where.min())
    if int(where.max()) - low != len(where) - 1:
        return None, None
    target = out[low : low + len(where)]
    places = where - low
    return target, None if (np.diff(places) == 1).all() else places


def _texts(keys: np.ndarray) -> list[str]:
    return keys.astype("U64").tolist()

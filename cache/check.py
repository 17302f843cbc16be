"""Check one feature set: every shard against its name, its checksums and the index."""

import dataclasses
import errno
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from ..core.errors import DamagedCacheError, counted, enumerate_some
from .featureset import FeatureSet
from .format.checksum import row_checksums
from .format.disk import LEFTOVER_PREFIX, open_own
from .format.encoding import all_finite, decode_into
from .format.header import SetHeader
from .format.index import INDEX_NAME, Index, read_index, view_fault
from .format.shard import Shard, fault_of, keys_as_found, read_shard, tables_as_found
from .rows import list_shards

_BLOCK_BYTES = 8 << 20
# Rows of one image, computed on two machines or engines, differ by less than this share; those of
# a black one, which are zeros but for rounding, by less than this in each number.
_ROUNDING, _NOISE = 0.1, 1e-3


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a cache.

    Attributes
    ----------
    kind : str
        ``rows``, ``shard``, ``vanished``, ``record``, ``marker``, ``failures`` (damage),
        or ``index``, ``leftover`` (harmless where no rows are named; put right by the next writer),
        ``unread`` (harmless: a file that is no shard by its name).
    rows : list of str
        Keys of the rows that are affected, as far as they can be known.
    unnamed : bool
        Whether it may affect rows whose keys and number are not known.
    by_hand : bool
        Whether `repair` leaves it to the user, whom the reason tells what to do.
    """

    file: Path
    kind: str
    reason: str
    rows: list[str] = dataclasses.field(default_factory=list)
    unnamed: bool = False
    by_hand: bool = False

    @property
    def harmless(self) -> bool:
        """Whether no row is affected."""
        return self.kind in ("leftover", "unread") or (self.kind == "index" and not self.rows)


@dataclasses.dataclass(frozen=True)
class Told:
    """What a set's folder holds and what its index says of it.

    Attributes
    ----------
    names : list of str
        Files in ``shards/``. A network's list of a folder may be a minute old.
    """

    names: list[str]
    index: Index | None

    @property
    def shards(self) -> dict[str, Shard]:
        """The shards that the index names."""
        return self.index.shards if self.index else {}


def read_told(one: FeatureSet) -> Told:
    """List the shards of a set and read its index."""
    sizes = list_shards(one.folder / "shards")
    return Told(list(sizes), read_index(one.folder, one.header, sum(sizes.values())))


def check_set(one: FeatureSet) -> tuple[dict[str, Shard], list[Problem]]:
    """Check one feature set; return its sound shards and the problems."""
    told = read_told(one)
    good: dict[str, Shard] = {}
    problems: list[Problem] = []
    names = set()
    # What the index names is tried too, if the list of the folder does not have it.
    for name in sorted({*told.names, *told.shards}):
        path = one.folder / "shards" / name
        try:
            shard, problem = check_shard(path, one, told.shards.get(name))
        except FileNotFoundError:
            # Replaced by a compaction, or told of below.
            continue
        names.add(name)
        if problem is not None:
            problems.append(problem)
        elif shard is not None:
            good[name] = shard
    for name, keys in _contradictory(one, good).items():
        reason = (
            f"{counted(len(keys), 'row is', 'rows are')} others than under the same key elsewhere"
        )
        problems.append(Problem(one.folder / "shards" / name, "rows", reason, keys))
        del good[name]
    problems += _gone(one, told, names, good)
    problems += _check_index(one, told.index, names, good)
    for folder in (one.folder, one.folder / "shards"):
        problems += [
            Problem(folder / name, "leftover", "a killed writer left it")
            for name in sorted(os.listdir(folder) if folder.is_dir() else [])
            if name.startswith(LEFTOVER_PREFIX)
        ]
    return good, problems + _unread(one.folder / "shards")


def vanished(one: FeatureSet) -> list[Problem]:
    """Name the shards that the index names and that are gone, by a look at the folder alone."""
    told = read_told(one)
    there = {name for name in told.shards if (one.folder / "shards" / name).exists()}
    one.rows.refresh()
    return _gone(one, told, there, one.rows.shards)


def _gone(one: FeatureSet, told: Told, names: Set[str], good: Mapping[str, Shard]) -> list[Problem]:
    held = {key for shard in good.values() for key in shard.keys.tolist()}
    problems = []
    for name in sorted(told.shards.keys() - names):
        lost = [key.decode() for key in told.shards[name].keys.tolist() if key not in held]
        # A shard whose rows are all elsewhere was compacted.
        if lost:
            path = one.folder / "shards" / name
            problems.append(Problem(path, "vanished", "the index names it; it is gone", lost))
    return problems


def _unread(folder: Path) -> list[Problem]:
    """Name what lies among the shards and is none by its name; what is hidden is the system's."""
    names = os.listdir(folder) if folder.is_dir() else []
    reason = "nothing reads it: the name of a shard ends in .h5"
    return [
        Problem(folder / name, "unread", reason)
        for name in sorted(names)
        if not name.endswith(".h5") and not name.startswith(".")
    ]


def sound_shards(one: FeatureSet) -> dict[str, Shard]:
    """Check one feature set that is to be copied or rewritten; return its shards.

    Raises
    ------
    DamagedCacheError
        One is damaged.
    """
    good, problems = check_set(one)
    bad = [f"{p.file.name}: {p.reason}" for p in problems if not p.harmless]
    if bad:
        raise DamagedCacheError(
            f"{counted(len(bad), 'file is', 'files are')} damaged in {one.folder}, and nothing was "
            f"changed: {enumerate_some(bad, 3)}",
            "run `icecore cache repair` on that cache first",
        )
    return good


def _contradictory(one: FeatureSet, good: dict[str, Shard]) -> dict[str, list[str]]:
    """Find keys under which sound shards hold unlike rows; return them by shard.

    One image has one row; computed twice, on two machines, its last bits may differ.
    """
    unlike = unlike_rows([(one, shard) for shard in good.values()])
    found = {
        s.name: [key.decode() for key in s.keys.tolist() if key in unlike] for s in good.values()
    }
    return {name: some for name, some in found.items() if some}


def unlike_rows(parts: Sequence[tuple[FeatureSet, Shard]]) -> set[bytes]:
    """Return the keys under which shards of one fingerprint, of several caches too, differ."""
    shards = [shard for _, shard in parts]
    keys = np.concatenate([np.zeros(0, "S64"), *(shard.keys for shard in shards)])
    if len(set(keys.tolist())) == len(keys):
        return set()
    sums = np.concatenate([shard.checksums for shard in shards])
    order = np.argsort(keys, kind="stable")
    first, second = order[:-1], order[1:]
    again = (keys[first] == keys[second]) & (sums[first] != sums[second])
    ends = np.cumsum([0, *(len(shard.keys) for shard in shards)])
    unlike: set[bytes] = set()
    for pair in zip(first[again].tolist(), second[again].tolist()):
        rows = [_row(parts, ends, at) for at in pair]
        bound = _ROUNDING * max(np.linalg.norm(row) for row in rows)
        if np.linalg.norm(rows[0] - rows[1]) > max(bound, _NOISE * len(rows[0]) ** 0.5):
            unlike.add(keys[pair[0]])
    return unlike


def _row(parts: Sequence[tuple[FeatureSet, Shard]], ends: np.ndarray, at: int) -> np.ndarray:
    """Read one row of sound shards, by its number among all."""
    number = int(np.searchsorted(ends, at, "right")) - 1
    one, shard = parts[number]
    size = one.header.row_bytes
    with open_own(one.folder / "shards" / shard.name) as file:
        file.seek(shard.offset + (at - int(ends[number])) * size)
        stored = np.frombuffer(file.read(size), one.header.stored).reshape(1, -1)
    row = np.empty(stored.shape, np.float32)
    decode_into(stored, one.dtype, row)
    return row


def _check_index(
    one: FeatureSet, index: Index | None, names: set[str], good: dict[str, Shard]
) -> list[Problem]:
    path = one.folder / INDEX_NAME
    if index is None:
        if path.exists():
            return [Problem(path, "index", "it is damaged; readers do without it")]
        return [Problem(path, "index", "it is missing")] if names else []
    if set(index.shards) != names:
        return [Problem(path, "index", "it is older than the shards; readers look at those")]
    # Readers believe it where it names all shards.
    lies = [name for name, shard in good.items() if not _same(index.shards[name], shard)]
    if lies:
        keys = [key.decode() for name in lies for key in good[name].keys.tolist()]
        reason = f"it is at odds with {counted(len(lies), 'shard')} ({enumerate_some(lies, 3)})"
        return [Problem(path, "index", reason, keys)]
    fault = view_fault(one.folder, one.header, index)
    return [Problem(path, "index", fault)] if fault else []


def _same(told: Shard, found: Shard) -> bool:
    alike = (told.size, told.offset) == (found.size, found.offset)
    return (
        alike
        and np.array_equal(told.keys, found.keys)
        and np.array_equal(told.checksums, found.checksums)
    )


def check_shard(
    path: Path, one: FeatureSet, listed: Shard | None = None
) -> tuple[Shard | None, Problem | None]:
    """Check one shard's header and all of its rows.

    Parameters
    ----------
    listed : Shard, optional
        What the index says of it, to name its rows if the header is gone.
    """
    try:
        shard = read_shard(path, one.header)
    except DamagedCacheError as error:
        keys = listed.keys if listed else keys_as_found(path)
        rows = [] if keys is None else [key.decode() for key in keys.tolist()]
        return None, Problem(path, "shard", fault_of(error, path), rows, keys is None)
    wrong = np.ones(len(shard.keys), bool)
    unfit = 0
    for at, rows in stored_blocks(path, shard, one.header):
        wrong[at] = row_checksums(rows, shard.keys[at]) != shard.checksums[at]
        if not all_finite(rows, one.dtype):
            finite = np.array([all_finite(row, one.dtype) for row in rows], bool)
            unfit += int((~finite & ~wrong[at]).sum())
            wrong[at] |= ~finite
    if not wrong.any():
        return shard, None
    bad = [key.decode() for key in shard.keys[wrong].tolist()]
    reason = f"{len(bad)} of {len(shard.keys)} rows do not match the checksums"
    if unfit:
        reason += f" or hold what is no finite number ({unfit})"
    return None, Problem(path, "rows", reason, bad)


def stored_blocks(
    path: Path, shard: Shard, header: SetHeader
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (slice of rows, rows as stored) of a shard, as far as the file goes."""
    size = header.row_bytes
    step = max(1, _BLOCK_BYTES // size)
    with open_own(path) as file:
        file.seek(shard.offset)
        for start in range(0, len(shard.keys), step):
            count = min(step, len(shard.keys) - start)
            content = file.read(count * size)
            whole = len(content) // size
            rows = np.frombuffer(content[: whole * size], header.stored).reshape(whole, header.dim)
            yield slice(start, start + whole), rows
            if whole < count:
                return


def stored_rows(path: Path, shard: Shard, header: SetHeader) -> np.ndarray:
    """Return all rows of a sound shard as they are stored."""
    return np.concatenate([rows for _, rows in stored_blocks(path, shard, header)])


def salvage(path: Path, header: SetHeader, listed: Shard | None) -> tuple[np.ndarray, np.ndarray]:
    """Return (keys, rows as stored) of a damaged shard whose own checksums still hold.

    A row's checksum covers its key, so a row that matches is what was written, wherever
    the damage is. The file's tables are believed for the set only if they say so.
    """
    for shard in (tables_as_found(path, header), listed):
        if shard is None:
            continue
        keys, parts = [], []
        try:
            for at, rows in stored_blocks(path, shard, header):
                good = row_checksums(rows, shard.keys[at]) == shard.checksums[at]
                good &= np.array([all_finite(row, header.dtype) for row in rows], bool)
                keys.append(shard.keys[at][good])
                parts.append(rows[good])
        except OSError as error:
            # The disk itself is damaged: what came before that place is kept.
            if error.errno != errno.EIO:
                raise
        if sum(map(len, keys)):
            return np.concatenate(keys), np.concatenate(parts)
    return np.zeros(0, "S64"), np.zeros((0, header.dim), header.stored)

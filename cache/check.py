"""Check one feature set: every shard against its name, its checksums and the index."""

import dataclasses
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..core.errors import DamagedCacheError, counted, enumerate_some
from .featureset import FeatureSet
from .format.checksum import row_checksums
from .format.disk import LEFTOVER_PREFIX, open_own
from .format.encoding import all_finite
from .format.header import SetHeader
from .format.index import INDEX_NAME, Index, read_index, view_fault
from .format.shard import Shard, keys_as_found, read_shard, tables_as_found
from .rows import list_shards

_BLOCK_BYTES = 8 << 20


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a cache.

    Attributes
    ----------
    kind : str
        ``rows``, ``shard``, ``vanished``, ``record``, ``marker``, ``failures`` (damage),
        or ``index``, ``leftover`` (harmless; put right by the next writer).
    rows : list of str
        Keys of the rows that are affected, as far as they can be known.
    """

    file: Path
    kind: str
    reason: str
    rows: list[str] = dataclasses.field(default_factory=list)

    @property
    def harmless(self) -> bool:
        """Whether no row is affected."""
        return self.kind in ("index", "leftover")


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
    held = {key for shard in good.values() for key in shard.keys.tolist()}
    for name in sorted(told.shards.keys() - names):
        lost = [key.decode() for key in told.shards[name].keys.tolist() if key not in held]
        # A shard whose rows are all elsewhere was compacted.
        if lost:
            path = one.folder / "shards" / name
            problems.append(Problem(path, "vanished", "the index names it; it is gone", lost))
    problems += _check_index(one, told.index, names)
    for folder in (one.folder, one.folder / "shards"):
        problems += [
            Problem(folder / name, "leftover", "a killed writer left it")
            for name in sorted(os.listdir(folder) if folder.is_dir() else [])
            if name.startswith(LEFTOVER_PREFIX)
        ]
    return good, problems


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


def _check_index(one: FeatureSet, index: Index | None, names: set[str]) -> list[Problem]:
    path = one.folder / INDEX_NAME
    if index is None:
        if path.exists():
            return [Problem(path, "index", "it is damaged; readers do without it")]
        return [Problem(path, "index", "it is missing")] if names else []
    if set(index.shards) != names:
        return [Problem(path, "index", "it is older than the shards; readers look at those")]
    fault = view_fault(one.folder, one.header, index)
    return [Problem(path, "index", fault)] if fault else []


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
        reason = error.message.removeprefix(f"{path} ").removeprefix("is damaged: ")
        return None, Problem(path, "shard", reason, [key.decode() for key in keys.tolist()])
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

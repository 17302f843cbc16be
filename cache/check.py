"""Check one feature set: every shard against its name, its checksums and the index."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from ..core.errors import CacheError, DamagedCacheError
from .featureset import FeatureSet
from .format.checksum import row_checksums
from .format.disk import LEFTOVER_PREFIX
from .format.encoding import stored_dtype
from .format.index import INDEX_NAME, read_index
from .format.shard import UNREADABLE, Shard, open_hdf5, read_shard
from .format.written import read_notes
from .record import fingerprint

__all__ = ["Problem", "check_set", "check_shard", "salvage"]


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a cache.

    Attributes
    ----------
    file : pathlib.Path
    kind : str
        ``rows``, ``shard``, ``vanished``, ``record``, ``marker``, ``failures`` (damage),
        or ``index``, ``leftover`` (harmless; put right by the next writer).
    reason : str
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


def check_set(one: FeatureSet) -> tuple[dict[str, Shard], list[Problem]]:
    """Check one feature set; return its sound shards and the problems."""
    index = read_index(one.folder, one.fingerprint)
    known = index.shards if index else {}
    # Read before the folder is: what is noted was there already.
    notes = read_notes(one.folder)
    good: dict[str, Shard] = {}
    problems: list[Problem] = []
    names = set()
    # A network's list of the folder may be a minute old; what others name is tried too.
    for name in sorted({*_names(one.folder / "shards"), *known, *notes}):
        path = one.folder / "shards" / name
        try:
            shard, problem = check_shard(path, one, known.get(name), notes.get(name))
        except FileNotFoundError:
            # Replaced by a compaction, or told of below.
            continue
        names.add(name)
        if problem is None:
            good[name] = shard
        else:
            problems.append(problem)
    held = {key for shard in good.values() for key in shard.keys.tolist()}
    told = {name: keys for name, keys in notes.items() if name not in known}
    told |= {name: shard.keys for name, shard in known.items()}
    for name in sorted(set(told) - names):
        lost = [key.decode() for key in told[name].tolist() if key not in held]
        # A shard whose rows are all elsewhere was compacted.
        if lost:
            path = one.folder / "shards" / name
            who = "the index names it" if name in known else "it was written"
            problems.append(Problem(path, "vanished", f"{who}; it is gone", lost))
    problems += _check_index(one, index, names)
    for folder in (one.folder, one.folder / "shards"):
        problems += [
            Problem(folder / name, "leftover", "a killed writer left it")
            for name in sorted(os.listdir(folder) if folder.is_dir() else [])
            if name.startswith(LEFTOVER_PREFIX)
        ]
    return good, problems


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(n for n in os.listdir(folder) if n.endswith(".h5") and not n.startswith("."))


def _check_index(one: FeatureSet, index: object, names: set[str]) -> list[Problem]:
    path = one.folder / INDEX_NAME
    if index is not None:
        if set(index.shards) == names:
            return _check_view(path, one, index)
        return [Problem(path, "index", "it is older than the shards; readers look at those")]
    if not path.exists():
        return [Problem(path, "index", "it is missing")] if names else []
    return [Problem(path, "index", "it is damaged; readers do without it")]


def _check_view(path: Path, one: FeatureSet, index: object) -> list[Problem]:
    """Compare the virtual data set, which other programs read, with the shards."""
    try:
        with open_hdf5(path) as file:
            view = file["features"]
            parts = [
                (s.file_name, s.dset_name, _row_range(s.vspace))
                for s in (view.virtual_sources() if view.is_virtual else [])
            ]
            shape, view_type = view.shape, view.dtype
            told = json.loads(file.attrs["record"]), file.attrs["encoding"].decode()
    except UNREADABLE as error:
        return [Problem(path, "index", f"its virtual data set is not readable: {error}")]
    expected, start = [], 0
    for name, shard in index.shards.items():
        end = start + len(shard.keys)
        expected.append((f"shards/{name}", "features", (start, end)))
        start = end
    if told != (one.record, one.precision) or view_type != stored_dtype(one.precision):
        return [Problem(path, "index", "it describes another feature set")]
    if shape != (start, one.dim) or sorted(parts) != sorted(expected):
        return [Problem(path, "index", "its virtual data set does not match its tables")]
    return []


def _row_range(space: h5py.h5s.SpaceID) -> tuple[int, int]:
    low, high = space.get_select_bounds()
    return int(low[0]), int(high[0]) + 1


def check_shard(
    path: Path, one: FeatureSet, listed: Shard | None = None, noted: np.ndarray | None = None
) -> tuple[Shard | None, Problem | None]:
    """Check one shard's header and all of its rows.

    Parameters
    ----------
    path : pathlib.Path
    one : FeatureSet
    listed : Shard, optional
        What the index says of it, to name its rows if the header is gone.
    noted : ndarray of S64, optional
        The keys in its note, for the same.
    """
    try:
        shard = read_shard(path, one.record, one.dim)
    except DamagedCacheError as error:
        keys = listed.keys if listed else _keys_as_found(path) if noted is None else noted
        reason = error.message.partition("is damaged: ")[2] or error.message
        return None, Problem(
            path, "shard", reason, [key.decode("ascii", "replace") for key in keys.tolist()]
        )
    except CacheError as error:
        return None, Problem(path, "shard", error.message)
    wrong = np.concatenate(
        [row_checksums(rows, shard.keys[at]) != shard.checksums[at]
         for at, rows in stored_blocks(path, shard, one)] or [np.zeros(0, bool)]
    )  # fmt: skip
    if not wrong.any():
        return shard, None
    bad = [key.decode() for key in shard.keys[wrong].tolist()]
    reason = f"{len(bad)} of {len(shard.keys)} rows do not match their checksums"
    return None, Problem(path, "rows", reason, bad)


def stored_blocks(
    path: Path, shard: Shard, one: FeatureSet, block: int = 8 << 20
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (slice of rows, rows as stored) of a shard, as far as the file goes."""
    dtype = stored_dtype(one.precision)
    size = one.dim * dtype.itemsize
    step = max(1, block // max(1, size))
    with open(path, "rb") as file:
        file.seek(shard.offset)
        for start in range(0, len(shard.keys), step):
            count = min(step, len(shard.keys) - start)
            content = file.read(count * size)
            whole = len(content) // size
            rows = np.frombuffer(content[: whole * size], dtype).reshape(whole, one.dim)
            yield slice(start, start + whole), rows
            if whole < count:
                return


def salvage(path: Path, one: FeatureSet, listed: Shard | None) -> tuple[np.ndarray, np.ndarray]:
    """Return (keys, rows as stored) of a damaged shard whose own checksums still hold.

    A row's checksum covers its key, so a row that matches is what was written, wherever
    the damage is. The header is believed for the set it belongs to only if it says so.
    """
    found = [shard for shard in (_as_found(path, one), listed) if shard is not None]
    for shard in found:
        keys, parts = [], []
        try:
            for at, rows in stored_blocks(path, shard, one):
                good = row_checksums(rows, shard.keys[at]) == shard.checksums[at]
                keys.append(shard.keys[at][good])
                parts.append(rows[good])
        except (OSError, ValueError):
            continue
        if sum(map(len, keys)):
            return np.concatenate(keys), np.concatenate(parts)
    return np.zeros(0, "S64"), np.zeros((0, one.dim), stored_dtype(one.precision))


def _as_found(path: Path, one: FeatureSet) -> Shard | None:
    """Read a shard's tables without asking whether they are sound."""
    try:
        with open_hdf5(path) as file:
            features, keys = file["features"], file["keys"][()]
            attributes: Mapping = file.attrs
            if attributes["fingerprint"].decode() != fingerprint(one.record):
                return None
            if features.shape != (len(keys), one.dim) or keys.dtype != "S64":
                return None
            checksums = file["checksums"][()].astype(np.uint64)
            if len(checksums) != len(keys) or features.id.get_offset() is None:
                return None
            size = os.stat(path).st_size
            return Shard(path.name, size, features.id.get_offset(), keys, checksums)
    except UNREADABLE:
        return None


def _keys_as_found(path: Path) -> np.ndarray:
    try:
        with open_hdf5(path) as file:
            return file["keys"][()].astype("S64")
    except UNREADABLE:
        return np.zeros(0, "S64")

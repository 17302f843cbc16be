"""Shrink a cache: remove rows and sets that are no longer wanted, unite small shards."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Sequence

import numpy as np

from ...core.errors import CacheError
from ...core.folders import remove_abandoned, scratch_folder
from ..check import sound_shards, stored_rows
from ..featurecache import CLAIMS_NAME, FeatureCache
from ..featureset import FeatureSet
from ..format.disk import LEFTOVER_PREFIX, remove_leftovers, require_own_set
from ..format.index import INDEX_NAME
from ..format.shard import (
    SHARD_BYTES,
    Shard,
    is_short_enough,
    publish_shard,
    read_provenance,
    shard_rows,
)
from ..sharing.claims import lock


def prune(
    cache: FeatureCache,
    keep: Iterable[str] | None = None,
    drop: Sequence[str] = (),
    dry_run: bool = True,
) -> dict:
    """Remove rows whose keys are not in `keep`, and the feature sets named in `drop`.

    Parameters
    ----------
    cache : FeatureCache
    keep : iterable of str, optional
        Row keys that stay (the digests of a manifest); None keeps all rows.
    drop : sequence of str
        Names of feature sets to remove whole.
    dry_run : bool
        Only count; this is the default.

    Returns
    -------
    dict
        ``{"dry_run", "sets": [{"name", "fingerprint", "rows_removed", "rows_kept",
        "whole", "bytes_freed"}]}``
    """
    # Of a set that a killed prune had taken out of its place.
    halves = [] if dry_run else remove_abandoned(cache.path, LEFTOVER_PREFIX)
    if not dry_run:
        remove_leftovers(cache.path)
    # All names are resolved before anything is touched.
    try:
        dropped = {cache.find(name).fingerprint for name in drop}
    except CacheError as error:
        if not halves:
            raise
        raise CacheError(
            f"{error.message}; what a prune that was killed had left of a set was removed now",
            "if that was the one, nothing is left to do",
        ) from error
    kept = None if keep is None else {key.encode() for key in keep}
    if kept is not None and not kept:
        raise CacheError(
            "nothing would be kept: the list of row keys is empty",
            "give a manifest whose images have digests; use --drop to remove whole sets",
        )
    done = []
    with contextlib.nullcontext() if dry_run else lock(cache.path / CLAIMS_NAME, "maintenance"):
        for one in cache.sets():
            whole = one.fingerprint in dropped
            if not whole and kept is None:
                continue
            good = sound_shards(one)
            done.append(_prune_set(one, good, whole, kept or set(), dry_run))
    return {"dry_run": dry_run, "sets": done}


def _prune_set(
    one: FeatureSet, good: dict[str, Shard], whole: bool, kept: set, dry_run: bool
) -> dict:
    masks = {
        name: np.array([not whole and key in kept for key in shard.keys.tolist()], bool)
        for name, shard in good.items()
    }
    touched = [name for name, mask in masks.items() if not mask.all()]
    every = {key for shard in good.values() for key in shard.keys.tolist()}
    stay = set() if whole else every & kept
    entry = {
        "name": one.name, "fingerprint": one.fingerprint, "whole": whole,
        "rows_removed": len(every) - len(stay), "rows_kept": len(stay),
        "bytes_freed": int(sum((~masks[n]).mean() * good[n].size for n in touched)),
    }  # fmt: skip
    if dry_run:
        return entry
    require_own_set(one.folder)
    if whole:
        # Renamed first: a set half deleted must not look like a damaged one.
        with scratch_folder(one.folder.parent, LEFTOVER_PREFIX) as scratch:
            os.rename(one.folder, scratch / "set")
            shutil.rmtree(scratch / "set")
        return entry
    if touched:
        # After a crash half-way nothing is to say that the rows removed were lost.
        (one.folder / INDEX_NAME).unlink(missing_ok=True)
    for name in touched:
        _rewrite(one, [(good[name], masks[name])], [name])
    if touched or not (one.folder / INDEX_NAME).exists():
        one.rows.reset()
        one.write_index()
    return entry


def compact(cache: FeatureCache, names: Sequence[str] = (), shard_bytes: int = SHARD_BYTES) -> dict:
    """Rewrite small shards as larger ones and drop repeated rows.

    The new shards are on the disk before an old one goes, so a crash at any moment leaves
    every row in at least one of them. Readers meanwhile see all rows.

    Parameters
    ----------
    cache : FeatureCache
    names : sequence of str
        Feature sets; all if empty.
    shard_bytes : int
        Shards up to half this size are united into ones of about this size.

    Returns
    -------
    dict
        ``{"sets": [{"name", "fingerprint", "rows", "shards_before", "shards_after"}]}``
    """
    chosen = [cache.find(name) for name in names] or cache.sets()
    done = []
    with lock(cache.path / CLAIMS_NAME, "maintenance"):
        for one in chosen:
            good = sound_shards(one)
            for group in _groups(one, good, shard_bytes):
                _rewrite(one, group, [shard.name for shard, _ in group])
            one.rows.reset()
            one.write_index()
            done.append(
                {
                    "name": one.name, "fingerprint": one.fingerprint, "rows": len(one),
                    "shards_before": len(good), "shards_after": len(one.rows.shards),
                }
            )  # fmt: skip
    return {"sets": done}


def _groups(
    one: FeatureSet, good: dict[str, Shard], shard_bytes: int
) -> list[list[tuple[Shard, np.ndarray]]]:
    """Choose which shards to unite; each comes with the mask of its first-seen rows."""
    seen: set[bytes] = set()
    large: list = []
    small: list = []
    for _, shard in sorted(good.items(), key=lambda item: -item[1].size):
        mask = np.array([key not in seen for key in shard.keys.tolist()], bool)
        seen.update(shard.keys.tolist())
        is_large = shard.size > shard_bytes // 2 and mask.all()
        (large if is_large else small).append((shard, mask))
    # Neighbours in key order go together: reading in key order then reads files in order.
    small.sort(key=lambda item: min(item[0].keys.tolist(), default=b""))
    most = shard_rows(one.header, shard_bytes)
    groups: list[list] = [[]]
    count = 0
    for shard, mask in small:
        if groups[-1] and count + mask.sum() > most:
            groups.append([])
            count = 0
        groups[-1].append((shard, mask))
        count += int(mask.sum())
    return [g for g in groups if len(g) > 1 or (g and not g[0][1].all())]


def _rewrite(one: FeatureSet, parts: Sequence[tuple[Shard, np.ndarray]], old: list[str]) -> None:
    """Publish the masked rows of `parts` as one shard, then delete the shards `old`."""
    folder = one.folder / "shards"
    keys = np.concatenate([shard.keys[mask] for shard, mask in parts])
    new = None
    if len(keys):
        rows = np.concatenate(
            [stored_rows(folder / shard.name, shard, one.header)[mask] for shard, mask in parts]
        )
        order = np.argsort(keys, kind="stable")
        given = _unite([read_provenance(folder / name) for name in old])
        new = publish_shard(folder, one.header, keys[order], rows[order], given).name
    one.rows.reset()
    require_own_set(one.folder)
    for name in old:
        if name != new:
            (folder / name).unlink(missing_ok=True)


def _unite(given: Sequence[dict]) -> dict:
    """Return the one provenance, or a list of as many distinct ones as there is room for."""
    flat: list[dict] = []
    for one in given:
        parts = one.get("united")
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            parts = [one]
        flat += [part for part in parts if part not in flat]
    if len(flat) == 1:
        return flat[0]
    flat = flat[:100]
    while not is_short_enough({"united": flat}):
        flat.pop()
    return {"united": flat}

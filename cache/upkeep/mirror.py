"""A copy of a cache in a store: shards are immutable, so only new ones travel.

Objects have the names of the files, ``SET/record.json`` and ``SET/shards/NAME.h5``; a table of
samples, which changes, is ``manifests/NAME.csv/DIGEST``. Each is created once and never
replaced: several machines may push to one place.
"""

import contextlib
import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ...core.errors import CacheError, DamagedCacheError, counted, enumerate_some
from ...core.files import flush_folder, publish_bytes, sha256_bytes
from ...core.folders import scratch_folder
from ...core.regular_files import read_regular
from ...core.stores import Entry, look_anew
from ..cache_folder import MARKER_NAME, RECORD_NAME, load_header, read_part
from ..check import check_shard, unlike_rows
from ..featurecache import FeatureCache
from ..featureset import FeatureSet
from ..format.disk import LEFTOVER_PREFIX, require_own_folder, require_own_set
from ..rows import list_shards
from .place import Place, put
from .tables import TABLES_NAME, pull_tables, push_tables

T = TypeVar("T")
_AT_ONCE = 4
_SET = r"(?!\.)[A-Za-z0-9._@+-]{1,200}"
RECORD = re.compile(rf"({_SET})/{re.escape(RECORD_NAME)}")
SHARD = re.compile(rf"({_SET})/shards/([0-9a-f]{{24}}\.h5)")
_DIGESTS = re.compile(r"digests/(all-)?[0-9a-f]{24}\.txt")
# What a cache has and its copy has not.
_WORKED_IN = re.compile(rf"{_SET}/index\.h5|{TABLES_NAME}/[^/]+\.(csv|json)")
_LARGEST_RECORD, _LARGEST_DIGESTS = 2**20, 2**29
# A shard has at most 192 MiB.
LARGEST_SHARD = 2**28
_BLOCK = 2**23


@dataclasses.dataclass(frozen=True)
class Mirrored:
    """What was copied.

    Attributes
    ----------
    url : str
    sets, shards, bytes : int
        Feature sets there are, and shards that were copied with their size.
    there : int
        Shards that were there already.
    tables : int
        Tables of samples that were copied.
    notes : tuple of str
        Where tables of one name differ: which is which.
    """

    url: str
    sets: int
    shards: int
    bytes: int
    there: int
    tables: int
    notes: tuple[str, ...] = ()


def push(cache: FeatureCache, url: str) -> Mirrored:
    """Copy the shards to a store that it lacks, each checked before and after.

    Parameters
    ----------
    cache : FeatureCache
    url : str
        A prefix in a store, or a folder.

    Raises
    ------
    DamagedCacheError
        Shards are damaged, here or there; all are named, and all others were copied.
    StoreError
        The store cannot be listed or written, or has something else under a name.
    """
    look_anew()
    place = Place.of(url)
    there = place.listed()
    _require_copy(place, there, cache)
    put(place, there, MARKER_NAME, cache.path / MARKER_NAME)
    shards = []
    sets = cache.sets()
    for one in sets:
        put(place, there, f"{one.folder.name}/{RECORD_NAME}", one.folder / RECORD_NAME)
        shards += [(one, name) for name in list_shards(one.folder / "shards")]
    new = [(o, n) for o, n in shards if f"{o.folder.name}/shards/{n}" not in there]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        sizes = list(pool.map(lambda pair: push_shard(place, *pair), new))
    push_digests(place, there, cache.path)
    tables, notes = push_tables(place, there, cache.path)
    bad = [f"{o.folder.name}/shards/{n}" for (o, n), size in zip(new, sizes) if size is None]
    if bad:
        raise DamagedCacheError(
            f"{counted(len(bad), 'damaged shard')} of {cache.path} stayed behind: "
            f"{enumerate_some(bad, 3)}",
            "run `icecore cache repair`, then push again; all others were copied",
        )
    _require_sizes(place, there, shards)
    total = sum(filter(None, sizes))
    return Mirrored(url, len(sets), len(new), total, len(shards) - len(new), tables, notes)


def _require_sizes(
    place: Place, there: Mapping[str, Entry], shards: Sequence[tuple[FeatureSet, str]]
) -> None:
    """Refuse shards that were there under the name, but not with the bytes, of those here."""
    unlike = []
    for one, name in shards:
        known = there.get(f"{one.folder.name}/shards/{name}")
        own = (one.folder / "shards" / name).stat().st_size
        if known and known.size != own:
            unlike.append(
                f"{one.folder.name}/shards/{name} ({known.size:,} bytes there, {own:,} here)"
            )
    if unlike:
        raise DamagedCacheError(
            f"{counted(len(unlike), 'shard')} of {place.url} "
            f"{'is' if len(unlike) == 1 else 'are'} of another size than here: "
            f"{enumerate_some(unlike, 3)}",
            "run `icecore cache verify` here; where it finds nothing, remove them there and push "
            "again; all others were copied",
        )


def pull(url: str, cache: str | os.PathLike) -> Mirrored:
    """Copy the shards from a store that a cache lacks; each is checked before it counts.

    Parameters
    ----------
    url : str
        What `push` was given.
    cache : path-like
        Folder of a cache, which is made if it is not there.

    Raises
    ------
    CacheError
        There is no cache at `url`, or it contradicts this one.
    DamagedCacheError
        Shards came damaged; all are named, and all others were kept.
    StoreError
        The store cannot be read.
    """
    look_anew()
    place = Place.of(url)
    there = place.listed()
    if MARKER_NAME not in there:
        raise CacheError(
            f"there is no cache at {url}: it has no {MARKER_NAME}",
            "give the URL that `icecore cache push` was given",
        )
    target = FeatureCache.create(cache)
    # A marker that is damaged tells nothing; the sets speak for themselves.
    with contextlib.suppress(DamagedCacheError):
        _read_small(place, MARKER_NAME, target, lambda folder: read_part(folder / MARKER_NAME, {}))
    sets = {m[1]: pulled_set(place, m[0], target) for m in map(RECORD.fullmatch, there) if m}
    found = [(m[1], m[2]) for m in map(SHARD.fullmatch, there) if m and m[1] in sets]
    held = {name: list_shards(one.folder / "shards") for name, one in sets.items()}
    new = [(folder, name) for folder, name in found if name not in held[folder]]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        sizes = list(pool.map(lambda one: _pull_shard(place, sets[one[0]], one, there), new))
    unlike = []
    for name in {folder for folder, _ in new}:
        unlike += _leave_out_unlike(sets[name], {file for folder, file in new if folder == name})
        sets[name].rows.refresh()
        sets[name].write_index()
    pull_digests(place, there, target.path)
    tables, damaged, notes = pull_tables(place, there, target.path)
    bad = [f"{folder}/shards/{name}" for (folder, name), size in zip(new, sizes) if size is None]
    bad += [*unlike, *damaged]
    shards = [m for m in map(SHARD.fullmatch, sorted(there)) if m]
    bad += dict.fromkeys(f"{m[1]}/ without record.json" for m in shards if m[1] not in sets)
    if bad:
        raise DamagedCacheError(
            f"{counted(len(bad), 'damaged part')} of {url} left out: {enumerate_some(bad, 3)}",
            "remove them there, and push them again from where they are sound"
            + ("; where rows are others, find out first which of the two are wrong" * bool(unlike)),
        )
    total = sum(filter(None, sizes))
    return Mirrored(url, len(sets), len(new), total, len(found) - len(new), tables, notes)


def _leave_out_unlike(one: FeatureSet, new: Collection[str]) -> list[str]:
    """Remove the new shards whose rows are others than the set holds of the same images."""
    one.rows.refresh()
    shards = one.rows.shards
    unlike = unlike_rows([(one, shard) for shard in shards.values()])
    found = []
    for name in sorted(new & shards.keys()) if unlike else ():
        if keys := unlike & set(shards[name].keys.tolist()):
            require_own_set(one.folder)
            (one.folder / "shards" / name).unlink(missing_ok=True)
            rows = counted(len(keys), "row is another", "rows are others")
            found.append(f"{one.folder.name}/shards/{name} ({rows} than under the same key here)")
    return found


def _require_copy(place: Place, there: Collection[str], cache: FeatureCache) -> None:
    """Refuse to push into a cache that is worked in, whose own tables lie where a copy's would."""
    if cache.path.resolve() in (folder := place.folder, *(folder.parents if folder else ())):
        raise CacheError(
            f"{place.url} lies in the cache that is to be pushed, {cache.path}",
            "name a folder of its own for the copy",
        )
    others = [] if MARKER_NAME in there else [name for name in sorted(there) if _is_other(name)]
    if others:
        raise CacheError(
            f"{place.url} is not empty and no copy of a cache: "
            f"it holds {enumerate_some(others, 3)}",
            "push to a prefix or folder of its own",
        )
    if own := [name for name in there if _WORKED_IN.fullmatch(name)]:
        merge = f"run `icecore cache merge {folder} {cache.path}`, or " if folder else ""
        raise CacheError(
            f"{place.url} is a cache that is worked in, and no copy of one: it has {own[0]}",
            f"{merge}push to a place of its own",
        )


def _is_other(name: str) -> bool:
    """Tell whether a cache has no such object; what is hidden is the system's."""
    known = any(one.fullmatch(name) for one in (RECORD, SHARD, _DIGESTS, _WORKED_IN))
    folder, _, file = name.rpartition("/")
    return bool(file) and not (known or file.startswith(".") or folder.startswith(TABLES_NAME))


def push_digests(
    place: Place, there: Collection[str], folder: Path, joined: bool = True
) -> list[str]:
    """Copy what is remembered of files' digests; return the names of what is new."""
    names = [f"digests/{path.name}" for path in sorted((folder / "digests").glob("*.txt"))]
    new = [name for name in names if _DIGESTS.fullmatch(name) and name not in there]
    new = [name for name in new if joined or not _is_joined(name)]
    for name in new:
        with contextlib.suppress(FileNotFoundError):  # Another process has joined some.
            place.create(name, folder / name)
    return new


def pull_digests(place: Place, there: dict[str, Entry], folder: Path) -> None:
    """Copy what others remember of files' digests; each is checked when it is read."""
    require_own_folder(folder, folder / "digests")
    for name in filter(_DIGESTS.fullmatch, sorted(there)):
        if there[name].size <= _LARGEST_DIGESTS and not os.path.lexists(folder / name):
            publish_bytes(folder / name, place.read(name, _LARGEST_DIGESTS))


def exchange_digests(place: Place, folder: Path, had: set[str]) -> None:
    """Send what was read since, and have what others have read: they need not read it all.

    Parameters
    ----------
    had : set of str
        Files that came or went before, to which those of now are added: one that was joined with
        others here is not to come again.
    """
    there = {f"digests/{name}": entry for name, entry in place.listed("digests/").items()}
    sent = push_digests(place, there, folder, joined=False)
    new = {name: one for name, one in there.items() if name not in had and not _is_joined(name)}
    pull_digests(place, new, folder)
    had.update(there, sent)


def _is_joined(name: str) -> bool:
    """Tell whether a file of digests took the place of others, all of which came by themselves."""
    return name.startswith("digests/all-")


def push_shard(place: Place, one: FeatureSet, name: str) -> int | None:
    """Copy a shard, and see to it that it came; return its size, None if it is damaged."""
    path = one.folder / "shards" / name
    shard, _ = check_shard(path, one)
    if shard is None:
        return None
    there = f"{one.folder.name}/shards/{name}"
    place.create(there, path)
    key = place.prefix + there
    content = read_regular(path, LARGEST_SHARD)
    entry = place.store.look(key)
    # Amazon's store says the MD5 of what it has; others are read again.
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if entry.tag != Entry.of(key, 0, f'"{md5}"').tag or entry.size != len(content):
        came = hashlib.sha256()
        for at in range(0, entry.size, _BLOCK):
            came.update(place.store.read(key, at, min(at + _BLOCK, entry.size)))
        if came.hexdigest() != sha256_bytes(content):
            raise CacheError(
                f"{place.url}/{one.folder.name}/shards/{name} is not what was sent",
                "remove it there, and push again",
            )
    return len(content)


def pulled_set(place: Place, name: str, target: FeatureCache) -> FeatureSet:
    """Open the set in `target` that a record in the store describes; it is made if need be."""
    return target.open_as(_read_small(place, name, target, load_header))


def _read_small(place: Place, name: str, target: FeatureCache, read: Callable[[Path], T]) -> T:
    """Return what `read` makes of a folder with a small file of a store; faults name that."""
    with scratch_folder(target.path, LEFTOVER_PREFIX) as folder:
        path = folder / name.rpartition("/")[2]
        path.write_bytes(place.read(name, _LARGEST_RECORD))
        try:
            return read(folder)
        except CacheError as error:
            error.message = error.message.replace(str(path), f"{place.url}/{name}")
            if isinstance(error, DamagedCacheError):
                error.hint = "remove it there, and push again from where the cache is sound"
            raise


def _pull_shard(
    place: Place, one: FeatureSet, at: tuple[str, str], there: dict[str, Entry]
) -> int | None:
    """Copy a shard, and let it count if it is sound; return its size, None if it is not."""
    folder, name = at
    key = f"{folder}/shards/{name}"
    if there[key].size > LARGEST_SHARD:
        return None
    require_own_set(one.folder)
    with scratch_folder(one.folder, LEFTOVER_PREFIX) as scratch:
        publish_bytes(scratch / name, place.read(key, LARGEST_SHARD))
        shard, _ = check_shard(scratch / name, one)
        if shard is None:
            return None
        os.replace(scratch / name, one.folder / "shards" / name)
        flush_folder(one.folder / "shards")
    return shard.size

"""A cache that is written to a store: each shard is one object, created once.

Rows go to a folder on this machine first and then to the store; `append` returns when the store
has them. What others have written is known by its tables of keys alone. So the folder has the rows
that were computed here, and `pull` brings all others when they are wanted.
"""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ...core.errors import CacheError, DamagedCacheError, StoreError
from ...core.folders import scratch_folder, user_folder
from ...core.stores import Entry, is_url
from ..cache_folder import MARKER_NAME, RECORD_NAME, named_folder
from ..featurecache import CLAIMS_NAME, FeatureCache
from ..featureset import FeatureSet
from ..format.disk import LEFTOVER_PREFIX
from ..format.header import SetHeader
from ..format.shard import BESIDE_ROW, read_shard
from ..rows import list_shards
from ..sharing.claims import ClaimsOfProcess
from ..sharing.store_claims import StoreClaims
from .mirror import (
    LARGEST_SHARD,
    RECORD,
    SHARD,
    exchange_digests,
    pull,
    pull_digests,
    pulled_set,
    push_shard,
)
from .place import Place, put

_AT_ONCE = 8
# What a shard has beside rows and tables is far less; all of a shard is read that has more.
_STRUCTURE = 2**17


def folder_of_cache(cache: str | os.PathLike) -> Path:
    """Return the folder of a cache: of one in a store, where this machine keeps what it needs.

    That is below ``$ICECORE_CACHES``, or the user's cache folder.
    """
    if not is_url(cache):
        return named_folder(cache)
    url = os.fspath(cache).rstrip("/")
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", url)[-60:]
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    return user_folder("caches", "ICECORE_CACHES") / f"{name}-{digest}"


def pulled(cache: str | os.PathLike) -> Path:
    """Return the folder of a cache; that of one in a store has all rows when this returns."""
    folder = folder_of_cache(cache)
    if is_url(cache):
        pull(os.fspath(cache), folder)
    return folder


def writable_cache(cache: str | os.PathLike, only_writer: bool = False) -> FeatureCache:
    """Open a cache for writing, in a folder or in a store; it is made if there is none.

    Parameters
    ----------
    cache : path-like
        A folder, or a prefix in a store.
    only_writer : bool, default False
        Whether no other machine writes to the store, which may then know no conditions.

    Raises
    ------
    StoreError
        The store cannot be used by several writers, or not at all.
    CacheError
        Something else is there.
    """
    if not is_url(cache):
        return FeatureCache.create(cache)
    place, folder = Place.of(os.fspath(cache)), folder_of_cache(cache)
    if not only_writer:
        _require_conditions(place)
    there = place.listed()
    others = [name for name in there if not name.startswith(f"{CLAIMS_NAME}/")]
    if others and MARKER_NAME not in others:
        raise CacheError(
            f"{place.url} is not empty and not a feature cache: it holds {min(others)}",
            "name another prefix",
        )
    _bring(place, there, folder)
    put(place, there, MARKER_NAME, folder / MARKER_NAME)
    return _StoredCache(folder, place, only_writer)


def existing_cache(cache: str | os.PathLike) -> FeatureCache | None:
    """Open a cache in a folder or in a store to see what it lacks; None if there is none.

    Nothing is written to a store. A feature set of one is no good for reading rows.
    """
    if not is_url(cache):
        return FeatureCache(cache) if (Path(cache) / MARKER_NAME).exists() else None
    place, folder = Place.of(os.fspath(cache)), folder_of_cache(cache)
    there = place.listed()
    if MARKER_NAME not in there:
        return None
    _bring(place, there, folder)
    return _StoredCache(folder, place, only_writer=False)


def _bring(place: Place, there: dict[str, Entry], folder: Path) -> None:
    """Have the records and digests of a store in the folder of this machine."""
    plain = FeatureCache.create(folder)
    for name in filter(RECORD.fullmatch, there):
        pulled_set(place, name, plain)
    pull_digests(place, there, folder)


def _require_conditions(place: Place) -> None:
    """Refuse a store in which writers would not know of each other, by trying it."""
    store, key = place.store, f"{place.prefix}claims/probe-{secrets.token_hex(8)}"
    silent = ["it cannot create an object in one step"]
    if store.conditional:
        silent = []
        if not store.create(key, b"1") or store.create(key, b"2"):
            silent.append("it creates an object again that is there")
        tag = store.current(key)[1]
        if not (tag and store.replace(key, b"3", tag)) or store.replace(key, b"4", tag):
            silent.append("it replaces an object whatever its ETag is")
        store.remove([key])
    if silent:
        raise StoreError(
            f"{place.url} is in a store in which several writers would not know of each other: "
            f"{' and '.join(silent)}",
            "say --only-writer if no other machine writes there, or extract to a folder and "
            "use `icecore cache push`",
        )


class _StoredCache(FeatureCache):
    """The folder that a cache in a store is written through."""

    def __init__(self, path: Path, place: Place, only_writer: bool) -> None:
        super().__init__(path)
        self._place, self._only_writer = place, only_writer
        # Files of digests that came or went.
        self._digests: set[str] = set()

    def __getstate__(self) -> dict:
        return {"path": self.path, "place": self._place, "only_writer": self._only_writer}

    @property
    def address(self) -> str:
        """The URL."""
        return self._place.url

    def open_as(self, header: SetHeader) -> FeatureSet:
        """Find or make the feature set, see `FeatureCache.open_as`.

        Shards of an earlier run that the store lacks are sent before anything else.
        """
        one = super().open_as(header)
        put(self._place, (), f"{one.folder.name}/{RECORD_NAME}", one.folder / RECORD_NAME)
        assert isinstance(one, _StoredSet)
        one.send()
        return one

    def _load(self, folder: Path) -> FeatureSet:
        one = super()._load(folder)
        return _StoredSet(one.folder, one.header, self._place, self._digests)

    def claims(self) -> ClaimsOfProcess:
        """See `FeatureCache.claims`."""
        if self._only_writer:
            return super().claims()
        return StoreClaims(self._place.store, f"{self._place.prefix}{CLAIMS_NAME}/")

    def exchange_digests(self) -> None:
        """Send what was read since, and have what others have read: they need not read it all."""
        exchange_digests(self._place, self.path, self._digests)


class _StoredSet(FeatureSet):
    """A feature set in a store."""

    def __init__(
        self, folder: Path, header: SetHeader, place: Place, digests: set[str] | None = None
    ) -> None:
        super().__init__(folder, header)
        self._place = place
        # Shards in the store whose keys are known, and those keys.
        self._there: set[str] = set()
        self._of_others: set[str] = set()
        self._digests = set() if digests is None else digests

    def __getstate__(self) -> dict:
        return {**super().__getstate__(), "place": self._place}

    def __len__(self) -> int:
        """Count the rows that there are."""
        self._look()
        self.rows.refresh()
        return len(self.rows.known() | self._of_others)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return those of `keys` that have no row, neither here nor in the store."""
        lacking = super().missing(keys)
        if lacking:
            self._look()
        return [key for key in lacking if key not in self._of_others]

    def send(self) -> None:
        """Send the shards of the folder that the store lacks."""
        there = self._place.listed(self._shards)
        for name in list_shards(self.folder / "shards"):
            if name not in there:
                push_shard(self._place, self, name)

    def _publish(
        self, texts: Sequence[str], keys: np.ndarray, rows: np.ndarray, given: Mapping | None
    ) -> None:
        before = set(self.rows.shards)
        super()._publish(texts, keys, rows, given)
        for name in self.rows.shards.keys() - before:
            if push_shard(self._place, self, name) is None:
                raise DamagedCacheError(
                    f"{self.folder / 'shards' / name} is damaged", "run the same command again"
                )
        exchange_digests(self._place, self.folder.parent, self._digests)

    @property
    def _shards(self) -> str:
        return f"{self.folder.name}/shards/"

    def _look(self) -> None:
        """Read the tables of the shards that others have added."""
        known = self._there | list_shards(self.folder / "shards").keys()
        new = {n: entry for n, entry in self._place.listed(self._shards).items() if n not in known}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for keys in pool.map(self._keys_of, new, new.values()):
                self._of_others.update(keys)
        self._there.update(new)

    def _keys_of(self, name: str, entry: Entry) -> list[str]:
        """Return the keys of a shard in the store; none if it is damaged."""
        rows = max(0, entry.size - _STRUCTURE) // (self.header.row_bytes + BESIDE_ROW)
        for size in (entry.size - rows * self.header.row_bytes, entry.size):
            if size > LARGEST_SHARD or not SHARD.fullmatch(self._shards + name):
                break
            with scratch_folder(self.folder, LEFTOVER_PREFIX) as scratch:
                with open(scratch / name, "wb") as file:
                    file.write(self._place.store.read(entry.key, 0, size))
                    # Rows are the end of a shard: a hole in the place of most of them.
                    file.truncate(entry.size)
                with contextlib.suppress(DamagedCacheError):
                    return read_shard(scratch / name, self.header).keys.astype(str).tolist()
        return []

"""What a store of objects is: its entries, and what can be asked of it."""

import abc
import contextlib
import dataclasses
import datetime
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from .errors import FileFormatError, StoreError, shortened
from .regular_files import size_text
from .store_errors import saying

# Objects of one listing, which lie in memory; stores take names of 1,024 bytes, disks of 4,096.
_MOST_LISTED, LONGEST_KEY = 2**25, 4096


@dataclasses.dataclass(frozen=True)
class Entry:
    """An object as its store describes it.

    Attributes
    ----------
    key : str
        Its name in the store.
    size : int
        Bytes.
    tag : int
        Differs when the object was replaced: made of its ETag, or of the time of its change.
        Negative where the store tells neither.
    changed : float
        When it was written, in seconds by the store's clock; 0 where the store does not tell.
    """

    key: str
    size: int
    tag: int
    changed: float = 0.0

    @classmethod
    def of(cls, key: str, size: int | None, *tags: object) -> Self:
        """Make one of the first tag that there is; without any it is never taken for the same.

        The last tag that is a time says when it was written.
        """
        times = [one.timestamp() if isinstance(one, datetime.datetime) else one for one in tags]
        changed = ([0.0] + [one for one in times if isinstance(one, float)])[-1]
        # Listings may leave out the quotes.
        tag = next((str(tag).removeprefix("W/").strip('"') for tag in tags if tag), "")
        if not tag:
            return cls(key, int(size or 0), -time.time_ns(), changed)
        number = int.from_bytes(hashlib.sha256(tag.encode()).digest()[:7])
        return cls(key, int(size or 0), number, changed)


class Tag(str):
    """The ETag of an object as it is now, with the version by which some stores replace it."""

    version: str | None = None

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self:
        """Make one of what a store says of an object."""
        tag = cls(about["e_tag"] or "")
        tag.version = about["version"]
        return tag

    @property
    def condition(self) -> dict[str, str]:
        """What a request names that is to replace this very object."""
        return {"e_tag": str(self)} | ({"version": self.version} if self.version else {})


class Store(abc.ABC):
    """One bucket, container or host.

    What a listing said of objects is remembered, so that millions need not be asked for again.
    Methods raise `MissingFileError` where there is nothing, and `StoreError` otherwise.

    Parameters
    ----------
    root : str
        URL of the store, without the key.

    Attributes
    ----------
    conditional : bool
        Whether `current`, `replace` and `remove` are there, and `create` is one step.
    """

    conditional = False

    def __init__(self, root: str) -> None:
        self.root = root
        self._seen: dict[str, Entry] = {}

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield what lies below a prefix, which is taken for a folder, in the order of keys."""
        folder = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
        names: set[str] = set()
        with self._saying("listed", prefix):
            for entry in self._list(folder):
                self._require_sound(entry.key, names)
                if entry.key.startswith(folder) and not entry.key.endswith("/"):
                    self._seen[entry.key] = entry
                    yield entry

    def _require_sound(self, key: str, names: set[str]) -> None:
        """Refuse a listing that would never end, or has what no store takes for a name."""
        if key in names:
            raise StoreError(
                f"{self.root} lists {shortened(key, 80)} twice",
                "its listing leads back to its beginning: it is no sound store",
            )
        if len(key) > LONGEST_KEY:
            raise StoreError(
                f"{self.root} lists a name of {len(key)} characters: {shortened(key, 80)}",
                "rename that object, or name a prefix that it does not lie below",
            )
        names.add(key)
        if len(names) > _MOST_LISTED:
            raise StoreError(
                f"{self.root} lists more than {_MOST_LISTED:,} objects",
                "name a longer prefix, and extract part by part",
            )

    def look(self, key: str, again: bool = False) -> Entry:
        """Return what is known of an object, or what the store says of it now."""
        entry = None if again else self._seen.get(key)
        if entry is None:
            with self._saying("read", key):
                entry = self._seen[key] = self._look(key)
        return entry

    def forget(self) -> None:
        """Ask for everything anew from now on: it may have changed."""
        self._seen = {}

    def read(self, key: str, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop` of an object."""
        if stop <= start:
            return b""
        with self._saying("read", key):
            content = self._read(key, start, stop)
        if len(content) != stop - start:
            # A server that knows no ranges sends everything.
            raise StoreError(
                f"{self.root}{key}: {stop - start} bytes were asked for, "
                f"{len(content) if len(content) < stop - start else 'more'} came",
                "the object changed, or its server does not know ranges of bytes: copy it to a "
                "store that does, or to a disk",
            )
        return content

    def read_all(self, key: str, most: int) -> bytes:
        """Return a whole object of at most `most` bytes.

        Raises
        ------
        FileFormatError
            It is larger; nothing of it was read.
        """
        size = self.look(key).size
        if size > most:
            raise FileFormatError(
                f"{self.root}{key} has {size_text(size)}, more than {size_text(most)}"
            )
        return self.read(key, 0, size)

    def create(self, key: str, content: bytes | os.PathLike) -> bool:
        """Store bytes, or a file's, under a key that is free; return False where it is taken."""
        with self._saying("created", key):
            return self._create(key, content)

    def current(self, key: str) -> tuple[bytes, Tag]:
        """Return a small object as it is now, and the tag that `replace` takes, if there is one."""
        with self._saying("read", key):
            return self._current(key)

    def replace(self, key: str, content: bytes, tag: Tag | None = None) -> bool:
        """Store bytes whatever is there; with a tag only if that is still there, else False."""
        with self._saying("created", key):
            return self._replace(key, content, tag)

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects, those that are there."""
        if keys:
            with self._saying("removed", keys[0]):
                self._remove(keys)

    @abc.abstractmethod
    def _list(self, folder: str) -> Iterator[Entry]: ...

    @abc.abstractmethod
    def _look(self, key: str) -> Entry: ...

    @abc.abstractmethod
    def _read(self, key: str, start: int, stop: int) -> bytes: ...

    @abc.abstractmethod
    def _create(self, key: str, content: bytes | os.PathLike) -> bool: ...

    def _current(self, key: str) -> tuple[bytes, Tag]:
        raise NotImplementedError("it has no conditional requests")

    def _replace(self, key: str, content: bytes, tag: Tag | None) -> bool:
        raise NotImplementedError("it has no conditional requests")

    def _remove(self, keys: Sequence[str]) -> None:
        raise NotImplementedError("it has no conditional requests")

    def _saying(self, what: str, key: str) -> contextlib.AbstractContextManager[None]:
        return saying(what, self.root + key)

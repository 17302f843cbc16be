"""A place for the copy of a cache: a prefix in a store, or a folder."""

import dataclasses
import os
from collections.abc import Collection
from pathlib import Path
from typing import Self

from ...core.errors import CacheError, StoreError
from ...core.regular_files import read_regular
from ...core.stores import Entry, Store, is_url, require_path_or_url, store_of
from ..format.disk import require_own_folder

# Of a table of samples, the largest file beside the shards.
LARGEST_TABLE = 2**29


@dataclasses.dataclass(frozen=True)
class Place:
    """A prefix in a store; it ends with a slash, or is empty."""

    store: Store
    prefix: str
    url: str

    @classmethod
    def of(cls, url: str | os.PathLike) -> Self:
        """Return the place that a URL names, or a folder."""
        url = os.fspath(url)
        require_path_or_url(url)
        if url.startswith(("http://", "https://")):
            raise StoreError(
                f"{url} is a web server, which has no list of what it holds, and takes nothing",
                "name a store (s3://, gs://, az://) or a folder",
            )
        url = url if is_url(url) else f"file://{os.path.abspath(url)}"
        store, key = store_of(url, local=True)
        return cls(store, key.rstrip("/") + "/" if key.strip("/") else "", url.rstrip("/"))

    @property
    def folder(self) -> Path | None:
        """The folder of this machine, None where it is in a store."""
        return Path("/", self.prefix).resolve() if self.url.startswith("file:") else None

    def listed(self, folder: str = "") -> dict[str, Entry]:
        """Return what is there or in a folder there, by names seen from it."""
        prefix = self.prefix + folder
        return {entry.key[len(prefix) :]: entry for entry in self.store.list(prefix)}

    def create(self, name: str, path: Path) -> bool:
        """Create an object from a file; in a folder of this machine, through no link below it."""
        if self.url.startswith("file:"):
            *inner, _ = name.split("/")
            root = Path("/", self.prefix)
            require_own_folder(*(root.joinpath(*inner[:end]) for end in range(1, len(inner) + 1)))
        return self.store.create(self.prefix + name, path)

    def read(self, name: str, most: int) -> bytes:
        """Return an object of at most `most` bytes."""
        return self.store.read_all(self.prefix + name, most)


def put(place: Place, there: Collection[str], name: str, path: Path) -> bool:
    """Create a small object; refuse another one under its name."""
    content = read_regular(path, LARGEST_TABLE)
    if name not in there and place.create(name, path):
        return True
    if place.read(name, LARGEST_TABLE) != content:
        raise CacheError(
            f"{place.url}/{name} is not that of {path}",
            "push to a place of its own: another cache, or another version of it, lies there",
        )
    return False

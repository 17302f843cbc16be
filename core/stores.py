"""Objects in stores, by URL: listed, looked at, read, and created once.

Amazon's, Google's and Azure's stores and plain HTTP are reached through obstore, whatever else
fsspec knows (``hf://``, ``memory://``) through fsspec. Credentials are the store's own, from the
environment or the machine; nothing of them is printed or written.
"""

import contextlib
import datetime
import functools
import io
import os
import re
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, cast

from .errors import MissingDependencyError, StoreError, shortened
from .imports import load
from .patience import patiently
from .regular_files import open_regular
from .store_base import LONGEST_KEY, Entry, Store, Tag
from .store_connection import connection, profile
from .store_errors import first_line

# A name and a password before a host.
_SECRET = re.compile(r"[^/@]*:[^/@]*@")
_URL = re.compile(r"([a-z][a-z0-9+.-]+)://(.*)", re.DOTALL)
_OBJECT_STORES = frozenset("s3 s3a gs az azure abfs abfss http https file".split())
# What was meant for a URL: in capitals, or with one slash.
_LIKE_A_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
# Of what fsspec knows: other machines alone. It also has systems that run, unpack, keep or look
# into what a URL names, and a URL may stand in a stranger's table.
_FILE_SYSTEMS = frozenset(
    "memory hf sftp ssh smb webdav webhdfs hdfs oss oci box dropbox gdrive".split()
)
# Read at once of a long object that is read from its beginning to its end.
BLOCK = 2**23
# Blocks of it that are asked for at a time.
_AHEAD = 4
# Of a claim or a heartbeat.
_LARGEST_SMALL = 2**16
_RETRIES, _PATIENCE_S = 4, 300.0
# Of one request, and of asking again: blocks are to come through slow lines, too.
_TIMEOUT_S = 90
# One store of a name, for all threads: it remembers what it was told.
_OPENING = threading.Lock()
_OPENED: weakref.WeakSet[Store] = weakref.WeakSet()


def is_url(text: str | os.PathLike) -> bool:
    """Tell whether a text names an object of a store.

    >>> is_url("s3://bucket/a.jpg"), is_url("folder/a.jpg"), is_url("C://a")
    (True, False, False)
    """
    return bool(_URL.match(os.fspath(text)))


def require_path_or_url(text: str | os.PathLike) -> None:
    """Refuse what would be a folder of the name ``S3:``, and was meant for a URL."""
    if _LIKE_A_URL.match(os.fspath(text)) and not is_url(text):
        raise StoreError(
            f"{text} is no URL of a store",
            "write URLs in small letters up to ://, as s3://bucket/folder; a folder of this "
            f"machine that is called so is ./{text}",
        )


class _ObjectStore(Store):
    """A store that obstore reaches."""

    conditional = True

    def __init__(self, root: str, scheme: str) -> None:
        super().__init__(root)
        obstore = load("obstore", "obstore.exceptions", "obstore.store")
        options: dict[str, Any] = {}
        if scheme != "file":
            options["client_options"] = connection(scheme, _TIMEOUT_S)
        if scheme in ("s3", "s3a") and (provider := profile()):
            options["credential_provider"] = provider
        if scheme != "file":
            # What hung so long is not asked for again.
            patience = datetime.timedelta(seconds=_TIMEOUT_S)
            options["retry_config"] = {"max_retries": _RETRIES, "retry_timeout": patience}
        self._obstore = obstore
        self._store = obstore.store.from_url(root, **options)

    def _list(self, folder: str) -> Iterator[Entry]:
        found = self._obstore.list(self._store, folder.rstrip("/") or None)
        # A store may send pages without end that list nothing.
        for chunk in patiently(found, _PATIENCE_S):
            yield from map(self._entry, chunk)

    def _look(self, key: str) -> Entry:
        return self._entry(self._obstore.head(self._store, key))

    def _read(self, key: str, start: int, stop: int) -> bytes:
        known = self._seen.get(key)
        if start == 0 and known and stop == known.size:
            # All of it is had from servers, too, that know no ranges.
            found = self._obstore.get(self._store, key)
            size = found.meta["size"]
            if size != stop:
                raise StoreError(
                    f"{self.root}{key} has {size} bytes, where {stop} were said before",
                    "it changed, or its server sends something else in its place: look at it",
                )
            # It may be another one than was listed.
            self._seen[key] = self._entry({**found.meta, "path": key})
            return bytes(found.bytes())
        # A server may send more than it was asked for, and without end.
        found = self._obstore.get(self._store, key, options={"range": (start, stop)})
        return _beginning(found, stop - start + 1)

    def _create(self, key: str, content: bytes | os.PathLike) -> bool:
        try:
            with (
                io.BytesIO(content) if isinstance(content, bytes) else open_regular(content) as file
            ):
                # Uploads in several parts know no conditions.
                self._obstore.put(self._store, key, file, mode="create", use_multipart=False)
        except self._obstore.exceptions.AlreadyExistsError:
            return False
        return True

    def _current(self, key: str) -> tuple[bytes, Tag]:
        try:
            found = self._obstore.get(self._store, key)
        except FileNotFoundError:
            return b"", Tag()
        return _beginning(found, _LARGEST_SMALL), Tag.of(found.meta)

    def _replace(self, key: str, content: bytes, tag: Tag | None) -> bool:
        mode = tag.condition if tag else "overwrite"
        try:
            self._obstore.put(self._store, key, content, mode=mode, use_multipart=False)
        except (self._obstore.exceptions.PreconditionError, FileNotFoundError):
            return False
        return True

    def _remove(self, keys: Sequence[str]) -> None:
        try:
            self._obstore.delete(self._store, list(keys))
        except FileNotFoundError:
            # Of what is not there some stores say so, and may have left others where they are.
            for key in keys:
                with contextlib.suppress(FileNotFoundError):
                    self._obstore.delete(self._store, [key])

    @staticmethod
    def _entry(about: dict) -> Entry:
        return Entry.of(about["path"], about["size"], about["e_tag"], about["last_modified"])


def _beginning(found, most: int) -> bytes:
    """Return as much of an object as there is, but no more than so many bytes."""
    parts, size = [], 0
    for chunk in found.stream(min_chunk_size=BLOCK):
        parts.append(bytes(chunk)[: most - size])
        size += len(parts[-1])
        if size == most:
            break
    return b"".join(parts)


class _FileSystem(Store):
    """A store that fsspec reaches."""

    def __init__(self, root: str, scheme: str) -> None:
        super().__init__(root)
        if scheme not in _FILE_SYSTEMS:
            raise _unknown(root, scheme)
        try:
            kind = load("fsspec").get_filesystem_class(scheme)
            # A machine's name is a part of the URL.
            self._files = kind(**kind._get_kwargs_from_urls(root))
        except ImportError as error:
            # Each has a package of its own, which fsspec names.
            raise MissingDependencyError(
                f"{scheme}:// cannot be used: {first_line(error)}", "install that package with pip"
            ) from error
        except ValueError as error:
            raise _unknown(root, scheme) from error
        self._base = self._files._strip_protocol(root)

    def _list(self, folder: str) -> Iterator[Entry]:
        # All files, sorted; a prefix where nothing lies is empty.
        found = self._files.find(self._path(folder), detail=True)
        yield from (self._entry(about) for _, about in sorted(found.items()))

    def _look(self, key: str) -> Entry:
        about = self._files.info(self._path(key))
        if about.get("type") == "directory":
            raise FileNotFoundError(key)
        return self._entry(about)

    def _read(self, key: str, start: int, stop: int) -> bytes:
        return self._files.cat_file(self._path(key), start=start, end=stop)

    def _create(self, key: str, content: bytes | os.PathLike) -> bool:
        if self._files.exists(self._path(key)):
            return False
        # Not one step as in an object store: for one writer at a time.
        self._files.makedirs(self._files._parent(self._path(key)), exist_ok=True)
        if isinstance(content, bytes):
            self._files.pipe_file(self._path(key), content)
        else:
            self._files.put_file(os.fspath(content), self._path(key))
        return True

    def _path(self, key: str) -> str:
        # The hub takes a path that begins with a slash for a model's.
        return (f"{self._base.rstrip('/')}/{key}" if self._base else key).rstrip("/")

    def _entry(self, about: dict) -> Entry:
        key = about["name"].removeprefix(self._base).lstrip("/")
        tags = [about.get(name) for name in ("ETag", "etag", "blob_id", "md5Hash", "mtime")]
        lfs = about.get("lfs") or {}
        # The memory file system says when an object was created, and replaces it by a new one.
        return Entry.of(key, about.get("size"), lfs.get("sha256"), *tags, about.get("created"))


def _unknown(root: str, scheme: str) -> StoreError:
    known = sorted(_OBJECT_STORES | _FILE_SYSTEMS)
    return StoreError(
        f"{root} is of no store that is known here: {scheme}",
        f"stores are {', '.join(known)}; others can be mounted, or copied to a folder",
    )


def store_of(url: str, *, local: bool = False) -> tuple[Store, str]:
    """Return the store of a URL, and the key in it.

    Parameters
    ----------
    local : bool, default False
        Whether it may be a folder of this machine: a stranger's table may not name its files so,
        past all that is asked of files.

    Raises
    ------
    MissingDependencyError
        The package that reaches such a store is not installed.
    StoreError
        There is no such kind of store.
    """
    scheme, rest = _parts_of(url, local)
    if scheme in ("file", "memory", "hf"):
        root, key = f"{scheme}:///" if scheme == "file" else f"{scheme}://", rest.lstrip("/")
    else:
        bucket, _, key = rest.partition("/")
        root = f"{scheme}://{bucket}/"
    with _OPENING:
        return _store(root, scheme), key


def require_usable_url(url: str) -> None:
    """Raise as `store_of` does for what the text of a URL shows; nothing is opened."""
    scheme, _ = _parts_of(url)
    if scheme not in _OBJECT_STORES | _FILE_SYSTEMS:
        raise _unknown(url, scheme)


def _parts_of(url: str, local: bool = False) -> tuple[str, str]:
    parts = _URL.fullmatch(os.fspath(url))
    if parts is None:
        raise StoreError(f"{url} is no URL of a store", "write it as s3://bucket/key")
    scheme, rest = parts.groups()
    if secret := _SECRET.match(rest):
        bare = shortened(f"{scheme}://{rest[secret.end() :]}", 80)
        raise StoreError(
            f"{bare} is given with a password, which would be written into tables and rows",
            "leave it out: give it as the store's own tools take it, or use a key",
        )
    if scheme in ("http", "https") and "?" in rest:
        bare = shortened(f"{scheme}://{rest.partition('?')[0]}", 80)
        raise StoreError(
            f"{bare} is given with a query (what stands behind '?'), which would be asked for as "
            "part of the name, and may hold a signature",
            "download such images into a folder, or name their bucket as s3://, gs:// or az://",
        )
    if len(rest) > LONGEST_KEY:
        raise StoreError(
            f"{shortened(os.fspath(url), 80)} has {len(rest)} characters",
            f"stores take names of up to {LONGEST_KEY}",
        )
    if scheme == "file" and not local:
        raise StoreError(f"{url} is a file of this machine", "give its path")
    return scheme, rest


@functools.lru_cache(64)
def _store(root: str, scheme: str) -> Store:
    kind = _ObjectStore if scheme in _OBJECT_STORES else _FileSystem
    try:
        opened = kind(root, scheme)
    except (ImportError, StoreError):
        raise
    except Exception as error:  # Builders of stores raise many kinds.
        raise StoreError(
            f"{root} cannot be opened: {first_line(error)}", "check the URL and its settings"
        ) from error
    _OPENED.add(opened)
    return opened


def look_anew() -> None:
    """Let no store answer from what it said before: a job begins, and things may have changed."""
    for store in list(_OPENED):
        store.forget()


def store_open(url: str, ahead: bool = False) -> BinaryIO:
    """Open an object; its size is known before anything is read.

    Parameters
    ----------
    ahead : bool, default False
        Whether it is read in large blocks, and those that follow are asked for before they are
        needed. Else no more is read than is asked for.
    """
    store, key = store_of(url)
    size = store.look(key).size
    if ahead:
        return io.BufferedReader(_Ahead(store, key, size), BLOCK)
    return cast(BinaryIO, _Ranges(store, key, size))


def read_object(url: str, most: int) -> bytes:
    """Return a whole object, see `Store.read_all`."""
    store, key = store_of(url)
    return store.read_all(key, most)


class _Ranges(io.RawIOBase):
    """An object as a file that is read and sought in."""

    def __init__(self, store: Store, key: str, size: int) -> None:
        self._store, self._key, self._size, self._at = store, key, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer) -> int:
        start, stop = self._at, min(self._at + len(buffer), self._size)
        for at in range(start, stop, BLOCK):
            content = self._store.read(self._key, at, min(at + BLOCK, stop))
            buffer[at - start : at - start + len(content)] = content
        self._at = max(start, stop)
        return self._at - start


class _Ahead(_Ranges):
    """An object of which the next blocks are asked for while one is used."""

    def __init__(self, store: Store, key: str, size: int) -> None:
        super().__init__(store, key, size)
        self._coming: dict[int, Future[bytes]] = {}
        self._pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="ahead")

    def readinto(self, buffer) -> int:
        first = self._at // BLOCK
        self._coming = {number: one for number, one in self._coming.items() if number >= first}
        for number in range(first, min(first + _AHEAD, -(-self._size // BLOCK))):
            if number not in self._coming:
                start, stop = number * BLOCK, min((number + 1) * BLOCK, self._size)
                self._coming[number] = self._pool.submit(self._store.read, self._key, start, stop)
        if self._at >= self._size:
            return 0
        block = self._coming[first].result()
        content = memoryview(block)[self._at - first * BLOCK :][: len(buffer)]
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        super().close()

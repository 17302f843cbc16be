"""Where the bytes of an image are: a file, a part of a file, a row of a table, an object.

A place is a text, so that tables of samples can hold it:

- ``folder/a.jpg``: a file
- ``s3://bucket/a.jpg``: an object of a store
- ``00000.tar#bytes=1536-9999``: the bytes of a file from the first to the last, as HTTP counts
- ``part.parquet#row=12&column=image``: a field of a Parquet table

What is before the ``#`` of the last two may be an object, too.
"""

import contextlib
import functools
import io
import os
import re
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from . import parquet_files
from .errors import FileFormatError, IcecoreError, IrregularFileError, StoreError
from .files import sha256_bytes, sha256_file
from .once_cache import OnceCache
from .regular_files import open_regular, read_regular, require_regular, size_text
from .stores import BLOCK, is_url, read_object, store_of, store_open

_BYTES = re.compile(r"(.+)#bytes=(\d{1,19})-(\d{1,19})", re.DOTALL)
# The ending tells it from a file that is called so.
_ROW = re.compile(
    r"(.+\.(?:parquet|parq|pq))#row=(\d{1,18})&column=(.+)", re.DOTALL | re.IGNORECASE
)
# Bytes or rows of a container that are dealt out together.
STRETCH, ROWS_OF_STRETCH = 2**25, 256
# Of large objects, from which images are read one after the other by several threads.
_BLOCKS = OnceCache(32)
_ASKED_AT_ONCE = 32
# Of images that were read and are on their way; more than wait for an engine, as a rule.
_MOST_AT_HAND = 2**29
# Of objects that came past while they were listed.
_DIGESTS: dict[str, tuple[list[int], str]] = {}


def is_place(text: str) -> bool:
    """Tell whether a text is more than the path of a file."""
    return is_url(text) or container_of(text) != text


def bytes_place(container: str, start: int, size: int) -> str:
    """Name some bytes of a file or object.

    >>> bytes_place("a.tar", 512, 100)
    'a.tar#bytes=512-611'
    """
    return f"{container}#bytes={start}-{start + size - 1}"


def row_place(container: str, row: int, column: str) -> str:
    """Name a field of a Parquet table.

    >>> row_place("a.parquet", 3, "image")
    'a.parquet#row=3&column=image'
    """
    return f"{container}#row={row}&column={column}"


def part_of(place: str) -> tuple[int, int]:
    """Return where the bytes of a place begin in a container, and how many they are.

    >>> part_of("a.tar#bytes=512-611")
    (512, 100)
    """
    found = _BYTES.fullmatch(place)
    assert found is not None
    return int(found[2]), int(found[3]) - int(found[2]) + 1


def container_of(place: str) -> str:
    """Return the file or object that has the image."""
    found = "#" in place and (_BYTES.fullmatch(place) or _ROW.fullmatch(place))
    return found[1] if found else place


def stretch_of(place: str) -> str:
    """Name the part of a container that an image lies in; nothing for a file or object.

    Images of one part are best read one after the other: they share blocks or a row group.
    """
    if part := _BYTES.fullmatch(place):
        return f"{part[1]}#{int(part[2]) // STRETCH}"
    row = _ROW.fullmatch(place)
    return f"{row[1]}#{int(row[2]) // ROWS_OF_STRETCH}" if row else ""


def absolute(place: str | os.PathLike) -> str:
    """Return the place as it is seen from everywhere.

    >>> absolute("s3://bucket/a.jpg"), absolute("/data/../a.tar#bytes=0-1")
    ('s3://bucket/a.jpg', '/a.tar#bytes=0-1')
    """
    return os.fspath(place) if is_url(place) else os.path.abspath(place)


def open_container(place: str, in_order: bool = False) -> BinaryIO:
    """Open a file or object in which images are, to be read in large blocks.

    Parameters
    ----------
    in_order : bool, default False
        Whether it will be read from its beginning to its end: then an object is read ahead.

    Raises
    ------
    OSError
        It is not there, cannot be read, or is no regular file.
    """
    return store_open(place, ahead=in_order) if is_url(place) else open_regular(place)


def open_image(place: str, most: int) -> BinaryIO:
    """Open an image file of at most `most` bytes, see `read_place`."""
    return io.BytesIO(read_place(place, most)) if is_place(place) else open_regular(place)


def read_place(place: str, most: int) -> bytes:
    """Return an image's bytes.

    Raises
    ------
    FileFormatError
        They are more than `most`, or their table cannot be read; nothing of them was read.
    OSError
        As of `open`; also of objects.
    """
    if not is_place(place):
        return read_regular(place, most)
    if part := _BYTES.fullmatch(place):
        return _read_bytes(part[1], int(part[2]), int(part[3]) + 1, most)
    if row := _ROW.fullmatch(place):
        facts = facts_of(row[1])
        return parquet_files.read_field(row[1], int(row[2]), row[3], open_container, most, facts)
    return read_object(place, most)


def _read_bytes(container: str, start: int, stop: int, most: int) -> bytes:
    if stop - start > most:
        raise FileFormatError(
            f"a part of {container} has {size_text(stop - start)}, more than {size_text(most)}"
        )
    if is_url(container):
        return _read_of_object(container, start, stop)
    with open_regular(container) as file:
        file.seek(start)
        content = file.read(stop - start)
    if len(content) != stop - start:
        raise StoreError(f"{container} ends before byte {stop}", "it changed, or was cut short")
    return content


def _read_of_object(container: str, start: int, stop: int) -> bytes:
    """Read from blocks that images beside each other share."""
    store, key = store_of(container)
    entry = store.look(key)
    size = entry.size
    if stop > size:
        raise StoreError(f"{container} ends before byte {stop}", "it changed, or was cut short")
    parts = []
    for number in range(start // BLOCK, (stop - 1) // BLOCK + 1):
        at = number * BLOCK
        block = _BLOCKS.get(
            (container, entry.tag, number),
            functools.partial(store.read, key, at, min(at + BLOCK, size)),
        )
        parts.append(block[max(start - at, 0) : stop - at])
    return b"".join(parts)


def facts_of(place: str, again: bool = False) -> list[int]:
    """Return what changes when the bytes at a place do: size, time of change, and inode or tag.

    Parameters
    ----------
    again : bool, default False
        Whether a store is asked, even if it said before what it has.

    Raises
    ------
    OSError
        There is nothing, or it cannot be looked at.
    """
    container = container_of(place)
    if is_url(container):
        store, key = store_of(container)
        entry = store.look(key, again)
        size, *when = [entry.size, 0, entry.tag]
    else:
        status = os.stat(container)
        require_regular(container, status.st_mode)
        size, *when = [status.st_size, status.st_mtime_ns, status.st_ino]
    if part := _BYTES.fullmatch(place):
        size = int(part[3]) - int(part[2]) + 1
    elif container != place:
        size = 0  # A field's is known when it is read.
    return [size, *when]


def is_changed(before: list[int], now: list[int]) -> bool:
    """Tell whether facts say that something changed, which of some servers is its size alone."""
    told = min(before[-1], now[-1]) >= 0
    return before != now if told else before[0] != now[0]


def look_ahead(places: Iterable[str]) -> None:
    """Ask stores about many objects at a time; each answer is kept for who asks for one."""
    objects = {container for place in places if is_url(container := container_of(place))}
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        list(pool.map(_look, objects))


def _look(url: str) -> None:
    # What is wrong is said to whoever asks for that object.
    with contextlib.suppress(OSError):
        store, key = store_of(url)
        store.look(key)


def is_there(place: str) -> bool:
    """Tell whether there is a file or object at a place, or one that has it."""
    if not is_place(place):
        return os.path.isfile(place)
    try:
        facts_of(place)
    except (FileNotFoundError, NotADirectoryError, IrregularFileError):
        return False
    return True


def note_digest(place: str, digest: str) -> None:
    """Keep the digest of bytes that came past, so that they need not be read for it again."""
    _DIGESTS[place] = (facts_of(place), digest)


def known_digest(place: str, facts: list[int]) -> str:
    """Return the digest that was kept of a place, if it looks as it did then; else nothing."""
    then, digest = _DIGESTS.get(place, ([], ""))
    return digest if then == facts else ""


class AtHand:
    """Bytes of objects and fields that were read once and will be wanted once more.

    Of more than half a GiB the oldest are forgotten. Files are not kept: the system does that.
    """

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}
        self._size, self._lock = 0, threading.Lock()

    @property
    def full(self) -> bool:
        """Whether they are so many that more had better wait: others are on their way."""
        return self._size > _MOST_AT_HAND // 2

    def keep(self, place: str, content: bytes) -> None:
        """Keep the bytes of a place that is no file."""
        with self._lock:
            self._size += len(content) - len(self._kept.pop(place, b""))
            self._kept[place] = content
            while self._size > _MOST_AT_HAND:
                self._size -= len(self._kept.pop(next(iter(self._kept))))

    def take(self, place: str) -> bytes | None:
        """Return the bytes of a place, and forget them; None if they are not there."""
        with self._lock:
            content = self._kept.pop(place, None)
            self._size -= len(content or b"")
            return content


def digest_of(place: str, most: int, at_hand: AtHand | None = None) -> str | OSError:
    """Return the SHA-256 of an image's bytes, or why there is none.

    Bytes that had to be asked for are kept in `at_hand`.
    """
    try:
        if not is_place(place):
            return sha256_file(place)
        content = read_place(place, most)
    except OSError as error:
        return error
    except IcecoreError as error:
        return StoreError(error.message, error.hint)
    if at_hand is not None:
        at_hand.keep(place, content)
    return sha256_bytes(content)

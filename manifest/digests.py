"""Digests of image files, remembered so that unchanged files are not read again.

A file that was modified within the last seconds before it was read is not remembered: it could
change once more without its time showing it.
"""

import concurrent.futures
import dataclasses
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Protocol

from ..core.errors import RefusedError
from ..core.places import (
    AtHand,
    absolute,
    digest_of,
    facts_of,
    is_place,
    known_digest,
    look_ahead,
)
from ..core.regular_files import size_text
from .box import row_key
from .digest_memory import DigestMemory
from .table import LARGEST_IMAGE_FILE, Manifest, Sample

_UNSETTLED_SECONDS = 2.0
_TOGETHER, _BYTES_TOGETHER = 32, 2**21
# Images between two looks at what other processes have read meanwhile.
_STRETCH = 2048
# Objects that a store refuses, one after the other, until it is not asked for more.
_REFUSED = 16
# New keys that are told of at a time, and bytes of their images.
AT_A_TIME, BYTES_AT_A_TIME = 256, 2**24


@dataclasses.dataclass(frozen=True)
class DigestReport:
    """A manifest with digests, and the images that could not be read.

    Attributes
    ----------
    manifest : Manifest
        Every sample has its digest (of its file, with its box if it has one), except
        those in `unreadable`.
    unreadable : dict of str to str
        Reason for each sample id whose file could not be read.
    read : int
        How many files were read; the others were remembered.
    unread : dict of str to str
        Reason for each container that could not be read to its end, by its place; nothing of it
        is in the manifest.
    """

    manifest: Manifest
    unreadable: dict[str, str]
    read: int
    unread: dict[str, str] = dataclasses.field(default_factory=dict)


def digest_manifest(
    manifest: Manifest,
    memory: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DigestReport:
    """Fill in the digest of every image.

    Parameters
    ----------
    manifest : Manifest
        Samples that already have a digest whose file is absent keep it, so that a
        table can be used where the images are not.
    memory : path-like, optional
        Folder of earlier digests, see `DigestMemory`. It is read, and added to: now and then if it
        takes long, so that processes that digest the same images share them out, and at the end
        if the folder that it lies in is there.
    progress : callable, optional
        Called with the number of files done and in all.
    """
    digesting = Digesting(manifest, memory, progress=progress)
    for _ in digesting:
        pass
    return digesting.report()


class SharedReading(Protocol):
    """Who reads which container, where several processes find out what lies in the same ones."""

    def claim(self, place: str) -> bool:
        """Tell whether this process is to read it, and no other."""

    def tell(self) -> None:
        """Let others know what was read; it is in the memory."""

    def wait(self) -> None:
        """Wait a little for what others read."""


class Digesting:
    """The digests of a manifest's images as they come; see `digest_manifest`.

    Iterating reads the files that must be read, in so many threads (all of them, if it is
    paranoid), and yields some new row keys at a time, by id. Bytes that had to be asked for are
    kept in `at_hand`.

    Attributes
    ----------
    images : dict of str to Sample
    known : dict of str to str
        The row keys that were known without reading, by id.
    """

    # As of containers, which processes share out.
    shared: SharedReading | None = None
    waiting = False

    def __init__(
        self,
        manifest: Manifest,
        memory: DigestMemory | str | os.PathLike | None = None,
        *,
        paranoid: bool = False,
        workers: int = 4,
        progress: Callable[[int, int], None] | None = None,
        at_hand: AtHand | None = None,
    ) -> None:
        self._manifest, self.images = manifest, manifest.images
        self._paranoid, self._workers = paranoid, workers
        self._progress, self._at_hand = progress, at_hand
        self._memory = DigestMemory.of(memory)
        self._files = _sort_out(self.images, self._memory, paranoid)
        self.known = self._keys(self._files.digests) | self._files.kept
        self._read = 0

    @property
    def left(self) -> int:
        """How many files are still to be read."""
        return len(self._files.to_read)

    @property
    def unread(self) -> list[Sample]:
        """The images whose files are still to be read; what a table says of them may be old."""
        unread = (self.images[identity] for identity in self._files.to_read)
        return [dataclasses.replace(sample, digest="") for sample in unread]

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each file that is known by now, by id."""
        return self._files.digests

    @property
    def unreadable(self) -> dict[str, str]:
        """Why files could not be read, by id."""
        return self._files.unreadable

    def learn(self, digests: Mapping[str, str], unreadable: Mapping[str, str]) -> dict[str, str]:
        """Take what another process has read of the unread files; return the new row keys."""
        left = self._files.to_read.keys()
        digests = {i: digest for i, digest in digests.items() if i in left}
        unreadable = {i: why for i, why in unreadable.items() if i in left and i not in digests}
        for identity, digest in digests.items():
            self._files.take(identity, digest, self._memory)
        for identity, reason in unreadable.items():
            del self._files.to_read[identity]
            self._files.unreadable[identity] = reason
        self._read += len(digests) + len(unreadable)
        self._memory.keep_some()
        return self._keys(digests)

    def __iter__(self) -> Generator[dict[str, str]]:
        """Read the files."""
        for identities in _stretches(list(self._files.to_read)):
            new, size = {}, 0
            if not self._paranoid:
                self._memory.refresh()
                new = self._files.take_known(identities, self._memory)
            for identity, digest in self._read_all(identities):
                self._read += 1
                self._require_right(digest)
                size += self._files.size(identity)
                self._files.take(identity, digest, self._memory)
                if isinstance(digest, str):
                    new[identity] = digest
                if self._progress is not None:
                    self._progress(len(self.images) - self.left, len(self.images))
                if len(new) >= AT_A_TIME or size >= BYTES_AT_A_TIME:
                    yield self._keys(new)
                    new, size = {}, 0
            yield self._keys(new)
            self._memory.keep_some()

    def _require_right(self, digest: str | OSError) -> None:
        """End where a store refuses all that was asked for, which may be millions of objects."""
        first = self._read == min(_REFUSED, len(self.images)) and not self._files.digests
        if first and isinstance(digest, RefusedError):
            raise digest

    def report(self) -> DigestReport:
        """Return all that is known by now, and keep it for the next time."""
        none = {i: self._files.unreadable[i] for i in self.images if i in self._files.unreadable}
        keys = self._keys(self._files.digests) | self._files.kept
        self.keep()
        manifest = self._manifest.with_digests(
            keys | dict.fromkeys(none, ""), self._files.digests | dict.fromkeys(none, "")
        )
        return DigestReport(manifest, none, self._read)

    def keep(self) -> None:
        """Add what was read to the memory, if the folder is there that it lies in."""
        self._memory.keep()

    def _keys(self, digests: Mapping[str, str]) -> dict[str, str]:
        return {i: row_key(digest, self.images[i].box) for i, digest in digests.items()}

    def _read_all(self, identities: list[str]) -> Iterator[tuple[str, str | OSError]]:
        """Yield for each id that is still to be read its file's digest, or why there is none.

        No more is read ahead than threads can be at: the bytes are on their way to a network.
        """
        coming: deque[tuple[list[str], concurrent.futures.Future]] = deque()
        with concurrent.futures.ThreadPoolExecutor(self._workers) as pool:
            for lot in self._lots(identities):
                paths = [self._files.to_read[identity][0] for identity in lot]
                coming.append((lot, pool.submit(self._digest_all, paths)))
                if len(coming) > self._workers:
                    done, digests = coming.popleft()
                    yield from zip(done, digests.result())
            for done, digests in coming:
                yield from zip(done, digests.result())

    def _lots(self, identities: list[str]) -> Iterator[list[str]]:
        """Yield ids that are still to be read, as many together as a thread is to take.

        Handing one over costs as much as reading a small one.
        """
        lot: list[str] = []
        size = 0
        for identity in identities:
            if identity in self._files.to_read:
                lot.append(identity)
                size += self._files.size(identity)
                if len(lot) == _TOGETHER or size >= _BYTES_TOGETHER:
                    yield lot
                    lot, size = [], 0
        if lot:
            yield lot

    def _digest_all(self, paths: list[str]) -> list[str | OSError]:
        return [digest_of(path, LARGEST_IMAGE_FILE, self._at_hand) for path in paths]


@dataclasses.dataclass(frozen=True)
class _Files:
    """The images by id: row keys kept, digests of files, reasons, and paths with facts to read."""

    kept: dict[str, str] = dataclasses.field(default_factory=dict)
    digests: dict[str, str] = dataclasses.field(default_factory=dict)
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)
    to_read: dict[str, tuple[str, list]] = dataclasses.field(default_factory=dict)

    def size(self, identity: str) -> int:
        """Return the size of a file that is to be read, if it is known before."""
        return self.to_read[identity][1][0]

    def take(self, identity: str, digest: str | OSError, known: DigestMemory) -> None:
        """Note what became of a file that was to be read."""
        path, facts = self.to_read.pop(identity)
        if isinstance(digest, OSError):
            self.unreadable[identity] = f"the file cannot be read: {digest.strerror}"
            return
        self.digests[identity] = digest
        # What was replaced meanwhile may come back, and is then not what was read.
        if is_settled(facts) and (not is_place(path) or facts_of(path) == facts):
            known.add(path, facts, digest)

    def take_known(self, identities: list[str], known: DigestMemory) -> dict[str, str]:
        """Take the digests of those that somebody else has read meanwhile, and return them."""
        found = {i: digest for i in identities if (digest := known.get(*self.to_read[i]))}
        self.digests.update(found)
        for identity in found:
            del self.to_read[identity]
        return found


def is_settled(facts: Sequence[int]) -> bool:
    """Tell whether a file could not have changed once more without its time showing it."""
    return time.time() - facts[1] / 1e9 > _UNSETTLED_SECONDS


def _sort_out(images: Mapping[str, Sample], known: DigestMemory, paranoid: bool) -> _Files:
    """Find out which files must be read; those that are as remembered need not be."""
    files = _Files()
    look_ahead(sample.path for sample in images.values())
    for identity, sample in images.items():
        try:
            facts = facts_of(sample.path)
        except OSError as error:
            if sample.digest and isinstance(error, FileNotFoundError):
                files.kept[identity] = sample.digest
            else:
                files.unreadable[identity] = f"the file cannot be read: {error.strerror}"
            continue
        path = absolute(sample.path)
        if facts[0] > LARGEST_IMAGE_FILE:
            sizes = f"{size_text(facts[0])}, more than {size_text(LARGEST_IMAGE_FILE)}"
            files.unreadable[identity] = f"the file has {sizes}"
        elif not paranoid and (digest := known.get(path, facts)):
            files.digests[identity] = digest
        elif not paranoid and (digest := known_digest(path, facts)):
            files.digests[identity] = digest
            known.add(path, facts, digest)
        else:
            files.to_read[identity] = (path, facts)
    return files


def _stretches(identities: list[str]) -> Iterator[list[str]]:
    """Yield the images in stretches, in an order that no other process takes."""
    starts = list(range(0, len(identities), _STRETCH))
    secrets.SystemRandom().shuffle(starts)
    for start in starts:
        yield identities[start : start + _STRETCH]

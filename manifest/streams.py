"""Images in tars and record files, whose digests are taken while it is found what there is.

Such a container is read once, from its beginning to its end: each image is known, digested and
at hand for a network when its bytes come past, long before the last container is looked into.
What lies in one is remembered with the digests, so that it is not read again while it is the same.
"""

import itertools
import os
import secrets
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO

from ..core.errors import StoreError, enumerate_some
from ..core.files import sha256_bytes
from ..core.places import AtHand, absolute, facts_of, is_changed, open_container, part_of
from .containers import Scan, Unread
from .digest_memory import DigestMemory
from .digests import AT_A_TIME, BYTES_AT_A_TIME, DigestReport, is_settled
from .layout import LabelledFiles
from .layouts import checked, open_data
from .listing_text import packed, unpacked
from .table import Manifest, Sample

# A container that other processes had better not read as well.
_LARGE = 2**26
# Of an image, until some were seen.
_USUAL_SIZE = 2**17


def read_remembered(
    data: str | os.PathLike, memory: str | os.PathLike, *, labels_required: bool = True
) -> Manifest:
    """Read data as `icecore.manifest.read` does, but no container of which all is remembered.

    Parameters
    ----------
    memory : path-like
        See `DigestMemory`.
    """
    images = open_data(data, labels_required=labels_required)
    if isinstance(images, Manifest):
        return images
    found = StreamDigesting(images, memory)
    manifest = images.manifest() if found.left else found.report().manifest
    bare = dict.fromkeys(manifest.images, "")  # As `read` gives it.
    return checked(manifest.with_digests(bare), labels_required)


class StreamDigesting:
    """The images of containers and their digests as they come.

    Iterating reads the containers, in an order that no other process takes, and yields some new
    row keys at a time, by id. Bytes are kept in `at_hand`.

    Parameters
    ----------
    unread : Unread
    memory, paranoid, progress, at_hand
        As for `icecore.manifest.Digesting`.

    Attributes
    ----------
    images : dict of str to Sample
        Those that are known by now, by id; their labels come with `report`.
    known : dict of str to str
        The row keys that were known without reading, by id.
    """

    def __init__(
        self,
        unread: Unread,
        memory: str | os.PathLike | None = None,
        *,
        paranoid: bool = False,
        progress: Callable[[int, int], None] | None = None,
        at_hand: AtHand | None = None,
    ) -> None:
        self._unread, self._paranoid, self._progress = unread, paranoid, progress
        self._at_hand, self._memory = at_hand or AtHand(), DigestMemory(memory)
        self.images: dict[str, Sample] = {}
        self._digests: dict[str, str] = {}
        self._parts: dict[str, LabelledFiles] = {}
        self._faults: dict[str, str] = {}
        self._facts = {name: facts_of(unread.place(name)) for name in unread.names}
        self._left = [name for name in unread.names if self._recall(name) is None]
        self.known = dict(self._digests)
        secrets.SystemRandom().shuffle(self._left)
        self._read = self._bytes = 0
        self._to_come = sum(self._facts[name][0] for name in self._left)

    @property
    def left(self) -> int:
        """How many images are still to be found: by the size of those that were."""
        if not self._left:
            return 0
        mean = self._bytes / self._read if self._read else _USUAL_SIZE
        return max(1, round(self._to_come / mean))

    def __iter__(self) -> Generator[dict[str, str]]:
        """Read the containers."""
        while self._left:
            name = self._left[-1]
            self._memory.refresh()
            if (keys := self._recall(name)) is not None:
                yield keys
            else:
                yield from self._take_all(name)
            self._left.pop()
            self._to_come = sum(self._facts[name][0] for name in self._left)
            self._memory.keep_some(hurry=self._facts[name][0] > _LARGE)

    def report(self) -> DigestReport:
        """Return all that is known by now, and keep it for the next time.

        Raises
        ------
        ManifestError
            There is no image, or what is there can be no table.
        StoreError
            No container could be read to its end.
        """
        self.keep()
        if self._faults and not self._parts:
            raise StoreError(
                f"none of {self._unread.source} could be read to its end: "
                f"{enumerate_some(self._faults.values())}",
                "rows that were computed are kept; mend the cause and run the command again",
            )
        manifest = self._unread.manifest(self._parts)
        faults = {self._unread.place(name): reason for name, reason in self._faults.items()}
        return DigestReport(manifest.with_digests(self._digests), {}, self._read, faults)

    def keep(self) -> None:
        """Add what was read to the memory, if the folder is there that it lies in."""
        self._memory.keep()

    def _take_all(self, name: str) -> Iterator[dict[str, str]]:
        """Read a container; what cannot be read of it is a fault, unless nothing could be yet."""
        place, taken = self._unread.place(name), dict[str, str]()
        try:
            before = facts_of(place, again=True)
            with open_container(place, in_order=True) as file:
                scan = self._unread.layout.scan(place, name, file)
                part = yield from self._take_some(name, scan, taken, file)
            if part is None:
                keys = self._recall(name) or {}
                yield {identity: key for identity, key in keys.items() if identity not in taken}
                return
            if is_changed(before, facts_of(place, again=True)):
                raise StoreError(f"{place} changed while it was read", "run the command again")
        except OSError as error:
            if not self.images:
                raise
            self._faults[name] = str(error.strerror)
            return
        self._parts[name], self._facts[name] = part, before
        self._digests |= taken
        self._note(name, part)

    def _take_some(
        self, name: str, scan: Scan, taken: dict[str, str], file: BinaryIO
    ) -> Generator[dict[str, str], None, LabelledFiles | None]:
        """Read the images of a container; yield the keys of some at a time.

        None is returned where another process has read it to its end meanwhile.
        """
        told = size = at = 0
        while True:
            try:
                sample, length = next(scan)
            except StopIteration as end:
                yield dict(itertools.islice(taken.items(), told, None))
                return end.value
            content = file.read(length)
            if len(content) != length:
                raise StoreError(f"{sample.path} ends early", "it changed, or was cut short")
            self._at_hand.keep(absolute(sample.path), content)
            self.images[sample.id], taken[sample.id] = sample, sha256_bytes(content)
            # With headers and labels, for the estimate of how many images are left.
            end = sum(part_of(sample.path))
            self._bytes, self._to_come = self._bytes + end - at, self._to_come - (end - at)
            self._read, size, at = self._read + 1, size + length, end
            if self._progress is not None:
                self._progress(self._read, self._read + self.left)
            if len(taken) - told >= AT_A_TIME or size >= BYTES_AT_A_TIME:
                yield dict(itertools.islice(taken.items(), told, None))
                told, size = len(taken), 0
                self._memory.refresh()
                if self._recall(name) is not None:
                    return None

    def _note(self, name: str, part: LabelledFiles) -> None:
        """Add what lies in a container to the memory."""
        facts = self._facts[name]
        if is_settled(facts):
            self._memory.add(self._key(name), facts, packed(part))
            for sample in part.samples:
                own = [part_of(sample.path)[1], *facts[1:]]
                self._memory.add(absolute(sample.path), own, self._digests[sample.id])

    def _recall(self, name: str) -> dict[str, str] | None:
        """Take in what is remembered of a container; None if that is not all of it."""
        key = self._key(name)
        if self._paranoid or not self._memory.knows(key):
            return None
        if not self._memory.get(key, self._facts[name]):
            # Listings of some stores say it in another way than they do of one object.
            try:
                self._facts[name] = facts_of(self._unread.place(name), again=True)
            except OSError:
                return None  # Whoever reads it is told.
        facts = self._facts[name]
        if not (text := self._memory.get(key, facts)):
            return None
        part = unpacked(text, self._unread.place(name))
        if part is None:
            return None
        keys = {}
        for sample in part.samples:
            own = [part_of(sample.path)[1], *facts[1:]]
            if not (digest := self._memory.get(absolute(sample.path), own)):
                return None
            keys[sample.id] = digest
        self._parts[name] = part
        self.images |= {sample.id: sample for sample in part.samples}
        self._digests |= keys
        return keys

    def _key(self, name: str) -> str:
        return f"{absolute(self._unread.place(name))}#listing"

"""Images in tars and record files, whose digests are taken while it is found what there is.

Such a container is read once, from its beginning to its end: each image is known, digested and
at hand for a network when its bytes come past, long before the last container is looked into.
What lies in one is remembered with the digests, so that it is not read again while it is the same.
"""

import itertools
import os
import secrets
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import BinaryIO

from ..core.errors import StoreError, enumerate_some
from ..core.files import sha256_bytes
from ..core.places import (
    AtHand,
    absolute,
    facts_of,
    is_changed,
    open_container,
    part_of,
)
from .containers import Scan, Unread
from .digest_memory import DigestMemory
from .digests import AT_A_TIME, BYTES_AT_A_TIME, DigestReport, SharedReading, is_settled
from .layout import LabelledFiles
from .layouts import checked, open_data
from .listing_text import packed, unpacked
from .table import Manifest, Sample

# A container that is read along with other processes, if nothing else is left: its images are
# computed together meanwhile.
_LARGE = 2**26
# Containers that are left when others may wait for each.
_FEW = 32
# Of an image, until some were seen.
USUAL_SIZE = 2**17
# Of a digest.
_DIGITS = 64


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
    return checked(read_unread(images, memory), labels_required)


def read_unread(
    unread: Unread,
    memory: DigestMemory | str | os.PathLike | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    at_hand: AtHand | None = None,
) -> Manifest:
    """Make the table of samples, for which containers are read of which not all is remembered.

    Digests come past, and are remembered, too.

    Raises
    ------
    ManifestError
        There is no image, or what is there can be no table.
    StoreError
        Containers could not be read to their end; all are named.
    """
    found = StreamDigesting(unread, memory, progress=progress, at_hand=at_hand)
    for _ in found:
        pass
    report = found.report()
    if report.unread:
        raise StoreError(
            f"{len(report.unread)} of {len(unread.names)} containers of {unread.source} could not "
            f"be read to their end: {enumerate_some(report.unread.values())}",
            "mend the cause and run the command again",
        )
    bare = dict.fromkeys(report.manifest.images, "")  # As `read` gives it.
    return report.manifest.with_digests(bare)


class StreamDigesting:
    """The images of containers and their digests as they come.

    Iterating reads the containers, in an order that no other process takes, and yields some new
    row keys at a time, by id. Bytes are kept in `at_hand`.

    Parameters
    ----------
    unread : Unread
    memory, paranoid, progress, at_hand
        As for `icecore.manifest.Digesting`.
    dealt : bool, default False
        Whether no other process was given these containers: they are read in their order, and
        also the first one that cannot be read is a fault of its own.

    Attributes
    ----------
    containers : Unread
    images : dict of str to Sample
        Those that are known by now, by id; their labels come with `report`.
    known : dict of str to str
        The row keys that were known without reading, by id.
    shared : SharedReading or None
        Asked before a container is read. One that somebody else reads is read last, if nobody has
        told what lies in it by then: a large one is then read along.
    waiting : bool
        Whether there is nothing to read but what others read.
    """

    def __init__(
        self,
        unread: Unread,
        memory: DigestMemory | str | os.PathLike | None = None,
        *,
        paranoid: bool = False,
        progress: Callable[[int, int], None] | None = None,
        at_hand: AtHand | None = None,
        dealt: bool = False,
    ) -> None:
        self.containers, self._paranoid, self._progress = unread, paranoid, progress
        self.shared: SharedReading | None = None
        self.waiting = False
        self._at_hand, self._memory, self._dealt = at_hand, DigestMemory.of(memory), dealt
        self.images: dict[str, Sample] = {}
        self._digests: dict[str, str] = {}
        self._parts: dict[str, LabelledFiles] = {}
        self._faults: dict[str, str] = {}
        self._facts: dict[str, list[int]] = {}
        for name in unread.names:
            try:
                self._facts[name] = facts_of(unread.place(name))
            except OSError as error:  # It is gone since it was listed.
                self._faults[name] = str(error.strerror)
        left = [name for name in self._facts if self._recall(name) is None]
        self.known = dict(self._digests)
        if not dealt:
            secrets.SystemRandom().shuffle(left)
        self._left = {name: self._facts[name][0] for name in left}
        # Of what was read, and of what is left; of the container that is read, how much was.
        self._read = self._bytes = self._at = 0
        self._to_come = sum(self._left.values())

    @property
    def left(self) -> int:
        """How many images are still to be found: by the size of those that were."""
        if not self._left:
            return 0
        mean = self._bytes / self._read if self._read else USUAL_SIZE
        return max(1, round((self._to_come - self._at) / mean))

    @property
    def unread(self) -> list[Sample]:
        """The containers that are still to be read."""
        return [Sample(name, self.containers.place(name)) for name in self._left]

    @property
    def digests(self) -> dict[str, str]:
        """What lies in each container that was read to its end, by name: for `learn`."""
        told = {}
        for name, part in self._parts.items():
            digests = "".join(self._digests[sample.id] for sample in part.samples)
            told[name] = " ".join([*map(str, self._facts[name]), packed(part), digests])
        return told

    @property
    def unreadable(self) -> dict[str, str]:
        """Why containers could not be read to their end, by name."""
        return self._faults

    def learn(self, digests: Mapping[str, str], unreadable: Mapping[str, str]) -> dict[str, str]:
        """Take what another process has read of the unread containers; return the new row keys."""
        keys: dict[str, str] = {}
        for name in self._left.keys() & digests.keys():
            *facts, text, joined = digests[name].split(" ")
            part = unpacked(text, self.containers.place(name))
            if part is None or len(joined) != _DIGITS * len(part.samples):
                continue
            each = (joined[at : at + _DIGITS] for at in range(0, len(joined), _DIGITS))
            taken = {sample.id: digest for sample, digest in zip(part.samples, each)}
            self._facts[name] = list(map(int, facts))
            self.images |= {sample.id: sample for sample in part.samples}
            self._take(name, part, taken)
            self._read, self._bytes = self._read + len(taken), self._bytes + self._facts[name][0]
            self._end(name)
            keys |= taken
        for name in self._left.keys() & unreadable.keys():
            self._faults[name] = unreadable[name]
            self._end(name)
        return keys

    def __iter__(self) -> Generator[dict[str, str]]:
        """Read the containers."""
        refused = 0
        while self._left:
            name = next(iter(self._left))
            self._memory.refresh()
            if (keys := self._recall(name)) is not None:
                yield keys
            elif refused < len(self._left) and not self._claim(name):
                self._left[name] = self._left.pop(name)
                refused += 1
                continue
            elif self._left[name] <= _LARGE and refused == len(self._left):
                yield from self._wait()
                refused = 0
                continue
            else:
                yield from self._take_all(name)
            refused = 0
            self._end(name)

    def _claim(self, name: str) -> bool:
        return self.shared is None or self.shared.claim(self._key(name))

    def _wait(self) -> Iterator[dict[str, str]]:
        """Wait for others, who may wait for this process."""
        assert self.shared is not None
        self._memory.keep()
        self.shared.tell()
        self.waiting = True
        yield {}
        self.shared.wait()
        self.waiting = False

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
                f"none of {self.containers.source} could be read to its end: "
                f"{enumerate_some(self._faults.values())}",
                "rows that were computed are kept; mend the cause and run the command again",
            )
        manifest = self.containers.manifest(self._parts)
        faults = {self.containers.place(name): reason for name, reason in self._faults.items()}
        return DigestReport(manifest.with_digests(self._digests), {}, self._read, faults)

    def keep(self) -> None:
        """Add what was read to the memory, if the folder is there that it lies in."""
        self._memory.keep()

    def _end(self, name: str) -> None:
        """Cross out a container of which all is known that there is to know."""
        size = self._left.pop(name)
        self._to_come, self._at = self._to_come - size, 0
        if self._memory.keep_some(hurry=size > _LARGE or len(self._left) < _FEW) and self.shared:
            self.shared.tell()

    def _take_all(self, name: str) -> Iterator[dict[str, str]]:
        """Read a container; what cannot be read of it is a fault, unless nothing could be yet."""
        place, taken = self.containers.place(name), dict[str, str]()
        try:
            before = facts_of(place, again=True)
            with open_container(place, in_order=True) as file:
                scan = self.containers.layout.scan(place, name, file)
                part = yield from self._take_some(name, scan, taken, file)
            if part is None:
                keys = self._recall(name) or {}
                yield {identity: key for identity, key in keys.items() if identity not in taken}
                return
            if is_changed(before, facts_of(place, again=True)):
                raise StoreError(f"{place} changed while it was read", "run the command again")
        except OSError as error:
            if not self.images and not self._dealt:
                raise
            self._faults[name] = str(error.strerror)
            return
        self._facts[name] = before
        self._take(name, part, taken)

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
            if self._at_hand is not None:
                self._at_hand.keep(absolute(sample.path), content)
            self.images[sample.id], taken[sample.id] = sample, sha256_bytes(content)
            # With headers and labels, for the estimate of how many images are left.
            end = sum(part_of(sample.path))
            self._bytes, self._at = self._bytes + end - at, end
            self._read, size, at = self._read + 1, size + length, end
            if self._progress is not None:
                self._progress(self._read, self._read + self.left)
            if len(taken) - told >= AT_A_TIME or size >= BYTES_AT_A_TIME:
                yield dict(itertools.islice(taken.items(), told, None))
                told, size = len(taken), 0
                self._memory.refresh()
                if self._recall(name) is not None:
                    return None

    def _take(self, name: str, part: LabelledFiles, taken: Mapping[str, str]) -> None:
        """Take in what lies in a container, and its images' digests; add it to the memory."""
        self._parts[name] = part
        self._digests |= taken
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
                self._facts[name] = facts_of(self.containers.place(name), again=True)
            except OSError:
                return None  # Whoever reads it is told.
        facts = self._facts[name]
        if not (text := self._memory.get(key, facts)):
            return None
        part = unpacked(text, self.containers.place(name))
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
        place = self.containers.place(name)
        return f"{absolute(place)}#listing{self.containers.layout.beside(place)}"

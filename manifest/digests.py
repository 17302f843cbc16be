"""Digests of image files, remembered so that unchanged files are not read again.

A file that was modified within the last seconds before it was read is not remembered: it could
change once more without its time showing it.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ..core.places import absolute, digest_of, facts_of, known_digest, look_ahead
from ..core.regular_files import size_text
from .box import row_key
from .digest_memory import DigestMemory
from .table import LARGEST_IMAGE_FILE, Manifest, Sample

__all__ = ["DigestReport", "digest_manifest"]

_UNSETTLED_SECONDS = 2.0
_TOGETHER = 32
# Images between two looks at what other processes have read meanwhile.
_STRETCH = 2048
_FIRST_KEPT_SECONDS, _KEPT_SECONDS = 10.0, 300.0


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
    memory : DigestMemory
        What there is to remember.
    """

    manifest: Manifest
    unreadable: dict[str, str]
    read: int
    memory: DigestMemory = dataclasses.field(default_factory=DigestMemory, repr=False)

    def remember(self, folder: str | os.PathLike) -> None:
        """Add what was read to the memory in `folder`."""
        self.memory.publish(folder)


def digest_manifest(
    manifest: Manifest,
    memory: str | os.PathLike | None = None,
    *,
    paranoid: bool = False,
    workers: int = 4,
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
        if the folder that it lies in is there (else see `DigestReport.remember`).
    paranoid : bool, default False
        Read every file, whatever is remembered.
    workers : int
        Threads that read.
    progress : callable, optional
        Called with the number of files done and in all.
    """
    known, images = DigestMemory(memory), manifest.images
    keep = memory is not None
    files = _sort_out(images, known, paranoid)
    read, saved, patience = 0, time.monotonic(), _FIRST_KEPT_SECONDS
    for identities in _stretches(list(files.to_read)):
        if keep and not paranoid:
            known.refresh()
            files.take_known(identities, known)
        for identity, digest in _read_all(files, identities, workers):
            read += 1
            files.take(identity, digest, known)
            if progress is not None:
                progress(len(images) - len(files.to_read), len(images))
        if keep and time.monotonic() - saved > patience:
            known.publish()
            saved, patience = time.monotonic(), min(2 * patience, _KEPT_SECONDS)
    keys = {i: row_key(digest, images[i].box) for i, digest in files.digests.items()}
    none = {i: files.unreadable[i] for i in images if i in files.unreadable}
    manifest = manifest.with_digests(keys | files.kept | dict.fromkeys(none, ""))
    if keep and memory is not None and Path(memory).parent.is_dir():
        known.publish()
    return DigestReport(manifest, none, read, known)


@dataclasses.dataclass(frozen=True)
class _Files:
    """The images by id: row keys kept, digests of files, reasons, and paths with facts to read."""

    kept: dict[str, str] = dataclasses.field(default_factory=dict)
    digests: dict[str, str] = dataclasses.field(default_factory=dict)
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)
    to_read: dict[str, tuple[str, list]] = dataclasses.field(default_factory=dict)

    def take(self, identity: str, digest: str | OSError, known: DigestMemory) -> None:
        """Note what became of a file that was to be read."""
        path, facts = self.to_read.pop(identity)
        if isinstance(digest, OSError):
            self.unreadable[identity] = f"the file cannot be read: {digest.strerror}"
            return
        self.digests[identity] = digest
        if time.time() - facts[1] / 1e9 > _UNSETTLED_SECONDS:
            known.add(path, facts, digest)

    def take_known(self, identities: list[str], known: DigestMemory) -> None:
        """Take the digests of those that somebody else has read meanwhile."""
        for identity in identities:
            if digest := known.get(*self.to_read[identity]):
                self.digests[identity] = digest
                del self.to_read[identity]


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
            files.unreadable[identity] = _too_large(facts[0])
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


def _read_all(
    files: _Files, identities: list[str], workers: int
) -> Iterator[tuple[str, str | OSError]]:
    """Yield for each id that is still to be read the digest of its file, or why there is none."""
    identities = [identity for identity in identities if identity in files.to_read]
    paths = [files.to_read[identity][0] for identity in identities]
    # A thread takes several at a time: handing one over costs as much as reading it.
    lots = [paths[start : start + _TOGETHER] for start in range(0, len(paths), _TOGETHER)]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        yield from zip(identities, itertools.chain.from_iterable(pool.map(_digest_all, lots)))


def _too_large(size: int) -> str:
    return f"the file has {size_text(size)}, more than {size_text(LARGEST_IMAGE_FILE)}"


def _digest_all(paths: list[str]) -> list[str | OSError]:
    return [digest_of(path, LARGEST_IMAGE_FILE) for path in paths]

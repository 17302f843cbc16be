"""Digests of image files, remembered so that unchanged files are not read again.

The memory is a JSON file that names for each path its size, modification time
and inode. A file that was modified within the last seconds before it was read
is not remembered: it could change once more without its time showing it.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ..core.errors import DiskFullError, IcecoreError
from ..core.files import publish_json
from ..core.json_files import read_json
from ..core.places import absolute, digest_of, facts_of, known_digest
from ..core.regular_files import size_text
from .box import row_key
from .table import LARGEST_IMAGE_FILE, Manifest

__all__ = ["DigestReport", "digest_manifest"]

_FORMAT = 1
# Of ten million files.
_LARGEST_MEMORY = 2 * 2**30
_UNSETTLED_SECONDS = 2.0
_TOGETHER = 32


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
    known : dict
        What there is to remember, as `remember` writes it.
    """

    manifest: Manifest
    unreadable: dict[str, str]
    read: int
    known: dict[str, list] = dataclasses.field(default_factory=dict, repr=False)

    def remember(self, memory: str | os.PathLike) -> None:
        """Write the digests to `memory`, atomically, if files were read."""
        if self.read:
            _write_memory(memory, self.known)


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
        JSON file of earlier digests; it is read, and updated atomically if its folder
        is there (else see `DigestReport.remember`).
    paranoid : bool, default False
        Read every file, whatever is remembered.
    workers : int
        Threads that read.
    progress : callable, optional
        Called with the number of files done and in all.
    """
    known = _read_memory(memory) if memory is not None else {}
    files = _sort_out(manifest, {} if paranoid else known)
    total, reading = len(manifest.images), files.to_read
    for done, (identity, digest) in enumerate(_read_all(reading, workers), 1):
        if isinstance(digest, OSError):
            files.unreadable[identity] = f"the file cannot be read: {digest.strerror}"
        else:
            files.digests[identity] = digest
            path, facts = reading[identity]
            if time.time() - facts[1] / 1e9 > _UNSETTLED_SECONDS:
                known[path] = [*facts, digest]
        if progress is not None:
            progress(total - len(reading) + done, total)
    boxes = {identity: sample.box for identity, sample in manifest.images.items()}
    keys = {
        identity: row_key(digest, boxes[identity]) for identity, digest in files.digests.items()
    }
    none = dict.fromkeys(files.unreadable, "")
    manifest = manifest.with_digests(keys | files.kept | none)
    read = len(reading) + len(files.came_past)
    report = DigestReport(manifest, files.unreadable, read, known | files.came_past)
    if memory is not None and Path(memory).parent.is_dir():
        report.remember(memory)
    return report


@dataclasses.dataclass(frozen=True)
class _Files:
    """The images by id: row keys kept, digests of files, reasons, and paths with facts to read."""

    kept: dict[str, str] = dataclasses.field(default_factory=dict)
    digests: dict[str, str] = dataclasses.field(default_factory=dict)
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)
    to_read: dict[str, tuple[str, list]] = dataclasses.field(default_factory=dict)
    came_past: dict[str, list] = dataclasses.field(default_factory=dict)


def _sort_out(manifest: Manifest, known: dict[str, list]) -> _Files:
    """Find out which files must be read; those that are as remembered need not be."""
    files = _Files()
    for identity, sample in manifest.images.items():
        try:
            facts = facts_of(sample.path)
        except OSError as error:
            if sample.digest and isinstance(error, FileNotFoundError):
                files.kept[identity] = sample.digest
            else:
                files.unreadable[identity] = f"the file cannot be read: {error.strerror}"
            continue
        path = absolute(sample.path)
        entry = known.get(path)
        digest = entry[3] if entry and entry[:3] == facts else known_digest(path, facts)
        if facts[0] > LARGEST_IMAGE_FILE:
            files.unreadable[identity] = _too_large(facts[0])
        elif digest:
            files.digests[identity] = digest
            if not entry or entry[3] != digest:
                files.came_past[path] = [*facts, digest]
        else:
            files.to_read[identity] = (path, facts)
    return files


def _read_all(
    files: Mapping[str, tuple[str, list]], workers: int
) -> Iterator[tuple[str, str | OSError]]:
    """Yield for each id the digest of its file, or why there is none, in order."""
    paths = [path for path, _ in files.values()]
    # A thread takes several at a time: handing one over costs as much as reading it.
    lots = [paths[start : start + _TOGETHER] for start in range(0, len(paths), _TOGETHER)]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        yield from zip(files, itertools.chain.from_iterable(pool.map(_digest_all, lots)))


def _too_large(size: int) -> str:
    return f"the file has {size_text(size)}, more than {size_text(LARGEST_IMAGE_FILE)}"


def _digest_all(paths: list[str]) -> list[str | OSError]:
    return [digest_of(path, LARGEST_IMAGE_FILE) for path in paths]


def _read_memory(path: str | os.PathLike) -> dict[str, list]:
    try:
        content = read_json(path, most=_LARGEST_MEMORY)
    except IcecoreError:
        return {}  # It only saves time; a damaged one is made again.
    files = content.get("files")
    if content.get("format") != _FORMAT or not isinstance(files, dict):
        return {}
    return {name: entry for name, entry in files.items() if _is_entry(entry)}


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, list) or len(entry) != 4 or not isinstance(entry[3], str):
        return False
    return all(type(fact) is int for fact in entry[:3]) and len(entry[3]) == 64


def _write_memory(path: str | os.PathLike, known: dict[str, list]) -> None:
    try:
        publish_json(path, {"format": _FORMAT, "files": known}, indent=None)
    except DiskFullError:
        raise
    except OSError:
        pass  # A cache on a read-only disk can still be read.

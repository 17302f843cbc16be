"""Notes of shards that ``index.h5`` does not name yet, so that one that vanishes is missed.

A note is a small file with the keys of one shard, made after the shard is on the disk and
removed once an index names it. It is not flushed: it has to outlive its process, and what
a power cut takes is only the knowledge, never a row.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np

from ..files import disk_full_named

__all__ = ["forget_notes", "note_shard", "read_notes", "settle_notes"]

_FOLDER = "written"
_ENDING = ".keys"


def note_shard(folder: Path, name: str, keys: np.ndarray) -> None:
    """Write down that the set in `folder` has a shard `name` with these keys.

    Raises
    ------
    DiskFullError
        No room. The shard itself is safe.
    """
    path = _path(folder, name)
    with disk_full_named(path):
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            os.write(descriptor, b"\n".join(keys.tolist()) + b"\n")
        finally:
            os.close(descriptor)


def read_notes(folder: Path) -> dict[str, np.ndarray]:
    """Return the keys of each shard that is noted, by its file name."""
    notes = {}
    for path in sorted((folder / _FOLDER).glob(f"*{_ENDING}")):
        with contextlib.suppress(OSError):
            # A process killed while writing, or a power cut, may leave a part.
            keys = re.findall(rb"^[0-9a-f]{64}$", path.read_bytes(), re.M)
            notes[f"{path.stem}.h5"] = np.array(keys, "S64")
    return notes


def settle_notes(folder: Path, indexed: Container[str], known: Container[str]) -> None:
    """Remove the notes of shards that are in the index, or whose rows are all elsewhere."""
    for name, keys in read_notes(folder).items():
        if name in indexed or all(key.decode() in known for key in keys.tolist()):
            forget_notes(folder, [name])


def forget_notes(folder: Path, names: Iterable[str]) -> None:
    """Remove the notes of these shards."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_path(folder, name))


def _path(folder: Path, name: str) -> Path:
    return folder / _FOLDER / f"{name.removesuffix('.h5')}{_ENDING}"

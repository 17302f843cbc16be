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

from ...core.files import disk_full_named

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
        lines = np.full((len(keys), 65), ord("\n"), np.uint8)
        lines[:, :64] = np.ascontiguousarray(keys).view(np.uint8).reshape(-1, 64)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            os.write(descriptor, lines)
        finally:
            os.close(descriptor)


def read_notes(folder: Path) -> dict[str, np.ndarray]:
    """Return the keys of each shard that is noted, by its file name."""
    return {name: _read(folder, name) for name in _names(folder)}


def _names(folder: Path) -> list[str]:
    return sorted(f"{path.stem}.h5" for path in (folder / _FOLDER).glob(f"*{_ENDING}"))


def _read(folder: Path, name: str) -> np.ndarray:
    content = b""
    with contextlib.suppress(OSError):
        content = _path(folder, name).read_bytes()
    # A process killed while writing, or a power cut, may leave a part.
    return np.array(re.findall(rb"^[0-9a-f]{64}$", content, re.M), "S64")


def settle_notes(folder: Path, indexed: Container[str], known: Container[str]) -> None:
    """Remove the notes of shards that are in the index, or whose rows are all elsewhere."""
    for name in _names(folder):
        if name in indexed or all(key.decode() in known for key in _read(folder, name).tolist()):
            forget_notes(folder, [name])


def forget_notes(folder: Path, names: Iterable[str]) -> None:
    """Remove the notes of these shards."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_path(folder, name))


def _path(folder: Path, name: str) -> Path:
    return folder / _FOLDER / f"{name.removesuffix('.h5')}{_ENDING}"

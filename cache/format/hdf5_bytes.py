"""Make the bytes of an HDF5 file in memory, without the rows themselves.

HDF5 writes its structure into a `SparseFile`; the room for the rows stays a gap, which the
caller fills straight from the array. So rows are not copied, and every write to the disk is
an ordinary system call that fails as an ordinary Python error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import h5py
import numpy as np

__all__ = ["SparseFile", "new_hdf5", "reserve"]

# Data sets of a page or more begin on a page: rows of usual sizes then lie on whole words.
_ALIGNMENT = 4096


class SparseFile:
    """As much of a file object as HDF5 needs, keeping only what was written."""

    def __init__(self) -> None:
        self._pieces: list[tuple[int, bytes]] = []
        self._position = 0
        self.size = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move; 0 from the start, 1 from here, 2 from the end."""
        start = (0, self._position, self.size)[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def write(self, content: object) -> int:
        """Keep `content` at the position."""
        content = bytes(content)
        self._pieces.append((self._position, content))
        self._position += len(content)
        self.size = max(self.size, self._position)
        return len(content)

    def read(self, count: int = -1) -> bytes:
        """Return what is at the position."""
        content = self.part(self._position, self._position + count)
        self._position += len(content)
        return content

    def readinto(self, buffer: object) -> int:
        """Fill `buffer` from the position."""
        view = memoryview(buffer).cast("B")
        view[:] = self.read(len(view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        self.size = self._position if size is None else size
        return self.size

    def flush(self) -> None:
        """There is nothing behind it to flush to."""

    def part(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to `end`; zeros where nothing was written."""
        content = bytearray(end - start)
        for at, piece in self._pieces:
            first, last = max(at, start), min(at + len(piece), end)
            if first < last:
                content[first - start : last - start] = piece[first - at : last - at]
        return bytes(content)


@contextlib.contextmanager
def new_hdf5(sparse: SparseFile) -> Iterator[h5py.File]:
    """Open a new HDF5 file, readable by HDF5 1.10 and later, in `sparse`."""
    with h5py.File(
        sparse, "w", libver=("v108", "v110"),
        alignment_threshold=_ALIGNMENT, alignment_interval=_ALIGNMENT,
    ) as file:  # fmt: skip
        yield file


def reserve(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Create a data set with room that HDF5 itself leaves alone; return its offset."""
    wish = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    wish.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    wish.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    kind = h5py.h5t.py_create(dtype, logical=True)
    return h5py.h5d.create(file.id, name.encode(), kind, space, wish).get_offset()

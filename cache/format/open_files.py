"""Shard files kept open for positioned reads, by any number of threads."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .shard import Shard, damaged

__all__ = ["OpenFiles"]

_OPEN_FILES = 64


class OpenFiles:
    """Open shard files, the least recently used closed first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @contextlib.contextmanager
    def descriptor(self, shard: Shard) -> Iterator[int]:
        """Lend an open file; positioned reads share no state, so forks do no harm."""
        if os.getpid() != self._pid:
            # Forked: a thread that held the lock does not exist here.
            self._lock, self._pid = threading.Lock(), os.getpid()
        # A descriptor in use is taken out of the table, so nobody closes it meanwhile.
        with self._lock:
            descriptor = self._open.pop(shard.name, None)
        if descriptor is None:
            descriptor = os.open(self._folder / shard.name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            with self._lock:
                surplus = [self._open.pop(shard.name)] if shard.name in self._open else []
                self._open[shard.name] = descriptor
                if len(self._open) > _OPEN_FILES:
                    surplus.append(self._open.popitem(last=False)[1])
            for old in surplus:
                os.close(old)

    def read(self, descriptor: int, shard: Shard, position: int, into: np.ndarray) -> None:
        """Fill `into` from the file."""
        view = memoryview(into).cast("B")
        while len(view):
            count = os.preadv(descriptor, [view], position)
            if count == 0:
                raise damaged(self._folder / shard.name, "it is cut short")
            view, position = view[count:], position + count

    def close(self) -> None:
        """Close what is open; reading opens it again."""
        with self._lock:
            descriptors, self._open = list(self._open.values()), OrderedDict()
        for descriptor in descriptors:
            os.close(descriptor)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

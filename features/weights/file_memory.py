"""Digests of weights files, remembered for as long as a file looks as it did when it was read.

A network's weights are a quarter of a gigabyte, of which up to three digests are taken, half a
second of each start.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from ...core.errors import DiskFullError
from ...manifest import DigestMemory
from ..graphs.store import graph_folder

# A file that was changed just now could change once more without its times showing it.
_UNSETTLED_SECONDS = 2.0


class FileMemory:
    """What is known of a file's bytes.

    Parameters
    ----------
    path : Path
        Looked at now, before it is read: size, inode, and the time at which that changed, which
        nobody but the system sets.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._facts = path, _facts(path)

    def recall(self, what: str, find: Callable[[], str]) -> str:
        """Return the digest that `find` gives, or that it gave of this file before.

        Parameters
        ----------
        what : str
            What is found, and all that it depends on beside the file.
        find : callable
            Takes it from the file's bytes, or from what was read of them.
        """
        memory, place = DigestMemory(graph_folder() / "weights"), f"{self._path.absolute()} {what}"
        known = memory.get(place, self._facts)
        if known and _facts(self._path) == self._facts:
            return known
        digest = find()
        settled = time.time() - self._facts[1] / 1e9 > _UNSETTLED_SECONDS
        if settled and _facts(self._path) == self._facts:
            memory.add(place, self._facts, digest)
            with contextlib.suppress(DiskFullError):
                memory.publish()
        return digest


def _facts(path: Path) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_ctime_ns, status.st_ino]

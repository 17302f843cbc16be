"""Digests of weights files, remembered for as long as a file looks as it did when it was read.

A network's weights are a quarter of a gigabyte, of which up to three digests are taken, half a
second of each start.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from ...core.errors import IcecoreError
from ...core.files import publish_json
from ...core.json_files import read_json
from ..graphs.store import graph_folder, graph_key

# Raise it when the same bytes would give other answers.
_FORMAT = 1
# A file that was changed just now could change once more without its times showing it.
_UNSETTLED_SECONDS = 2.0


class FileMemory:
    """What is known of a file's bytes.

    Parameters
    ----------
    path : Path
        Looked at now, before it is read: size, times of change, inode and device. Nobody but the
        system sets the time at which an inode changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._facts = _facts(path)

    def recall(self, what: str, find: Callable[[], str]) -> str:
        """Return what `find` gives, or what it gave of this file before.

        Parameters
        ----------
        what : str
            What is found, and all that it depends on beside the file.
        find : callable
            Takes it from the file's bytes, or from what was read of them.
        """
        key = graph_key({"path": os.path.abspath(self._path), "what": what})
        place = graph_folder() / "weights" / f"{key}.json"
        with contextlib.suppress(IcecoreError, OSError):
            note = read_json(place)
            answer = note.get("answer")
            if note == self._note(what, answer) and _facts(self._path) == self._facts:
                return answer
        answer = find()
        with contextlib.suppress(IcecoreError, OSError):
            newest = max(self._facts[1:3]) / 1e9
            if _facts(self._path) == self._facts and time.time() - newest > _UNSETTLED_SECONDS:
                publish_json(place, self._note(what, answer))
        return answer

    def _note(self, what: str, answer: object) -> dict:
        note = {"format": _FORMAT, "file": str(self._path), "facts": self._facts, "answer": answer}
        return note | {"check": graph_key(note | {"what": what})}


def _facts(path: Path) -> list[int]:
    status = os.stat(path)
    return [
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_dev,
    ]

"""Digests that were taken before, so that unchanged files are not read again.

The memory is a folder of text files that several processes add to: each publishes what it has
read as a file of its own, named by its content. A line is ``size time inode digest place``; of a
tar or record file there is one, too, with what lies in it (`listing_text`) in place of a digest.
When there are many files, one takes the place of all. It only saves time: a file that is damaged
or gone costs that some images are read again.
"""

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import DiskFullError, IcecoreError
from ..core.files import publish_bytes, sha256_bytes
from ..core.regular_files import read_regular
from .listing_text import is_listing

_HEAD = "icecore digests 1"
# A file that took the place of others.
_ALL = "all-"
# Of some ten million images.
_LARGEST_FILE = 2 * 2**30
_MOST_FILES = 32
_FIRST_KEPT_SECONDS, _KEPT_SECONDS = 10.0, 300.0


class DigestMemory:
    """What is known of places: facts that change with the bytes, and the bytes' SHA-256 (or SHA-1).

    Parameters
    ----------
    folder : path-like, optional
        Where it is kept; it need not be there.
    """

    def __init__(self, folder: str | os.PathLike | None = None) -> None:
        # Whoever names a cache may do so by a link. One that is put there later is another matter.
        self._folder = None
        if folder is not None:
            self._folder = Path(os.path.realpath(Path(folder).parent), Path(folder).name)
        self._files: set[str] = set()
        # Texts take a third of the memory of lists of numbers.
        self._known: dict[str, str] = {}
        self._new: dict[str, str] = {}
        self._saved, self._patience = time.monotonic(), _FIRST_KEPT_SECONDS
        self.refresh()

    @classmethod
    def of(cls, memory: "DigestMemory | str | os.PathLike | None") -> "DigestMemory":
        """Return the memory in a folder; one that is given is taken as it is."""
        return memory if isinstance(memory, DigestMemory) else cls(memory)

    def refresh(self) -> None:
        """Read what other processes have added."""
        if self._folder is None:
            return
        listed = self._list()
        # Those that another process has joined need not be joined once more.
        self._files.intersection_update(listed)
        for name in listed:
            if name not in self._files:
                self._files.add(name)
                self._read(self._folder / name)

    def knows(self, place: str) -> bool:
        """Tell whether anything was ever known of a place."""
        return place in self._new or place in self._known

    def get(self, place: str, facts: Sequence[int]) -> str:
        """Return the digest of a place that looks as it did then; nothing if none is known."""
        about = self._new.get(place) or self._known.get(place, "")
        before = _facts_text(facts)
        return about[len(before) :] if about.startswith(before) else ""

    def add(self, place: str, facts: Sequence[int], digest: str) -> None:
        """Take note of a digest; `publish` makes it last."""
        self._new[place] = _facts_text(facts) + digest

    def keep(self) -> None:
        """Publish, if the folder is there that this one lies in."""
        if self._folder is not None and self._folder.parent.is_dir():
            self.publish()

    def keep_some(self, hurry: bool = False) -> bool:
        """Publish now and then, for processes that read the same; tell whether it was now.

        Parameters
        ----------
        hurry : bool, default False
            Whether others may wait for it.
        """
        if self._folder is None:
            return False
        waited = time.monotonic() - self._saved
        if waited > self._patience or (hurry and self._folder.parent.is_dir()):
            self.publish()
            self._saved = time.monotonic()
            self._patience = min(2 * self._patience, _KEPT_SECONDS)
            return True
        return False

    def publish(self, folder: str | os.PathLike | None = None) -> None:
        """Write what is new to the folder, if it can be written.

        Raises
        ------
        DiskFullError
        """
        if folder is not None:
            self._folder = Path(folder)
        if not self._new or self._folder is None or self._leads_elsewhere():
            return
        new, self._new = self._new, {}
        self._known |= new
        try:
            # Other machines are sent what is new, and nothing twice: so that stays as it is.
            news = self._write(self._folder, new)
            if len(self._files) >= _MOST_FILES:
                self._join(self._folder)
            self._files.add(news)
        except DiskFullError:
            raise
        except OSError:
            return  # A cache on a read-only disk can still be read.

    def _join(self, folder: Path) -> None:
        """Let one file take the place of all that were read."""
        joined, self._files = self._files, {self._write(folder, self._known, _ALL)}
        for old in joined - self._files:
            with contextlib.suppress(OSError):
                os.unlink(folder / old)

    @staticmethod
    def _write(folder: Path, known: dict[str, str], start: str = "") -> str:
        """Publish a file of these; return its name."""
        lines = (f"{about} {place}\n" for place, about in known.items())
        content = f"{_HEAD}\n{''.join(lines)}".encode()
        name = f"{start}{sha256_bytes(content)[:24]}.txt"
        publish_bytes(folder / name, content)
        return name

    def _leads_elsewhere(self) -> bool:
        """Tell whether there is a link, which is not followed: neither to read nor to write."""
        folder = self._folder
        return folder is not None and (folder.is_symlink() or folder.parent.is_symlink())

    def _list(self) -> list[str]:
        with contextlib.suppress(OSError):
            if self._folder is not None and not self._leads_elsewhere():
                return sorted(name for name in os.listdir(self._folder) if name.endswith(".txt"))
        return []

    def _read(self, path: Path) -> None:
        try:
            content = read_regular(path, _LARGEST_FILE)
            lines = content.decode().split("\n")
        except (OSError, IcecoreError, UnicodeDecodeError):
            return
        name = f"{sha256_bytes(content)[:24]}.txt"
        if lines[0] != _HEAD or path.name.removeprefix(_ALL) != name:
            return
        for line in lines[1:]:
            fields = line.split(" ", 4)
            if len(fields) == 5 and (len(fields[3]) in (40, 64) or is_listing(fields[3])):
                self._known[fields[4]] = line[: -len(fields[4]) - 1]


def _facts_text(facts: Sequence[int]) -> str:
    return "{} {} {} ".format(*facts)

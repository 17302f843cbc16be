"""Who computes what, when several processes extract into one cache.

A claim is a name that only one process can make, so no HDF5 or POSIX lock is needed: a hard link
to a file that says who the process is, or, where there are no links, a file created exclusively
(O_EXCL); NFS honours both. Each process has one heartbeat file that its claims refer to. A
claim counts for nothing once its process is known to be dead, or once its heartbeat has not
moved for `expiry_s` of the observer's own clock; then another process takes it over. Losing a
claim never harms the cache: at worst some rows are computed twice, and the second are dropped.
"""

import abc
import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

from ...core.errors import IcecoreError
from ...core.files import disk_full_named
from ..format.disk import require_own_folder
from .claim_files import (
    BEAT,
    LIVE,
    OWNER,
    claim_path,
    clean_up_after,
    is_dead_here,
    read_claim,
    read_small,
    remove_dead,
    take_away,
    whereabouts,
)

HEARTBEAT_S = 5.0
EXPIRY_S = 60.0
_PERMISSION_ATTEMPTS, _PAUSE_S = 3, 0.05
_PATIENCE_S = 600.0


class ClaimsOfProcess(abc.ABC):
    """What one process holds, so that no other computes it; a context manager that gives it back.

    Attributes
    ----------
    poll_s : float
        Between two looks at whether others are done.
    """

    poll_s: ClassVar[float]

    def __init__(self, expiry_s: float) -> None:
        self._expiry_s, self._pid = expiry_s, os.getpid()
        self._token = secrets.token_hex(8)
        self._held: set[str] = set()
        self._stop = threading.Event()

    def _start_beating(self, pause: float) -> None:
        self._thread = threading.Thread(target=self._keep_beating, args=(pause,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def acquire(self, names: Iterable[str]) -> bool:
        """Claim all of `names`, or none of them.

        Names in one order everywhere: two processes cannot then wait for each other.
        """
        got: list[str] = []
        for name in names:
            if name in self._held:
                continue
            if not self._claim(name):
                self.release(got)
                return False
            got.append(name)
        return True

    def acquire_each(self, lots: Sequence[Sequence[str]]) -> list[bool]:
        """Claim all names of each lot, or none of them; say of which all."""
        return [self.acquire(names) for names in lots]

    def close(self) -> None:
        """Give everything back and stop the heartbeat."""
        if os.getpid() != self._pid or self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        self.release(self._held)
        self._end()

    def _keep_beating(self, pause: float) -> None:
        number = 0
        while not self._stop.wait(pause):
            number += 1
            # What it computes is saved or not; the disk or the store says so then.
            with contextlib.suppress(IcecoreError, OSError):
                self._beat(number)

    @abc.abstractmethod
    def release(self, names: Iterable[str]) -> None:
        """Give claims back; those taken over by others meanwhile are left to them."""

    @abc.abstractmethod
    def _claim(self, name: str) -> bool:
        """Claim a name; say whether it is ours now."""

    @abc.abstractmethod
    def _beat(self, number: int) -> None:
        """Show the others that this process lives."""

    @abc.abstractmethod
    def _end(self) -> None:
        """Remove the heartbeat, when all claims are given back."""


class Claims(ClaimsOfProcess):
    """The claims of this process in one folder.

    Parameters
    ----------
    folder : pathlib.Path
        ``claims/`` of the cache.
    heartbeat_s, expiry_s : float
        Seconds between heartbeats, and without one until others take over.
    """

    poll_s = 0.2

    def __init__(
        self, folder: Path, heartbeat_s: float = HEARTBEAT_S, expiry_s: float = EXPIRY_S
    ) -> None:
        super().__init__(expiry_s)
        self._folder = Path(folder)
        # The same in every claim; finding it out takes longer than writing it.
        self._content = json.dumps({"token": self._token, **whereabouts()}).encode()
        LIVE.add(self._token)
        self._seen: dict[str, tuple[bytes, float]] = {}
        require_own_folder(self._folder.parent, self._folder)
        with disk_full_named(self._beat_path(self._token)):
            self._folder.mkdir(parents=True, exist_ok=True)
            # The heartbeat is there before any claim, so a claim without one is a dead one.
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._beat_file = os.open(self._beat_path(self._token), flags, 0o666)
            with contextlib.suppress(OSError):
                self._beat(0)
            # Claims are links to it: where hundreds of files came and went a moment ago, ext4
            # takes most of a millisecond to make a new one.
            self._template = self._write_template()
        remove_dead(self._folder)
        self._start_beating(heartbeat_s)

    def release(self, names: Iterable[str]) -> None:
        """See `ClaimsOfProcess.release`."""
        for name in list(names):
            self._held.discard(name)
            # One that cannot be read is ours as far as we know.
            if self._owner(name).get("token", self._token) == self._token:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path(name))

    def _end(self) -> None:
        LIVE.discard(self._token)
        os.close(self._beat_file)
        clean_up_after(self._folder, self._token)

    def _write_template(self) -> Path | None:
        path = self._template_path(self._token)
        try:
            path.write_bytes(self._content)
        except OSError:
            # Whole or not at all: a claim that says nothing would be taken over from the living.
            with contextlib.suppress(OSError):
                os.unlink(path)
            return None
        return path

    def _claim(self, name: str) -> bool:
        require_own_folder(self._folder.parent, self._folder)
        with disk_full_named(self._path(name)):
            return self._write_claim(name)

    def _write_claim(self, name: str) -> bool:
        for _ in range(2):
            if self._link(self._path(name)) or self._write_file(self._path(name)):
                self._held.add(name)
                return True
            if not self._take_away(name):
                return False
        return False

    def _link(self, path: str) -> bool:
        """Make a link; False if it cannot be made."""
        if self._template is None:
            return False
        try:
            os.link(self._template, path)
        except FileExistsError:
            return False
        except OSError:
            # No links here, or the file was deleted. (SFTP says so if the name is taken, too.)
            self._template = None
            return False
        return True

    def _write_file(self, path: str) -> bool:
        """Make a file; False if there is one already."""
        descriptor = self._create(path)
        if descriptor is None:
            return False
        try:
            os.write(descriptor, self._content)
        except OSError:
            os.unlink(path)
            raise
        finally:
            os.close(descriptor)
        return True

    def _create(self, path: str) -> int | None:
        """Make a file; None if it is there already."""
        attempt = 0
        while True:
            try:
                return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                return None
            except PermissionError:
                # So says SFTP, which has no word for it. It may be gone again by now.
                if os.path.lexists(path):
                    return None
                if attempt == _PERMISSION_ATTEMPTS:
                    raise
                attempt += 1
                time.sleep(_PAUSE_S)

    def _take_away(self, name: str) -> bool:
        """Remove the claim of a process that is gone; tell whether there is none now."""
        owner = self._owner(name)
        if not self._is_dead(name, owner):
            return False
        return take_away(self._folder, name, owner)

    def _is_dead(self, name: str, owner: dict) -> bool:
        if (dead := is_dead_here(owner)) is not None:
            return dead
        # Elsewhere (or a claim still being written): watch its heartbeat with our clock.
        beat = b"" if not owner else read_small(self._beat_path(owner.get("token", "")))
        before, since = self._seen.get(name, (None, 0.0))
        now = time.monotonic()
        if before != (sign := json.dumps(owner).encode() + beat):
            self._seen[name] = (sign, now)
            return False
        return now - since > self._expiry_s

    def _owner(self, name: str) -> dict:
        return read_claim(self._path(name))

    def _path(self, name: str) -> str:
        return claim_path(self._folder, name)

    def _beat_path(self, token: str) -> Path:
        return self._folder / f"{BEAT}{token}"

    def _template_path(self, token: str) -> Path:
        return self._folder / f"{OWNER}{token}"

    def _beat(self, number: int) -> None:
        os.pwrite(self._beat_file, b"%020d" % number, 0)
        os.fsync(self._beat_file)


@contextlib.contextmanager
def lock(folder: Path, name: str) -> Iterator[None]:
    """Hold one claim, waiting for it if need be.

    Raises
    ------
    TimeoutError
        Another live process kept it for ten minutes.
    """
    with Claims(folder) as claims:
        end = time.monotonic() + _PATIENCE_S
        while not claims.acquire([name]):
            if time.monotonic() > end:
                raise TimeoutError(f"another process has held {folder / name} for too long")
            time.sleep(0.02)
        yield

"""Claims in an object store, for writers that share no folder.

A claim is an object that one writer created: stores refuse to create it again. Each writer
replaces an object of its own now and then, its heartbeat. A claim whose writer's heartbeat has
not changed for `EXPIRY_S` of the observer's own clock is taken over by replacing it, which stores
refuse if somebody was faster. As with folders, losing a claim costs rows computed twice, no more.
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ...core.store_base import Entry, Store, Tag
from .claims import ClaimsOfProcess

HEARTBEAT_S = 15.0
EXPIRY_S = 90.0
# A listing this old is good enough for what others hold.
_LISTED_S = 2.0
_AT_ONCE = 16


class StoreClaims(ClaimsOfProcess):
    """The claims of this process below a prefix of a store.

    Parameters
    ----------
    store : Store
        Which knows conditional requests.
    prefix : str
        Ends with a slash.
    heartbeat_s, expiry_s : float
        Seconds between heartbeats, and without one until others take over.
    """

    poll_s = 3.0

    def __init__(
        self,
        store: Store,
        prefix: str,
        heartbeat_s: float = HEARTBEAT_S,
        expiry_s: float = EXPIRY_S,
    ) -> None:
        super().__init__(expiry_s)
        self._store, self._prefix = store, prefix
        # Objects as they were listed, by name: their tag, and since when they have had it.
        self._listed: dict[str, tuple[int, float]] = {}
        self._looked = -_LISTED_S
        # The heartbeat is there before any claim, so a claim without one is a dead one.
        self._beat(0)
        self._start_beating(heartbeat_s)

    def acquire(self, names: Iterable[str]) -> bool:
        """See `ClaimsOfProcess.acquire`."""
        self._look()
        return super().acquire(names)

    def acquire_each(self, lots: Sequence[Sequence[str]]) -> list[bool]:
        """Claim the names of each lot, several at a time: each is a request."""
        self._look()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self.acquire, lots))

    def release(self, names: Iterable[str]) -> None:
        """See `ClaimsOfProcess.release`."""
        names = list(names)
        self._held.difference_update(names)
        if time.monotonic() - self._beaten > self._expiry_s / 2:
            names = [name for name in names if self._owner(name)[0] == self._token]
        self._store.remove([self._key(name) for name in names])
        for name in names:
            self._listed.pop(name, None)

    def _end(self) -> None:
        self._store.remove([self._key(f"beat-{self._token}")])

    def _claim(self, name: str) -> bool:
        if name in self._listed:
            return self._take_over(name)
        created = self._store.create(self._key(name), self._token.encode())
        # A request that was sent again finds what it created itself.
        if not created and self._owner(name)[0] != self._token:
            self._listed[name] = (0, time.monotonic())
            return False
        self._held.add(name)
        return True

    def _take_over(self, name: str) -> bool:
        """Replace the claim of a writer that is gone; False if it lives or another was faster."""
        listed, since = self._listed[name]
        if time.monotonic() - since < self._expiry_s:
            return False
        owner, tag = self._owner(name)
        if not tag:  # It was given back.
            del self._listed[name]
            return self._claim(name)
        beat = self._listed.get(f"beat-{owner}")
        if beat and time.monotonic() - beat[1] < self._expiry_s:
            return False
        if Entry.of(name, 0, tag).tag != listed:  # Somebody else's by now.
            return False
        if not self._store.replace(self._key(name), self._token.encode(), tag):
            return False
        if self._listed.pop(f"beat-{owner}", None):
            self._store.remove([self._key(f"beat-{owner}")])
        self._held.add(name)
        return True

    def _look(self) -> None:
        """List what others hold, and whose hearts beat; one request for a thousand claims."""
        now = time.monotonic()
        if now - self._looked < _LISTED_S:
            return
        self._looked, before = now, self._listed
        self._listed = {}
        for entry in self._store.list(self._prefix):
            name = entry.key[len(self._prefix) :]
            tag, since = before.get(name, (entry.tag, now))
            self._listed[name] = (entry.tag, since if tag == entry.tag else now)

    def _owner(self, name: str) -> tuple[str, Tag]:
        """Return the token in a claim, and the tag of the claim; nothing if there is none."""
        content, tag = self._store.current(self._key(name))
        return content.decode("ascii", "replace"), tag

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _beat(self, number: int) -> None:
        started = time.monotonic()
        self._store.replace(self._key(f"beat-{self._token}"), b"%020d" % number)
        self._beaten = started

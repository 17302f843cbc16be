"""Images whose digests become known while others are computed."""

import concurrent.futures
import dataclasses
import time
from collections import deque
from collections.abc import Iterator, Mapping

from ...manifest import Digesting, Sample

# Pieces of some hundred images that are digested ahead.
_AHEAD = 4
_WAIT_S = 1.0


class Arrivals:
    """The samples of each different image, of which more are found as files are digested.

    Attributes
    ----------
    unique : dict of str to list of Sample
        The samples of each row key that is known by now.
    """

    def __init__(self, digesting: Digesting, images: Mapping[str, Sample]) -> None:
        self._digesting, self._images = digesting, images
        self._pieces: Iterator[dict[str, str]] = iter(digesting)
        self.unique: dict[str, list[Sample]] = {}
        self._take_in(digesting.known)
        self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="digest")
        self._coming: deque[concurrent.futures.Future[dict[str, str] | None]] = deque()
        self.ended = not digesting.left

    def digest(self, seconds: float) -> None:
        """Digest for so long before anything is computed."""
        end = time.monotonic() + seconds
        while not self.ended and time.monotonic() < end:
            self._take_in(next(self._pieces, None))

    @property
    def left(self) -> int:
        """How many images are not known yet."""
        return 0 if self.ended else self._digesting.left

    @property
    def unread(self) -> list[Sample]:
        """The images that are not known yet; what a table says of their digests may be old."""
        unread = (self._images[identity] for identity in self._digesting.unread)
        return [dataclasses.replace(sample, digest="") for sample in unread]

    def learn(self, digests: Mapping[str, str], unreadable: Mapping[str, str]) -> None:
        """Take in what another process has read: digests of files, or why there are none, by id."""
        self._take_in(self._digesting.learn(digests, unreadable))
        self.ended = not self._digesting.left

    def take(self, wait: bool) -> list[str] | None:
        """Return the keys that became known since the last time; None if there are no more.

        Parameters
        ----------
        wait : bool
            Whether to wait a second for some.
        """
        if self.ended:
            return None
        while len(self._coming) < _AHEAD:
            self._coming.append(self._pool.submit(next, self._pieces, None))
        if wait:
            concurrent.futures.wait([self._coming[0]], timeout=_WAIT_S)
        new: list[str] = []
        while self._coming and self._coming[0].done():
            new += self._take_in(self._coming.popleft().result())
        return new

    def close(self) -> None:
        """Stop digesting, and keep what was read for the next time."""
        self._pool.shutdown(cancel_futures=True)
        self._digesting.keep()

    def _take_in(self, keys: Mapping[str, str] | None) -> list[str]:
        """Add samples by their row keys; return the keys that are new. None is the end."""
        if keys is None:
            self.ended = True
            return []
        new = []
        for identity, key in keys.items():
            if key not in self.unique:
                self.unique[key] = []
                new.append(key)
            self.unique[key].append(dataclasses.replace(self._images[identity], digest=key))
        return new

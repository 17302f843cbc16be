"""Images whose digests become known while others are computed."""

import concurrent.futures
import dataclasses
import time
from collections import deque
from collections.abc import Mapping

from ...core.places import AtHand, absolute
from ...manifest import Digesting, Sample, StreamDigesting, Unread

# Pieces of some hundred images that are digested ahead.
_AHEAD = 4
_WAIT_S = 1.0


class Arrivals:
    """The samples of each different image, of which more are found as files are digested.

    Parameters
    ----------
    digesting : Digesting or StreamDigesting
    at_hand : AtHand, optional
        Where it keeps bytes that it read: no more is read ahead while they are many.

    Attributes
    ----------
    unique : dict of str to list of Sample
        The samples of each row key that is known by now.
    """

    def __init__(
        self, digesting: Digesting | StreamDigesting, at_hand: AtHand | None = None
    ) -> None:
        self._digesting, self._at_hand = digesting, at_hand or AtHand()
        self._pieces = iter(digesting)
        self.unique: dict[str, list[Sample]] = {}
        self._take_in(digesting.known)
        self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="digest")
        self._coming: deque[concurrent.futures.Future[dict[str, str] | None]] = deque()
        self.ended = not digesting.left

    def digest(self, seconds: float) -> None:
        """Digest for so long before anything is computed, or until enough is at hand.

        Of containers one image is found, if there is any.
        """
        end = time.monotonic() + seconds
        while not self.ended and (
            not self._digesting.images or (time.monotonic() < end and not self._at_hand.full)
        ):
            self._take_in(next(self._pieces, None))
            if self._digesting.waiting:
                return
        if self.ended and not self.unique:
            self._digesting.report()  # It raises where there is no image at all.

    @property
    def left(self) -> int:
        """How many images are not known yet."""
        return 0 if self.ended else self._digesting.left

    @property
    def unread(self) -> list[Sample]:
        """The images that are not known yet, or the containers that have them, without digests."""
        return self._digesting.unread

    @property
    def containers(self) -> Unread | None:
        """What `unread` stands for, if it stands for containers."""
        digesting = self._digesting
        return digesting.containers if isinstance(digesting, StreamDigesting) else None

    def learn(self, digests: Mapping[str, str], unreadable: Mapping[str, str]) -> None:
        """Take in what another process has read, see `learn` of what digests."""
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
        most = _AHEAD if not self._at_hand.full else int(wait)
        while len(self._coming) < most:
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
        self._pieces.close()
        self._digesting.keep()

    def _take_in(self, keys: Mapping[str, str] | None) -> list[str]:
        """Add samples by their row keys; return the keys that are new. None is the end."""
        if keys is None:
            self.ended = True
            return []
        new = []
        for identity, key in keys.items():
            sample = dataclasses.replace(self._digesting.images[identity], digest=key)
            if key not in self.unique:
                self.unique[key] = []
                new.append(key)
            else:
                self._at_hand.take(absolute(sample.path))  # A copy is not read.
            self.unique[key].append(sample)
        return new


class NextArrivals:
    """So many arrivals at a time: each time the next, in the order in which they are read.

    Attributes
    ----------
    unique : dict of str to list of Sample
        The samples of each row key of this time.
    """

    def __init__(self, arrivals: Arrivals, most: int) -> None:
        self._arrivals, self._most = arrivals, most
        self._new = deque(arrivals.unique)
        self.unique: dict[str, list[Sample]] = {}

    @property
    def left(self) -> int:
        """How many more there may be this time."""
        return min(self._most - len(self.unique), len(self._new) + self._arrivals.left)

    def begin(self) -> bool:
        """Go on to the next; False if there are none."""
        self.unique = {}
        while not self._new and not self._arrivals.ended:
            self._new.extend(self._arrivals.take(wait=True) or ())
        return bool(self._new)

    def take(self, wait: bool) -> list[str] | None:
        """Return some more keys; None where those of this time are complete."""
        if len(self.unique) < self._most and not self._new:
            self._new.extend(self._arrivals.take(wait) or ())
        taken = [self._new.popleft() for _ in range(min(self.left, len(self._new)))]
        self.unique |= {key: self._arrivals.unique[key] for key in taken}
        ended = len(self.unique) == self._most or (self._arrivals.ended and not self._new)
        return None if ended and not taken else taken

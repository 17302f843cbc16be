"""Things that are costly to make, and that several threads want at a time."""

import threading
from collections.abc import Callable

_MOST_BYTES = 2**30


class OnceCache:
    """The last few things that were made; threads that want the same one wait for it.

    Parameters
    ----------
    most : int
        How many are kept. Of large ones (arrays, bytes) fewer are, to take no more than a GiB,
        but two always.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        # A lock for each, and the thing behind it when it is made.
        self._slots: dict[object, list] = {}

    def get(self, key: object, make: Callable[[], object]):
        """Return the thing of that key, made now if it is not there."""
        with self._lock:
            slot = self._slots.pop(key, None) or [threading.Lock()]
            self._slots[key] = slot
        with slot[0]:
            if len(slot) == 1:
                slot.append(make())
                self._forget()
            return slot[1]

    def _forget(self) -> None:
        with self._lock:
            slots = self._slots
            while len(slots) > self._most or (
                len(slots) > 2 and sum(map(_size, slots.values())) > _MOST_BYTES
            ):
                del slots[next(iter(slots))]


def _size(slot: list) -> int:
    thing = slot[1] if len(slot) > 1 else b""
    return getattr(thing, "nbytes", None) or (len(thing) if isinstance(thing, bytes) else 0)

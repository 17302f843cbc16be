"""Things that are costly to make, and that several threads want at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["OnceCache"]


class OnceCache:
    """The last few things that were made; threads that want the same one wait for it.

    Parameters
    ----------
    most : int
        How many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._slots: dict[object, list] = {}

    def get(self, key: object, make: Callable[[], object]):
        """Return the thing of that key, made now if it is not there."""
        with self._lock:
            slot = self._slots.pop(key, None) or [threading.Lock()]
            self._slots[key] = slot
            while len(self._slots) > self._most:
                del self._slots[next(iter(self._slots))]
        with slot[0]:
            if len(slot) == 1:
                slot.append(make())
            return slot[1]

"""Images on their way through places that compute side by side."""

import abc
import collections
import contextlib
import queue
from collections.abc import Iterable

import numpy as np


class Slot(abc.ABC):
    """A place with buffers of its own: images are submitted, then waited for."""

    @abc.abstractmethod
    def submit(self, images: np.ndarray) -> None:
        """Begin to compute some images."""

    @abc.abstractmethod
    def wait(self) -> np.ndarray:
        """Return the features of the images that were submitted; an array that is overwritten."""


class Slots:
    """Deals images out to slots that are idle, and collects their features.

    Parameters
    ----------
    images_each : int
        How many images a slot takes.
    width : int
        Length of a feature row.
    """

    def __init__(self, slots: Iterable[Slot], images_each: int, width: int) -> None:
        self._each, self._width = images_each, width
        self._idle: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self._idle.put(slot)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return features (N, D) of N images; several threads may call it at once."""
        features = np.empty((len(images), self._width), np.float32)
        running: collections.deque[tuple[Slot, slice]] = collections.deque()
        try:
            for start in range(0, len(images), self._each):
                part = slice(start, min(start + self._each, len(images)))
                slot = self._take(running, features)
                running.append((slot, part))
                slot.submit(images[part])
            while running:
                self._finish(running, features)
        finally:
            for slot, _ in running:
                with contextlib.suppress(RuntimeError):  # the first one is raised already
                    slot.wait()
                self._idle.put(slot)
        return features

    def _take(self, running: collections.deque, features: np.ndarray) -> Slot:
        """Return an idle slot; if all are busy, the first that this caller waits for."""
        while True:
            try:
                # With slots of its own a caller never waits for others: no deadlock.
                return self._idle.get(block=not running)
            except queue.Empty:
                self._finish(running, features)

    def _finish(self, running: collections.deque, features: np.ndarray) -> None:
        slot, part = running[0]
        features[part] = slot.wait()
        running.popleft()
        self._idle.put(slot)

"""Batches of one backbone on its devices, and its rows on their way to the disk."""

import copy
import time
from collections import deque
from collections.abc import Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from ...core.errors import BackboneError, counted
from ..engines.base import Engine
from .part import Part, utc_now
from .progress import SharedClock, Stopwatch

# Rows are saved after 2 s, then after 4 s, and so on up to this: an interruption costs
# at most this much work, and a long job does not leave thousands of small shards.
LONGEST_UNSAVED_SECONDS = 30.0
MOST_UNSAVED_ROWS = 8192


class Device:
    """The threads that wait for a device, and its time.

    Parameters
    ----------
    batches_at_once : int
        How many batches it computes at a time, of all backbones together.
    """

    def __init__(self, name: str, batches_at_once: int) -> None:
        self.threads = ThreadPoolExecutor(batches_at_once, thread_name_prefix=name)
        self.batches_at_once = batches_at_once
        self.clock = SharedClock()


class BackboneRunner:
    """Collects squares into batches, computes them, and appends rows to a feature set.

    An image gives as many squares as the set has views; they may fall into two batches.
    Their features, one after the other, are its row.

    Batches always have the same size, the last one filled up with zeros, so that
    the engine takes the same path for every image; unless it computes image by image.

    Parameters
    ----------
    part : Part
        The backbone on each device, and the feature set. The provenance of its shards says
        how many milliseconds an image took so far.
    devices : list of Device
        Batches go to them in turn.
    """

    def __init__(
        self,
        part: Part,
        devices: list[Device],
        batch_size: int,
        watch: Stopwatch,
        writer: ThreadPoolExecutor,
    ) -> None:
        self._record, self._batch_size = part.record, batch_size
        self._indexes = part.indexes
        # A handle of its own: it appends while other threads ask what is missing.
        self._set = copy.copy(part.rows)
        self._watch, self._provenance = watch, part.provenance()
        self._engines, self._writer = list(zip(part.engines, devices)), writer
        self._turn = 0
        self._views = len(part.record.views)
        # Keys of the images whose last square is in the batch, with the batch.
        self._running: deque[tuple[list[str], int, np.ndarray, Future]] = deque()
        self._keys: list[str] = []
        # The batch that is being filled, and those that are done and can be filled again.
        self._batch: Any = None
        self._filled = 0
        self._spare: list[np.ndarray] = []
        # Features of an image whose other views are still to come.
        self._part: np.ndarray | None = None
        self._unsaved_keys: list[str] = []
        self._unsaved_rows: list[np.ndarray] = []
        # Rows on their way to the disk, and the keys of all that are not there yet.
        self._writing: tuple[list[str], Future] | None = None
        self._pending: set[str] = set()
        self._saved_at = time.monotonic()
        self._patience = 2.0
        self._written = 0
        self._busy_seconds, self._computed = 0.0, 0

    def add(self, key: str, squares: np.ndarray) -> None:
        """Take one image's squares (V, R, R, 3); blocks while the devices are behind."""
        self._pending.add(key)
        for number, square in enumerate(squares, start=1):
            if self._batch is None:
                shape = (self._batch_size, *square.shape)
                self._batch = self._spare.pop() if self._spare else np.empty(shape, np.uint8)
            self._batch[self._filled] = square
            self._filled += 1
            if number == len(squares):
                self._keys.append(key)
            if self._filled == self._batch_size:
                self._submit()

    def save(self, keys: Set[str], soon: Set[str] = frozenset()) -> None:
        """See to it that the rows of `keys` are on the disk, and those of `soon` on their way."""
        while not self._pending.isdisjoint(keys):
            if not keys.isdisjoint(self._unsaved_keys):
                self._save()
            elif self._writing and not keys.isdisjoint(self._writing[0]):
                self._finish_writing()
            elif self._running:
                self._collect(leave=len(self._running) - 1)
            else:
                self._submit()
        if not soon.isdisjoint(self._unsaved_keys):
            self._save()

    def finish(self) -> None:
        """Compute the last batch and save every row."""
        if self._filled:
            self._submit()
        self._collect(leave=0)
        self._save()
        self._finish_writing()

    def close(self) -> int:
        """Stop, save what was computed, write the index; return the rows written."""
        try:
            while self._running and self._running[-1][-1].cancel():
                self._running.pop()
            self._pass_over_failures()
            self._collect(leave=0)
        finally:  # Also at a second Ctrl-C, or when a listener raises once more.
            try:
                self._save()
                self._finish_writing()
            finally:
                self._index()
        return self._written

    def _index(self) -> None:
        if self._written and self._indexes:
            self._set.write_index()

    def _pass_over_failures(self) -> None:
        """Leave the batches that were computed: an engine may end a later one before it fails."""
        wait([running[-1] for running in self._running])
        failed = [running[-1].exception() is not None for running in self._running]
        # An image of several views may lie in two batches, so those behind a hole are no use.
        usable = [self._views == 1 or not any(failed[: place + 1]) for place in range(len(failed))]
        kept = zip(self._running, failed, usable)
        self._running = deque(running for running, bad, good in kept if good and not bad)

    def _submit(self) -> None:
        engine, device = self._engines[self._turn % len(self._engines)]
        self._batch[self._filled :] = 0
        size = self._filled if engine.image_by_image else self._batch_size
        self._turn += 1
        future = device.threads.submit(self._compute, engine, device.clock, self._batch[:size])
        self._running.append((self._keys, self._filled, self._batch, future))
        self._keys, self._batch, self._filled = [], None, 0
        # Each device has what it computes at once, and one more that waits.
        wanted = sum(device.batches_at_once + 1 for _, device in self._engines)
        self._collect(leave=wanted - 1)

    def _compute(
        self, engine: Engine, clock: SharedClock, batch: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Return a batch's features and the seconds that they took (in a device's thread)."""
        entered = clock.enter()
        try:
            features = engine.run(batch)
        finally:
            seconds = clock.leave(entered)
            self._watch.add_computing(seconds)
        return features, seconds

    def _collect(self, leave: int) -> None:
        while len(self._running) > leave:
            keys, squares, batch, future = self._running[0]
            # Taken off when it is there: an interruption must not lose a part of a row.
            wait([future])
            features, seconds = future.result()
            self._running.popleft()
            self._busy_seconds += seconds
            self._computed += len(features)
            self._spare.append(batch)
            rows = self._whole_rows(features[:squares])
            if not keys:
                continue
            self._require_storable(keys, rows)
            self._unsaved_keys += keys
            self._unsaved_rows.append(rows)
            self._watch.compute(keys)
        if self._writing and self._writing[-1].done():
            self._finish_writing()
        waited = time.monotonic() - self._saved_at
        if waited > self._patience or len(self._unsaved_keys) >= MOST_UNSAVED_ROWS:
            self._save()
            self._patience = min(2 * self._patience, LONGEST_UNSAVED_SECONDS)

    def _whole_rows(self, features: np.ndarray) -> np.ndarray:
        """Join the views of each image; keep those of an image that is not complete."""
        if self._views == 1:
            return features
        if self._part is not None:
            features = np.concatenate([self._part, features])
        whole = len(features) // self._views * self._views
        self._part = features[whole:]
        return features[:whole].reshape(-1, self._views * features.shape[1])

    def _save(self) -> None:
        """Hand the rows that are computed to the writer."""
        self._finish_writing()
        if self._unsaved_keys:
            keys, rows = self._unsaved_keys, self._unsaved_rows
            self._unsaved_keys, self._unsaved_rows = [], []
            latency = 1000 * self._busy_seconds * self._views / self._computed
            note = self._provenance | {"latency_ms": round(latency, 3), "finished": utc_now()}
            self._writing = (keys, self._writer.submit(self._write, keys, rows, note))
        self._saved_at = time.monotonic()

    def _write(self, keys: list[str], rows: list[np.ndarray], note: dict) -> None:
        self._set.append(keys, np.concatenate(rows), note)

    def _finish_writing(self) -> None:
        if self._writing is None:
            return
        keys, future = self._writing
        wait([future])
        self._writing = None
        future.result()
        self._written += len(keys)
        self._pending.difference_update(keys)
        for key in keys:
            self._watch.settle(key)

    def _require_storable(self, keys: list[str], rows: np.ndarray) -> None:
        precision, compute = self._record.precision, self._record.compute
        kind = np.float16 if precision == "float16" else np.float32
        peaks = np.abs(rows).max(axis=1)
        bad = ~(peaks <= float(np.finfo(kind).max))
        if bad.any():
            worst = peaks[bad].max()
            if np.isfinite(worst):
                hint = "use --precision float32"
            elif compute != "f32":
                hint = f"they overflowed in {compute}: use --precision-compute f32"
            else:
                hint = "values are not finite: check the weights"
            raise BackboneError(
                f"{self._record.backbone.spec} gives {counted(int(bad.sum()), 'row')} of "
                f"{len(rows)} that "
                f"{precision} cannot hold (up to {worst:.3g}), first for the image "
                f"{keys[int(np.flatnonzero(bad)[0])][:12]}",
                hint,
            )

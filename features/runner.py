"""Batches of one backbone on its devices, and its rows on their way to the disk."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ..cache import FeatureSet
from ..errors import BackboneError
from .engines import Engine
from .progress import Stopwatch

__all__ = ["BackboneRunner", "utc_now"]

# Rows are saved after 2 s, then after 4 s, and so on up to this: an interruption costs
# at most this much work, and a long job does not leave thousands of small shards.
LONGEST_UNSAVED_SECONDS = 30.0
MOST_UNSAVED_ROWS = 8192


class BackboneRunner:
    """Collects squares into batches, computes them, and appends rows to a feature set.

    An image gives as many squares as the set has views; they may fall into two batches.
    Their features, one after the other, are its row.

    Batches always have the same size, the last one filled up with zeros, so that
    the engine takes the same path for every image.

    Parameters
    ----------
    spec : str
        Of the backbone, for messages.
    engines : list of (Engine, ThreadPoolExecutor)
        The backbone on each device, and the device's one thread, which all backbones
        share, so that a device computes one batch at a time. Batches go to the devices
        in turn.
    feature_set : FeatureSet
        Open for writing.
    batch_size : int
    watch : Stopwatch
    provenance : dict
        Stored with every shard, with the milliseconds that an image took so far.
    """

    def __init__(
        self,
        spec: str,
        engines: list[tuple[Engine, ThreadPoolExecutor]],
        feature_set: FeatureSet,
        batch_size: int,
        watch: Stopwatch,
        provenance: dict,
    ) -> None:
        self._spec, self._set, self._batch_size = spec, feature_set, batch_size
        self._watch, self._provenance = watch, provenance
        self._engines = engines
        self._turn = 0
        self._views = len(feature_set.views)
        # Keys of the images whose last square is in the batch, with the batch.
        self._running: list[tuple[list[str], int, Future]] = []
        self._keys: list[str] = []
        self._squares: list[np.ndarray] = []
        # Features of an image whose other views are still to come.
        self._part: np.ndarray | None = None
        self._unsaved_keys: list[str] = []
        self._unsaved_rows: list[np.ndarray] = []
        self._saved_at = time.monotonic()
        self._patience = 2.0
        self._written = 0
        self._busy_seconds, self._batches = 0.0, 0

    def add(self, key: str, squares: np.ndarray) -> None:
        """Take one image's squares (V, R, R, 3); blocks while the devices are behind."""
        for number, square in enumerate(squares, start=1):
            self._squares.append(square)
            if number == len(squares):
                self._keys.append(key)
            if len(self._squares) == self._batch_size:
                self._submit()

    def finish(self) -> None:
        """Compute the last batch and save every row."""
        if self._squares:
            self._submit()
        self._collect(leave=0)
        self._save()

    def close(self) -> int:
        """Stop, save what was computed, write the index; return the rows written."""
        try:
            while self._running and self._running[-1][-1].cancel():
                self._running.pop()
            if not any(future.exception() for _, _, future in self._running):
                self._collect(leave=0)
            self._save()
        finally:
            if self._written:
                self._set.write_index()
        return self._written

    def _submit(self) -> None:
        batch = np.zeros((self._batch_size, *self._squares[0].shape), np.uint8)
        np.stack(self._squares, out=batch[: len(self._squares)])
        engine, thread = self._engines[self._turn % len(self._engines)]
        self._turn += 1
        future = thread.submit(self._compute, engine, batch)
        self._running.append((self._keys, len(self._squares), future))
        self._keys, self._squares = [], []
        # One batch waits for each device while one computes.
        self._collect(leave=2 * len(self._engines) - 1)

    def _compute(self, engine, batch: np.ndarray) -> np.ndarray:
        started = time.perf_counter()
        try:
            return engine.run(batch)
        finally:
            seconds = time.perf_counter() - started
            self._watch.add_computing(seconds)
            self._busy_seconds += seconds
            self._batches += 1

    def _collect(self, leave: int) -> None:
        while len(self._running) > leave:
            keys, squares, future = self._running.pop(0)
            rows = self._whole_rows(future.result()[:squares])
            if not keys:
                continue
            self._require_storable(keys, rows)
            self._unsaved_keys += keys
            self._unsaved_rows.append(rows)
            self._watch.compute(keys)
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
        if self._unsaved_keys:
            keys, rows = self._unsaved_keys, np.concatenate(self._unsaved_rows)
            self._unsaved_keys, self._unsaved_rows = [], []
            squares = self._batches * self._batch_size
            latency = 1000 * self._busy_seconds * self._views / squares
            note = self._provenance | {"latency_ms": round(latency, 3), "finished": utc_now()}
            self._set.append(keys, rows, note)
            self._written += len(keys)
            for key in keys:
                self._watch.settle(key)
        self._saved_at = time.monotonic()

    def _require_storable(self, keys: list[str], rows: np.ndarray) -> None:
        largest = 65504.0 if self._set.record["precision"] == "float16" else np.inf
        bad = ~(np.abs(rows) <= largest).all(axis=1)
        if bad.any():
            worst = np.abs(rows[bad]).max()
            raise BackboneError(
                f"{self._spec} gives {int(bad.sum())} rows of {len(rows)} that "
                f"{self._set.record['precision']} cannot hold (up to {worst:.3g}), first for the "
                f"image {keys[int(np.flatnonzero(bad)[0])][:12]}",
                "use --precision float32, or check the weights if values are not finite",
            )


def utc_now() -> str:
    """Return the time in UTC, to the second, as ISO 8601 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

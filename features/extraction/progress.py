"""How far a job is, how fast it goes, and what it spends its time on."""

import contextlib
import dataclasses
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator

SECONDS_BETWEEN_LOOKS = 0.2


@dataclasses.dataclass(frozen=True)
class Progress:
    """One look at a running job.

    Attributes
    ----------
    done : int
        Images whose rows are on the disk, whichever process made them (or that were found
        unreadable).
    computed : int
        Images computed in this run, saved or not.
    total : int
        Different images in all.
    failed : int
        Unreadable images.
    images_per_second : float
        Over this run.
    seconds_left : float or None
        None until there is something to go by.
    decoding_share, computing_share : float
        Shares of the time that the decoding threads and the engines were busy.
    """

    done: int
    computed: int
    total: int
    failed: int
    images_per_second: float
    seconds_left: float | None
    decoding_share: float
    computing_share: float


class ProgressListener:
    """Is told how far an extraction is; a subclass listens to what it wants to hear."""

    def on_network(self, spec: str, engine: str) -> None:
        """Take the next network that an engine is started with, and its rows proved there."""

    def on_digest(self, done: int, total: int) -> None:
        """Take the counts of files that were digested and in all."""

    def on_detect(self, done: int, total: int) -> None:
        """Take the counts of images that a detector looked at and in all."""

    def on_images(self, now: Progress) -> None:
        """Take a look at the images that are decoded and computed, a few times a second."""


class Stopwatch:
    """Counts images and busy time; tells a listener a few times a second.

    Attributes
    ----------
    phases : dict of str to float
        Seconds that each phase before the start took.
    """

    def __init__(self, listener: ProgressListener) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._decoding = self._computing = 0.0
        self._workers = self._devices = 1
        self._total = self._done = self._failed = self._others = 0
        self._to_compute: dict[str, int] = {}
        self._to_save: dict[str, int] = {}
        self._computed = 0
        self._started = self._told = time.perf_counter()
        self._ended: float | None = None
        self.phases: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a phase before the start."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.phases[name] += time.perf_counter() - started

    def begin(self, spec: str, engine: str) -> None:
        """Tell which network an engine is started with."""
        self._listener.on_network(spec, engine)

    def start(self, total: int, done: int, workers: int, devices: int = 1) -> None:
        """Begin to measure."""
        self._total, self._done, self._workers, self._devices = total, done, workers, devices
        self._started = time.perf_counter()
        self._tell(force=True)

    def find(self, total: int, had: int) -> None:
        """Note that there are `total` images after all, and `had` more whose rows are there."""
        self._total = total
        self._done += had

    def expect(self, key: str, rows: int) -> None:
        """Note that image `key` needs `rows` rows."""
        self._to_compute[key] = self._to_save[key] = rows

    def compute(self, keys: Iterable[str]) -> None:
        """Note that one row of each of `keys` is computed."""
        for key in keys:
            self._computed += _count_down(self._to_compute, key)
        self._tell()

    def settle(self, key: str, failed: bool = False) -> None:
        """Note that a row of `key` is on the disk, or that the image is unreadable."""
        if failed:
            self._failed += 1
            self._done += 1
        else:
            self._done += _count_down(self._to_save, key)
        self._tell()

    def add_decoding(self, seconds: float) -> None:
        """Add busy time of a decoding thread."""
        with self._lock:
            self._decoding += seconds

    def add_computing(self, seconds: float) -> None:
        """Add busy time of an engine."""
        with self._lock:
            self._computing += seconds

    def count(self, done: int, computed: int, failed: int) -> None:
        """Count images that another process of this job reports."""
        self._done += done + failed
        self._computed += computed
        self._failed += failed
        self._tell()

    def credit(self, others: int) -> None:
        """Count images that other processes did meanwhile: all of them so far."""
        self._done += others - self._others
        self._others = others

    def finish(self) -> None:
        """Stop the clock."""
        self._ended = time.perf_counter()
        self._tell(force=True)

    @property
    def seconds(self) -> float:
        """Time since the start, until the finish."""
        return (self._ended or time.perf_counter()) - self._started

    @property
    def decoding_share(self) -> float:
        """Busy time of the decoding threads over their time."""
        return min(1.0, self._decoding / max(self.seconds * self._workers, 1e-9))

    @property
    def computing_share(self) -> float:
        """Busy time of the devices over their time."""
        return min(1.0, self._computing / max(self.seconds * self._devices, 1e-9))

    def _tell(self, force: bool = False) -> None:
        now = time.perf_counter()
        if not force and now - self._told < SECONDS_BETWEEN_LOOKS:
            return
        self._told = now
        handled = self._computed + self._failed
        rate = handled / max(self.seconds, 1e-9)
        left = self._total - self._done - (self._computed - self.saved)
        # What is left is left to all processes.
        together = (handled + self._others) / max(self.seconds, 1e-9)
        self._listener.on_images(
            Progress(
                done=min(self._done, self._total),
                computed=self._computed,
                total=self._total,
                failed=self._failed,
                images_per_second=rate,
                seconds_left=left / together if handled else None,
                decoding_share=self.decoding_share,
                computing_share=self.computing_share,
            )
        )

    @property
    def saved(self) -> int:
        """Images of this process that are computed and on the disk."""
        waiting = sum(1 for key in self._to_save if key not in self._to_compute)
        return self._computed - waiting


class SharedClock:
    """The time of a device, divided evenly among the batches that it computes at once.

    The shares of all batches add up to the time in which there was any.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches = 0
        # What a batch would have got that was there from the beginning.
        self._share, self._looked_at = 0.0, 0.0

    def enter(self) -> float:
        """Note that a batch begins; return what `leave` is to be told."""
        return self._go_on(+1)

    def leave(self, entered: float) -> float:
        """Note that a batch is done; return its share in seconds."""
        return self._go_on(-1) - entered

    def _go_on(self, more: int) -> float:
        with self._lock:
            now = time.perf_counter()
            if self._batches:
                self._share += (now - self._looked_at) / self._batches
            self._looked_at = now
            self._batches += more
            return self._share


def _count_down(counts: dict[str, int], key: str) -> int:
    """Take one off; return 1 when it was the last."""
    counts[key] -= 1
    if counts[key]:
        return 0
    del counts[key]
    return 1

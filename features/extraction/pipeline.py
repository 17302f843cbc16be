"""From image files to rows on the disk, everything at once.

Threads read, decode and fit images ahead of what the engines need; each device
computes in threads of its own; one more thread writes. The thread that runs the
pipeline only passes things on.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ...cache import FeatureCache, Lists
from ...core.errors import FileFormatError, ImageError
from ...core.files import sha256_bytes
from ...core.places import AtHand, absolute, read_place, stretch_of
from ...manifest import LARGEST_IMAGE_FILE, Sample, outside, parse_box, row_key
from ..engines.base import Engine
from ..images.decode import ImageFile
from ..images.libraries import load_opencv
from ..images.preprocessing import Preprocessing
from ..images.scale import Need, need_of
from ..images.views import make_squares
from ..records.feature_set import FeatureSetRecord
from .arrivals import Arrivals, NextArrivals
from .options import ExtractOptions
from .part import Part
from .progress import Stopwatch
from .report import Failure
from .runner import BackboneRunner, Device

# Images that one process claims at a time, where several work on one cache.
MOST_CLAIMED = 1024
# At the rows of other processes, unless that takes long.
SECONDS_BETWEEN_LOOKS = 5.0
# Images that a decoding thread takes at a time: each handing over wakes a thread, and the
# interpreter is cold in the processor's caches after a pause.
MOST_TOGETHER = 4


class Pipeline:
    """Computes the rows that feature sets lack.

    Parameters
    ----------
    parts : list of Part
        One for each backbone, its feature set open.
    dealt : bool, default False
        Whether its images are nobody else's, unless whoever dealt them out does so again.
    at_hand : AtHand, optional
        Bytes that were read for their digest.

    Attributes
    ----------
    failures : list of Failure
        Images that could not be used, when `run` has returned.
    unreadable : int
        Different images among them.
    computed : int
        Images that were decoded.
    rows : int
        Rows written.
    several_pages : list of str
        Ids of the images that are the first page of several.
    notes : list of str
        What a user should know of how other processes computed.
    """

    def __init__(
        self,
        parts: list[Part],
        options: ExtractOptions,
        watch: Stopwatch,
        dealt: bool = False,
        at_hand: AtHand | None = None,
    ) -> None:
        self.parts, self.options, self.watch, self._dealt = parts, options, watch, dealt
        self._views, self._at_hand = options.made_views, at_hand or AtHand()
        self._squares = [
            part.backbone.record.preprocessing.of_squares(options.fit) for part in parts
        ]
        self._needs = [_need(part.record) for part in parts]
        workers = options.threads
        # Enough squares ahead to fill a batch of each backbone, and no more than that.
        images = options.squares_at_once // len(self._views)
        # All threads are to have work while a batch is made.
        self._together = max(1, min(MOST_TOGETHER, images // (2 * workers)))
        self._lots_ahead = max(workers + 1, (images + 2 * workers) // self._together)
        # The first key of each lot, with the images that a thread makes of it.
        self._decoding: deque[tuple[str, Future]] = deque()
        self._runners: list[BackboneRunner] = []
        self._samples: dict[str, list[Sample]] = {}
        self.failures: list[Failure] = []
        self.several_pages: list[str] = []
        self.notes: list[str] = []
        self.computed = self.rows = 0
        # Reasons by key, with how many files were tried; keys of images with several pages.
        self._failed: dict[str, tuple[ImageError, int]] = {}
        self._paged: set[str] = set()
        self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS

    def run(
        self,
        store: FeatureCache,
        unique: dict[str, list[Sample]],
        todo: list[str],
        arrivals: Arrivals | NextArrivals | None = None,
    ) -> None:
        """Compute every missing row; keep what is done if interrupted.

        Parameters
        ----------
        unique : dict of str to list of Sample
            The samples of each key.
        todo : list of str
            Keys that lack a row; those of `arrivals` are added.
        arrivals : Arrivals or NextArrivals, optional
            Adds to `unique` meanwhile.
        """
        self._samples = unique
        engines = zip(*(part.engines for part in self.parts))
        devices = [
            Device(name, _batches_at_once(name, own))
            for name, own in zip(self.options.devices, engines)
        ]
        writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        pool = ThreadPoolExecutor(self.options.threads, thread_name_prefix="decode")
        # Claims are given back last, so that nobody computes what is about to be saved.
        with contextlib.ExitStack() as self._shares:
            try:
                self._runners += [
                    BackboneRunner(part, devices, self.options.squares_at_once, self.watch, writer)
                    for part in self.parts
                ]
                self._compute(store, todo, pool, devices, arrivals)
                if again := self._forget_unlucky():
                    self._compute(store, again, pool, devices)
            finally:
                # Also on Ctrl-C: what was computed is kept.
                pool.shutdown(cancel_futures=True)
                for runner in self._runners:
                    self.rows += runner.close()
                for threads in [*(device.threads for device in devices), writer]:
                    threads.shutdown()
        for key, (error, _) in self._failed.items():
            self.failures += [Failure(s.id, s.path, key, error.message) for s in unique[key]]
        self.several_pages += [sample.id for key in self._paged for sample in unique[key]]

    @property
    def unreadable(self) -> int:
        """How many different images could not be used."""
        return len(self._failed)

    def lacking(self, keys: list[str]) -> list[str]:
        """Return those of `keys` that lack a row in one of the feature sets, in their order."""
        missing = set().union(*(part.rows.missing(keys) for part in self.parts))
        return [key for key in keys if key in missing]

    def _forget_unlucky(self) -> list[str]:
        """Return the images of which another file was found after theirs had changed."""
        again = [
            key
            for key, (error, tried) in self._failed.items()
            if isinstance(error, _ChangedError) and len(self._samples[key]) > tried
        ]
        for key in again:
            del self._failed[key]
        return again

    def _compute(
        self,
        store: FeatureCache,
        todo: list[str],
        pool: ThreadPoolExecutor,
        devices: list[Device],
        arrivals: Arrivals | NextArrivals | None = None,
    ) -> None:
        # Other processes may be at work on the same cache: each takes its share. The next
        # list is taken while rows of the last two are still to come, and a list holds more than
        # is on its way through the devices, so engines never wait.
        on_the_way = 1 + sum(device.batches_at_once + 1 for device in devices)
        images = on_the_way * self.options.squares_at_once // len(self._views)
        expected = len(todo) + (arrivals.left if arrivals else 0)
        most = max(1, images, min(MOST_CLAIMED, expected // 16))
        due: frozenset[str] = frozenset()
        last = due
        sets, lots = [part.rows for part in self.parts], self._lots(todo)
        keys_to_come = self._arriving(todo, lots, arrivals) if arrivals else todo
        shares = store.share(sets, keys_to_come, Lists(most, max(1, images), ahead=2), lots)
        for keys in self._shares.enter_context(contextlib.closing(shares)):
            self._feed(keys, pool)
            while self._decoding and (not keys or self._decoding[0][0] in last):
                self._hand_over()
            for runner in self._runners:
                if keys:
                    runner.save(due, soon=last)
                else:
                    runner.finish()
            due, last = last, frozenset(keys)
            self._look_around(todo)

    def _arriving(
        self, todo: list[str], lots: dict[str, str], arrivals: Arrivals | NextArrivals
    ) -> Callable[[bool], list[str] | None]:
        """Return what gives `todo`, and then what is found to be missing meanwhile."""
        told = 0

        def more(wait: bool) -> list[str] | None:
            nonlocal told
            if told == len(todo):
                new = arrivals.take(wait)
                if new is None:
                    return None
                lacking = self.lacking(new)
                self._forget_bytes(set(new).difference(lacking))
                self.watch.find(len(arrivals.unique) + arrivals.left, len(new) - len(lacking))
                todo.extend(lacking)
                lots.update(self._lots(lacking))
            told, before = len(todo), told
            return todo[before:]

        return more

    def _forget_bytes(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._at_hand.take(absolute(self._samples[key][0].path))

    def _look_around(self, todo: list[str]) -> None:
        """Count now and then what other processes have finished of this job."""
        started = time.monotonic()
        if started < self._next_look:
            return
        lacking = self.lacking(todo)
        self.watch.credit(max(0, len(todo) - len(lacking) - self.watch.saved))
        if self._at_hand.full:
            # Nobody will ask for what others have computed, and reading would wait for it for ever.
            self._forget_bytes(set(todo).difference(lacking))
        took = time.monotonic() - started
        self._next_look = time.monotonic() + max(SECONDS_BETWEEN_LOOKS, 50 * took)

    def _lots(self, todo: list[str]) -> dict[str, str]:
        """Return which images are claimed together where their keys do not say it.

        Those that were dealt out are one lot, so that processes do not wait for each other; of
        tars and tables those that are best read together.
        """
        if self._dealt:
            lot = sha256_bytes("".join(sorted(self._samples)).encode())[:16]
            return dict.fromkeys(todo, lot)
        parts = ((key, stretch_of(self._samples[key][0].path)) for key in todo)
        return {key: sha256_bytes(part.encode())[:16] for key, part in parts if part}

    def _feed(self, keys: list[str], pool: ThreadPoolExecutor) -> None:
        """Have images decoded, and hand over those that are."""
        missing = [set(part.rows.missing(keys)) for part in self.parts]
        wanted = [(key, [i for i, lacking in enumerate(missing) if key in lacking]) for key in keys]
        for start in range(0, len(wanted), self._together):
            lot = wanted[start : start + self._together]
            self._decoding.append((lot[0][0], pool.submit(self._prepare_all, lot)))
            if len(self._decoding) >= self._lots_ahead:
                self._hand_over()

    def _hand_over(self) -> None:
        """Wait for the first lot, and pass it on to the runners."""
        for key, prepared in self._decoding.popleft()[1].result():
            self._pass_on(key, prepared)

    def _pass_on(self, key: str, prepared: dict[int, np.ndarray] | ImageError) -> None:
        if isinstance(prepared, ImageError):
            self._failed[key] = prepared, len(self._samples[key])
            self.watch.settle(key, failed=True)
            return
        self.computed += 1
        self.watch.expect(key, len(prepared))
        for index, squares in prepared.items():
            self._runners[index].add(key, squares)

    def _prepare_all(
        self, lot: list[tuple[str, list[int]]]
    ) -> list[tuple[str, dict[int, np.ndarray] | ImageError]]:
        """Make the squares of some images (in a worker thread)."""
        started = time.perf_counter()
        try:
            return [(key, self._prepare(key, wanted)) for key, wanted in lot]
        finally:
            self.watch.add_decoding(time.perf_counter() - started)

    def _prepare(self, key: str, wanted: list[int]) -> dict[int, np.ndarray] | ImageError:
        """Read, check, decode and fit one image."""
        try:
            file = ImageFile(_read_same(self._samples[key], key, self._at_hand))
            with contextlib.ExitStack() as held:
                squares = self._squares_of(file, key, wanted, held)
            if file.more_pages:
                self._paged.add(key)
            return squares
        except ImageError as error:
            return error
        except (MemoryError, load_opencv().error) as error:
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            return ImageError(f"cannot be fitted to the network's input ({reason[0]})")

    def _squares_of(
        self, file: ImageFile, key: str, wanted: list[int], held: contextlib.ExitStack
    ) -> dict[int, np.ndarray]:
        """Make each network's squares of what it needs of the image: one decoding for a scale."""
        box = self._samples[key][0].box
        # Boxes are places in the whole image.
        scales = {
            index: 1 if box or need is None else file.reduction(need)
            for index, need in ((index, self._needs[index]) for index in wanted)
        }
        squares: dict[tuple[int, Preprocessing], np.ndarray] = {}
        for reduction in sorted(set(scales.values())):
            image = _cut_to_box(file.decode(reduction, held), box)
            for how in {self._squares[i] for i, scale in scales.items() if scale == reduction}:
                squares[reduction, how] = make_squares(
                    image, how, self.options.fit, self._views, key
                )
            del image  # A large one is not to be in memory with the next.
        return {index: squares[scale, self._squares[index]] for index, scale in scales.items()}


class _ChangedError(ImageError):
    """No file has the bytes any more that an image was known by."""


def _need(made: FeatureSetRecord) -> Need | None:
    """Return what a network needs of an image; None if that is all."""
    if made.decoding == "full":
        return None
    return need_of(made.backbone.preprocessing, made.fit, made.views)


def _batches_at_once(device: str, engines: Sequence[Engine]) -> int:
    """Return how many batches a device is given, by the engines of all backbones on it."""
    # Of several networks two batches at once were not faster on CPUs, and take more memory. A GPU
    # would wait while a batch is copied.
    if len(engines) > 1 and device == "cpu":
        return 1
    return min(engine.batches_at_once for engine in engines)


def _read_same(samples: list[Sample], key: str, at_hand: AtHand) -> bytes:
    """Return the bytes whose digest is `key`, from the first file that still has them."""
    reason = "the file changed while the job was running"
    for sample in samples:
        try:
            content = at_hand.take(absolute(sample.path))
            if content is None:
                content = read_place(sample.path, LARGEST_IMAGE_FILE)
        except FileFormatError as error:
            reason = error.message
            continue
        except OSError as error:
            reason = f"the file cannot be read: {error.strerror}"
            continue
        if row_key(sha256_bytes(content), sample.box) == key:
            return content
    raise _ChangedError(reason)


def _cut_to_box(image: np.ndarray, text: str) -> np.ndarray:
    """Return the part of an image that its sample's box shows."""
    box = parse_box(text)
    if box is None:
        return image
    x0, y0, x1, y1 = box
    height, width = image.shape[:2]
    if x1 > width or y1 > height:
        raise ImageError(outside(box, width, height))
    return image[y0:y1, x0:x1]

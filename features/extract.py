"""The one-off job: images in, feature rows in the cache.

Threads read and decode images ahead while the engines compute; each image is
decoded once and fitted to every backbone that lacks its row. Rows count as
done when they are on the disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .. import __version__
from ..boxes import outside, parse_box, row_key
from ..cache import FeatureCache, FeatureSet, fingerprint
from ..digests import digest_manifest
from ..errors import BackboneError, ImageError
from ..files import sha256_bytes
from ..manifest import Manifest, Sample
from .backbones import Backbone, load_backbones
from .devices import available_cpus, parse_devices
from .engines import Engine
from .images import FITS, decode, load_opencv, load_pillow
from .layer import Layer
from .outcome import ExtractReport, Failure
from .progress import Progress, Stopwatch
from .record import BackboneSpec, feature_set_record
from .runner import BackboneRunner, utc_now
from .views import Views, make_squares
from .weights import WeightsRequest

__all__ = ["ExtractReport", "Failure", "extract"]

PRECISIONS = ("float16", "float32", "bfloat16")
# Images that one process claims at a time, where several work on one cache.
MOST_CLAIMED = 2048
# Characters of the command line that are kept with the rows.
MOST_OF_COMMAND = 2000


def extract(
    manifest: Manifest,
    cache: str | os.PathLike,
    backbones: Sequence[str | BackboneSpec],
    *,
    engine: str = "auto",
    device: str = "cpu",
    fit: str = "crop",
    views: str | Views = "center",
    resize_margin: float | None = None,
    seed: int = 0,
    layer: str | None = None,
    pool: str = "avg",
    batch_size: int = 16,
    workers: int | None = None,
    precision: str = "float16",
    precision_compute: str = "f32",
    weights: str = "pretrained",
    weights_dir: str | os.PathLike | None = None,
    paranoid: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    on_digest: Callable[[int, int], None] | None = None,
    locate: Callable[[Manifest], Manifest] | None = None,
) -> ExtractReport:
    """Compute the feature rows that the cache lacks.

    Parameters
    ----------
    manifest : Manifest
        The images.
    cache : path-like
        Folder of the cache; made if it is not there.
    backbones : sequence of str or BackboneSpec
        Specs, ``source:name[@resolution]``.
    engine : {"auto", "mxnet", "onnxruntime", "openvino", "tensorrt"}
        ``auto`` takes the fastest that is installed for the device and the precision.
    device : str
        ``cpu``, or ``cuda:0`` and more, separated by commas.
    fit : {"crop", "pad", "squash"}
        How an image meets a square input.
    views : str or Views
        ``center``, ``flip`` (the centre and its mirror image), ``ten`` (the centre and
        the four corners, each with its mirror image), ``eighteen`` (a grid of 3 x 3),
        ``random:K`` (K random versions), or one of these and random ones: ``flip+random:8``.
    resize_margin : float, optional
        By how much of the crop's side the resized short side exceeds it. None: 0.143 for
        ``ten`` and ``eighteen`` (256 pixels for 224), else as the backbone's crop_pct says.
    seed : int
        Of random views.
    layer : str, optional
        Name of the layer whose output is the feature row; the input of the classifier if
        None. A `BackboneSpec` among the backbones has its own layer and pool.
    pool : {"avg", "max", "avgmax", "gem"}
        How height and width are pooled; ``avgmax`` is the mean of both, ``gem`` the
        generalised mean with p = 3.
    batch_size : int
        Squares in a batch of the engine.
    workers : int, optional
        Decoding threads; as many as processors if None.
    precision : {"float16", "float32", "bfloat16"}
        Of the stored rows.
    precision_compute : {"f32", "bf16", "fp16", "auto"}
        In which the engine computes; ``auto`` is the fastest on this hardware. Rows
        that were computed in another precision are a set of their own.
    weights : str
        ``pretrained``, or ``random:SEED`` for trials without knowledge.
    weights_dir : path-like, optional
        Where to look for weights first.
    paranoid : bool
        Digest every file again, even if size and time are unchanged.
    on_progress, on_digest : callable, optional
        Called with a `Progress`, or with counts of files done and in all.
    locate : callable, optional
        Gives the images of the manifest their boxes, as soon as the backbones are loaded.

    Returns
    -------
    ExtractReport
        Images that could not be read are listed in ``failures``; all others are done.

    Raises
    ------
    MissingFileError
        Images of the manifest are not there.
    BackboneError, WeightsError, ProofError, MissingDependencyError
        A backbone cannot be run as asked. Nothing was written.
    FingerprintError
        The cache has features of this backbone that were made differently.
    """
    views = _check_options(fit, precision, batch_size, workers, (views, resize_margin, seed))
    devices = parse_devices(device)
    manifest.require_files()
    load_opencv(), load_pillow()  # Say at once what is missing, not once for each image.
    request = WeightsRequest.parse(weights, weights_dir)
    loaded = load_backbones(
        backbones,
        engine,
        request,
        device=devices[0],
        precision=precision_compute,
        layer=Layer(layer, pool),
    )
    if locate is not None:
        manifest = locate(manifest)
    workers = workers or available_cpus()
    memory = Path(cache) / "digests.json"
    digested = digest_manifest(
        manifest, memory, paranoid=paranoid, workers=workers, progress=on_digest
    )
    records = [
        feature_set_record(one.record, fit, precision, views, one.compute, one.layer)
        for one in loaded
    ]
    # Engines that do not start are to leave nothing behind.
    engines = None
    if _lacks_rows(Path(cache), records, digested.manifest):
        engines = [_start(backbone, devices, batch_size) for backbone in loaded]
    store = FeatureCache.create(cache)
    sets = [
        store.open_set(record, len(views) * backbone.record.num_features)
        for record, backbone in zip(records, loaded)
    ]
    if not memory.exists():
        digested.remember(memory)
    job = _Job(loaded, engines, sets, devices, (fit, views), batch_size, workers, on_progress)
    failures = [
        Failure(identity, manifest.images[identity].path, "", reason)
        for identity, reason in digested.unreadable.items()
    ]
    job.run(store, digested.manifest, failures)
    _record_outcome(store, digested.manifest, job.failures)
    return _report(job, digested.manifest)


class _Job:
    """State of one run: what is missing, what is being decoded, what computes."""

    def __init__(
        self,
        backbones: list[Backbone],
        engines: list[list[Engine]] | None,
        sets: list[FeatureSet],
        devices: list[str],
        how: tuple[str, Views],
        batch_size: int,
        workers: int,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.backbones, self.sets, self.devices = backbones, sets, devices
        self.engines = engines
        self.fit, self.views = how
        self.batch_size, self.workers = batch_size, workers
        self.watch = Stopwatch(on_progress)
        self.failures: list[Failure] = []
        self.computed = self.rows = self.unique = 0

    def run(self, store: FeatureCache, manifest: Manifest, failures: list[Failure]) -> None:
        """Compute every missing row; keep what is done if interrupted."""
        self.failures += failures
        unique: dict[str, list[Sample]] = {}
        for sample in manifest.images.values():
            if sample.digest:
                unique.setdefault(sample.digest, []).append(sample)
        self.unique = len(unique)
        todo = self._lacking(unique)
        done = len(unique) - len(todo)
        self.watch.start(len(unique), done, self.workers, len(self.devices))
        if not todo:
            return
        threads = {name: ThreadPoolExecutor(1, thread_name_prefix=name) for name in self.devices}
        runners: list[BackboneRunner] = []
        try:
            # None if all rows were there, and a damaged shard was found since.
            engines = self.engines or [
                _start(backbone, self.devices, self.batch_size) for backbone in self.backbones
            ]
            for backbone, own, feature_set in zip(self.backbones, engines, self.sets):
                note = _provenance(backbone) | {"engine_version": own[0].version}
                runners.append(
                    BackboneRunner(
                        backbone.record.spec,
                        list(zip(own, threads.values())),
                        feature_set,
                        self.batch_size,
                        self.watch,
                        note,
                    )
                )
            # Other processes may be at work on the same cache: each takes its share.
            most = max(4 * self.batch_size, min(MOST_CLAIMED, len(todo) // 8))
            with contextlib.closing(store.share(self.sets, todo, most=most)) as shares:
                for keys in shares:
                    self._feed(runners, keys, unique)
                    for runner in runners:
                        runner.finish()
            self.watch.credit(len(todo) - self.computed - self._unreadable(unique))
        finally:
            # Also on Ctrl-C: what was computed is kept.
            for runner in runners:
                self.rows += runner.close()
            for thread in threads.values():
                thread.shutdown()
            self.watch.finish()

    def _lacking(self, unique: dict[str, list[Sample]]) -> list[str]:
        missing = set().union(*(feature_set.missing(unique) for feature_set in self.sets))
        return [key for key in unique if key in missing]

    def _unreadable(self, unique: dict[str, list[Sample]]) -> int:
        return len({failure.digest for failure in self.failures} & set(unique))

    def _feed(self, runners, todo: list[str], unique: dict[str, list[Sample]]) -> None:
        missing = [set(feature_set.missing(todo)) for feature_set in self.sets]
        # Enough squares ahead to fill a batch of each backbone, and no more than that.
        ahead = max(self.workers + 1, self.batch_size // len(self.views) + 2 * self.workers)
        queue: list[tuple[str, Future]] = []
        keys = iter(todo)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="decode") as pool:
            try:
                while True:
                    while len(queue) < ahead and (key := next(keys, None)) is not None:
                        wanted = [i for i, lacking in enumerate(missing) if key in lacking]
                        queue.append((key, pool.submit(self._prepare, unique[key], key, wanted)))
                    if not queue:
                        return
                    key, future = queue.pop(0)
                    self._hand_over(runners, key, future.result(), unique[key])
            finally:
                pool.shutdown(cancel_futures=True)

    def _hand_over(self, runners, key: str, prepared, samples: list[Sample]) -> None:
        if isinstance(prepared, ImageError):
            self.failures += [Failure(s.id, s.path, key, prepared.message) for s in samples]
            self.watch.settle(key, failed=True)
            return
        self.computed += 1
        self.watch.expect(key, len(prepared))
        for index, squares in prepared.items():
            runners[index].add(key, squares)

    def _prepare(self, samples: list[Sample], key: str, wanted: list[int]):
        """Read, check, decode and fit one image (in a worker thread)."""
        started = time.perf_counter()
        try:
            with contextlib.ExitStack() as held:
                image = decode(_read_same(samples, key), held)
                return self._squares_of(_cut_to_box(image, samples[0].box), key, wanted)
        except ImageError as error:
            return error
        except (MemoryError, load_opencv().error) as error:
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            return ImageError(f"cannot be fitted to the network's input ({reason[0]})")
        finally:
            self.watch.add_decoding(time.perf_counter() - started)

    def _squares_of(self, image: np.ndarray, key: str, wanted: list[int]) -> dict:
        squares: dict[tuple, np.ndarray] = {}
        result = {}
        for index in wanted:
            record = self.backbones[index].record
            recipe = (record.resolution, record.crop_pct, record.interpolation, record.mean)
            if recipe not in squares:
                squares[recipe] = make_squares(image, record, self.fit, self.views, key)
            result[index] = squares[recipe]
        return result


def _read_same(samples: list[Sample], key: str) -> bytes:
    """Return the bytes whose digest is `key`, from the first file that still has them."""
    reason = "the file changed while the job was running"
    for sample in samples:
        try:
            with open(sample.path, "rb") as file:
                content = file.read()
        except OSError as error:
            reason = f"the file cannot be read: {error.strerror}"
            continue
        if row_key(sha256_bytes(content), sample.box) == key:
            return content
    raise ImageError(reason)


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


def _check_options(fit, precision, batch_size, workers, views) -> Views:
    """Refuse what cannot be used, all of it at once; return the views."""
    faults = []
    if fit not in FITS:
        faults.append(f"fit '{fit}' (choose {', '.join(FITS)})")
    if precision not in PRECISIONS:
        faults.append(f"precision '{precision}' (choose {', '.join(PRECISIONS)})")
    if not 1 <= batch_size <= 4096:
        faults.append(f"batch size {batch_size} (1 to 4096)")
    if workers is not None and not 1 <= workers <= 256:
        faults.append(f"{workers} workers (1 to 256)")
    try:
        found = Views.parse(*views, fit) if isinstance(views[0], str) else views[0]
    except BackboneError as error:
        faults.append(error.message)
    if faults:
        raise BackboneError(f"unusable options: {'; '.join(faults)}", "see icecore extract --help")
    return found


def _lacks_rows(cache: Path, records: list[dict], manifest: Manifest) -> bool:
    """Tell whether a row is missing, without making a cache or a set."""
    if not cache.is_dir() or not any(cache.iterdir()):
        return True
    wanted = {sample.digest for sample in manifest.images.values() if sample.digest}
    there = {fingerprint(one.record): one for one in FeatureCache(cache).sets()}
    prints = [fingerprint(record) for record in records]
    return any(print_ not in there or there[print_].missing(wanted) for print_ in prints)


def _start(backbone: Backbone, devices: list[str], batch_size: int) -> list[Engine]:
    """Start a backbone on every device, and see it compute a batch."""
    engines = [backbone.start(device, batch_size) for device in devices]
    side = backbone.record.resolution
    for engine in engines:
        engine.run(np.zeros((batch_size, side, side, 3), np.uint8))
    return engines


def _provenance(backbone: Backbone) -> dict:
    return {
        "engine": backbone.engine,
        "compute_precision": backbone.compute,
        "weights_origin": backbone.origin,
        "source": backbone.source,
        "size_bytes": backbone.size_bytes,
        "icecore": __version__,
        "host": platform.node(),
        "command": shlex.join(sys.argv)[:MOST_OF_COMMAND],
        "started": utc_now(),
    }


def _record_outcome(store: FeatureCache, manifest: Manifest, failures: list[Failure]) -> None:
    failed = {failure.id for failure in failures}
    store.clear_failures([identity for identity in manifest.images if identity not in failed])
    if failures:
        store.record_failures([dataclasses.asdict(failure) for failure in failures])


def _report(job: _Job, manifest: Manifest) -> ExtractReport:
    sets = [
        {
            "spec": s.spec,
            "fingerprint": s.fingerprint,
            "dim": s.dim,
            "rows": len(s),
            "engine": b.engine,
            "compute_precision": b.compute,
            "weights": b.record.weights,
            "origin": b.origin,
        }
        for b, s in zip(job.backbones, job.sets)
    ]
    return ExtractReport(
        images=len(manifest.images),
        boxed=sum(bool(sample.box) for sample in manifest.images.values()),
        unique=job.unique,
        computed=job.computed,
        rows=job.rows,
        failures=job.failures,
        sets=sets,
        seconds=job.watch.seconds,
        decoding_share=job.watch.decoding_share,
        computing_share=job.watch.computing_share,
        random_weights=any(b.record.is_random for b in job.backbones),
        manifest=manifest,
    )

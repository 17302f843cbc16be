"""The one-off job: images in, feature rows in the cache.

What is asked for is checked, loaded and started here; `pipeline` does the work.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ... import __version__
from ...cache import FeatureCache, fingerprint
from ...core.errors import BackboneError, DamagedCacheError
from ...core.hardware import available_cpus, parse_devices
from ...manifest import Manifest, Sample, digest_manifest
from ..backbones import Backbone, load_backbones
from ..engines.base import Engine
from ..images.fit import FITS
from ..images.libraries import load_opencv, load_pillow, load_simplejpeg
from ..images.views import Views
from ..records.layer import Layer
from ..records.record import feature_set_record
from ..records.spec import BackboneSpec
from ..weights.request import WeightsRequest
from .pipeline import Pipeline
from .progress import Progress, Stopwatch
from .report import ExtractReport, Failure
from .runner import utc_now

__all__ = ["ExtractReport", "Failure", "extract"]

PRECISIONS = ("float16", "float32", "bfloat16")
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
    (
        load_opencv(),
        load_pillow(),
        load_simplejpeg(),
    )  # Say at once what is missing, not once for each image.
    watch = Stopwatch(on_progress)
    request = WeightsRequest.parse(weights, weights_dir)
    with watch.phase("starting"):
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
    with watch.phase("digesting"):
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
        with watch.phase("starting"):
            engines = [_start(backbone, devices, batch_size) for backbone in loaded]
    store = FeatureCache.create(cache)
    sets = [
        store.open_set(
            record, backbone.record.spec, backbone.record.num_features, views.names, precision
        )
        for record, backbone in zip(records, loaded)
    ]
    if not memory.exists():
        digested.remember(memory)
    job = Pipeline(loaded, sets, devices, fit, views, batch_size, workers, watch)
    job.failures += [
        Failure(identity, manifest.images[identity].path, "", reason)
        for identity, reason in digested.unreadable.items()
    ]
    unique = _unique(digested.manifest)
    _run(job, store, engines, unique)
    _record_outcome(store, digested.manifest, job.failures)
    return _report(job, digested.manifest, len(unique))


def _unique(manifest: Manifest) -> dict[str, list[Sample]]:
    """Return the samples of each different image that could be read."""
    unique: dict[str, list[Sample]] = {}
    for sample in manifest.images.values():
        if sample.digest:
            unique.setdefault(sample.digest, []).append(sample)
    return unique


def _run(
    job: Pipeline,
    store: FeatureCache,
    engines: list[list[Engine]] | None,
    unique: dict[str, list[Sample]],
) -> None:
    """Compute every row that is missing, and count what other processes did meanwhile."""
    missing = set().union(*(feature_set.missing(unique) for feature_set in job.sets))
    todo = [key for key in unique if key in missing]
    job.watch.start(len(unique), len(unique) - len(todo), job.workers, len(job.devices))
    if not todo:
        return
    try:
        # None if all rows were there, and a damaged shard was found since.
        engines = engines or [
            _start(backbone, job.devices, job.batch_size) for backbone in job.backbones
        ]
        notes = [
            _provenance(backbone) | {"engine_version": own[0].version}
            for backbone, own in zip(job.backbones, engines)
        ]
        job.run(store, engines, notes, unique, todo)
        unreadable = {failure.digest for failure in job.failures} & set(unique)
        job.watch.credit(len(todo) - job.computed - len(unreadable))
    finally:
        job.watch.finish()


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
    try:
        there = {fingerprint(one.record): one for one in FeatureCache(cache).sets()}
    except DamagedCacheError:
        return True  # `open_set` mends it.
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


def _report(job: Pipeline, manifest: Manifest, unique: int) -> ExtractReport:
    sets = [
        {
            "spec": s.name,
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
        unique=unique,
        computed=job.computed,
        rows=job.rows,
        failures=job.failures,
        sets=sets,
        seconds=job.watch.seconds,
        digesting_seconds=job.watch.phases["digesting"],
        starting_seconds=job.watch.phases["starting"],
        decoding_share=job.watch.decoding_share,
        computing_share=job.watch.computing_share,
        random_weights=any(b.record.is_random for b in job.backbones),
        manifest=manifest,
        repaired=list(dict.fromkeys(line for s in job.sets for line in s.warnings)),
    )

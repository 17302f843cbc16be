"""The one-off job: images in, feature rows in the cache.

What is asked for is checked, loaded and started here; `pipeline` does the work.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...cache import FeatureCache, folder_of_cache, readers, writable_cache
from ...core.errors import CacheError
from ...core.places import AtHand
from ...core.stores import is_url
from ...manifest import (
    Digesting,
    DigestMemory,
    DigestReport,
    Manifest,
    StreamDigesting,
    Unread,
    read_unread,
)
from ..engines.gpus import gpu_files
from ..images.libraries import load_decoders
from ..records.spec import BackboneSpec
from .arrivals import Arrivals
from .boxing import boxed
from .cluster import run_on_cluster
from .options import ClusterOptions, ExtractOptions
from .part import Part, engine_notes
from .pipeline import Pipeline
from .progress import ProgressListener, Stopwatch
from .report import ExtractReport, Failure
from .starting import load_parts, started
from .worker import WorkerPlan

# What takes no longer is digested before engines start: they need not, if nothing is missing.
DIGESTED_FIRST_S = 2.0


def extract(
    manifest: Manifest | Unread,
    cache: str | os.PathLike,
    backbones: Sequence[str | BackboneSpec],
    options: ExtractOptions | None = None,
    progress: ProgressListener | None = None,
) -> ExtractReport:
    """Compute the feature rows that the cache lacks.

    Parameters
    ----------
    manifest : Manifest or Unread
        The images, or containers that are read for them while they are computed.
    cache : path-like
        Folder of the cache, or its URL in a store; made if it is not there.
    backbones : sequence of str or BackboneSpec
        Specs, ``source:name[@resolution]``.
    options : ExtractOptions, optional
    progress : ProgressListener, optional

    Returns
    -------
    ExtractReport
        Images that could not be read are in ``failures``; all others are done.

    Raises
    ------
    MissingFileError
        Images of the manifest are not there.
    BackboneError, WeightsError, ProofError, MissingDependencyError
        A backbone cannot be run as asked. Nothing was written.
    FingerprintError
        The cache has features of this backbone that were made differently.
    """
    options, progress = options or ExtractOptions(), progress or ProgressListener()
    _require_readable(manifest)
    folder, watch = folder_of_cache(cache), Stopwatch(progress)
    with watch.phase("starting"):
        parts = load_parts(backbones, options)
    # A store is tried before hours are spent, and has digests that others took.
    store = writable_cache(cache, options.only_writer) if is_url(cache) else None
    at_hand, memory = AtHand(), DigestMemory(folder / "digests" if _may_be_cache(folder) else None)
    containers = manifest.containers if isinstance(manifest, Unread) else ()
    manifest = _begun(manifest, memory, options, progress, at_hand)
    manifest, table = boxed(manifest, folder, options, progress)
    digesting = _digesting(manifest, memory, options, progress, at_hand)
    arrivals = Arrivals(digesting, at_hand)
    with _sharing(digesting, folder, store, options):
        if options.cluster is None or arrivals.ended or not _asks_stores(manifest):
            with watch.phase("digesting"):
                arrivals.digest(DIGESTED_FIRST_S)
        # Engines that do not start are to leave nothing behind.
        parts = _started(parts, _lacking_rows(folder, store, parts, arrivals), options, watch)
        store = store or FeatureCache.create(cache)
        job = Pipeline(parts, options, watch, at_hand=at_hand)
        with contextlib.closing(arrivals):
            _run(job, store, arrivals)
    digested = digesting.report()
    _keep_failures(job, store, digested, [one.path for one in containers])
    return dataclasses.replace(_report(job, digested.manifest, len(arrivals.unique)), boxes=table)


@contextlib.contextmanager
def _sharing(
    digesting: Digesting | StreamDigesting,
    folder: Path,
    store: FeatureCache | None,
    options: ExtractOptions,
) -> Iterator[None]:
    """Share containers out among the processes that extract into a cache, to be read once."""
    streams = isinstance(digesting, StreamDigesting) and digesting.left and _may_be_cache(folder)
    with contextlib.ExitStack() as held:
        if streams and options.cluster is None:
            digesting.shared = held.enter_context(readers(folder, store))
        yield


def _begun(
    manifest: Manifest | Unread,
    memory: DigestMemory,
    options: ExtractOptions,
    progress: ProgressListener,
    at_hand: AtHand,
) -> Manifest | Unread:
    """Read containers first where all images are to be known before any is computed.

    They are, too, where processes of a cluster outnumber them, and would have nothing to do.
    """
    if isinstance(manifest, Unread):
        most = options.cluster.most if options.cluster else 1
        if options.boxes is not None or len(manifest.names) < most:
            kept = None if options.cluster else at_hand
            return read_unread(manifest, memory, progress=progress.on_digest, at_hand=kept)
    return manifest


def _asks_stores(manifest: Manifest | Unread) -> bool:
    """Tell whether it is better left to others to read what they will need."""
    return isinstance(manifest, Unread) or is_url(next(iter(manifest)).path)


def _digesting(
    manifest: Manifest | Unread,
    memory: DigestMemory,
    options: ExtractOptions,
    progress: ProgressListener,
    at_hand: AtHand,
) -> Digesting | StreamDigesting:
    paranoid, told = options.paranoid, progress.on_digest
    if isinstance(manifest, Unread):
        return StreamDigesting(manifest, memory, paranoid=paranoid, progress=told, at_hand=at_hand)
    return Digesting(
        manifest,
        memory,
        paranoid=paranoid,
        workers=options.threads,
        progress=told,
        at_hand=at_hand,
    )


def _may_be_cache(folder: Path) -> bool:
    """Tell whether a folder is a cache, or may become one; others are left as they are."""
    if (folder / "icecore-cache.json").exists() or not folder.exists():
        return True
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= {"claims", "digests"}


def _unreadable(digested: DigestReport) -> list[Failure]:
    images = digested.manifest.images
    return [
        Failure(identity, images[identity].path, "", reason)
        for identity, reason in digested.unreadable.items()
    ] + [Failure(place, place, "", reason) for place, reason in digested.unread.items()]


def _require_readable(manifest: Manifest | Unread) -> None:
    """Say at once which files or decoders are missing, not once for each image."""
    if isinstance(manifest, Manifest):
        manifest.require_files()
    load_decoders()


def _started(
    parts: list[Part], lacking: int, options: ExtractOptions, watch: Stopwatch
) -> list[Part]:
    """Start the engines, if there may be something to compute."""
    if not lacking:
        return parts
    found = []
    with watch.phase("starting"):
        for part in parts:
            watch.begin(part.record.backbone.spec, part.backbone.kind.name)
            found.append(started(part, options, lacking))
    return found


def _lacking_rows(
    folder: Path, store: FeatureCache | None, parts: list[Part], arrivals: Arrivals
) -> int:
    """Count the images that may lack a row, without making a cache or a set.

    It is 1 at least where there is no cache yet, or a damaged one, so that engines are tried.
    """
    wanted, left = arrivals.unique, arrivals.left
    everything = max(1, len(wanted) + left)
    if not folder.is_dir() or not any(folder.iterdir()):
        return everything
    try:
        there = {one.fingerprint: one for one in (store or FeatureCache(folder)).sets()}
    except CacheError:
        return everything  # It is mended when it is opened for writing, or refused.
    prints = [part.record.fingerprint for part in parts]
    if any(print_ not in there for print_ in prints):
        return everything
    return left + max(len(there[print_].missing(wanted)) for print_ in prints)


def _run(job: Pipeline, store: FeatureCache, arrivals: Arrivals) -> None:
    """Compute every row that is missing, and count what other processes did meanwhile."""
    unique, options = arrivals.unique, job.options
    for part in job.parts:
        part.open(store)
    todo = job.lacking(list(unique))
    total, done = len(unique) + arrivals.left, len(unique) - len(todo)
    job.watch.start(total, done, options.threads, len(options.devices))
    if not todo and arrivals.ended:
        return
    try:
        if options.cluster is not None:
            _run_on_cluster(job, options.cluster, store, arrivals, todo)
            return
        for part in job.parts:
            if not part.engines:  # All rows were there, and a damaged shard was found since.
                part.start(options)
        job.run(store, unique, todo, None if arrivals.ended else arrivals)
        job.watch.credit(len(todo) - job.computed - job.unreadable)
    finally:
        job.watch.finish()


def _run_on_cluster(
    job: Pipeline,
    cluster: ClusterOptions,
    store: FeatureCache,
    arrivals: Arrivals,
    todo: list[str],
) -> None:
    """Let the processes of a cluster compute what is missing, and write the index at the end.

    They also read the files whose digests are not known.
    """
    plan = WorkerPlan.of(job.parts, store.address, job.options, arrivals.containers)
    for part in job.parts:
        part.engines = []  # they have proved what they had to, and need memory
    images = [arrivals.unique[key] for key in todo] + [[one] for one in arrivals.unread]
    try:
        for receipt in run_on_cluster(cluster, plan, images):
            arrivals.learn(receipt.digests, receipt.unreadable)
            job.watch.find(len(arrivals.unique) + arrivals.left, 0)
            job.computed += receipt.computed
            job.rows += receipt.rows
            job.failures += receipt.failures
            job.several_pages += receipt.several_pages
            job.notes += receipt.notes
            failed = len({failure.digest for failure in receipt.failures})
            job.watch.count(receipt.computed + receipt.had, receipt.computed, failed)
    finally:
        for part in job.parts:
            part.open(store)
            part.rows.write_index()
    _require_all(job, arrivals)


def _require_all(job: Pipeline, arrivals: Arrivals) -> None:
    """List the images that no process accounted for, and those whose rows did not come."""
    failed = {failure.digest: failure.reason for failure in job.failures}
    # A process may have seen a copy first, or not at all.
    listed = {failure.id for failure in job.failures}
    for key in failed.keys() & arrivals.unique.keys():
        job.failures += [
            Failure(s.id, s.path, key, failed[key])
            for s in arrivals.unique[key]
            if s.id not in listed
        ]
    reason = "a process computed it, and the cache has no row: all nodes must see the same folder"
    for key in job.lacking(list(arrivals.unique)):
        if key not in failed:
            job.failures += [Failure(s.id, s.path, key, reason) for s in arrivals.unique[key]]
    job.failures += [
        Failure(s.id, s.path, "", "no process said what became of it") for s in arrivals.unread
    ]


def _keep_failures(
    job: Pipeline, store: FeatureCache, digested: DigestReport, containers: Sequence[str]
) -> None:
    """Keep in the cache which images and containers could not be used, and which no longer."""
    job.failures += _unreadable(digested)
    failed = {failure.id for failure in job.failures}
    store.clear_failures([i for i in (*digested.manifest.images, *containers) if i not in failed])
    if job.failures:
        store.record_failures([dataclasses.asdict(failure) for failure in job.failures])


def _report(job: Pipeline, manifest: Manifest, unique: int) -> ExtractReport:
    return ExtractReport(
        images=len(manifest.images),
        boxed=sum(bool(sample.box) for sample in manifest.images.values()),
        unique=unique,
        computed=job.computed,
        rows=job.rows,
        failures=job.failures,
        sets=[part.summary() for part in job.parts],
        seconds=job.watch.seconds,
        digesting_seconds=job.watch.phases["digesting"],
        starting_seconds=job.watch.phases["starting"],
        decoding_share=job.watch.decoding_share,
        computing_share=job.watch.computing_share,
        random_weights=any(part.backbone.record.is_random for part in job.parts),
        manifest=manifest,
        several_pages=sorted(job.several_pages),
        repaired=list(dict.fromkeys(line for part in job.parts for line in part.rows.warnings)),
        notes=_notes(job),
    )


def _notes(job: Pipeline) -> list[str]:
    notes = list(dict.fromkeys([*job.notes, *engine_notes(job.parts)]))
    engines = any(part.engines for part in job.parts)
    if engines and job.options.device == "cpu" and gpu_files():
        notes.append("this machine has a GPU that was not used: --device cuda:0 computes on it")
    return notes

"""What an extraction would cost: the missing rows, and the time and room for them."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence

from .. import features
from ..cache import FeatureCache, existing_cache
from ..core.arguments import typed
from ..core.errors import BackboneError, ManifestError
from ..core.folders import scratch_folder
from ..features import BackboneSpec, ExtractOptions, ProgressListener
from ..manifest import Manifest, StreamDigesting, digest_manifest, open_data

# Enough for a few batches after the start, which is slower.
SAMPLE = 48
_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


@dataclasses.dataclass(frozen=True)
class ExtractCost:
    """What an extraction would cost on this machine.

    Attributes
    ----------
    images, missing : int
        Images, and those that lack a row.
    estimated : int
        Those of them that are told by the sizes of tars or record files that were not read.
    unique : int or None
        Different ones. None where the cache has nothing of what is asked for: no file is read then
        but those that are measured, and copies count as images.
    measured : int
        Images that were computed for this estimate; 0 if nothing is missing.
    images_per_second : float
    hours, gigabytes : float
        For the missing rows.
    """

    images: int
    estimated: int
    unique: int | None
    missing: int
    measured: int
    images_per_second: float
    hours: float
    gigabytes: float


@typed
def dry_run(
    data: str | os.PathLike | Manifest,
    cache: str | os.PathLike,
    backbones: Sequence[str | BackboneSpec],
    options: ExtractOptions | None = None,
    progress: ProgressListener | None = None,
) -> ExtractCost:
    """Measure a few images in a cache of their own, and count what `cache` lacks.

    No row is written to `cache`, and nothing to a store. The parameters and errors are those of
    `extract`.

    Raises
    ------
    BackboneError
        Boxes are asked for.
    ManifestError
        None of the images that were tried can be read.
    """
    options, progress = options or ExtractOptions(), progress or ProgressListener()
    if options.boxes is not None:
        raise BackboneError(
            "a dry run counts whole images and knows no boxes", "leave --boxes out of it"
        )
    store = existing_cache(cache)
    manifest, estimated = _looked_into(data, store)
    with scratch_folder() as scratch:
        alone = dataclasses.replace(options, cluster=None)
        report = features.extract(_few(manifest), scratch / "cache", backbones, alone)
    if not report.computed:
        raise ManifestError(
            f"none of {report.images} images that were tried can be read",
            "look at the data",
        )
    sets = {one.fingerprint: one for one in store.sets()} if store else {}
    images = len(manifest.images) + estimated
    counts, unique, count = [images] * len(report.sets), None, images
    if store and any(one["fingerprint"] in sets for one in report.sets):
        memory = store.path / "digests"
        digested = digest_manifest(manifest, memory, progress.on_digest).manifest
        keys = {sample.digest for sample in digested.images.values() if sample.digest}
        missing = [
            set(sets[one["fingerprint"]].missing(keys)) if one["fingerprint"] in sets else keys
            for one in report.sets
        ]
        counts = [len(some) + estimated for some in missing]
        unique = None if estimated else len(keys)
        count = len(set().union(*missing)) + estimated
    numbers = sum(rows * one["dim"] for rows, one in zip(counts, report.sets))
    rate = report.computed / max(report.seconds, 1e-9)
    return ExtractCost(
        images=images,
        estimated=estimated,
        unique=unique,
        missing=count,
        measured=report.computed,
        images_per_second=rate,
        hours=count / rate / 3600,
        gigabytes=numbers * _BYTES[options.precision] / 1e9,
    )


def _looked_into(data, store: FeatureCache | None) -> tuple[Manifest, int]:
    """Return the images that are known, and how many more there may be.

    Of tars and record files no more is read than a sample needs, and nothing that is remembered.
    """
    images = data if isinstance(data, Manifest) else open_data(data)
    if isinstance(images, Manifest):
        return images, 0
    found = StreamDigesting(images, store.path / "digests" if store else None)
    with contextlib.closing(iter(found)) as pieces:
        while found.left and len(found.images) < SAMPLE:
            next(pieces, None)
    if not found.left:
        return found.report().manifest, 0
    return Manifest(tuple(found.images.values()), images.source), found.left


def _few(manifest: Manifest) -> Manifest:
    """Return images from all over the data: the first may be alike."""
    images = list(manifest.images.values())
    return dataclasses.replace(manifest, samples=tuple(images[:: -(-len(images) // SAMPLE)]))

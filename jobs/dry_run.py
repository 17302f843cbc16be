"""What an extraction would cost: the missing rows, and the time and room for them."""

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .. import features
from ..cache import FeatureCache
from ..core.errors import BackboneError, CacheError, ManifestError
from ..core.stores import is_url
from ..features import BackboneSpec, ExtractOptions, ProgressListener
from ..manifest import Manifest, digest_manifest
from .samples import read_data

# Enough for a few batches after the start, which is slower.
SAMPLE = 48
_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


@dataclasses.dataclass(frozen=True)
class ExtractCost:
    """What an extraction would cost on this machine.

    Attributes
    ----------
    images, unique, missing : int
        Images, different ones, and those that lack a row.
    measured : int
        Images that were computed for this estimate; 0 if nothing is missing.
    images_per_second : float
    hours, gigabytes : float
        For the missing rows.
    """

    images: int
    unique: int
    missing: int
    measured: int
    images_per_second: float
    hours: float
    gigabytes: float


def dry_run(
    data: str | os.PathLike,
    cache: str | os.PathLike,
    backbones: Sequence[str | BackboneSpec],
    options: ExtractOptions | None = None,
    progress: ProgressListener | None = None,
) -> ExtractCost:
    """Measure a few images in a cache of their own, and count what `cache` lacks.

    No row is written to `cache`. The parameters and errors are those of `extract`.

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
    if is_url(cache):
        raise CacheError(
            f"{os.fspath(cache)} is a URL, and a dry run counts what a folder lacks",
            "pull it to a folder, or name one that is not there to count all",
        )
    # Nothing is to be left in a folder that is no cache.
    there = (Path(cache) / "icecore-cache.json").exists()
    memory = Path(cache) / "digests" if there else None
    digested = digest_manifest(read_data(data), memory, progress.on_digest).manifest
    with tempfile.TemporaryDirectory(prefix="icecore-dry-run-") as scratch:
        alone = dataclasses.replace(options, cluster=None)
        report = features.extract(_few(digested), Path(scratch) / "cache", backbones, alone)
    if not report.computed:
        raise ManifestError(
            f"none of {report.images} images that were tried can be read",
            "look at the data",
        )
    unique = {sample.digest for sample in digested.images.values() if sample.digest}
    sets = {one.fingerprint: one for one in FeatureCache(cache).sets()} if there else {}
    missing = [
        set(sets[one["fingerprint"]].missing(unique)) if one["fingerprint"] in sets else unique
        for one in report.sets
    ]
    count = len(set().union(*missing))
    numbers = sum(len(keys) * one["dim"] for keys, one in zip(missing, report.sets))
    rate = report.computed / max(report.seconds, 1e-9)
    return ExtractCost(
        images=len(digested.images),
        unique=len(unique),
        missing=count,
        measured=report.computed,
        images_per_second=rate,
        hours=count / rate / 3600,
        gigabytes=numbers * _BYTES[options.precision] / 1e9,
    )


def _few(manifest: Manifest) -> Manifest:
    """Return images from all over the data: the first may be alike."""
    images = list(manifest.images.values())
    return dataclasses.replace(manifest, samples=tuple(images[:: -(-len(images) // SAMPLE)]))

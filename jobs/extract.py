"""The job `extract`: images and networks in, rows in the cache."""

import os
from collections.abc import Sequence
from pathlib import Path

from .. import features
from ..cache import FeatureCache, folder_of_cache, push
from ..core.arguments import typed
from ..core.stores import is_url
from ..features import BackboneSpec, ExtractOptions, ExtractReport, ProgressListener
from ..manifest import Manifest, open_data
from .samples import keep_manifest, source_of


@typed
def extract(
    data: str | os.PathLike | Manifest,
    cache: str | os.PathLike,
    backbones: Sequence[str | BackboneSpec],
    options: ExtractOptions | None = None,
    progress: ProgressListener | None = None,
) -> ExtractReport:
    """Extract the features of whatever `data` is into `cache`.

    Parameters
    ----------
    data : path-like or Manifest
        What `icecore.manifest.read` reads, or gave.
    cache : path-like
        Folder of the cache, or its URL in a store.
    backbones : sequence of str or BackboneSpec
        Specs, ``source:name[@resolution]``.
    options : ExtractOptions, optional
    progress : ProgressListener, optional

    Notes
    -----
    The table of samples with its digests is kept as ``CACHE/manifests/NAME.csv``, so
    that heads can be trained where the images are not.
    """
    images = data if isinstance(data, Manifest) else open_data(data)
    folder = folder_of_cache(cache)
    report = features.extract(images, cache, backbones, options, progress)
    boxes = options.boxes if options else None
    regions = Path(boxes) if boxes is not None and features.are_regions(boxes) else None
    keep_manifest(folder, source_of(data), report, regions)
    if is_url(cache):
        report.notes.extend(push(FeatureCache(folder), os.fspath(cache)).notes)
    return report

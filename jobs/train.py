"""The job `train`: heads on cached features."""

import os
from collections.abc import Callable
from pathlib import Path

from .. import heads
from ..cache import FeatureCache, pulled
from ..core.arguments import typed
from ..core.hardware import require_working_memory
from ..heads import TrainEvent, TrainOptions, TrainResult
from ..manifest import Manifest
from .samples import REGIONS_OF_A_RUN, as_extracted, copy_regions, digested, kept_regions

DEFAULTS = TrainOptions()


@typed
def train(
    cache: str | os.PathLike,
    data: str | os.PathLike | Manifest,
    out: str | os.PathLike,
    options: TrainOptions = DEFAULTS,
    progress: Callable[[TrainEvent], None] | None = None,
) -> TrainResult:
    """Train heads on cached features and the labels of `data`.

    Parameters
    ----------
    cache : path-like
        A folder, or the URL of a cache in a store, from which what is new is pulled.
    data : path-like or Manifest
        What was extracted into the cache: the same folder or table, what
        `icecore.manifest.read` gave of it, or the table that `extract` left in
        ``CACHE/manifests``.
    out : path-like
        Folder of the run.
    options : TrainOptions
    progress : callable, optional
        Called with a `TrainEvent` after each step.

    Raises
    ------
    RunError, CacheError, ManifestError, HeadError
        As of `icecore.heads.train`.
    """
    require_working_memory()
    store = FeatureCache(pulled(cache))
    samples = digested(store, as_extracted(store, data))
    result = heads.train(store, samples, out, options, progress)
    regions = kept_regions(store, data)
    if regions is not None:
        copy_regions(regions, Path(out) / REGIONS_OF_A_RUN)
    return result

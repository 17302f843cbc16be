"""The job `extract`: images and networks in, rows in the cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .. import features
from .. import manifest as manifests
from ..features import DetectorOptions, ExtractReport
from .samples import keep_manifest

__all__ = ["extract"]


def extract(
    data: str | os.PathLike,
    cache: str | os.PathLike,
    backbones,
    *,
    boxes: str | os.PathLike | None = None,
    detector: DetectorOptions | None = None,
    on_detect: Callable[[int, int], None] | None = None,
    **options,
):
    """Extract the features of whatever `data` is into `cache`.

    Parameters
    ----------
    data : path-like
        What `icecore.manifest.read` reads.
    cache : path-like
        Folder of the cache.
    backbones : sequence of str
        Specs.
    boxes : path-like, optional
        Table of the part of each image that counts, see `icecore.manifest.read_boxes`.
    detector : DetectorOptions, optional
        Find boxes for the images that the table lacks, and add them to it.
    on_detect : callable, optional
        Called with counts of images that the detector looked at and in all.
    **options
        Of `icecore.features.extraction.extract`.

    Returns
    -------
    ExtractReport

    Notes
    -----
    The table of samples with its digests is kept as ``CACHE/manifests/NAME.csv``, so
    that heads can be trained where the images are not.
    """
    locate = features.box_locator(boxes, detector, on_detect, options)
    report: ExtractReport = features.extract(
        manifests.read(data), cache, backbones, locate=locate, **options
    )
    keep_manifest(Path(cache), Path(os.path.abspath(data)), report)
    return report

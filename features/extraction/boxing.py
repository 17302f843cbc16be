"""Which part of each image counts: boxes of a table, or boxes that are found first."""

from pathlib import Path

from ...cache import FeatureCache
from ...core.errors import BackboneError
from ...manifest import Box, Manifest, Unread, apply_boxes, read_boxes
from ..detection.detect import detect_boxes
from ..images.decode import image_size
from ..regions.find import find_regions
from ..regions.saved import Regions, are_regions, read_regions
from .options import ExtractOptions
from .progress import ProgressListener


def boxed(
    manifest: Manifest | Unread,
    cache: Path,
    options: ExtractOptions,
    progress: ProgressListener,
) -> tuple[Manifest | Unread, str]:
    """Give the images their boxes: those of a table, or what is found where it has none.

    Returns
    -------
    manifest : Manifest or Unread
        Containers are read beforehand where there are boxes.
    table : str
        Where the boxes are; empty if none are asked for.
    """
    if options.boxes is None or isinstance(manifest, Unread):
        return manifest, ""
    if are_regions(options.boxes):
        regions = read_regions(options.boxes)
        boxes, table = _found_by_regions(manifest, cache, regions, options, progress)
        return apply_boxes(manifest, boxes), str(table)
    table = Path(options.boxes)
    if options.detector is not None:
        request, device = options.request, options.devices[0]
        detect_boxes(manifest, table, options.detector, request, device, progress.on_detect)
    return apply_boxes(manifest, read_boxes(table, manifest, image_size)), str(table)


def _found_by_regions(
    manifest: Manifest,
    cache: Path,
    regions: Regions,
    options: ExtractOptions,
    progress: ProgressListener,
) -> tuple[dict[str, Box | None], Path]:
    """Find the boxes of a learnt region; return them, and their table, which the cache keeps."""
    if options.detector is not None:
        raise BackboneError(
            f"{options.boxes} is a learnt region, and a detector is named as well",
            "leave --detector away, or name a table of boxes",
        )
    table = FeatureCache.create(cache).path / "boxes" / f"{regions.name}-{regions.digest}.csv"
    return find_regions(manifest, table, regions, options.looks, progress.on_detect), table

"""Find the region of many images, into a table of boxes that a person can correct."""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ...cache import differences
from ...core.errors import FingerprintError, enumerate_some
from ...manifest import Box, Manifest, append_as_found, read_boxes
from ..images.decode import image_size
from ..records.feature_set import FeatureSetRecord
from ..records.spec import BackboneSpec
from ..weights.request import WeightsRequest
from .looks import Looker, LookOptions, Picture, read_pictures, start_looker
from .saved import Regions

_AT_ONCE = 32


def find_regions(
    manifest: Manifest,
    table: str | os.PathLike,
    regions: Regions,
    options: LookOptions,
    on_found: Callable[[int, int], None] | None = None,
) -> dict[str, Box | None]:
    """Find the boxes that the table lacks, add them to it, and return all by sample id.

    Where less is expected of a box than the region's threshold, the line has the score and no
    numbers. Images that cannot be read get no line.

    Raises
    ------
    FingerprintError
        The backbone is not the one that the region was learnt with.
    """
    table = Path(table)
    known = read_boxes(table, manifest, image_size, strangers="skip") if table.exists() else {}
    todo = [sample for identity, sample in manifest.images.items() if identity not in known]
    if not todo:
        return known
    looker = _looker(regions, options)

    def looks() -> Iterator[dict]:
        looked_at = 0
        for pictures in _batches(read_pictures(todo, options.workers)):
            boxes, scores = regions.models.find(looker, pictures)
            for picture, box, score in zip(pictures, boxes, scores):
                line = _line(picture, box, float(score), regions)
                # Not read back: another process may write to the table meanwhile.
                known[picture.id] = line["box"]
                yield line
            looked_at += len(pictures)
            if on_found is not None:
                on_found(looked_at, len(todo))

    append_as_found(table, looks())
    return known


def whole_box(box: np.ndarray, width: int, height: int) -> Box | None:
    """Return a box in whole pixels of its image; None if nothing is left of it."""
    x0, y0, x1, y1 = (int(n) for n in np.floor(np.nan_to_num(box, nan=-1.0) + 0.5).clip(-1, 10**6))
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _line(picture: Picture, box: np.ndarray, score: float, regions: Regions) -> dict:
    found = whole_box(box, picture.width, picture.height)
    if score < regions.threshold:
        found = None
    return {"path": picture.path, "box": found, "score": score, "class": regions.name}


def _looker(regions: Regions, options: LookOptions) -> Looker:
    folder, made = options.request.folder, regions.record
    request = WeightsRequest.parse(made.backbone.weights, folder)
    spec = BackboneSpec.located(regions.source, made.backbone.spec, folder)
    spec = dataclasses.replace(spec, layer=made.layer)
    looker = start_looker(spec, dataclasses.replace(options, request=request))
    fields = differences(made.as_dict(), look_record(looker).as_dict())
    if fields:
        raise FingerprintError(
            f"{made.backbone.spec} is not the backbone that the regions '{regions.name}' were "
            f"learnt with: {enumerate_some(name for name, _, _ in fields)} differ",
            "bring the same weights back, or learn the regions again",
        )
    return looker


def look_record(looker: Looker) -> FeatureSetRecord:
    """Return what makes the maps that a region is learnt from what they are."""
    layer = looker.backbone.layer
    return FeatureSetRecord(looker.backbone.record, "pad", layer=layer, decoding="full")


def _batches(pictures: Iterator[Picture]) -> Iterator[list[Picture]]:
    while batch := list(itertools.islice(pictures, _AT_ONCE)):
        yield batch

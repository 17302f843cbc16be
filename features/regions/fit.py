"""Learn a region from a table of boxes."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ...core.errors import BackboneError
from ...manifest import Box, Manifest
from ..records.spec import BackboneSpec
from .find import look_record
from .learn import MOST, LearningOptions, Learnt, learn_regions, require_enough
from .looks import LookOptions, Picture, read_pictures, start_looker
from .saved import Regions


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What `fit_regions` learnt.

    Attributes
    ----------
    regions : Regions
    learnt : Learnt
    marked : int
        Boxes in the table, of different files that could be read.
    unreadable : tuple of (str, str)
        Ids of images that could not be read, and why.
    """

    regions: Regions
    learnt: Learnt
    marked: int
    unreadable: tuple[tuple[str, str], ...]


def fit_regions(
    manifest: Manifest,
    boxes: Mapping[str, Box | None],
    spec: BackboneSpec,
    name: str,
    looks: LookOptions,
    options: LearningOptions,
    on_step: Callable[[str], None] = lambda step: None,
) -> Fitted:
    """Learn where a region is.

    Parameters
    ----------
    manifest : Manifest
    boxes : mapping of sample id to box
        None marks an image that does not show the region.
    spec : BackboneSpec
        The map before its pool is looked at, or that of its layer.
    name : str
    looks : LookOptions
    options : LearningOptions

    Raises
    ------
    BackboneError
        There are too few boxes, or what they mark cannot be found.
    """
    images = manifest.images
    marked = [identity for identity, box in boxes.items() if box is not None]
    require_enough(len(marked))
    looker = start_looker(spec, looks)
    on_step("reading images")
    rng = np.random.default_rng(options.seed)
    bare = [identity for identity, box in boxes.items() if box is None]
    shown, unreadable = _read(images, _some(marked, MOST, rng), looks)
    whole, _ = _read(images, _some(bare, MOST // 4, rng), looks)
    require_enough(len(shown))
    truth = np.array([boxes[one.id] for one in shown], float)
    learnt = learn_regions(looker, shown, truth, whole, options, on_step)
    above = learnt.scores >= options.threshold
    figures = {
        "boxes": float(len(shown)),
        "mean_iou": float(learnt.overlap.mean()),
        "share_above_half": float((learnt.overlap > 0.5).mean()),
        "share_whole": float(1 - above.mean()),
        "constant_iou": learnt.constant,
    }
    source = looker.backbone.network.source or spec.text
    regions = Regions(name, look_record(looker), source, options.threshold, figures, learnt.models)
    return Fitted(regions, learnt, len(marked), tuple(unreadable))


def _some(names: list[str], most: int, rng: np.random.Generator) -> list[str]:
    """Draw `most` of the names, in their order."""
    if len(names) <= most:
        return names
    return [names[index] for index in sorted(rng.permutation(len(names))[:most])]


def _read(images, names: list[str], looks: LookOptions):
    """Read the pictures of different files, and name those that cannot be read."""
    unreadable: list[tuple[str, str]] = []
    samples = [images[name] for name in names]
    pictures: dict[str, Picture] = {}
    for one in read_pictures(
        samples, looks.workers, lambda sample, why: unreadable.append((sample.id, why))
    ):
        # A copy in another fold would be known before it is found.
        pictures.setdefault(one.digest, one)
    return list(pictures.values()), unreadable


def region_name(out: Path) -> str:
    """Return the name of a region from that of its folder."""
    name = os.path.basename(os.path.realpath(out))
    if not name or not name.isprintable() or len(name.encode()) > 100:
        raise BackboneError(f"{out} does not name a region", "choose a short name: -o necks")
    return name

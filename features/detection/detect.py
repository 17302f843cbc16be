"""Boxes for images by a detector: the object of a named class that counts.

The boxes go into a table that a person can correct and that is then used like any
other (`icecore.manifest.box_table`). Images that the table has already are not looked at again.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ...core.arguments import require_types
from ...core.errors import BackboneError, FileFormatError, ImageError
from ...core.places import read_place
from ...manifest import LARGEST_IMAGE_FILE, Box, Manifest, Sample, append_as_found, read_boxes
from ..images.decode import decode, image_size
from ..weights.request import WeightsRequest
from .network import Detector, load_detector
from .outputs import Objects

RULES = ("largest", "confident")


@dataclasses.dataclass(frozen=True)
class DetectorOptions:
    """Which object is looked for.

    Attributes
    ----------
    detector : str
        ``onnx:FILE``.
    class_name : str
        Class of the object: its name, or its number.
    rule : {"largest", "confident"}
        Which one counts where there are several.
    threshold : float
        Least score, 0 to 1.
    """

    detector: str
    class_name: str = "person"
    rule: str = "largest"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        require_types(self)
        faults = []
        if self.rule not in RULES:
            faults.append(f"rule '{self.rule}' (choose {', '.join(RULES)})")
        if not 0 <= self.threshold <= 1:
            faults.append(f"threshold {self.threshold} (0 to 1)")
        if faults:
            raise BackboneError(
                f"these options of the detector cannot be used: {'; '.join(faults)}",
                "see icecore extract --help",
            )


def detect_boxes(
    manifest: Manifest,
    table: str | os.PathLike,
    options: DetectorOptions,
    request: WeightsRequest,
    device: str = "cpu",
    on_detect: Callable[[int, int], None] | None = None,
) -> int:
    """Add boxes for the images that the table lacks; return how many were looked at.

    Images in which nothing is found get a line without numbers. Those that cannot be
    read get none, and are looked at again.
    """
    table = Path(table)
    known = read_boxes(table, manifest, image_size) if table.exists() else {}
    todo = [sample for identity, sample in manifest.images.items() if identity not in known]
    if not todo:
        return 0
    detector = load_detector(options.detector, request, device)
    return append_as_found(table, _looks(detector, todo, options, on_detect))


def _looks(
    detector: Detector, todo: list[Sample], options: DetectorOptions, on_detect: Callable | None
) -> Iterator[dict]:
    """Yield a line of the table for each image that can be read."""
    index = detector.index_of(options.class_name)
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        # One image is read ahead while the network looks at another.
        ahead = pool.submit(_read, todo[0])
        for number, sample in enumerate(todo, start=1):
            image = ahead.result()
            if number < len(todo):
                ahead = pool.submit(_read, todo[number])
            if image is not None:
                yield _look(detector, index, image, sample, options)
            if on_detect is not None:
                on_detect(number, len(todo))


def choose_box(
    objects: Objects,
    class_index: int,
    options: DetectorOptions,
    size: tuple[int, int],
) -> tuple[Box, float] | None:
    """Choose one of the objects that a detector found.

    Parameters
    ----------
    options : DetectorOptions
        Rule and threshold. Of equally large ones the more confident counts, of equally
        confident ones the larger.
    size : tuple of 2 ints
        Width and height of the image; boxes are cut off at its edges.

    Returns
    -------
    box : tuple of int
        x0, y0, x1, y1, rounded outwards.
    score : float
        None if there is no such object.
    """
    # A stranger's detector may answer a million boxes.
    counts = (objects.ids == class_index) & np.isfinite(objects.boxes).all(axis=1)
    counts &= (objects.scores >= options.threshold) & np.isfinite(objects.scores)
    boxes, scores = objects.boxes[counts], objects.scores[counts]
    low, high = np.maximum(np.floor(boxes[:, :2]), 0), np.minimum(np.ceil(boxes[:, 2:]), size)
    there = (high > low).all(axis=1)
    low, high, scores = low[there], high[there], scores[there]
    if not len(scores):
        return None
    areas = (high - low).prod(axis=1)
    ranks = (areas, scores) if options.rule == "largest" else (scores, areas)
    best = np.lexsort((-ranks[1], -ranks[0]))[0]
    x0, y0, x1, y1 = (int(one) for one in (*low[best], *high[best]))
    return (x0, y0, x1, y1), float(scores[best])


def _read(sample: Sample) -> np.ndarray | None:
    try:
        # A large image keeps its turn only while it is decoded: one is ahead at a time here.
        with ExitStack() as held:
            return decode(read_place(sample.path, LARGEST_IMAGE_FILE), held)
    except (ImageError, FileFormatError, OSError, MemoryError):
        return None  # The extraction will say what is wrong with it.


def _look(detector: Detector, index: int, image, sample: Sample, options) -> dict:
    height, width = image.shape[:2]
    found = choose_box(detector.run(image), index, options, (width, height))
    box, score = found or (None, None)
    return {
        "path": sample.id,
        "box": box,
        "score": score,
        "class": options.class_name if box else "",
    }

"""What detectors answer: three families of outputs, told apart by their shapes and types."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ...core.errors import BackboneError, counted, enumerate_some
from ...core.softmax import softmax

# Two boxes of a class that share more are one object (YOLO's own default).
OVERLAP = 0.45
MOST_CANDIDATES = 1000
# 1, and what float16 makes of it.
_HIGHEST_SCORE = 1.01
# Boxes that are shares of the image may reach a little over its edge.
_LARGEST_SHARE = 1.5
# A list of six numbers that has more rows is one of raw boxes of a single class.
_LONGEST_LIST = 1000
# Along which axis of its outputs a family lists the objects.
_OBJECTS_AT = {"torchvision": 0, "yolo": 2, "yolo5": 1, "yolo-list": 1, "yolo-batch": 0}
# Their boxes are corners in pixels, as they come.
# Boxes of this score are objects, of which a share may be strange; of so many that lie all over
# an image some are narrower than their centre is far from its edge.
_CONFIDENT, _FEW, _MANY = 0.3, 0.1, 50
_PIXELS = frozenset({"torchvision", "yolo-list", "yolo-batch"})
_OBJECTS_AT |= {"detr": 1, "detr-sigmoid": 1}
_HINT = (
    "known are: boxes (N, 4), labels (N), scores (N) as of torchvision; (1, 4 + C, N), "
    "(1, N, 5 + C), or a finished list (1, N, 6) or (N, 7) as of YOLO; logits (1, N, C + 1) and "
    "boxes (1, N, 4) as of DETR; or give a table of boxes (--boxes), or what 'icecore regions fit' "
    "learns from a few of them"
)


@dataclasses.dataclass(frozen=True)
class Objects:
    """Objects that were found in an image.

    Attributes
    ----------
    ids : ndarray of int, shape (N,)
        Number of the class.
    scores : ndarray, shape (N,)
    boxes : ndarray, shape (N, 4)
        x0, y0, x1, y1.
    """

    ids: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray


def family_of(outputs: Sequence[tuple[str, str, tuple[int, ...]]], classes: int) -> str:
    """Tell a detector's family from what it answers to one image.

    Parameters
    ----------
    outputs : sequence of (name, type, shape)
        Types as NumPy has them.
    classes : int
        How many names of classes are known; 0 if none are.

    Returns
    -------
    {"torchvision", "yolo", "yolo5", "yolo-list", "yolo-batch", "detr", "detr-sigmoid"}

    Raises
    ------
    BackboneError
        It is of none of these; what was found is told.
    """
    kinds = sorted((len(shape), type_[0], shape[-1:]) for _, type_, shape in outputs)
    plain = [(1, "f"), (1, "i"), (2, "f")]
    if [(rank, type_) for rank, type_, _ in kinds] == plain and kinds[2][2] == (4,):
        return "torchvision"
    shapes = [shape for _, _, shape in outputs]
    # YOLOv7's finished list: image, corners, class, score.
    if [(rank, end) for rank, _, end in kinds] == [(2, (7,))]:
        return "yolo-batch"
    if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][0] == 1:
        found = _yolo(shapes[0], classes)
        if found:
            return found
    if len(shapes) == 2 and all(len(s) == 3 and s[0] == 1 for s in shapes):
        (_, rows, width), (_, boxes, four) = _boxes_last(shapes, lambda shape: shape)
        if rows == boxes and four == 4 and width > 1:
            # Those of later ones (RT-DETR) are a probability each, with no class for "nothing".
            if classes in (width, width - 1):
                return "detr-sigmoid" if width == classes else "detr"
            if classes:
                raise BackboneError(
                    f"{counted(classes, 'name', 'names')} of classes for logits of {width} "
                    f"columns: DETR has {width - 1} classes and a column for nothing, RT-DETR "
                    f"{width} classes",
                    "name all classes in their order, also those that are not used ('N/A')",
                )
            raise BackboneError(
                f"logits of {width} columns may be {width - 1} classes and one for nothing (DETR), "
                f"or {width} classes (RT-DETR)",
                'name the classes in a JSON file beside the graph: {"classes": ["person", ...]}',
            )
    text = enumerate_some([f"'{n}' {t} {s}" for n, t, s in outputs], 6)
    raise BackboneError(f"these outputs are of no detector that is known: {text}", _HINT)


def form_of(family: str, outputs: Sequence[tuple[str, str, tuple[int, ...]]]) -> tuple:
    """Return what stays the same of a detector's outputs, however many objects it finds.

    Raises
    ------
    BackboneError
        The outputs are of different numbers of objects.
    """
    axis = _OBJECTS_AT[family]
    counts = sorted({shape[axis] for _, _, shape in outputs if axis < len(shape)})
    if len(counts) > 1:
        raise BackboneError(
            f"the detector's outputs are of {enumerate_some(counts)} objects, in one image",
            "export it again, or take another detector",
        )
    return tuple(
        (type_[0], len(shape), shape[:axis], shape[axis + 1 :]) for _, type_, shape in outputs
    )


def _boxes_last(outputs: Sequence, shape_of: Callable) -> Sequence:
    """Return DETR's two outputs, logits first; where both have four columns they come so."""
    return outputs if shape_of(outputs[1])[2] == 4 else outputs[::-1]


def _yolo(shape: tuple[int, ...], classes: int) -> str:
    """Return which layout it is: names settle it, else there are more boxes than numbers."""
    _, rows, columns = shape
    # Of six numbers a row: corners, score, class, as exports with NMS inside give them.
    if columns == 6 and rows <= _LONGEST_LIST and rows != 4 + classes:
        return "yolo-list"
    if classes:
        fits = {"yolo": rows == 4 + classes, "yolo5": columns == 5 + classes}
        return next((name for name, there in fits.items() if there), "")
    if 5 <= rows < columns:
        return "yolo"
    return "yolo5" if 6 <= columns < rows else ""


def read_objects(family: str, outputs: Sequence[np.ndarray], side: tuple[int, int]) -> Objects:
    """Read the objects out of a detector's outputs.

    Parameters
    ----------
    family : str
        As `family_of` told it.
    outputs : sequence of ndarray
    side : tuple of 2 ints
        Width and height of the image that it was given.

    Returns
    -------
    Objects
        Boxes in pixels of that image; of YOLO's, which overlap, the most confident.

    Raises
    ------
    BackboneError
        What it answers cannot be scores, or boxes in pixels.
    """
    found = _listed(family, outputs, side)
    _require_scores(found)
    if family in _PIXELS:
        _require_pixels(found, side)
        _require_corners(found)
    return _apart(found) if family in ("yolo", "yolo5") else found


def _listed(family: str, outputs: Sequence[np.ndarray], side: tuple[int, int]) -> Objects:
    if family == "torchvision":
        boxes = next(one for one in outputs if one.ndim == 2)
        ids = next(one for one in outputs if one.ndim == 1 and one.dtype.kind == "i")
        scores = next(one for one in outputs if one.ndim == 1 and one.dtype.kind == "f")
        return Objects(ids.astype(int), scores.astype(float), boxes.astype(float))
    if family in ("detr", "detr-sigmoid"):
        found = _boxes_last(outputs, np.shape)
        logits, boxes = (np.asarray(one[0], float) for one in found)
        if family == "detr":
            with np.errstate(invalid="ignore"):  # They may be anything; see `_require_scores`.
                chances = softmax(logits)[:, :-1]
        else:
            chances = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
        _require_shares(boxes)
        _require_centres(boxes)
        return _best(_corners(boxes * np.tile(side, 2)), chances)
    if family == "yolo-batch":
        table = np.asarray(outputs[0], float)
        return Objects(_whole(table[:, 5], table[:, 1:5]), table[:, 6], table[:, 1:5])
    table = np.asarray(outputs[0][0], float)
    if family == "yolo-list":
        return Objects(_whole(table[:, 5], table[:, :4]), table[:, 4], table[:, :4])
    table = table.T if family == "yolo" else table
    chances = table[:, 4:] if family == "yolo" else table[:, 5:] * table[:, 4:5]
    centres = table[:, :2]
    centres = centres[np.isfinite(centres).all(axis=1)]
    # Their grid covers the image: else they are parts of a cell (YOLOX) or shares of the image.
    if len(centres) and centres.max() < max(side) / 4:
        raise BackboneError(
            f"the centres of {len(centres)} boxes reach {centres.max():.3g} of "
            f"{max(side)} pixels: they are not in pixels of the image",
            "export the detector with its boxes decoded (YOLOX: --decode_in_inference)",
        )
    _require_centres(table[:, :4] / np.tile(side, 2))
    return _best(_corners(table[:, :4]), chances)


def _require_scores(found: Objects) -> None:
    """Refuse what would look like images with nothing in them, or scores that are none."""
    sound = np.isfinite(found.scores) & np.isfinite(found.boxes).all(axis=1)
    if len(sound) and not sound.any():
        raise BackboneError(
            f"of {counted(len(sound), 'box', 'boxes')} that it answers, none has numbers and a "
            "score: they are NaN or infinite",
            "its numbers grow too large, in float16 perhaps: export it in float32",
        )
    highest = found.scores[sound].max(initial=0)
    if highest > _HIGHEST_SCORE:
        raise BackboneError(
            f"it answers scores of up to {highest:.3g}, and a score is from 0 to 1",
            "export it with scores that are probabilities (behind its sigmoid or softmax)",
        )


def _require_pixels(found: Objects, side: tuple[int, int]) -> None:
    """Refuse corners that are shares of the image: each box would be its first pixel."""
    # What fills up a list is zeros.
    boxes = found.boxes[np.isfinite(found.boxes).all(axis=1) & found.boxes.any(axis=1)]
    if len(boxes) and boxes.max() <= _LARGEST_SHARE:
        raise BackboneError(
            f"the corners of {counted(len(boxes), 'box', 'boxes')} reach {boxes.max():.3g} of "
            f"{max(side)} pixels: they are not in pixels of the image",
            "export the detector with boxes in pixels: multiply them by the input's width and "
            "height behind its last layer",
        )


def _require_corners(found: Objects) -> None:
    """Refuse boxes that end before they begin: they are a corner, width and height."""
    sure = np.isfinite(found.boxes).all(axis=1) & (found.scores >= _CONFIDENT)
    boxes = found.boxes[sure]
    turned = (boxes[:, 2:] < boxes[:, :2] - 1).any(axis=1)
    if turned.sum() > _FEW * len(boxes):
        raise BackboneError(
            f"{turned.sum()} of {counted(len(boxes), 'box', 'boxes')} would end before they begin: "
            "they are not x0, y0, x1, y1",
            "export the detector with its boxes as corners, in this order",
        )


def _require_centres(boxes: np.ndarray) -> None:
    """Refuse corners where centres, widths and heights belong, all as shares of the image."""
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    # Where one thing fills all images, boxes are as large, but do not reach far beyond them.
    beyond = (abs(_corners(boxes) - 0.5) > 0.6).any(axis=1)
    large = len(boxes) >= _MANY and (boxes[:, 2:] >= boxes[:, :2]).all()
    if large and beyond.sum() > _FEW * len(boxes):
        raise BackboneError(
            f"all {len(boxes)} boxes would be as wide and as high as their centres are far from "
            "the image's edge: they look like corners (x0, y0, x1, y1)",
            "export the detector with its boxes as centre, width and height, as it was trained; or "
            "as a finished list with corners, behind its suppression of overlapping boxes",
        )


def _require_shares(boxes: np.ndarray) -> None:
    """Refuse boxes in pixels where shares of the image belong: each would be beyond it."""
    largest = boxes[np.isfinite(boxes)].max(initial=0)
    if largest > _LARGEST_SHARE:
        raise BackboneError(
            f"its boxes reach {largest:.3g}, and those of DETR are shares of the image, 0 to 1",
            "export the network alone, without the step that makes pixels of its boxes",
        )


def _whole(numbers: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return classes that are given as decimal numbers; -1 for what is none.

    Raises
    ------
    BackboneError
        Those of most boxes are none: they are something else, such as scores.
    """
    sound = np.isfinite(numbers) & (np.abs(numbers) < 1e6)
    whole = np.rint(np.where(sound, numbers, -1))
    fits = sound & (np.abs(numbers - whole) < 0.01)
    # What fills up a list has no extent.
    there = sound & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if (there & ~fits).sum() > there.sum() / 2:
        raise BackboneError(
            f"the classes of {counted(int((there & ~fits).sum()), 'box', 'boxes')} are no whole "
            f"numbers ({numbers[there & ~fits][0]:.3g}): the columns are in another order",
            "export it with rows of x0, y0, x1, y1, score, class; or, after the number of the "
            "image, x0, y0, x1, y1, class, score",
        )
    return np.where(fits, whole, -1).astype(int)


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Turn centre, width and height into corners."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _best(boxes: np.ndarray, chances: np.ndarray) -> Objects:
    ids = np.nan_to_num(chances, nan=-1.0).argmax(axis=1)
    return Objects(ids, chances[np.arange(len(ids)), ids], boxes)


def _apart(found: Objects) -> Objects:
    """Leave one box for each object: of boxes of a class that overlap, the most confident."""
    sound = np.flatnonzero(np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores))
    sound = sound[np.argsort(-found.scores[sound], kind="stable")][:MOST_CANDIDATES]
    kept: list[int] = []
    for row in sound:
        rivals = [one for one in kept if found.ids[one] == found.ids[row]]
        box = found.boxes[[row]]
        if not rivals or _iou(found.boxes[rivals], box).max() <= OVERLAP:
            kept.append(int(row))
    return Objects(found.ids[kept], found.scores[kept], found.boxes[kept])


def _iou(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    low, high = np.maximum(boxes[:, :2], other[:, :2]), np.minimum(boxes[:, 2:], other[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    both = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (other[:, 2:] - other[:, :2]).prod(axis=1)
    return shared / np.maximum(both - shared, 1e-12)

"""What a graph does to pixels before its first layer must agree with its record.

Many exports prepare pixels in their first steps (Keras' Rescaling, a wrapper around a PyTorch
network). With a record that has pixels normalised before, they would be normalised twice, which
nothing shows but a bad answer.

So these steps are run on grey images that are prepared as the record says. Where what comes out is
(pixel - mean) / std, the two are compared with the usual ones: if another preparation makes them
more usual, the steps were made for that one.
"""

import contextlib
import dataclasses
import math
from typing import NamedTuple

import numpy as np

from ...core.errors import BackboneError
from ..images.preprocessing import Preprocessing
from .calibrated import without_calibration
from .image_metadata import RANGES, range_of
from .onnx_graph import IMAGES, add_normalisation, constant_tensors, load_onnx
from .session import open_session
from .values import constants_of
from .walk import read_inside

# False in a record: its graph does not, whatever its first steps look like.
PREPARES = "prepares_pixels"
# What may stand between pixels and the first layer, and changes each number by itself or its place.
_STEPS = frozenset(
    "Abs Add AveragePool BatchNormalization BitShift Cast Ceil Clip Concat ConstantOfShape Cos "
    "DepthToSpace DequantizeLinear Div Dropout Equal Exp Expand Flatten Floor Gather Greater "
    "GreaterOrEqual Identity If Less LessOrEqual Log Max Min Mul Neg Not Pad Pow QuantizeLinear "
    "Reciprocal ReduceMean ReduceSum Reshape Resize Round Shape Slice SpaceToDepth Split Sqrt "
    "Squeeze Sub Sum Tile Transpose Unsqueeze Upsample Where".split()
)
# They are steps where they only mix the colours.
_PRODUCTS, _MOST_WEIGHTS, _MOST_STEPS = frozenset({"Conv", "Einsum", "MatMul"}), 9, 64
_GREYS, _SIDE, _SAMPLE = np.arange(0, 256, 17), 64, 499
# As shares of the largest number that comes out, and of all the way that a number goes.
_ROUNDING, _AT_REST = 2e-6, 0.01
# Moves from one grey to the next are alike that differ by less. On a line nearly all are, and none
# is larger. What rests for longer, or moves alike when it moves, is cut off or rounded: no curve.
_ALIKE, _MOSTLY, _LONG, _OFTEN = 0.1, 0.85, 0.6, 0.6
# Bounds of means and of deviations, for pixels of 0 to 1. Nobody learns these: [0, 1], [-1, 1],
# [0, 255]; what ImageNet and CLIP made usual; and [0, 1] and [0, 255] less a mean.
_EXACT = (
    *((-5e-4, 5e-4, 0.99, 1.01), (0.495, 0.505, 0.495, 0.505)),
    *((-5e-4, 5e-4, 0.99 / 255, 1.01 / 255), (-5e-4, 5e-4, 0.22, 0.233)),
    *((0.396, 0.495, 0.22, 0.233), (0.398, 0.492, 0.256, 0.281)),
)
_LESS_A_MEAN = (0.3, 0.7, 0.99, 1.01), (0.3, 0.7, 0.99 / 255, 1.01 / 255)
# These may be learned too, of [0, 1] and of [0, 255].
_OF_UNIT, _OF_255 = (0.3, 0.7, 0.14, 0.35), (0.1, 1, 0.05, 0.7)
# Points, of two, that make another preparation more usual than that of the record.
_MORE = 0.69
_IMAGENET = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
    '"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]',
)
# What steps may be made for, and what they make of it: nobody learns it, or somebody may.
_USED = _EXACT + _LESS_A_MEAN
_MADE_FOR: dict[str, tuple] = {
    "[0, 255]": (*RANGES["[0, 255]"], _USED, (_OF_255,)),
    "[0, 1]": (*RANGES["[0, 1]"], _USED, (_OF_UNIT,)),
    "[-1, 1]": (*RANGES["[-1, 1]"], _EXACT, ()),
    "ImageNet's mean and std": (*_IMAGENET, _EXACT, ()),
    "[0, 65535]": ((0.0,) * 3, (1 / 65535,) * 3, "", _USED, (_OF_255,)),
}


class _Lines(NamedTuple):
    """What the first layers get of a grey pixel of 0 to 1: (pixel - mean) / std, in each number.

    NaN where that is not true: the number does not move with the grey, or is cut off or curved.
    """

    mean: np.ndarray
    std: np.ndarray
    moved: np.ndarray
    curved: np.ndarray

    def score(self, given: "_Lines", how: Preprocessing, used: tuple, learned: tuple) -> float:
        """Tell how usual they are: 2 where nobody learns that, 1 where somebody may.

        What leaves the numbers of a preparation as they are says nothing, unless it bends those
        that are given.
        """
        if len(self.moved) != len(given.moved):
            return 0  # Not every number can be looked up in a table.
        exact, usual = self._within(used), self._within(learned)
        close = abs(np.log(self.std / np.median(how.std))) < 0.3
        leaves = close & (abs(self.mean - np.median(how.mean)) < 0.2)
        bends = exact & given.moved & np.isnan(given.mean)
        points = np.where(leaves, bends, np.where(exact, 2, usual)).astype(int)
        points[given.moved & ~self.moved] = -1
        return float(points.sum() / max(1, (self.moved | given.moved).sum()))

    def _within(self, bounds: tuple[tuple[float, float, float, float], ...]) -> np.ndarray:
        inside = np.zeros(len(self.mean), bool)
        for low, high, narrow, wide in bounds:
            inside |= (
                (low <= self.mean) & (self.mean <= high) & (narrow <= self.std) & (self.std <= wide)
            )
        return inside


def first_steps(model):
    """Return a model that ends where the first layers of another begin.

    Parameters
    ----------
    model : onnx.ModelProto
        Before uint8 images become its input.

    Returns
    -------
    onnx.ModelProto
        It takes float32 numbers. Without outputs if nothing is between.
    """
    onnx = load_onnx()
    ends = _ends(model.graph)
    needed, nodes = set(ends), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.insert(0, node)
            needed |= {*node.input} | read_inside(node)
    (pixels,) = model.graph.input
    kind, real = pixels.type.tensor_type.elem_type, onnx.ValueInfoProto()
    real.CopyFrom(pixels)
    if kind != onnx.TensorProto.FLOAT:
        real.name, real.type.tensor_type.elem_type = "icecore_real", onnx.TensorProto.FLOAT
        nodes.insert(0, onnx.helper.make_node("Cast", [real.name], [pixels.name], to=kind))
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    outputs = [onnx.ValueInfoProto(name=end) for end in sorted(ends)]
    graph = onnx.helper.make_graph(nodes, "first steps", [real], outputs, weights)
    versions = {"opset_imports": model.opset_import, "ir_version": model.ir_version}
    return onnx.helper.make_model(graph, **versions)


def _ends(graph) -> set[str]:
    """Return the values that the first layers read, other than the pixels themselves."""
    constants, arrays = constants_of(graph), constant_tensors(graph)
    made = {name for node in graph.node for name in node.output} - constants
    pixels = {value.name for value in graph.input}
    reached, ends = set(pixels), set()
    for node in graph.node:
        read = {*node.input} | read_inside(node)
        if reached.isdisjoint(read):
            continue
        step = node.op_type in _STEPS
        if node.op_type in _PRODUCTS:
            sizes = [math.prod(arrays[name].dims) for name in node.input if name in arrays]
            step = bool(sizes) and max(sizes) <= _MOST_WEIGHTS
        if step and read & made <= reached and len(reached) < _MOST_STEPS:
            reached.update(node.output)
        else:
            ends |= reached & read
    return ends - pixels


def require_unprepared(steps, how: Preprocessing, name: str, channels_last: bool = False) -> None:
    """Raise `BackboneError` where a graph prepares pixels that its record has prepared before.

    Parameters
    ----------
    steps : onnx.ModelProto
        As `first_steps` returns it, of a graph whose cost is bounded.
    channels_last : bool
        Whether it takes (N, R, R, 3).
    """
    steps = without_calibration(steps, how, name)
    lines, stated = _lines(steps, how, channels_last), range_of(how)
    # Less a mean they are still numbers of [0, 255], of which a network may learn the same.
    learned = _MADE_FOR[stated][-1] if stated else (_OF_255,) * (max(how.std) < 0.01)
    most, fault, says = lines.score(lines, how, _USED, learned) + _MORE, "", ""
    for takes, (mean, std, record, *bounds) in _MADE_FOR.items():
        right = dataclasses.replace(how, mean=mean, std=std)
        if most > 2 or takes == stated:
            continue
        others = _lines(steps, right, channels_last)
        score = others.score(lines, right, *bounds)
        # Of a type that holds no more than 255, larger numbers are the same again.
        if score > most and not np.array_equal(others[:2], lines[:2], equal_nan=True):
            most, says = score, record
            # Both are measured, and a mean of 0 not to the last digit.
            mean = np.round((others.mean - np.mean(mean)) / np.mean(std), 3) + 0.0
            std = others.std / np.mean(std)
            fault = (
                f"prepares pixels of {takes} itself (it subtracts {np.nanmedian(mean):.3g} and "
                f"divides by {np.nanmedian(std):.3g})"
            )
    if not fault and not stated:
        # What compares colours with one another makes curves of greys that are no greys.
        mean, std = ((float(np.median(one)),) * 3 for one in (how.mean, how.std))
        greys = dataclasses.replace(how, mean=mean, std=std)
        others = _lines(steps, greys, channels_last)
        if others.curved.sum() > others.moved.sum() / 2:
            fault = "changes pixels in its first steps, and not by a sum and a product"
            says = RANGES["[0, 255]"][2]
    if fault:
        hint = "export it without these steps, and write in the JSON record what they did"
        raise BackboneError(
            f"{name} {fault}, and its record makes other numbers of them before",
            f"{f'write {says} in the JSON record beside it' if says else hint}; if the network "
            f'learnt these steps, write "{PREPARES}": false there',
        )


def _lines(steps, how: Preprocessing, channels_last: bool) -> _Lines:
    """Find out what the first layers get of greys; nothing where the steps cannot be run."""
    values = np.empty((len(_GREYS), 0))
    # To each pixel they do the same, so that a small image does where their shapes let it.
    for side in (min(_SIDE, how.resolution), how.resolution):
        if not values.size and steps.graph.output:
            model = load_onnx().ModelProto()
            model.CopyFrom(steps)
            add_normalisation(model, dataclasses.replace(how, resolution=side), channels_last)
            # ONNX Runtime's exceptions share no base.
            with contextlib.suppress(Exception):
                session = open_session(model.SerializeToString())
                values = np.stack([_numbers_of(session, side, grey) for grey in _GREYS])
    values = np.nan_to_num(values, posinf=0, neginf=0)
    mean, std = np.array(how.mean), np.array(how.std)
    moved = np.ptp(values, axis=0) > _ROUNDING * abs((np.array([[0], [1]]) - mean) / std).max()
    line, curved = np.full((2, len(moved)), np.nan), np.zeros(len(moved), bool)
    values = values[:, moved]
    with np.errstate(divide="ignore", invalid="ignore"):
        moves = np.diff(values, axis=0)
        rests = abs(moves) < _AT_REST * np.ptp(values, axis=0)
        shares = moves / np.nanmedian(np.where(rests, np.nan, moves), axis=0)
        alike = abs(shares - 1) <= _ALIKE
        straight = (alike.mean(axis=0) >= _MOSTLY) & (abs(shares - 0.5) < 0.5 + _ALIKE).all(axis=0)
        uneven = alike.sum(axis=0) < _OFTEN * (~rests).sum(axis=0)
        curved[moved] = ~straight & uneven & (rests.mean(axis=0) < _LONG)
        way = len(moves) * (moves * alike).sum(axis=0) / alike.sum(axis=0)
        middle = values[len(_GREYS) // 2 - 1 :][:2].mean(axis=0)
        line[:, moved] = np.where(straight, [0.5 - middle / way, 1 / abs(way)], np.nan)
    return _Lines(line[0], line[1], moved, curved)


def _numbers_of(session, side: int, grey: int) -> np.ndarray:
    """Return some of the numbers that the first layers get."""
    found = session.run(None, {IMAGES: np.full((1, side, side, 3), grey, np.uint8)})
    # Shapes and masks are no pixels.
    flat = [one.ravel() for one in found if one.ndim > 1 and one.dtype != bool]
    some = [np.linspace(0, len(one) - 1, min(len(one), _SAMPLE)).astype(int) for one in flat]
    return np.concatenate([one[at].astype(np.float64) for one, at in zip(flat, some)])

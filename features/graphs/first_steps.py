"""What a graph itself says about its pixels must agree with its record.

Many exports prepare pixels in their first steps (Keras' Rescaling, a wrapper around a PyTorch
network), and some note in their metadata what they take. With a record that has pixels
normalised before, they would be normalised twice, which nothing shows but a bad answer.
"""

from collections.abc import Mapping

import numpy as np

from ...core.errors import BackboneError, enumerate_some
from ..images.preprocessing import Preprocessing
from .onnx_graph import load_evaluator, load_onnx
from .values import constants_of

# What may stand between pixels and the first layer, and changes each number by itself or its place.
_STEPS = frozenset(
    "Add BatchNormalization Cast Concat Div Gather Identity Mul Neg Pad Reciprocal Reshape Slice "
    "Split Squeeze Sub Transpose Unsqueeze".split()
)
_MOST_STEPS = 64
# Of pixels of 0 to 255, and of 0 to 1: what is subtracted, and what it is divided by.
_LEAST_MEAN_OF_255, _LEAST_STD_OF_255 = 60, 40
_MEANS_OF_1, _STDS_OF_1 = (0.3, 0.6), (0.15, 0.6)
_AS_RANGE = {
    "[0, 255]": '"mean": [0, 0, 0], "std": [1, 1, 1], "input_range": [0, 255]',
    "[0, 1]": '"mean": [0, 0, 0], "std": [1, 1, 1]',
    "[-1, 1]": '"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]',
}
# ONNX's own names for what a graph takes, and what the record says then.
_SPACES = {"Rgb8": "RGB", "Rgba8": "RGB", "Bgr8": "BGR", "Bgra8": "BGR"}
_RANGES = {
    "NominalRange_0_255": "[0, 255]",
    "Normalized_0_1": "[0, 1]",
    "Normalized_1_1": "[-1, 1]",
}


def require_record_of_metadata(metadata: Mapping[str, str], how: Preprocessing, name: str) -> None:
    """Raise `BackboneError` where ONNX's metadata of images contradict the record.

    Parameters
    ----------
    metadata : mapping
        Of the file; heeded are ``Image.BitmapPixelFormat``, ``Image.NominalPixelRange`` and
        ``Image.ColorSpaceGamma``.
    """
    faults, wanted = [], []
    for key, value in sorted(metadata.items()):
        if key == "Image.BitmapPixelFormat" and _SPACES.get(value) != how.input_space:
            wanted.append(f'"input_space": "{_SPACES[value]}"' if value in _SPACES else "")
        elif key == "Image.NominalPixelRange" and _RANGES.get(value) != _range_of(how):
            wanted.append(_AS_RANGE[_RANGES[value]] if value in _RANGES else "")
        elif key == "Image.ColorSpaceGamma" and value != "SRGB":
            wanted.append("")
        else:
            continue
        faults.append(f"{key} is {value!r}")
    if faults:
        raise BackboneError(
            f"{name}: its metadata contradict the record beside it: {enumerate_some(faults)}",
            f"write {', '.join(wanted)} in that record"
            if all(wanted)
            else "export it for images of RGB or BGR in sRGB",
        )


def require_unprepared(model, pixels: str, how: Preprocessing, name: str) -> None:
    """Raise `BackboneError` where a graph prepares pixels that its record has prepared before.

    Parameters
    ----------
    model : onnx.ModelProto
        Takes uint8 images; its cost is bounded.
    pixels : str
        Name of the value that was the graph's input before it took them.
    """
    found = _subtracted_and_divided(model, pixels, how.resolution)
    if found is None:
        return
    mean, std = found
    if min(std) >= _LEAST_STD_OF_255 or min(abs(mean)) >= _LEAST_MEAN_OF_255:
        takes = "[0, 255]"
    elif _within(mean, _MEANS_OF_1) and _within(std, _STDS_OF_1):
        takes = "[0, 1]"
    else:
        return
    if _range_of(how) != takes:
        raise BackboneError(
            f"{name} prepares pixels of {takes} itself (it subtracts {_text(mean)} and divides by "
            f"{_text(std)}), and its record normalises them before",
            f"write {_AS_RANGE[takes]} in the JSON record beside it",
        )


def _range_of(how: Preprocessing) -> str:
    """Return the range of the numbers that a network gets, where it is one of the usual ones."""
    usual = {"[0, 255]": (0, 1 / 255), "[0, 1]": (0, 1), "[-1, 1]": (0.5, 0.5)}
    return next(
        (
            text
            for text, (mean, std) in usual.items()
            if np.allclose(how.mean, mean, atol=1e-3) and np.allclose(how.std, std, rtol=0.02)
        ),
        "another range",
    )


def _subtracted_and_divided(model, pixels: str, side: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what the first steps subtract from the pixels, and what they divide them by."""
    end, nodes = _first_steps(model.graph, pixels)
    if not end:
        return None
    onnx = load_onnx()
    read = {name for node in nodes for name in node.input}
    graph = onnx.helper.make_graph(
        nodes,
        "first steps",
        [onnx.ValueInfoProto(name=pixels)],
        [onnx.ValueInfoProto(name=end)],
        [tensor for tensor in model.graph.initializer if tensor.name in read],
    )
    steps = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    layouts = [(1, 3, side, side), (1, side, side, 3)]
    for shape in layouts:
        try:
            run = load_evaluator()(steps).run
            zero, one, two = (
                np.asarray(run(None, {pixels: np.full(shape, value, np.float32)})[0], np.float64)
                for value in (0, 1, 2)
            )
        except Exception:  # onnx's exceptions share no base; it may take the other layout
            continue
        factor = one - zero
        kept = factor != 0  # The border of a Pad is no pixel.
        if kept.any() and np.allclose(two - one, factor, rtol=1e-3, atol=1e-5):
            return np.unique(0 - zero[kept] / factor[kept]), np.unique(1 / abs(factor[kept]))
    return None


def _first_steps(graph, pixels: str) -> tuple[str, list]:
    """Return the value that the first layer reads, and the nodes that make it of the pixels."""
    constants, reached = constants_of(graph), {pixels}
    steps: list = []
    ends: set[str] = set()
    for node in graph.node:
        data = reached.intersection(node.input)
        others = set(node.input) - reached - constants - {""}
        if data and node.op_type in _STEPS and not others and len(steps) < _MOST_STEPS:
            reached.update(node.output)
            steps.append(node)
        else:
            ends |= data
    if not steps or len(ends) != 1:
        return "", []
    needed = {name for node in steps for name in node.input}
    made = []
    for node in reversed(graph.node):
        if constants.issuperset(node.output) and needed.intersection(node.output):
            needed.update(node.input)
            made.append(node)
    return ends.pop(), [*reversed(made), *steps]


def _within(values: np.ndarray, bounds: tuple[float, float]) -> bool:
    return bool(bounds[0] <= values.min() and values.max() <= bounds[1])


def _text(values: np.ndarray) -> str:
    low, high = (f"{value + 0.0:.3g}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"

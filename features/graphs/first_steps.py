"""What a graph itself says about its pixels must agree with its record.

Many exports prepare pixels in their first steps (Keras' Rescaling, a wrapper around a PyTorch
network), and some note in their metadata what they take. With a record that has pixels
normalised before, they would be normalised twice, which nothing shows but a bad answer.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...core.errors import BackboneError, enumerate_some
from ..images.preprocessing import Preprocessing
from .onnx_graph import constant_tensors, load_evaluator, load_onnx
from .values import constants_of
from .walk import bodies_of

# False in a record: its graph does not, whatever its first steps look like.
PREPARES = "prepares_pixels"
# What may stand between pixels and the first layer, and changes each number by itself or its place.
_STEPS = frozenset(
    "Abs Add AveragePool BatchNormalization BitShift Cast Ceil Clip Concat ConstantOfShape Cos "
    "DepthToSpace DequantizeLinear Div Dropout Equal Exp Expand Flatten Floor Gather Greater "
    "GreaterOrEqual Identity If Less LessOrEqual Log Max Min Mul Neg Not Pad Pow QuantizeLinear "
    "Reciprocal Reshape Resize Round Shape Slice SpaceToDepth Split Sqrt Squeeze Sub Sum Tile "
    "Transpose Unsqueeze Upsample Where".split()
)
# These may sum over the colours, and nothing else.
_SUMS, _AXES_OF_COLOURS = frozenset({"ReduceMean", "ReduceSum"}), frozenset({1, 3, -1, -3})
_MOST_STEPS = 64
_QUANTISED = 21
# onnx's evaluator takes minutes for them.
_RESIZES = frozenset({"AveragePool", "Resize", "Upsample"})
# Two axes, and an end before the first.
_TURNS = (-1, -2, -(2**31))
# Their sums are layers as well: what cuts off numbers after them is an activation.
_PRODUCTS, _CUTS = frozenset({"Conv", "Einsum", "MatMul"}), frozenset({"Clip", "Max", "Min"})
# Of what the record makes of pixels: so many numbers are tried, and so many tell others apart.
_TRIED, _TOLD_APART = 17, 0.75
# So many numbers of what a layer gets are looked at.
_SAMPLE = 10_007
# Pixels of 0 to 255, and of 0 to 65535: what is subtracted, and what it is divided by. It is so
# many times more than the width of the numbers that the record makes.
_LEAST_MEAN_OF_255, _LEAST_STD_OF_255, _LEAST_STD_OF_65535, _TIMES = 60, 40, 1000, 10
# What is subtracted of pixels of 0 to 1, and what it is divided by. A learned normalisation of
# numbers that were normalised before may do nearly the same, with another number for each colour.
_MEANS_OF_1, _STDS_OF_1, _STD_OF_2X_LESS_1 = (0.3, 0.6), (0.15, 0.3), 0.5
# What makes the usual numbers of ImageNet and of CLIP of pixels of -1 to 1.
_MEANS_OF_HALF, _STDS_OF_HALF = (-0.22, -0.01), (0.43, 0.6)
# Numbers of less width are pixels of 0 to 1, maybe less a mean, and become 255 times that.
_LARGEST_STD_TO_255, _WIDTH_OF_1 = 0.01, 1.3
# What is less of the largest change is none: colours that cancel one another.
_NOTHING = 1e-5
_AS_RANGE = {
    "[0, 255]": '"mean": [0, 0, 0], "std": [1, 1, 1], "input_range": [0, 255]',
    "[0, 1]": '"mean": [0, 0, 0], "std": [1, 1, 1]',
    "[-1, 1]": '"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]',
}
_BOUNDS = {"[0, 255]": (0.0, 255.0), "[0, 1]": (0.0, 1.0), "[-1, 1]": (-1.0, 1.0)}
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
    steps = _FirstSteps(model, pixels, how.resolution)
    means, stds = np.asarray(how.mean), np.asarray(how.std)
    bounds = (float((-means / stds).min()), float(((1 - means) / stds).max()))
    fault = _fault(steps, bounds, _range_of(how))
    if not fault:
        return
    right = next((text for text, ends in _BOUNDS.items() if not _fault(steps, ends, text)), "")
    remedy = (
        f"write {_AS_RANGE[right]} in the JSON record beside it"
        if right
        else "export it without these steps, and write in the JSON record what they did"
    )
    own = f'if the network learnt these steps, write "{PREPARES}": false there'
    raise BackboneError(f"{name} {fault}", f"{remedy}; {own}")


def _fault(steps: "_FirstSteps", bounds: tuple[float, float], stated: str) -> str:
    """Say what is wrong with giving numbers between these bounds to the first steps."""
    tried = np.linspace(*bounds, _TRIED)
    for values, noise in steps.of(tried):
        changes = np.diff(values, axis=0)
        changes = np.sign(np.where(abs(changes) < _NOTHING * np.ptp(noise), 0, changes))
        moved = changes.any(axis=0)  # The border of a Pad is no pixel.
        alike = np.abs(changes[:, moved].mean(axis=0))
        if not moved.any() or np.median(alike) < _TOLD_APART:
            # Colours or places that are compared with one another say nothing of grey images.
            # A graph of integers takes pixels as they are, whatever it does to them.
            if steps.of_integers or len(np.unique(noise)) >= _TOLD_APART * len(noise):
                continue
            return (
                f"prepares pixels of another range itself: its first steps cut off or round what "
                f"its record makes of pixels (numbers from {bounds[0]:.3g} to {bounds[1]:.3g})"
            )
        mean, std = _subtracted_and_divided(tried, values[:, moved])
        if not len(mean):
            if stated in _BOUNDS:
                continue
            return (
                "changes pixels in its first steps, and not by a sum and a product, but its record "
                "makes numbers of another range of them before"
            )
        takes = _taken(mean, std, bounds)
        if takes not in ("", stated):
            return (
                f"prepares pixels of {takes} itself (it subtracts {_text(mean)} and divides by "
                f"{_text(std)}), and its record makes other numbers of them before"
            )
    return ""


def _taken(mean: np.ndarray, std: np.ndarray, bounds: tuple[float, float]) -> str:
    """Return the range of the pixels that are so prepared; empty where it is not certain."""
    width = bounds[1] - bounds[0]
    away = min(abs(mean - np.mean(bounds)))
    if min(std) >= max(_LEAST_STD_OF_255, _TIMES * width) or away >= max(
        _LEAST_MEAN_OF_255, _TIMES * width
    ):
        return "[0, 65535]" if min(std) >= _LEAST_STD_OF_65535 else "[0, 255]"
    usual = np.allclose(std, 1, rtol=1e-3) or np.allclose(std, _STD_OF_2X_LESS_1, rtol=1e-3)
    if _within(mean, _MEANS_OF_1) and (usual or _within(std, _STDS_OF_1)):
        return "[0, 1]"
    if _within(mean, _MEANS_OF_HALF) and _within(std, _STDS_OF_HALF):
        return "[-1, 1]"
    if max(std) <= _LARGEST_STD_TO_255 and width > _WIDTH_OF_1:
        for text, shift in (("[0, 1]", 0), ("[-1, 1]", -1)):
            if np.allclose(mean, shift, atol=0.02):
                return text
    return ""


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


def _subtracted_and_divided(tried: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what steps subtract, and what they divide by; nothing where they do otherwise."""
    low, middle, high = (len(tried) * part // 4 for part in (1, 2, 3))
    factor = (values[high] - values[low]) / (tried[high] - tried[low])
    half = (values[middle] - values[low]) / (tried[middle] - tried[low])
    sound = (factor != 0) & np.isclose(half, factor, rtol=0.05)
    if not sound.any():
        return np.empty(0), np.empty(0)
    factor, at = factor[sound], values[low][sound]
    return np.unique(tried[low] - at / factor), np.unique(1 / abs(factor))


class _FirstSteps:
    """What a graph does to each pixel in front of its first layers."""

    def __init__(self, model, pixels: str, side: int) -> None:
        self._pixels, self._side = pixels, side
        self._session: Any = None
        ends, nodes = _first_steps(model.graph, pixels)
        if not ends:
            return
        onnx = load_onnx()
        read = {name for node in nodes for name in _read_by(node)}
        graph = onnx.helper.make_graph(
            _without_sizes(onnx, nodes),
            "first steps",
            [onnx.ValueInfoProto(name=pixels)],
            [onnx.ValueInfoProto(name=end) for end in ends],
            [tensor for tensor in model.graph.initializer if tensor.name in read]
            + [onnx.numpy_helper.from_array(np.array([n]), f"turn{n}") for n in _TURNS],
        )
        self._session = _evaluator_of(onnx, graph, model.opset_import)
        self._type = _type_of(model.graph, pixels)
        self.of_integers = np.issubdtype(self._type, np.integer)

    def of(self, tried: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return what each layer gets of images that are full of one number each, and of noise.

        Returns
        -------
        list of (ndarray of shape (len(tried), P), ndarray of shape (P,))
            Nothing where there are no steps, or where they cannot be run alone.
        """
        if self._session is None:
            return []
        random = np.random.default_rng(0)
        for shape in ((1, 3, self._side, self._side), (1, self._side, self._side, 3)):
            try:
                found = [self._run(np.full(shape, number, self._type)) for number in tried]
                noise = self._run(random.uniform(tried[0], tried[-1], shape).astype(self._type))
            except Exception:  # onnx's exceptions share no base; it may take the other layout
                continue
            return [
                (np.stack(values), other) for *values, other in zip(*found, noise) if len(other)
            ]
        return []

    def _run(self, image: np.ndarray) -> list[np.ndarray]:
        found = self._session.run(None, {self._pixels: image})
        return [
            # Shapes and masks are no pixels.
            np.empty(0) if values.ndim < 2 or values.dtype == bool else _sample(values)
            for values in map(np.asarray, found)
        ]


def _sample(values: np.ndarray) -> np.ndarray:
    """Return some of the numbers, of all colours and places."""
    numbers = values.ravel()
    if len(numbers) > _SAMPLE:
        numbers = numbers[np.linspace(0, len(numbers) - 1, _SAMPLE).astype(int)]
    return numbers.astype(np.float64)


def _evaluator_of(onnx, graph, opsets):
    """Return what runs a graph; None where onnx cannot run one of its operators."""
    # Of quantisation it has the newer operators alone, which do the same.
    for imports in (opsets, [onnx.helper.make_opsetid("", _QUANTISED)]):
        try:
            return load_evaluator()(onnx.helper.make_model(graph, opset_imports=imports))
        except Exception:  # Its exceptions share no base.
            continue
    return None


def _without_sizes(onnx, nodes: list) -> list:
    """Return nodes that do the same to an image of one number, and keep its size.

    They turn it round instead, so that no image is equal to what a graph makes of it.
    """
    kept: list = []
    turned = 0
    for node in nodes:
        if node.op_type in _RESIZES:
            axis = _TURNS[turned % 2]  # Two turns shall not make it the same again.
            turned += 1
            names = [node.input[0], *(f"turn{n}" for n in (-1, _TURNS[2], axis, -1))]
            node = onnx.helper.make_node("Slice", names, [node.output[0]])
        kept.append(node)
    return kept


def _type_of(graph, pixels: str) -> type | np.dtype:
    """Return the type of the numbers that `add_normalisation` makes."""
    made = next((node for node in graph.node if pixels in node.output), None)
    if made is None or made.op_type in ("Mul", "Div"):
        return np.float32
    kind = next((one.i for one in made.attribute if one.name == "to"), None)
    return np.uint8 if kind is None else load_onnx().helper.tensor_dtype_to_np_dtype(kind)


def _first_steps(graph, pixels: str) -> tuple[list[str], list]:
    """Return the values that the first layers read, and the nodes that make them of the pixels."""
    constants, reached = constants_of(graph), {pixels}
    products: set[str] = set()
    arrays = constant_tensors(graph)
    steps: list = []
    ends: set[str] = set()
    for node in graph.node:
        data = reached & _read_by(node)
        if not data:
            continue
        others = _read_by(node) - reached - constants - {""}
        activates = node.op_type in _CUTS and not products.isdisjoint(data)
        if _is_step(node, arrays) and not others and not activates and len(steps) < _MOST_STEPS:
            reached.update(node.output)
            if node.op_type in _PRODUCTS or products & data:
                products.update(node.output)
            steps.append(node)
        else:
            ends |= data
    ends.discard(pixels)
    needed = {name for node in steps for name in _read_by(node)}
    made = []
    for node in reversed(graph.node):
        if constants.issuperset(node.output) and needed.intersection(node.output):
            needed |= _read_by(node)
            made.append(node)
    return sorted(ends), [*reversed(made), *steps]


def _is_step(node, arrays: Mapping[str, Any]) -> bool:
    """Tell whether a node looks at one pixel at a time; a layer looks at several, or makes more."""
    weights = [tuple(arrays[name].dims) for name in node.input if name in arrays]
    if node.op_type == "Conv":
        sides = weights[0] if weights else ()
        return len(sides) == 4 and sides[0] in (1, 3) and sides[2:] == (1, 1)
    if node.op_type in ("MatMul", "Einsum"):
        return weights == [(3, 3)]
    if node.op_type in _SUMS:
        axes = next((list(a.ints) for a in node.attribute if a.name == "axes"), [])
        if len(node.input) > 1 and node.input[1] in arrays:
            axes = load_onnx().numpy_helper.to_array(arrays[node.input[1]]).ravel().tolist()
        return len(axes) == 1 and axes[0] in _AXES_OF_COLOURS
    return node.op_type in _STEPS


def _read_by(node) -> set[str]:
    """Return the names of the values that a node reads, with those that its bodies read."""
    read = set(node.input)
    for body in bodies_of(node):
        own = {tensor.name for tensor in body.initializer}
        for inner in body.node:
            read |= _read_by(inner) - own
            own.update(inner.output)
    return read


def _within(values: np.ndarray, bounds: tuple[float, float]) -> bool:
    return bool(bounds[0] <= values.min() and values.max() <= bounds[1])


def _text(values: np.ndarray) -> str:
    low, high = (f"{value + 0.0:.3g}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"

"""The first rounding of a quantised network, which is no preparation of pixels.

Static quantisation puts QuantizeLinear and DequantizeLinear in front of the first layer. They cut
pixels off at the darkest and the brightest of the photographs that it was calibrated with, which
are seldom all that there may be.
"""

import numpy as np

from ...core.errors import BackboneError
from ..images.preprocessing import Preprocessing
from .image_metadata import RANGES
from .onnx_graph import constant_tensors, load_onnx

_PLACES = frozenset("Identity Reshape Squeeze Transpose Unsqueeze".split())
_ROUNDED = frozenset("QuantizeLinear DequantizeLinear".split())
# Shares of a range: how far another may end beyond it, how much of it another has at least, and
# where two are one.
_BEYOND, _LEAST, _SAME = 0.1, 0.2, 0.02
# Of two ranges, what both have of what either has: symmetric ones end beyond on one side.
_MOSTLY = 0.6
# Of two ranges of which one is wider by more, one is of [0, 255], and the other is not.
_WIDER = 30


def without_calibration(steps, how: Preprocessing, name: str):
    """Return first steps without the rounding of pixels that were prepared as a record says.

    What cuts off pixels of another usual range stays: it was calibrated with those.

    Parameters
    ----------
    steps : onnx.ModelProto
        As `first_steps` returns it.

    Raises
    ------
    BackboneError
        It was calibrated with numbers of quite another size.
    """
    onnx, model = load_onnx(), None
    arrays, pixels = constant_tensors(steps.graph), {value.name for value in steps.graph.input}
    rounded: set[str] = set()
    for number, node in enumerate(steps.graph.node):
        if node.op_type in _PLACES and node.input[0] in pixels:
            pixels.add(node.output[0])
        if node.op_type not in _ROUNDED or node.input[0] not in pixels | rounded:
            continue
        if node.input[0] in pixels:
            bounds = _range_of(onnx, node, arrays)
            if bounds is None or not _of_photographs(bounds, how, name):
                continue
        if model is None:
            model = onnx.ModelProto()
            model.CopyFrom(steps)
        kept = onnx.helper.make_node("Identity", [node.input[0]], [node.output[0]])
        model.graph.node[number].CopyFrom(kept)
        rounded.add(node.output[0])
    return steps if model is None else model


def _range_of(onnx, node, arrays: dict) -> tuple[float, float] | None:
    """Return the least and the largest number that a QuantizeLinear of one scale can write."""
    found = [arrays[name] for name in node.input[1:] if name in arrays]
    if len(found) != 2 or node.op_type != "QuantizeLinear":
        return None
    scale, zero = (onnx.numpy_helper.to_array(one) for one in found)
    if scale.size != 1 or zero.size != 1 or zero.dtype.kind not in "iu":
        return None
    kind, step = np.iinfo(zero.dtype), float(scale.ravel()[0])
    low, high = ((float(end) - float(zero.ravel()[0])) * step for end in (kind.min, kind.max))
    return (low, high) if low < high else None


def _of_photographs(bounds: tuple[float, float], how: Preprocessing, name: str) -> bool:
    """Tell whether pixels that are prepared as a record says may have had these bounds."""
    mean, std = np.array(how.mean), np.array(how.std)
    prepared = float((-mean / std).min()), float(((1 - mean) / std).max())
    if any(_same(bounds, one) and not _same(prepared, one) for one in _usual()):
        return False
    wide = prepared[1] - prepared[0]
    if not 1 / _WIDER < (bounds[1] - bounds[0]) / wide < _WIDER:
        raise BackboneError(
            f"{name} was quantised for pixels of {bounds[0]:.3g} to {bounds[1]:.3g}, and its "
            f"record makes other numbers of them before: {prepared[0]:.3g} to {prepared[1]:.3g}",
            "write in the JSON record beside it how the photographs were prepared that it was "
            f"calibrated with; for numbers of 0 to 255 {RANGES['[0, 255]'][2]}",
        )
    shared = min(bounds[1], prepared[1]) - max(bounds[0], prepared[0])
    either = max(bounds[1], prepared[1]) - min(bounds[0], prepared[0])
    inside = either <= (1 + _BEYOND) * wide and shared >= _LEAST * wide
    return inside or shared >= _MOSTLY * either


def _usual() -> list[tuple[float, float]]:
    return [
        (-mean[0] / std[0], (1 - mean[0]) / std[0]) for _, (mean, std, _) in sorted(RANGES.items())
    ]


def _same(bounds: tuple[float, float], others: tuple[float, float]) -> bool:
    return np.allclose(bounds, others, atol=_SAME * (others[1] - others[0]), rtol=0)

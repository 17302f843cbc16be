"""What onnx says that a graph must not do, where its own numbers show that it does.

Engines differ in what they do then: one refuses, another reads beside the numbers, or takes others.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from ...core.errors import BackboneError
from .determined import operator_text
from .onnx_graph import constant_tensors, load_onnx
from .values import fix_input, infer_shapes
from .walk import bodies_of

HINT = "such a graph is none that ONNX defines: export the network again"
_FAULT = re.compile(r"\(op_type:\w+, node name: (\d+)\): \[\w+\] (.+)")
# They follow from an operator that onnx does not know, or from what an exporter noted.
_CONSEQUENCES = ("existing", "but instead is null")

Shapes = Sequence[tuple[int, ...] | None]
Numbers = Sequence[np.ndarray | None]


def require_rules(model, side: int, batch: int, name: str) -> None:
    """Refuse a graph that breaks a rule of onnx.

    Parameters
    ----------
    model : onnx.ModelProto
        Cut at its features.
    side, batch : int
        Of the square images, and how many it takes.

    Raises
    ------
    BackboneError
    """
    onnx = load_onnx()
    shapes, fault = _inferred(onnx, model, side, batch)
    if fault:
        raise BackboneError(f"{name}: {fault}", HINT)
    whole = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    numbers = {
        value: onnx.numpy_helper.to_array(one)
        for value, one in constant_tensors(model.graph).items()
        if one.data_type in whole
    }
    for node in model.graph.node:
        known = [shapes.get(one) for one in node.input], [numbers.get(one) for one in node.input]
        if broken := broken_rule(node, *known):
            raise BackboneError(f"{name}: {operator_text(node)} {broken}", HINT)


def _inferred(onnx, model, side: int, batch: int) -> tuple[dict[str, tuple[int, ...]], str]:
    """Return the shapes that are known, and which node breaks a rule of shapes and types."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for number, node in enumerate(sized.graph.node):
        node.name = str(number)
    fix_input(sized.graph.input[0].type.tensor_type, side, batch)
    sized.graph.output[0].type.tensor_type.ClearField("shape")
    try:
        found = infer_shapes(onnx, sized, strict=True).graph
    except Exception as error:  # Its exceptions share no base.
        for number, text in _FAULT.findall(str(error)):
            node = model.graph.node[int(number)]
            # Of a body that never runs the rules need not hold.
            if not bodies_of(node) and not any(one in text for one in _CONSEQUENCES):
                return {}, f"{operator_text(node)} breaks a rule of ONNX: {text}"
        return {}, ""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in [*found.value_info, *found.input]:
        kind = value.type.tensor_type
        extents = [one.dim_value if one.HasField("dim_value") else -1 for one in kind.shape.dim]
        if kind.HasField("shape") and min(extents, default=0) >= 0:
            shapes[value.name] = tuple(extents)
    return shapes, ""


def broken_rule(node, shapes: Shapes, numbers: Numbers) -> str:
    """Say which rule a node breaks, by as much as is known of its inputs; empty if none."""
    rule = _RULES.get(node.op_type)
    if rule is None or node.domain not in ("", "ai.onnx") or not shapes or shapes[0] is None:
        return ""
    get = load_onnx().helper.get_attribute_value
    settings = {one.name: get(one) for one in node.attribute}
    more = max(0, 5 - len(shapes))
    return rule(settings, [*shapes, *[None] * more], [*numbers, *[None] * more])


def _beyond(numbers: np.ndarray, extent: int) -> str:
    outside = numbers[(numbers < -extent) | (numbers >= extent)]
    return f"takes number {outside.flat[0]} of an axis of {extent}" if outside.size else ""


def _along_one_axis(settings: dict, shapes: Shapes, numbers: Numbers) -> str:
    data, places, axis = shapes[0], numbers[1], settings.get("axis", 0)
    if data is None or places is None or not -len(data) <= axis < len(data):
        return ""
    return _beyond(places, data[axis])


def _along_several_axes(settings: dict, shapes: Shapes, numbers: Numbers) -> str:
    places, data = numbers[1], (shapes[0] or ())[settings.get("batch_dims", 0) :]
    if places is None or not places.ndim:
        return ""
    if places.shape[-1] > len(data):
        return f"takes places of {places.shape[-1]} numbers in {len(data)} axes"
    found = (_beyond(places[..., n], extent) for n, extent in zip(range(places.shape[-1]), data))
    return next(filter(None, found), "")


def _scatter(rule: Callable) -> Callable:
    def broken(settings: dict, shapes: Shapes, numbers: Numbers) -> str:
        data, places, new = shapes[:3]
        if data is not None and places is not None and new is not None:
            several = rule is _along_several_axes
            wanted = (*places[:-1], *data[places[-1] :]) if several and places else places
            if new != wanted:
                return f"puts numbers of shape {list(new)} where {list(wanted)} belong"
        return rule(settings, shapes, numbers)

    return broken


def _extents(settings: dict, shapes: Shapes, numbers: Numbers) -> str:
    wanted = numbers[1]
    return "has a negative extent" if wanted is not None and (wanted < 0).any() else ""


def _tile(settings: dict, shapes: Shapes, numbers: Numbers) -> str:
    times, rank = numbers[1], len(shapes[0] or ())
    if times is not None and times.size != rank:
        return f"repeats {times.size} of {rank} axes"
    return _extents(settings, shapes, numbers)


def _slice(settings: dict, shapes: Shapes, numbers: Numbers) -> str:
    given = [one for one in numbers[1:5] if one is not None]
    if len({one.size for one in given}) > 1:
        return f"has lists of unlike length ({', '.join(str(one.size) for one in given)})"
    axes, steps, rank = numbers[3], numbers[4], len(shapes[0] or ())
    if axes is not None and len({int(axis) % max(rank, 1) for axis in axes.flat}) < axes.size:
        return "cuts one axis twice"
    return "has a step of 0" if steps is not None and not steps.all() else ""


def _split(settings: dict, shapes: Shapes, numbers: Numbers) -> str:
    data, axis, sizes = shapes[0] or (), settings.get("axis", 0), numbers[1]
    if sizes is None and "split" in settings:
        sizes = np.array(settings["split"])
    if sizes is None or not -len(data) <= axis < len(data):
        return ""
    if (sizes < 0).any() or sizes.sum() != data[axis]:
        return f"makes parts of {sizes.tolist()} of an axis of {data[axis]}"
    return ""


def _pad(settings: dict, shapes: Shapes, numbers: Numbers) -> str:
    data, pads, axes = shapes[0] or (), numbers[1], numbers[3]
    if pads is None and "pads" in settings:
        pads = np.array(settings["pads"])
    if pads is None:
        return ""
    cut = range(len(data)) if axes is None else [int(axis) for axis in axes.flat]
    if pads.size != 2 * len(cut):
        return f"has {pads.size} pads for {len(cut)} axes"
    reflects = settings.get("mode", b"constant") == b"reflect"
    for axis, low, high in zip(cut, pads.flat[: len(cut)], pads.flat[len(cut) :]):
        if data[axis] + low + high < 0 or -min(low, high) > data[axis]:
            return f"cuts {-min(low, high, low + high)} off an axis of {data[axis]}"
        if reflects and max(low, high) >= data[axis] > 0:
            return f"reflects {max(low, high)} numbers of an axis of {data[axis]}"
    return ""


def _conv(settings: dict, shapes: Shapes, numbers: Numbers) -> str:
    data, kernel, bias = shapes[:3]
    if data is None or kernel is None or not 2 < len(data) == len(kernel):
        return ""
    group, rank = settings.get("group", 1), len(kernel) - 2
    if data[1] != kernel[1] * group or kernel[0] % group:
        return f"has a kernel of shape {list(kernel)} in {group} groups for {data[1]} channels"
    if bias is not None and bias != kernel[:1]:
        return f"has a bias of shape {list(bias)} for {kernel[0]} channels"
    if settings.get("auto_pad", b"NOTSET") != b"NOTSET":
        return ""
    pads, steps = settings.get("pads", [0] * 2 * rank), settings.get("dilations", [1] * rank)
    sides = [n + low + high for n, low, high in zip(data[2:], pads, pads[rank:])]
    needed = [(k - 1) * step + 1 for k, step in zip(kernel[2:], steps)]
    if any(k > side for k, side in zip(needed, sides)):
        return f"has a kernel that covers {needed} of {sides} numbers"
    return ""


def _batch_norm(settings: dict, shapes: Shapes, numbers: Numbers) -> str:
    channels = (shapes[0] or ())[1:2]
    wrong = [one for one in shapes[1:5] if one is not None and one != channels]
    return (
        f"has {list(wrong[0])} numbers for {list(channels)} channels" if wrong and channels else ""
    )


def _pool(settings: dict, shapes: Shapes, numbers: Numbers) -> str:
    kernel, pads = settings.get("kernel_shape", []), settings.get("pads", [])
    if len(pads) == 2 * len(kernel) and any(pad >= k for pad, k in zip(pads, [*kernel] * 2)):
        return f"pads {list(pads)} for a kernel of {list(kernel)}"
    return ""


def _norm(settings: dict, shapes: Shapes, numbers: Numbers) -> str:
    order = settings.get("p", 2)
    return "" if order in (1, 2) else f"is of order {order}, not 1 or 2"


_RULES: dict[str, Callable[[dict, Shapes, Numbers], str]] = {
    "AveragePool": _pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "Expand": _extents,
    "Gather": _along_one_axis,
    "GatherElements": _along_one_axis,
    "GatherND": _along_several_axes,
    "LpNormalization": _norm,
    "Pad": _pad,
    "Scatter": _scatter(_along_one_axis),
    "ScatterElements": _scatter(_along_one_axis),
    "ScatterND": _scatter(_along_several_axes),
    "Slice": _slice,
    "Split": _split,
    "Tile": _tile,
}

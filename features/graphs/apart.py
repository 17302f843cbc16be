"""Whether a graph keeps the images of a batch apart: shown by its operators, without running it.

Random images do not show it: a graph may mix only beside one particular image. So each value is
followed from the images on. Along one axis of it, all that belongs to the first image comes
first, then all of the second, and so on; each operator must be known to keep that, for a batch of
any size. What is not known to do so is not shown, which need not mean that it mixes.
"""

import contextlib
import math
from typing import Any

import numpy as np

from .apart_rules import RULES
from .apart_values import Apart, Extents, Step, Value, require
from .determined import operator_text
from .extents import Extent, NotShownError
from .followed import MOST_NUMBERS, as_objects, follow, has_extents, settings_of
from .numbered import follow_numbered
from .onnx_graph import load_onnx
from .values import NOT_CONSTANT
from .walk import bodies_of

# Larger than any other extent, so that shapes which onnx infers show where the images are.
_MANY = 2**31 - 1


def why_not_apart(model, batch: int | None = None) -> str:
    """Name the first operator that is not known to keep the images of a batch apart.

    Parameters
    ----------
    model : onnx.ModelProto
        From images of shape (N, ...) to rows of shape (N, D).
    batch : int, optional
        The one number of images that it takes; any if None.

    Returns
    -------
    str
        Empty where all are known to.
    """
    return _Look(model, batch).why_not()


def one_at_a_time(mixing: str) -> str:
    """Say what `why_not_apart` found, to be added to what is told of the features."""
    return f"; one image at a time, as {mixing} is not known to keep images apart" if mixing else ""


class _Look:
    def __init__(self, model, batch: int | None) -> None:
        self._onnx, self._graph = load_onnx(), model.graph
        self._count: Any = Extent(1) if batch is None else batch
        self._domains, self._ir = list(model.opset_import), model.ir_version
        ours = [one.version for one in self._domains if one.domain in ("", "ai.onnx")]
        self._opset = max(ours, default=1)

    def why_not(self) -> str:
        (entry,) = self._graph.input
        kind = entry.type.tensor_type
        sides = [extent.dim_value for extent in kind.shape.dim[1:]]
        known: dict[str, Value] = {
            entry.name: Apart((self._count, *sides), kind.elem_type, axis=0, each=(1, 1))
        }
        known |= {tensor.name: self._tensor(tensor) for tensor in self._graph.initializer}
        for node in self._graph.node:
            try:
                given = [known[name] if name else None for name in node.input]
                found = self._outputs(node, given)
            except (NotShownError, KeyError, ValueError, IndexError, TypeError, ArithmeticError):
                return operator_text(node)  # Not a graph that runs, perhaps.
            known.update((name, one) for name, one in zip(node.output, found) if name)
        last = known.get(self._graph.output[0].name)
        if isinstance(last, Apart) and (last.axis, last.each) == (0, (1, 1)):
            return ""
        return operator_text(self._graph.node[-1])

    def _tensor(self, tensor) -> Value:
        shape, content = tuple(tensor.dims), None
        if math.prod(shape) <= MOST_NUMBERS and tensor.data_type in (1, 6, 7, 9):
            with contextlib.suppress(ValueError):  # Parameters may lie elsewhere.
                content = as_objects(self._onnx.numpy_helper.to_array(tensor).tolist())
        return Value(shape, tensor.data_type, content)

    def _outputs(self, node, given: list[Value | None]) -> list[Value]:
        if node.domain not in ("", "ai.onnx") or bodies_of(node) or node.op_type in NOT_CONSTANT:
            raise NotShownError
        settings = settings_of(node)
        step = Step(node, settings, given, self._opset)
        if node.op_type == "Constant":
            return [self._constant(settings)]
        if node.op_type in ("Shape", "Size"):
            return [_measured(step)]
        if (places := follow_numbered(step)) is not None:
            return [places]
        varies = any(isinstance(one, Apart) for one in given)
        counts = any(one is not None and has_extents(one.content) for one in given)
        if not varies:
            kind = _kind(step)
            if all(one is None or one.content is not None for one in given):
                contents = [None if one is None else one.content for one in given]
                if (found := follow(node, contents, kind)) is not None:
                    return [Value(found.shape, kind, found)]
            if not counts:
                return self._inferred(node, given)
        shaped = _SHAPED.get(node.op_type)
        if shaped is not None and (counts or varies):
            return [_where_the_images_are(shaped(step), step, self._count)]
        if not varies or (counts and node.op_type != "Resize"):
            raise NotShownError
        axis, each = RULES[node.op_type](step)
        return [self._placed(one, axis, each) for one in self._inferred(node, given)]

    def _constant(self, settings: dict) -> Value:
        ((name, given),) = settings.items()
        if name == "value":
            return self._tensor(given)
        if name not in ("value_float", "value_floats", "value_int", "value_ints"):
            raise NotShownError
        array = np.array(given, np.float32 if "float" in name else np.int64)
        return self._tensor(self._onnx.numpy_helper.from_array(array))

    def _inferred(self, node, given: list[Value | None]) -> list[Value]:
        """Return what onnx tells of the outputs, for very many images."""
        onnx, inputs, contents = self._onnx, {}, {}
        for name, one in zip(node.input, given):
            if one is None:
                continue
            shape = None if one.shape is None else [_at_many(extent) for extent in one.shape]
            inputs[name] = onnx.helper.make_tensor_type_proto(one.kind, shape)
            if one.content is not None:
                numbers = np.array([_at_many(each) for each in one.content.flat])
                kind = onnx.helper.tensor_dtype_to_np_dtype(one.kind)
                contents[name] = onnx.numpy_helper.from_array(
                    numbers.astype(kind).reshape(one.content.shape), name
                )
        try:
            schema = onnx.defs.get_schema(node.op_type, self._opset, "")
            found = onnx.shape_inference.infer_node_outputs(
                schema, node, inputs, contents, opset_imports=self._domains, ir_version=self._ir
            )
        except (
            onnx.checker.ValidationError,  # of a type that the operator does not take
            onnx.defs.SchemaError,
            onnx.shape_inference.InferenceError,
            RuntimeError,
        ) as error:
            raise NotShownError from error
        return [_as_inferred(found[name]) for name in node.output if name in found]

    def _placed(self, value: Value, axis: int, each: tuple[int, int]) -> Apart:
        shape = list(value.shape or ())
        require(axis < len(shape))
        shape[axis] = math.prod(each) * self._count
        require(all(0 < one < _MANY for n, one in enumerate(shape) if n != axis))
        return Apart(tuple(shape), value.kind, axis=axis, each=each)


def _at_many(one: Any) -> Any:
    return one.at(_MANY) if isinstance(one, Extent) else one


def _as_inferred(kind) -> Value:
    tensor = kind.tensor_type
    extents = [
        extent.dim_value if extent.HasField("dim_value") else -1 for extent in tensor.shape.dim
    ]
    known = tensor.HasField("shape") and min(extents, default=0) >= 0
    return Value(tuple(extents) if known else None, tensor.elem_type)


def _kind(step: Step) -> int:
    """Return the type of what a step makes of numbers that hang on no image."""
    operator, settings = step.node.op_type, step.settings
    if operator == "Cast":
        return settings["to"]
    if operator == "ConstantOfShape":
        return settings["value"].data_type if "value" in settings else 1
    if operator == "Equal":
        return 9
    first = step.at(1 if operator == "Where" else 0)
    return 0 if first is None else first.kind


def _measured(step: Step) -> Value:
    """Return what Shape or Size says of a value."""
    value = step.at(0)
    if value is None or value.shape is None:
        raise NotShownError
    found: Any = list(value.shape)
    if step.node.op_type == "Size":
        found = math.prod(found)
    else:
        found = found[step.settings.get("start", 0) : step.settings.get("end")]
    content = as_objects(found)
    return Value(content.shape, 7, content)


def _reshaped(step: Step) -> Extents:
    """Return the extents that a Reshape gives, from numbers of which one may be open."""
    data, wanted = step.at(0), step.numbers(1)
    if data is None or data.shape is None or wanted is None:
        raise NotShownError
    if not step.settings.get("allowzero"):
        wanted = [data.shape[n] if one == 0 else one for n, one in enumerate(wanted)]
    if any(one == -1 for one in wanted):
        left = math.prod(data.shape)
        for one in wanted:
            left = left if one == -1 else left // one
        # What is left must be left without a rest.
        require(left * math.prod(one for one in wanted if one != -1) == math.prod(data.shape))
        wanted = [left if one == -1 else one for one in wanted]
    require(math.prod(wanted) == math.prod(data.shape))
    return tuple(wanted)


def _flattened(step: Step) -> Extents:
    data = step.at(0)
    if data is None or data.shape is None:
        raise NotShownError
    axis = step.settings.get("axis", 1)
    require(0 <= axis <= len(data.shape))
    return math.prod(data.shape[:axis]), math.prod(data.shape[axis:])


def _expanded(step: Step) -> Extents:
    data, wanted = step.at(0), step.numbers(1)
    if data is None or data.shape is None or wanted is None:
        raise NotShownError
    rank = max(len(data.shape), len(wanted))
    have = [1] * (rank - len(data.shape)) + list(data.shape)
    wanted = [1] * (rank - len(wanted)) + wanted
    require(all(_is_one(a) or _is_one(b) or a == b for a, b in zip(have, wanted)))
    return tuple(one if _is_one(new) else new for one, new in zip(have, wanted))


def _is_one(extent: Any) -> bool:
    # Where there is one image, an extent of one for each fits as well.
    return not isinstance(extent, Extent) and extent == 1


def _filled(step: Step) -> Extents:
    return tuple(step.numbers(0) or ())


def _tiled(step: Step) -> Extents:
    data, times = step.at(0), step.numbers(1)
    if data is None or data.shape is None or times is None or len(times) != len(data.shape):
        raise NotShownError
    # Of several rows in turn the images would get different ones.
    opened = zip(data.shape, times)
    require(all(isinstance(by, int) or _is_one(one) for one, by in opened))
    return tuple(one * by for one, by in zip(data.shape, times))


_SHAPED = {
    "ConstantOfShape": _filled,
    "Expand": _expanded,
    "Flatten": _flattened,
    "Reshape": _reshaped,
    "Tile": _tiled,
}


def _where_the_images_are(shape: Extents, step: Step, count: Any) -> Apart:
    """Find the axis of the images in what has new extents, the order of its numbers as before.

    What hangs on no image is repeated for each.
    """
    data, kind, times = step.at(0), _kind(step), None
    if isinstance(data, Apart) and data.shape is not None:
        if step.node.op_type in ("Expand", "Tile"):
            axis = data.axis + len(shape) - len(data.shape)
            require(shape[axis] == data.shape[data.axis])
            return _apart(shape, kind, axis, data.each)
        # How many times over all images come in all numbers in their order.
        times = math.prod(data.shape[: data.axis]) * data.each[0]
    for axis, extent in enumerate(shape):
        if isinstance(count, Extent) != isinstance(extent, Extent):
            continue
        # Left of this axis is a whole part of these times, the rest is within it.
        left = math.prod(shape[:axis])
        over = 1 if times is None or isinstance(left, Extent) else times // left
        own = extent // count
        whole = over and own * count == extent and own % over == 0
        if whole and (times is None or over * left == times):
            return _apart(shape, kind, axis, (over, own // over))
    raise NotShownError


def _apart(shape: Extents, kind: int, axis: int, each: tuple[int, int]) -> Apart:
    others = [one for n, one in enumerate(shape) if n != axis]
    require(all(isinstance(one, int) and one > 0 for one in others))
    return Apart(tuple(shape), kind, axis=axis, each=each)

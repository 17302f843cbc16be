"""Shape inference of foreign graphs, which a graph can be made to have end the process.

onnx computes the numbers of shapes as it goes: a shape may be made of 2**28 numbers, and a step of
0 is divided by. Graphs whose shapes are of a few numbers, as those of nearly all networks are, are
known to be harmless; for all others inference happens in a child first.
"""

import math
import sys
from collections.abc import Mapping

from ...core.child import ChildError, Limits, answer_parent
from ...core.errors import BackboneError
from .budget import PLAIN
from .onnx_graph import constant_tensors, load_onnx
from .questions import ask_once
from .values import KERNELS, study
from .walk import bodies_of, find_all

LIMITS = Limits(processor_seconds=10, seconds=60.0, memory_bytes=2**30)
# Numbers that shapes are computed from, put together in one value.
MOST_NUMBERS = 2**12
_LARGEST_SIDE, _MOST_DIMENSIONS = 2**16, 8
_LEAST_KERNEL = 3
_SIDES = frozenset("strides dilations kernel_shape blocksize group num_outputs size".split())
# Only the first of their inputs is what they hand on; the others say how.
_STEERED = frozenset(
    "Reshape Resize Upsample Slice Pad Split Squeeze Unsqueeze ReduceMax ReduceMean ReduceMin "
    "ReduceSum ReduceProd ReduceL2 Transpose Cast Identity Flatten Clip".split()
)
# What is made of numbers may be of any length.
_MULTIPLIES = frozenset({"Expand", "Gather", "GatherElements", "GatherND", "Tile"})
_HANDS_ON = frozenset("Concat Add Sub Mul Div Cast Identity Squeeze Unsqueeze Neg Sum".split())
# onnx looks for as many axes as the equation of an Einsum has letters: of less common operators it
# is not known what they may do.
_COMMON = PLAIN | frozenset(
    "And ArgMax ConvTranspose Cos Or ReduceLogSumExp Shape Sin Size".split()
)
_MADE_OF_NOTHING = frozenset({"ConstantOfShape", "Range", "NonZero", "OneHot"})


def require_inferable(model, side: int, name: str) -> None:
    """Refuse a graph whose shapes cannot be inferred within limits.

    Parameters
    ----------
    model : onnx.ModelProto
        Without local functions.
    """
    if _is_harmless(model.graph):
        return
    slim = _without_numbers(model).SerializeToString()
    try:
        ask_once(__spec__.name, slim, [str(side)], LIMITS)
    except ChildError as error:
        raise BackboneError(
            f"{name}: finding out the shapes of its values {error}",
            "such a graph is not run; take another network, or export this one without "
            "computed shapes",
        ) from error


def _is_harmless(graph) -> bool:
    """Tell whether steps and sides are ordinary, and shapes are of few numbers."""
    tensors = constant_tensors(graph)
    constants = {name: tensor for name, tensor in tensors.items() if is_whole(tensor)}
    numbers = {name: math.prod(tensor.dims) for name, tensor in constants.items()}
    # Lists that are of no whole numbers; onnx hands these on, too.
    lists = {
        name: math.prod(tensor.dims)
        for name, tensor in tensors.items()
        if len(tensor.dims) < 2 and name not in constants
    }
    for node in graph.node:
        if not _stays_small(node, lists) or bodies_of(node):
            return False
        if node.domain in ("", "ai.onnx", "ai.onnx.ml") and node.op_type not in _COMMON:
            return False
        kernel = tensors.get(node.input[KERNELS[node.op_type]]) if node.op_type in KERNELS else None
        if node.op_type in KERNELS and (kernel is None or len(kernel.dims) < _LEAST_KERNEL):
            return False  # onnx looks for the sides of one that is computed in what has fewer.
        for attribute in node.attribute:
            sides = [*attribute.ints, *([attribute.i] if attribute.HasField("i") else [])]
            if attribute.name in _SIDES and not all(0 < side < _LARGEST_SIDE for side in sides):
                return False
        count = _count(node, numbers, constants)
        if count is None or count > MOST_NUMBERS:
            return False
        if count:
            numbers.update(dict.fromkeys(node.output, count))
    return True


def _stays_small(node, lists: dict[str, int]) -> bool:
    """Tell whether lists that a node puts together are of few numbers; note how long they are."""
    known = [lists[name] for name in node.input if name in lists]
    if node.op_type not in _HANDS_ON or len(known) < len(node.input) or not known:
        return True
    count = sum(known) if node.op_type == "Concat" else max(known)
    lists.update(dict.fromkeys(node.output, count))
    return node.op_type != "Concat" or count <= MOST_NUMBERS


def _count(node, numbers: Mapping[str, int], constants: Mapping[str, object]) -> int | None:
    """Return how many numbers a node's output may hold that shapes are made of; None: any."""
    if node.op_type == "Constant":
        return numbers.get(node.output[0], 0)
    if node.op_type in ("Shape", "Size"):
        return 16
    known = [numbers.get(name, 0) for name in node.input]
    if any(known) and node.op_type not in _STEERED and _is_made_of_operators(node):
        return None
    if node.op_type == "ConstantOfShape" and 0 < known[0] <= _MOST_DIMENSIONS:
        shape = constants.get(node.input[0])
        sides = None if shape is None else load_onnx().numpy_helper.to_array(shape)
        return None if sides is None else math.prod(map(int, sides.flat))
    if node.op_type in _MADE_OF_NOTHING:
        return None
    if node.op_type in _MULTIPLIES:
        taken = known[1] if node.op_type == "Gather" and len(known) > 1 else 0
        return (taken or None) if known and known[0] else 0
    return known[0] if node.op_type in _STEERED and known else sum(known)


def _is_made_of_operators(node) -> bool:
    """Tell whether onnx knows an operator as others put together, which count by themselves."""
    defs = load_onnx().defs
    if not defs.has(node.op_type, node.domain):
        return False
    schema = defs.get_schema(node.op_type, domain=node.domain)
    return schema.has_function or schema.has_context_dependent_function


def is_whole(tensor) -> bool:
    """Tell whether a tensor holds whole numbers, of which shapes are made."""
    kinds = load_onnx().TensorProto
    return tensor.data_type in (kinds.INT64, kinds.INT32)


def _without_numbers(model):
    """Return a copy in which all but whole numbers have no content: shapes do not hang on it."""
    slim = type(model)()
    slim.CopyFrom(model)
    for found in find_all(slim, "TensorProto"):
        if not is_whole(found.message):
            found.message.ClearField("raw_data")
            found.message.ClearField("float_data")
    return slim


def _infer(path: str, side: str) -> dict:
    onnx = load_onnx()
    study(onnx, onnx.load(path, load_external_data=False), int(side))
    return {}


if __name__ == "__main__":
    answer_parent(sys.argv[1:], _infer)

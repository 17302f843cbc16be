"""What a foreign graph may cost, as far as it can be told without running it."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...core.errors import BackboneError, enumerate_some
from .onnx_graph import constant_tensors, load_onnx, plain_name
from .values import constants_of
from .walk import find_all

# INT32 and INT64 of onnx, of which graphs compute shapes.
_WHOLE = (6, 7)

# NASNet-A-Large has 2,500.
MOST_NODES = 20_000
_MANY_NODES = 5_000
# What goes into and out of all nodes together; one may join any number of values.
_MANY_LINKS = 4 * _MANY_NODES
_DEEPEST_CALLS = 64
# Numbers in one value, for one image: 1,024 x 1,024 pixels of 64 channels. A batch has several.
LARGEST_VALUE = 2**26
# In all values that are needed at a time.
MOST_ALIVE = 2**28
# What depends on no image is computed before the first one, and all of it kept.
LARGEST_CONSTANTS = 2**28
# Multiplications and additions for one image; EfficientNet-L2 at 800 pixels has half of that.
MOST_OPERATIONS = 1e12
# Of constants alone; OpenVINO computes them with a loop a sum, some 10**9 a second.
_MOST_OF_CONSTANTS = 1e9
# Where little is computed, fetching and storing a number takes as long as so many of them.
_OPERATIONS_A_NUMBER = 50
# ONNX Runtime weighs sixteen numbers one by one for each.
_CUBIC = 2_000
_SMALLER = "take a smaller network, or export this one for images of fewer pixels"
# Operators whose cost hangs on nothing but the shapes of what goes in and out.
PLAIN = frozenset(
    "Abs Add AveragePool BatchNormalization Cast Ceil Celu Clip Concat Constant ConstantOfShape "
    "Conv DequantizeLinear Div Dropout Elu Equal Erf Exp Expand Flatten Floor Gather Gelu Gemm "
    "GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid "
    "HardSwish Identity InstanceNormalization LRN LayerNormalization LeakyRelu Less LessOrEqual "
    "Log LogSoftmax LpNormalization MatMul Max MaxPool Mean Min Mish Mul Neg Not Pad Pow PRelu "
    "QuantizeLinear Reciprocal ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum ReduceSumSquare Relu Reshape Resize Round Selu Shape Shrink Sigmoid Sign Slice "
    "Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh ThresholdedRelu Tile "
    "Transpose Unsqueeze Upsample Where DepthToSpace".split()
)


def require_few_nodes(model, path: Path) -> None:
    """Refuse a model of too many nodes, with its functions where they are called.

    A function may call others, so a small file may stand for any number of them.
    """
    functions = {(one.domain, one.name): one for one in model.functions}
    counts: dict[tuple[str, str], int | None] = {}

    def count(message, depth: int = 0) -> int:
        # Past the bound the exact number does not matter.
        total = 0
        for found in find_all(message, "NodeProto"):
            node = found.message
            total += 1
            if (node.domain, node.op_type) in functions:
                total += count_function((node.domain, node.op_type), depth + 1)
            if total > MOST_NODES:
                break
        return min(total, MOST_NODES + 1)

    def count_function(key: tuple[str, str], depth: int) -> int:
        if depth > _DEEPEST_CALLS:
            raise BackboneError(
                f"{path}: functions call one another more than {_DEEPEST_CALLS} levels deep",
                "export it again",
            )
        if key not in counts:
            counts[key] = None
            counts[key] = count(functions[key], depth)
        if (known := counts[key]) is None:
            raise BackboneError(f"{path}: the function '{key[1]}' calls itself", "export it again")
        return known

    if count(model.graph) > MOST_NODES:
        raise BackboneError(f"{path} has more than {MOST_NODES} nodes", _SMALLER)


def require_small_values(
    graph, shapes: Mapping[str, tuple[int, ...]], constants: frozenset[str], name: str
) -> None:
    """Refuse a graph of which a value is known to be too large.

    Parameters
    ----------
    graph : onnx.GraphProto
    shapes : mapping
        Of values, for one image; 0 stands for what is not known.
    constants : frozenset of str
        Values that depend on no image.
    """
    made = [output for node in graph.node for output in node.output]
    sizes = {value: math.prod(shapes.get(value, (0,))) for value in made}
    large = [
        value for value, size in sizes.items() if size > LARGEST_VALUE and value not in constants
    ]
    fixed = sum(size for value, size in sizes.items() if value in constants)
    if large:
        sides = " x ".join(map(str, shapes[large[0]]))
        raise BackboneError(
            f"{name}: {enumerate_some(map(plain_name, large), 3)} of one image would have more "
            f"than {LARGEST_VALUE} numbers ({sides})",
            _SMALLER,
        )
    kept = [graph.output[0].name] if graph.output else []
    alive = _most_alive(graph.node, sizes, constants, kept)
    if alive > MOST_ALIVE:
        raise BackboneError(
            f"{name} needs {alive} numbers at a time for one image, more than {MOST_ALIVE}",
            _SMALLER,
        )
    if fixed > LARGEST_CONSTANTS:
        raise BackboneError(
            f"{name} computes {fixed} numbers from constants before it sees an image, more than "
            f"{LARGEST_CONSTANTS}",
            _SMALLER,
        )


def _most_alive(nodes, sizes: Mapping[str, int], constants: frozenset[str], kept) -> int:
    """Return how many numbers are needed at a time, at least, in the order of the nodes."""
    last = {name: place for place, node in enumerate(nodes) for name in node.input}
    last |= dict.fromkeys(kept, len(nodes))
    ends: dict[int, int] = {}
    alive = most = 0
    for place, node in enumerate(nodes):
        for value in node.output:
            if value not in constants:
                alive += sizes[value]
                until = last.get(value, place)
                ends[until] = ends.get(until, 0) + sizes[value]
        most = max(most, alive)
        alive -= ends.pop(place, 0)
    return most


def is_of_known_cost(graph, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Tell whether shapes and operators show that one image takes seconds and no more."""
    cost = beforehand = 0.0
    constants = constants_of(graph)
    numbers = {name: t for name, t in constant_tensors(graph).items() if t.data_type in _WHOLE}
    links = sum(len(node.input) + len(node.output) for node in graph.node)
    if len(graph.node) > _MANY_NODES or links > _MANY_LINKS:
        return False  # An engine may take minutes to prepare them.
    for node in graph.node:
        if node.op_type not in PLAIN or node.domain not in ("", "ai.onnx"):
            return False
        if node.op_type == "Div" and _may_end_the_process(numbers.get(node.input[1])):
            return False
        sizes = []
        for output in filter(None, node.output):
            shape = shapes.get(output)
            if shape is None or 0 in shape:
                return False
            sizes.append(math.prod(shape))
        moved = sum(sizes) + sum(math.prod(shapes.get(name, ())) for name in node.input)
        computed = max(sizes, default=0) * _operations_each(node, shapes)
        cost += max(computed, moved * _OPERATIONS_A_NUMBER)
        beforehand += computed * (node.output[0] in constants)
    return cost <= MOST_OPERATIONS and beforehand <= _MOST_OF_CONSTANTS


def _may_end_the_process(divisor) -> bool:
    """Tell whether whole numbers are divided by 0, or by -1, which the smallest cannot be."""
    return divisor is not None and bool(
        np.isin(load_onnx().numpy_helper.to_array(divisor), (0, -1)).any()
    )


def _operations_each(node, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """Return how many multiplications a number of the output takes, at most."""
    inputs = [math.prod(shapes[name]) for name in node.input if shapes.get(name)]
    if node.op_type in ("Conv", "Gemm", "MatMul"):
        # Each number of the output reads no more than all weights, or all of the other side.
        weights = shapes.get(node.input[1], ())
        if not weights:
            return float(max(inputs, default=1))
        return float(math.prod(weights[1:]) if node.op_type == "Conv" else max(weights))
    if any(a.name == "mode" and a.s == b"cubic" for a in node.attribute):
        return float(_CUBIC)
    kernel = [math.prod(a.ints) for a in node.attribute if a.name == "kernel_shape"]
    size = [a.i for a in node.attribute if a.name == "size"]  # of LRN
    return float(max([1, *kernel, *size]))

"""What a graph costs for one image: parameters and multiply-adds, counted and not measured."""

import dataclasses
import math
from collections.abc import Mapping

from .inference import is_whole, require_inferable
from .onnx_graph import constant_tensors, load_evaluator, load_onnx
from .values import study

# Mean and std of pixels, and what else has a number for each colour, are not trained.
_SMALLEST = 4
# Numbers in a setting such as pads or sizes.
_LARGEST_SETTING = 64
# Inputs of an operator that hold trained numbers; of batch normalisation the statistics do not.
_TRAINED = {"BatchNormalization": (1, 2), "InstanceNormalization": (1, 2)}
# Operators whose results have no more numbers than what goes into them.
_SETTINGS = frozenset(
    "Add Cast Ceil Concat Constant Div Floor Gather Identity Mod Mul Neg Reshape Shape Slice "
    "Squeeze Sub Transpose Unsqueeze".split()
)
_NEVER = frozenset("Reshape Gather Slice Pad Resize Tile Expand Clip Where Unsqueeze".split())


@dataclasses.dataclass(frozen=True)
class GraphCost:
    """The cost of a graph.

    Attributes
    ----------
    parameters : int
        Trained numbers.
    multiply_adds : int or None
        Of convolutions and matrix products, for one image; None where shapes are not known.
    """

    parameters: int
    multiply_adds: int | None


def graph_cost(model, side: int) -> GraphCost:
    """Count what a graph costs.

    Parameters
    ----------
    model : onnx.ModelProto or bytes
        From images to features.
    side : int
        Of the square images, where the graph leaves it open.
    """
    onnx = load_onnx()
    if isinstance(model, bytes):
        model = onnx.load_from_string(model)
        _forget_weights(model)
    return GraphCost(_parameters(onnx, model), _multiply_adds(onnx, model, side))


def _forget_weights(model) -> None:
    """Take the numbers out of what is trained, in place: each study of a model copies it."""
    for tensor in model.graph.initializer:
        if not is_whole(tensor) and math.prod(tensor.dims) > _LARGEST_SETTING:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")


def _parameters(onnx, model) -> int:
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16,
             onnx.TensorProto.DOUBLE, onnx.TensorProto.INT8, onnx.TensorProto.UINT8)  # fmt: skip
    sizes = {
        name: math.prod(tensor.dims)
        for name, tensor in constant_tensors(model.graph).items()
        if tensor.data_type in kinds
    }
    used: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in _NEVER:
            places = _TRAINED.get(node.op_type, range(len(node.input)))
            used.update(node.input[at] for at in places if at < len(node.input))
    return sum(size for name, size in sizes.items() if name in used and size >= _SMALLEST)


def _multiply_adds(onnx, model, side: int) -> int | None:
    require_inferable(model, side, "the graph")
    shapes = study(onnx, _with_settings_known(onnx, model), side).shapes
    total = 0
    for node in model.graph.node:
        count = _COUNTED.get(node.op_type)
        if count is not None:
            found = count(node, shapes)
            if found is None:
                return None
            total += found
    return total


def _is_small(node, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Tell whether a constant is a setting, made by an operator that makes nothing large.

    It is computed then, so a size that is not known counts as too large: what is put together
    with itself forty times has 2**40 numbers.
    """
    if node.op_type not in _SETTINGS and node.op_type != "ConstantOfShape":
        return False
    found = [shapes.get(name) for name in node.output]
    return all(
        shape is not None and 0 not in shape and math.prod(shape) <= _LARGEST_SETTING
        for shape in found
    )


def _with_settings_known(onnx, model):
    """Return a model whose small constants (pads, sizes) are numbers, not sums to be done.

    Shape inference does not work them all out, and then knows no shape that comes after.
    """
    known = study(onnx, model, None)
    beyond = {t.name for t in model.graph.initializer if math.prod(t.dims) > _LARGEST_SETTING}
    fixed = []
    for node in model.graph.node:
        if not known.constants.issuperset(node.output):
            continue
        if _is_small(node, known.shapes) and not beyond.intersection(node.input):
            fixed.append(node)
        else:
            beyond.update(node.output)
    if not fixed:
        return model
    made = {output for node in fixed for output in node.output if output}
    wanted = {i for node in model.graph.node if node not in fixed for i in node.input} & made
    weights = [t for t in model.graph.initializer if t.name not in beyond]
    outputs = [onnx.ValueInfoProto(name=name) for name in sorted(wanted)]
    part = onnx.helper.make_graph(fixed, "settings", [], outputs, weights)
    alone = onnx.helper.make_model(part, opset_imports=model.opset_import)
    try:
        values = load_evaluator()(alone).run(None, {})
    except Exception:  # what it does not know; then less is known
        return model
    settled = onnx.ModelProto()
    settled.CopyFrom(model)
    kept = [node for node in settled.graph.node if not made.intersection(node.output)]
    del settled.graph.node[:]
    settled.graph.node.extend(kept)
    settled.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in zip(sorted(wanted), values)
    )
    return settled


def _convolution(node, shapes: Mapping[str, tuple[int, ...]], weights: int = 1) -> int | None:
    kernel, output = shapes.get(node.input[weights]), shapes.get(node.output[0])
    return _known(kernel, output and output[2:])


def _transposed(node, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    source = shapes.get(node.input[0])
    return _known(shapes.get(node.input[1]), source and source[2:])


def _product(node, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Count a matrix product: each number of the output takes a line of the left side."""
    left, output = shapes.get(node.input[0]), shapes.get(node.output[0])
    turned = any(a.name == "transA" and a.i for a in node.attribute)
    return _known(output, left and (left[0] if turned else left[-1],))


def _known(*shapes) -> int | None:
    if any(shape is None or 0 in shape for shape in shapes):
        return None
    return math.prod(math.prod(shape) for shape in shapes)


_COUNTED = {
    "Conv": _convolution,
    "ConvInteger": _convolution,
    "QLinearConv": lambda node, shapes: _convolution(node, shapes, 3),
    "ConvTranspose": _transposed,
    "Gemm": _product,
    "MatMul": _product,
    "MatMulInteger": _product,
}

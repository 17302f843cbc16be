"""What is known of the values in a graph before it runs: shapes, types, constants, layouts."""

import dataclasses
from collections.abc import Mapping

from .onnx_graph import constant_tensors
from .walk import bodies_of

# They give another number each time, or hold state.
NOT_CONSTANT = frozenset(
    "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli".split()
)
_KEEP_LAYOUT = frozenset(
    "Abs Add AveragePool BatchNormalization Cast Ceil Celu Clip Conv DequantizeLinear Div Dropout "
    "Elu Erf Exp Gelu GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity "
    "InstanceNormalization LRN LeakyRelu Log Max MaxPool Mean Min Mish Mul Neg PRelu Pow "
    "QuantizeLinear Relu Resize Selu Sigmoid Softplus Sqrt Sub Sum Tanh Concat".split()
)
_NCHW_ONLY = frozenset("AveragePool Conv GlobalAveragePool GlobalMaxPool MaxPool LRN".split())
# Convolutions, and which of their inputs is the kernel.
KERNELS = {"Conv": 1, "ConvInteger": 1, "ConvTranspose": 1, "DeformConv": 1, "QLinearConv": 3}
FIRST, LAST = "channels first", "channels last"


@dataclasses.dataclass(frozen=True)
class Values:
    """The values of a graph.

    Attributes
    ----------
    shapes : mapping of str to tuple of int
        For one image; 0 stands for an extent that is not known. What is missing is not known.
    types : mapping of str to int
        ``onnx.TensorProto.DataType``.
    constants : frozenset of str
        What depends on no image, and is the same in every run.
    layouts : mapping of str to str
        `FIRST` or `LAST`, of values that have a height and width and come from a convolution.
    """

    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, int]
    constants: frozenset[str]
    layouts: Mapping[str, str]


def study(onnx, model, resolution: int | None) -> Values:
    """Find out what can be known without running a model.

    Parameters
    ----------
    model : onnx.ModelProto
        With one input, and without weights among its inputs.
    resolution : int or None
        Side of the square input, where the graph leaves it open.
    """
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    fix_input(sized.graph.input[0].type.tensor_type, resolution)
    try:
        inferred = infer_shapes(onnx, sized).graph
    except MemoryError:
        raise
    except Exception:  # Its exceptions share no base; without shapes much still works.
        inferred = sized.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for value in [*inferred.value_info, *inferred.output, *inferred.input]:
        kind = value.type.tensor_type
        types[value.name] = kind.elem_type
        if kind.HasField("shape"):
            shapes[value.name] = tuple(d.dim_value for d in kind.shape.dim)
    return Values(shapes, types, constants_of(model.graph), _layouts(model.graph))


def infer_shapes(onnx, model, strict: bool = False):
    """Infer the shapes of a model, which may be changed, so that no convolution ends the process.

    Where a convolution does not state its kernel's sides, onnx takes them from the weights, and
    looks for as many in its input, which may have fewer.
    """
    weights = constant_tensors(model.graph)
    for node in model.graph.node:
        at = KERNELS.get(node.op_type, len(node.input))
        kernel = node.input[at] if at < len(node.input) else ""
        if kernel in weights and not any(a.name == "kernel_shape" for a in node.attribute):
            node.attribute.append(
                onnx.helper.make_attribute(
                    "kernel_shape", weights[kernel].dims[2:], attr_type=onnx.AttributeProto.INTS
                )
            )
    return onnx.shape_inference.infer_shapes(model, strict_mode=strict, data_prop=True)


def fix_input(kind, resolution: int | None, batch: int = 1) -> None:
    """Give the extents that a network's input leaves open those of square colour images."""
    extents = kind.shape.dim
    if len(extents) == 4:
        extents[0].dim_value = batch
        last = extents[3].dim_value == 3 and extents[1].dim_value != 3
        for number, extent in enumerate(extents):
            if not extent.dim_value and resolution:
                extent.dim_value = 3 if number == (3 if last else 1) else resolution


def constants_of(graph) -> frozenset[str]:
    """Return the names of values that depend on no image, and are the same in every run."""
    known = {tensor.name for tensor in graph.initializer}
    known |= {sparse.values.name for sparse in graph.sparse_initializer}
    for node in graph.node:
        fixed = all(name in known or not name for name in node.input)
        if fixed and not bodies_of(node) and node.op_type not in NOT_CONSTANT:
            known.update(node.output)
    return frozenset(known)


def _layouts(graph) -> dict[str, str]:
    """Follow where the channels are, from convolutions through what leaves them in place."""
    found: dict[str, str] = {}
    for node in graph.node:
        before = next((found[name] for name in node.input if name in found), None)
        if node.op_type in _NCHW_ONLY:
            layout = FIRST
        elif node.op_type == "Transpose":
            order = next((tuple(a.ints) for a in node.attribute if a.name == "perm"), ())
            turned = {(0, 2, 3, 1): LAST, (0, 3, 1, 2): FIRST}
            layout = turned.get(order)
        else:
            layout = before if node.op_type in _KEEP_LAYOUT else None
        if node.op_type == "MatMul" and before == LAST:
            layout = LAST
        if layout:
            found[node.output[0]] = layout
    return found

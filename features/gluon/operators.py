"""What MXNet's operators are in ONNX: one function for each kind.

Known are those of both Gluon zoos' classifiers, and what networks like them are made
of. An operator is not translated where the two would compute different things. No shape
is needed: a graph stays good for every size of the images.
"""

import ast
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.errors import BackboneError
from .graph_writer import GraphWriter, SymbolNode

OPERATORS: dict[str, Callable[[GraphWriter, SymbolNode], None]] = {}


def translate(writer: GraphWriter, node: SymbolNode) -> None:
    """Write the ONNX nodes that compute what `node` computes.

    Raises
    ------
    BackboneError
        The operator, or a setting of it, has no translation.
    """
    if node.op not in OPERATORS:
        raise _untranslated(node, "the operator is not known")
    try:
        OPERATORS[node.op](writer, node)
    except (ValueError, SyntaxError, TypeError, IndexError) as error:
        raise _untranslated(node, f"its settings are not understood ({error})") from error


def _untranslated(node: SymbolNode, why: str) -> BackboneError:
    return BackboneError(
        f"'{node.name[:60]}' ({node.op[:40]}) cannot be written as ONNX: {why}",
        "turn the network into ONNX yourself (mxnet.onnx.export_model) and use onnx:FILE",
    )


def _operator(*names: str):
    def register(function):
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


def _same(names: dict[str, str]) -> None:
    """Register operators that ONNX has under another name, with no settings."""

    def writing(kind: str):
        return lambda writer, node: writer.node(kind, node.inputs, node.name)

    OPERATORS.update({ours: writing(theirs) for ours, theirs in names.items()})


_same(
    {
        **dict.fromkeys(
            ("elemwise_add", "_plus", "_add", "broadcast_add", "broadcast_plus"), "Add"
        ),
        **dict.fromkeys(("elemwise_sub", "_sub", "_minus", "broadcast_sub"), "Sub"),
        **dict.fromkeys(("elemwise_mul", "_mul", "broadcast_mul"), "Mul"),
        **dict.fromkeys(("elemwise_div", "_div", "broadcast_div"), "Div"),
        **dict.fromkeys(("_copy", "identity", "BlockGrad"), "Identity"),
        "add_n": "Sum",
        "relu": "Relu",
        "sigmoid": "Sigmoid",
        "tanh": "Tanh",
        "sqrt": "Sqrt",
        "exp": "Exp",
        "log": "Log",
        "abs": "Abs",
    }
)
_ACTIVATIONS = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softrelu": "Softplus",
    "softsign": "Softsign",
}
_SCALARS = {
    "_plus_scalar": ("Add", False),
    "_minus_scalar": ("Sub", False),
    "_rminus_scalar": ("Sub", True),
    "_mul_scalar": ("Mul", False),
    "_div_scalar": ("Div", False),
    "_rdiv_scalar": ("Div", True),
    "_power_scalar": ("Pow", False),
    "_maximum_scalar": ("Max", False),
}


@_operator(*_SCALARS)
def _scalar(writer: GraphWriter, node: SymbolNode) -> None:
    kind, reversed_ = _SCALARS[node.op]
    number = writer.constant(np.float32(node.number("scalar")))
    inputs = [number, node.inputs[0]] if reversed_ else [node.inputs[0], number]
    writer.node(kind, inputs, node.name)


@_operator("Convolution")
def _convolution(writer: GraphWriter, node: SymbolNode) -> None:
    rank = len(kernel := node.numbers("kernel"))
    _require(rank == 2 and node.text("layout", "NCHW") in ("NCHW", "None"), "a layout or rank")
    writer.node(
        "Conv",
        node.inputs[: 2 if node.flag("no_bias") else 3],
        node.name,
        kernel_shape=kernel,
        strides=node.numbers("stride") or (1,) * rank,
        dilations=node.numbers("dilate") or (1,) * rank,
        pads=(node.numbers("pad") or (0,) * rank) * 2,
        group=int(node.number("num_group", 1)),
    )


@_operator("FullyConnected")
def _fully_connected(writer: GraphWriter, node: SymbolNode) -> None:
    _require(node.flag("flatten", True), "flatten=False")
    rows = writer.node("Flatten", node.inputs[:1], rank=2, axis=1)
    inputs = [rows, *node.inputs[1 : 2 if node.flag("no_bias") else 3]]
    writer.node("Gemm", inputs, node.name, transB=1)


@_operator("Dropout")
def _dropout(writer: GraphWriter, node: SymbolNode) -> None:
    _require(node.text("mode", "training") == "training", "a mode that drops at random in use")
    writer.node("Identity", node.inputs[:1], node.name)


@_operator("BatchNorm")
def _batch_norm(writer: GraphWriter, node: SymbolNode) -> None:
    _require(node.number("axis", 1) == 1, "another axis than 1")
    if node.flag("fix_gamma", True):
        # The stored gamma does not count; MXNet's own exporter overlooks that.
        writer.fix_to_one(node.inputs[1])
    writer.node("BatchNormalization", node.inputs[:5], node.name, epsilon=node.number("eps", 1e-3))


@_operator("Activation")
def _activation(writer: GraphWriter, node: SymbolNode) -> None:
    kind = node.text("act_type")
    _require(kind in _ACTIVATIONS, f"act_type={kind}")
    writer.node(_ACTIVATIONS[kind], node.inputs, node.name)


@_operator("LeakyReLU")
def _leaky_relu(writer: GraphWriter, node: SymbolNode) -> None:
    kind = node.text("act_type", "leaky")
    if kind == "prelu":
        axes = writer.constant(np.array([1, 2], np.int64))
        slope = writer.node("Unsqueeze", [node.inputs[1], axes])
        writer.node("PRelu", [node.inputs[0], slope], node.name)
        return
    kinds = {"leaky": "LeakyRelu", "elu": "Elu"}
    _require(kind in kinds, f"act_type={kind}")
    writer.node(kinds[kind], node.inputs[:1], node.name, alpha=node.number("slope", 0.25))


@_operator("clip")
def _clip(writer: GraphWriter, node: SymbolNode) -> None:
    limits = [writer.constant(np.float32(node.number(key))) for key in ("a_min", "a_max")]
    writer.node("Clip", [node.inputs[0], *limits], node.name)


@_operator("Pooling")
def _pooling(writer: GraphWriter, node: SymbolNode) -> None:
    kind, data = node.text("pool_type", "max"), node.inputs[:1]
    known = kind in ("max", "avg") and node.text("layout", "NCHW") in ("NCHW", "None")
    _require(known, f"pool_type={kind}, or a layout other than NCHW")
    if node.flag("global_pool"):
        writer.node({"max": "GlobalMaxPool", "avg": "GlobalAveragePool"}[kind], data, node.name)
        return
    kernel, pad = node.numbers("kernel"), node.numbers("pad") or (0, 0)
    convention = node.text("pooling_convention", "valid")
    _require(len(kernel) == 2 and convention in ("valid", "full"), "a rank or convention")
    settings: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": node.numbers("stride") or (1, 1),
        "pads": pad * 2,
        "ceil_mode": int(convention == "full"),
    }
    if kind == "max":
        writer.node("MaxPool", data, node.name, **settings)
        return
    border = node.flag("count_include_pad", True) and any(pad)
    # Where the last window reaches over the border, ONNX would divide by all of it.
    _require(not (border and convention == "full"), "an average that counts a border, rounded up")
    writer.node("AveragePool", data, node.name, count_include_pad=int(border), **settings)


@_operator("_contrib_AdaptiveAvgPooling2D")
def _adaptive_pooling(writer: GraphWriter, node: SymbolNode) -> None:
    _require(set(node.numbers("output_size", (1,))) == {1}, "an output_size other than 1")
    writer.node("GlobalAveragePool", node.inputs, node.name)


@_operator("Flatten")
def _flatten(writer: GraphWriter, node: SymbolNode) -> None:
    writer.node("Flatten", node.inputs, node.name, rank=2, axis=1)


@_operator("Concat", "concat")
def _concat(writer: GraphWriter, node: SymbolNode) -> None:
    writer.node("Concat", node.inputs, node.name, axis=int(node.number("dim", 1)))


@_operator("SliceChannel", "split")
def _split(writer: GraphWriter, node: SymbolNode) -> None:
    _require(not node.flag("squeeze_axis"), "squeeze_axis")
    outputs = node.outputs(int(node.number("num_outputs")))
    writer.node("Split", node.inputs, *outputs, axis=int(node.number("axis", 1)))


@_operator("Reshape")
def _reshape(writer: GraphWriter, node: SymbolNode) -> None:
    _require(not node.flag("reverse"), "reverse")
    codes = list(node.numbers("shape"))
    shape: list[int] = []
    source, rest = 0, False  # the axis of the input that the next code speaks of
    while codes:
        code = codes.pop(0)
        _require(not rest and (code != 0 or source == len(shape)), f"shape={node.text('shape')}")
        if code == -2:  # all axes that are left
            rest = True
        elif code == -3:  # two axes become one
            shape.append(-1)
            source += 2
        elif code == -4:  # one axis becomes two
            shape += [codes.pop(0), codes.pop(0)]
            source += 1
        else:
            shape.append(code)
            source += 1
    _require(shape.count(-1) <= 1, f"shape={node.text('shape')}")
    target = writer.constant(np.array(shape, np.int64))
    if rest:
        whole = writer.node("Shape", node.inputs[:1])
        bounds = [
            writer.constant(np.array([n], np.int64)) for n in (source, np.iinfo(np.int64).max)
        ]
        target = writer.node("Concat", [target, writer.node("Slice", [whole, *bounds])], axis=0)
    rank = len(shape) + (writer.rank(node.inputs[0]) - source if rest else 0)
    writer.node("Reshape", [node.inputs[0], target], node.name, rank=rank)


@_operator("reshape_like")
def _reshape_like(writer: GraphWriter, node: SymbolNode) -> None:
    _require(not {"lhs_begin", "lhs_end", "rhs_begin", "rhs_end"} & set(node.attrs), "a part")
    shape = writer.node("Shape", node.inputs[1:2])
    writer.node("Reshape", [node.inputs[0], shape], node.name, rank=writer.rank(node.inputs[1]))


@_operator("expand_dims")
def _expand_dims(writer: GraphWriter, node: SymbolNode) -> None:
    axis = writer.constant(np.array([int(node.number("axis"))], np.int64))
    rank = writer.rank(node.inputs[0]) + 1
    writer.node("Unsqueeze", [node.inputs[0], axis], node.name, rank=rank)


@_operator("squeeze")
def _squeeze(writer: GraphWriter, node: SymbolNode) -> None:
    axes = node.numbers("axis")
    _require(None not in axes and bool(axes), "all axes")
    named = writer.constant(np.array(axes, np.int64))
    rank = writer.rank(node.inputs[0]) - len(axes)
    writer.node("Squeeze", [node.inputs[0], named], node.name, rank=rank)


@_operator("transpose")
def _transpose(writer: GraphWriter, node: SymbolNode) -> None:
    writer.node("Transpose", node.inputs, node.name, perm=node.numbers("axes"))


@_operator("SwapAxis")
def _swap_axes(writer: GraphWriter, node: SymbolNode) -> None:
    axes = list(range(writer.rank(node.inputs[0])))
    one, other = (int(node.number(key, 0)) for key in ("dim1", "dim2"))
    axes[one], axes[other] = axes[other], axes[one]
    writer.node("Transpose", node.inputs, node.name, perm=axes)


@_operator("slice")
def _slice(writer: GraphWriter, node: SymbolNode) -> None:
    _require(not any(node.numbers("step")), "step")
    begin = [n or 0 for n in node.numbers("begin")]
    end = [np.iinfo(np.int64).max if n is None else n for n in node.numbers("end")]
    _write_slice(writer, node, begin, end, range(len(begin)))


@_operator("slice_axis")
def _slice_axis(writer: GraphWriter, node: SymbolNode) -> None:
    end = ast.literal_eval(node.text("end", "None"))
    end = np.iinfo(np.int64).max if end is None else end
    _write_slice(writer, node, [node.number("begin")], [end], [node.number("axis")])


def _write_slice(writer: GraphWriter, node: SymbolNode, *bounds) -> None:
    named = [writer.constant(np.array([int(n) for n in one], np.int64)) for one in bounds]
    writer.node("Slice", [node.inputs[0], *named], node.name)


@_operator("sum", "mean")
def _reduce(writer: GraphWriter, node: SymbolNode) -> None:
    axes, keep = node.numbers("axis"), int(node.flag("keepdims"))
    _require(bool(axes) and None not in axes and not node.flag("exclude"), "all axes, or exclude")
    rank = writer.rank(node.inputs[0]) - (0 if keep else len(axes))
    if node.op == "mean":
        writer.node("ReduceMean", node.inputs, node.name, rank=rank, axes=axes, keepdims=keep)
        return
    named = writer.constant(np.array(axes, np.int64))
    writer.node("ReduceSum", [*node.inputs, named], node.name, rank=rank, keepdims=keep)


@_operator("softmax", "SoftmaxActivation", "SoftmaxOutput", "log_softmax")
def _softmax(writer: GraphWriter, node: SymbolNode) -> None:
    _require(
        node.text("temperature", "None") == "None" and not node.flag("use_length"), "temperature"
    )
    default = -1 if node.op in ("softmax", "log_softmax") else 1
    kind = "LogSoftmax" if node.op == "log_softmax" else "Softmax"
    writer.node(kind, node.inputs[:1], node.name, axis=int(node.number("axis", default)))


@_operator("LRN")
def _local_response(writer: GraphWriter, node: SymbolNode) -> None:
    writer.node(
        "LRN",
        node.inputs,
        node.name,
        alpha=node.number("alpha", 1e-4),
        beta=node.number("beta", 0.75),
        bias=node.number("knorm", 2),
        size=int(node.number("nsize")),
    )


@_operator("square")
def _square(writer: GraphWriter, node: SymbolNode) -> None:
    writer.node("Mul", node.inputs * 2, node.name)


@_operator("ones_like")
def _ones_like(writer: GraphWriter, node: SymbolNode) -> None:
    shape = writer.node("Shape", node.inputs)
    writer.node("ConstantOfShape", [shape], node.name, value=np.ones(1, np.float32))


@_operator("Pad")
def _pad(writer: GraphWriter, node: SymbolNode) -> None:
    mode, widths = node.text("mode"), node.numbers("pad_width")
    _require(mode in ("constant", "edge", "reflect"), f"mode={mode}")
    pads = writer.constant(np.array([*widths[::2], *widths[1::2]], np.int64))
    value = writer.constant(np.float32(node.number("constant_value", 0)))
    writer.node("Pad", [node.inputs[0], pads, value], node.name, mode=mode)


@_operator("UpSampling")
def _up_sampling(writer: GraphWriter, node: SymbolNode) -> None:
    _require(node.text("sample_type") == "nearest" and len(node.inputs) == 1, "sample_type")
    scale = node.number("scale")
    scales = writer.constant(np.array([1, 1, scale, scale], np.float32))
    writer.node(
        "Resize",
        [node.inputs[0], "", scales],
        node.name,
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )


@_operator("_contrib_BilinearResize2D")
def _bilinear_resize(writer: GraphWriter, node: SymbolNode) -> None:
    _require(
        node.text("mode", "size") == "size" and "scale_height" not in node.attrs, "another mode"
    )
    sides = np.array([node.number("height"), node.number("width")], np.int64)
    whole = writer.node("Shape", node.inputs[:1])
    bounds = [writer.constant(np.array([n], np.int64)) for n in (0, 2)]
    first = writer.node("Slice", [whole, *bounds])
    sizes = writer.node("Concat", [first, writer.constant(sides)], axis=0)
    corners = "align_corners" if node.flag("align_corners", True) else "half_pixel"
    writer.node(
        "Resize",
        [node.inputs[0], "", "", sizes],
        node.name,
        mode="linear",
        coordinate_transformation_mode=corners,
    )


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)

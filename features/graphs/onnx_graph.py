"""Read, cut and complete ONNX graphs: uint8 images in, feature rows out.

Works on the graph alone: no framework that made it is needed. Files come from
strangers, so their size is bounded, and tensors that point to other files are
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...core.errors import BackboneError, MissingFileError
from ...core.imports import missing_dependency
from ..records.layer import (
    BEFORE_CLASSIFIER,
    GEM_EPSILON,
    GEM_POWER,
    Layer,
    no_such_layer,
    nothing_to_pool,
)

__all__ = [
    "add_normalisation",
    "cut_classifier",
    "drop_weights_from_inputs",
    "filled_graph",
    "layers_of",
    "parameters_of",
    "read_graph",
]

IMAGES, FEATURES = "images", "features"
_THEIRS = "net_"  # goes before each name that the file brought
LARGEST_FILE = 2**31 - 1  # protobuf can hold no more
_PASSED_ON_THE_WAY_BACK = frozenset(
    "Softmax LogSoftmax Sigmoid Identity Flatten Squeeze Reshape Cast Dropout Add Mul Div "
    "GlobalAveragePool ReduceMean AveragePool Relu".split()
)
_PASSED_BEFORE_THE_POOL = frozenset("Flatten Squeeze Reshape Dropout Identity Cast".split())


def load_onnx():
    """Import ``onnx``, or say what to install."""
    try:
        import onnx
    except ImportError as error:
        raise missing_dependency("onnx", error) from error
    return onnx


def read_graph(path: Path):
    """Read an ONNX model.

    Raises
    ------
    MissingFileError, BackboneError
    """
    onnx = load_onnx()
    if not path.is_file():
        raise MissingFileError(f"{path} is not there", "check the path of the ONNX file")
    if path.stat().st_size > LARGEST_FILE:
        raise BackboneError(f"{path} is larger than 2 GiB", "such a file cannot be a valid ONNX")
    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and the checker raise many kinds
        raise BackboneError(
            f"{path} is not a valid ONNX model ({type(error).__name__}: "
            f"{str(error).splitlines()[0][:120] if str(error) else 'no detail'})",
            "get or export the file again",
        ) from error
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise BackboneError(
            f"{path} keeps its weights in other files",
            "save it as one file: onnx.save(model, path, save_as_external_data=False)",
        )
    return model


def drop_weights_from_inputs(model) -> None:
    """Remove initializers from the graph's inputs, in place.

    Listed there they could be overridden by a caller, so ONNX Runtime could
    not fold them, and would run at half its speed.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def cut_classifier(
    model,
    name: str = "the model",
    layer: Layer = BEFORE_CLASSIFIER,
    resolution: int | None = None,
) -> int:
    """Cut the graph, in place, at its classifier's data input, or at a named layer.

    The way back from the first output leads through softmax, reshapes and the
    like to the last Gemm, MatMul or Conv with constant weights. Features that
    still have a height and width are pooled over them.

    Parameters
    ----------
    model : onnx.ModelProto
    name : str
        For messages.
    layer : Layer
        Its name is that of a node or of a node's output.
    resolution : int, optional
        Side of the square input, where the graph leaves it open.

    Returns
    -------
    int
        Length D of a feature row; the graph's only output is then ``features`` (N, D).

    Raises
    ------
    BackboneError
        No such layer is there, there is nothing to pool, or the graph has not exactly
        one image input.
    """
    onnx = load_onnx()
    drop_weights_from_inputs(model)
    # Our own names go into the graph: what is there gets others first.
    model.CopyFrom(onnx.compose.add_prefix(model, _THEIRS))
    graph = model.graph
    if len(graph.input) != 1:
        raise BackboneError(
            f"{name} has {len(graph.input)} inputs: {', '.join(i.name for i in graph.input)}",
            "a backbone takes images and nothing else",
        )
    shapes = _shapes(onnx, model, resolution)
    if layer.name is None:
        features, width, is_map = _before_classifier(graph, shapes, name)
    else:
        features = _named_output(graph, layer.name, name)
        shape = shapes.get(features, ())
        if len(shape) not in (2, 4) or shape[1] < 1:
            raise nothing_to_pool(name, layer, shape)
        width, is_map = shape[1], len(shape) == 4
    if layer.pool != "avg":
        shape = shapes.get(features, ())
        if not is_map or tuple(shape[2:]) == (1, 1):
            features, is_map = _map_before(graph, features) if layer.name is None else None, True
        if features is None:
            raise nothing_to_pool(name, layer, shape)
    del graph.output[:]
    if is_map:
        _add_pool(onnx, graph, features, layer.pool)
    else:
        graph.node.append(onnx.helper.make_node("Flatten", [features], [FEATURES], axis=1))
    graph.output.append(
        onnx.helper.make_tensor_value_info(FEATURES, onnx.TensorProto.FLOAT, ["N", width])
    )
    _prune(graph)
    return width


def parameters_of(model, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the parameters that a graph needs, by the names that they had before a cut.

    Parameters
    ----------
    model : onnx.ModelProto
        Of its initializers, those with a shape and no data are parameters; others among
        `values` keep the data that they have.
    values : mapping of str to ndarray of float32
        There may be more.
    """
    onnx, found = load_onnx(), {}
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix(_THEIRS)
        if name in values:
            is_set = tensor.HasField("raw_data")
            found[name] = onnx.numpy_helper.to_array(tensor) if is_set else values[name]
    return found


def filled_graph(model, values: Mapping[str, np.ndarray]) -> bytes:
    """Return a graph as a file's bytes, its parameters with the values of `parameters_of`.

    Notes
    -----
    Protobuf merges messages that follow each other. So the graph is written without its
    parameters, and they behind it straight from the arrays: a copy of them in the model
    and another on the way out would take most of a network's start.
    """
    bare = load_onnx().ModelProto()
    bare.CopyFrom(model)
    del bare.graph.initializer[:]
    tensors: list[bytes | memoryview] = []
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix(_THEIRS)
        content: list[bytes | memoryview] = [tensor.SerializeToString()]
        if name in values and not tensor.HasField("raw_data"):
            raw = np.ascontiguousarray(values[name], "<f4").data.cast("B")
            content += [_field(_RAW_DATA, raw.nbytes), raw]
        tensors += [_field(_INITIALIZER, sum(map(len, content))), *content]
    return b"".join([bare.SerializeToString(), _field(_GRAPH, sum(map(len, tensors))), *tensors])


# Numbers of the fields of ModelProto, GraphProto and TensorProto.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9


def _field(number: int, length: int) -> bytes:
    """Return what goes before a field of that many bytes in a protobuf message."""
    return _varint(number << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def add_normalisation(model, resolution: int, mean, std) -> None:
    """Put in front of the graph, in place, what turns uint8 images into its input.

    Parameters
    ----------
    model : onnx.ModelProto
        Takes (N, 3, R, R) float32.
    resolution : int
        R.
    mean, std : sequence of 3 floats
        Of RGB values scaled to [0, 1].

    Notes
    -----
    Afterwards the input is ``images``, uint8 of shape (N, R, R, 3).
    """
    onnx = load_onnx()
    graph, helper = model.graph, onnx.helper
    old = graph.input[0].name
    shift = np.asarray(mean, np.float64) * 255
    scale = 1 / (np.asarray(std, np.float64) * 255)
    for label, values in (("icecore_shift", shift), ("icecore_scale", scale)):
        tensor = onnx.numpy_helper.from_array(
            values.astype(np.float32).reshape(1, 3, 1, 1), name=label
        )
        graph.initializer.append(tensor)
    nodes = [
        helper.make_node("Transpose", [IMAGES], ["icecore_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["icecore_nchw"], ["icecore_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["icecore_float", "icecore_shift"], ["icecore_centred"]),
        helper.make_node("Mul", ["icecore_centred", "icecore_scale"], [old]),
    ]
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes + kept)
    del graph.input[:]
    graph.input.append(
        helper.make_tensor_value_info(
            IMAGES, onnx.TensorProto.UINT8, ["N", resolution, resolution, 3]
        )
    )


def _find_classifier(graph, weights: dict):
    producers = {output: node for node in graph.node for output in node.output}
    images = {value.name for value in graph.input}
    node = producers.get(graph.output[0].name)
    while node is not None:
        if node.op_type in ("Gemm", "MatMul", "Conv"):
            return node if _is_classifier(node, weights) else None
        if node.op_type not in _PASSED_ON_THE_WAY_BACK:
            return None
        # Of an addition, one side may be the bias; two sides of data are a residual sum, and
        # no classifier ends in one.
        data = [
            name
            for name in node.input
            if name in images or (name in producers and producers[name].op_type != "Constant")
        ]
        if node.op_type == "Reshape":
            data = data[:1]  # the other input is the shape, which may be computed
        node = producers.get(data[0]) if len(data) == 1 else None
    return None


def _is_classifier(node, weights: dict) -> bool:
    if node.input[1] not in weights:
        return False
    # As a convolution a classifier looks at one place at a time.
    return node.op_type != "Conv" or all(n == 1 for n in weights[node.input[1]].dims[2:])


def _input_width(layer, weights: dict) -> int:
    shape = weights[layer.input[1]].dims
    if layer.op_type == "Conv":
        return int(shape[1])
    transposed = any(a.name == "transB" and a.i for a in layer.attribute)
    return int(shape[1] if transposed else shape[0])


def _before_classifier(graph, shapes: dict, name: str) -> tuple[str, int, bool]:
    """Return the classifier's input, its width, and whether it has a height and width."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    classifier = _find_classifier(graph, weights)
    if classifier is None:
        raise BackboneError(
            f"{name} has no classifier layer (Gemm, MatMul or Conv with constant weights) at "
            "its end",
            "give a classifier, or name the layer to use with --layer; "
            f"'icecore backbones --layers {name}' lists them",
        )
    features = classifier.input[0]
    is_map = classifier.op_type == "Conv" or len(shapes.get(features, ())) == 4
    return features, _input_width(classifier, weights), is_map


def _named_output(graph, wanted: str, name: str) -> str:
    """Find a layer by the name of its node or of its output, as the file has it."""
    names = {}
    for node in graph.node:
        for one in (node.name, node.output[0]):
            names.setdefault(one.removeprefix(_THEIRS), node.output[0])
    if wanted not in names:
        raise no_such_layer(name, wanted, [one for one in names if one])
    return names[wanted]


def _map_before(graph, features: str) -> str | None:
    """Return the map that an average over height and width before `features` reads."""
    producers = {output: node for node in graph.node for output in node.output}
    node = producers.get(features)
    while node is not None and node.op_type in _PASSED_BEFORE_THE_POOL:
        node = producers.get(node.input[0])
    if node is not None and node.op_type == "GlobalAveragePool":
        return node.input[0]
    if node is not None and node.op_type == "ReduceMean":
        axes = [list(a.ints) for a in node.attribute if a.name == "axes"]
        constants = {t.name: t for t in graph.initializer}
        if len(node.input) > 1 and node.input[1] in constants:
            axes = [load_onnx().numpy_helper.to_array(constants[node.input[1]]).tolist()]
        if axes and sorted(axes[0]) in ([2, 3], [-2, -1]):
            return node.input[0]
    return None


def _add_pool(onnx, graph, features: str, pool: str) -> None:
    """Append what pools `features` (N, D, H, W) to the output (N, D)."""
    helper = onnx.helper

    def node(kind: str, inputs: list[str], output: str, **attributes) -> str:
        graph.node.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def number(label: str, value: float) -> str:
        graph.initializer.append(
            onnx.numpy_helper.from_array(np.array(value, np.float32), name=label)
        )
        return label

    if pool == "avgmax":
        both = [
            node(f"Global{kind}Pool", [features], f"icecore_{kind.lower()}")
            for kind in ("Average", "Max")
        ]
        pooled = node("Mean", both, "icecore_pooled")
    elif pool == "gem":
        power = number("icecore_power", GEM_POWER)
        cut = node("Max", [features, number("icecore_epsilon", GEM_EPSILON)], "icecore_cut")
        raised = node("Pow", [cut, power], "icecore_raised")
        mean = node("GlobalAveragePool", [raised], "icecore_mean")
        pooled = node("Pow", [mean, number("icecore_root", 1 / GEM_POWER)], "icecore_pooled")
    else:
        kind = {"avg": "Average", "max": "Max"}[pool]
        pooled = node(f"Global{kind}Pool", [features], "icecore_pooled")
    node("Flatten", [pooled], FEATURES, axis=1)


def _shapes(onnx, model, resolution: int | None) -> dict[str, tuple[int, ...]]:
    """Infer the shapes of all values for one image; 0 stands for what is not known."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for number, extent in enumerate(sized.graph.input[0].type.tensor_type.shape.dim):
        if not extent.dim_value and (number == 0 or (number > 1 and resolution)):
            extent.dim_value = 1 if number == 0 else resolution
    try:
        inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    except Exception:  # Its exceptions share no base; without shapes much still works.
        return {}
    values = [*inferred.value_info, *inferred.output, *inferred.input]
    return {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in values
        if value.type.tensor_type.HasField("shape")
    }


def _prune(graph) -> None:
    """Remove nodes and weights that the output does not need."""
    needed = {graph.output[0].name}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
            for attribute in node.attribute:  # bodies of If and Loop read outer names
                for inner in [attribute.g, *attribute.graphs]:
                    needed.update(name for n in inner.node for name in n.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    del graph.value_info[:]


def layers_of(model, resolution: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """List (name, operator, output shape for one image) of the layers that give features."""
    onnx = load_onnx()
    drop_weights_from_inputs(model)
    shapes = _shapes(onnx, model, resolution)
    found = [
        (n.name or n.output[0], n.op_type, shapes.get(n.output[0], ())) for n in model.graph.node
    ]
    return [
        (name, kind, shape[1:])
        for name, kind, shape in found
        if len(shape) in (2, 4) and min(shape) > 0
    ]

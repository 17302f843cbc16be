"""Read, cut and complete ONNX graphs: uint8 images in, feature rows out.

Works on the graph alone: no framework that made it is needed. Files come from
strangers, so their size is bounded, and tensors that point to other files are
refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..dependencies import missing_dependency
from ..errors import BackboneError, MissingFileError

__all__ = ["add_normalisation", "cut_classifier", "drop_weights_from_inputs", "read_graph"]

IMAGES, FEATURES = "images", "features"
LARGEST_FILE = 2**31 - 1  # protobuf can hold no more
_PASSED_ON_THE_WAY_BACK = frozenset(
    "Softmax LogSoftmax Sigmoid Identity Flatten Squeeze Reshape Cast Dropout Add Mul Div "
    "GlobalAveragePool ReduceMean AveragePool Relu".split()
)


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


def cut_classifier(model, name: str = "the model") -> int:
    """Cut the graph, in place, at the data input of its last classifier layer.

    The way back from the first output leads through softmax, reshapes and the
    like to the last Gemm, MatMul or Conv with constant weights. Features that
    still have a height and width are averaged over them.

    Parameters
    ----------
    model : onnx.ModelProto
    name : str
        For messages.

    Returns
    -------
    int
        Length D of a feature row; the graph's only output is then ``features`` (N, D).

    Raises
    ------
    BackboneError
        No such layer is there, or the graph has not exactly one image input.
    """
    onnx = load_onnx()
    drop_weights_from_inputs(model)
    # Our own names go into the graph: what is there gets others first.
    model.CopyFrom(onnx.compose.add_prefix(model, "net_"))
    graph = model.graph
    if len(graph.input) != 1:
        raise BackboneError(
            f"{name} has {len(graph.input)} inputs: {', '.join(i.name for i in graph.input)}",
            "a backbone takes images and nothing else",
        )
    weights = {tensor.name: tensor for tensor in graph.initializer}
    layer = _find_classifier(graph, weights)
    if layer is None:
        raise BackboneError(
            f"{name} has no classifier layer (Gemm, MatMul or Conv with constant weights) at "
            "its end",
            "give a classifier, or one whose last layer has not been cut off",
        )
    features, width = layer.input[0], _input_width(layer, weights)
    rank = _rank(onnx, model, features)
    del graph.output[:]
    if layer.op_type == "Conv" or rank == 4:
        pooled = onnx.helper.make_node("GlobalAveragePool", [features], ["icecore_pooled"])
        flat = onnx.helper.make_node("Flatten", ["icecore_pooled"], [FEATURES], axis=1)
        graph.node.extend([pooled, flat])
    else:
        graph.node.append(onnx.helper.make_node("Flatten", [features], [FEATURES], axis=1))
    graph.output.append(
        onnx.helper.make_tensor_value_info(FEATURES, onnx.TensorProto.FLOAT, ["N", width])
    )
    _prune(graph)
    return width


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


def _rank(onnx, model, name: str) -> int | None:
    inferred = onnx.shape_inference.infer_shapes(model)
    for value in inferred.graph.value_info:
        if value.name == name and value.type.tensor_type.HasField("shape"):
            return len(value.type.tensor_type.shape.dim)
    return None


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

"""What all that touches ONNX graphs shares: the library, our names, the input of uint8 images."""

import numpy as np

from ...core.imports import load
from ..images.preprocessing import Preprocessing

IMAGES, FEATURES = "images", "features"
# Goes before each name that a file brought.
THEIRS = "net_"


def load_onnx():
    """Import ``onnx``, or say what to install."""
    return load("onnx", "onnx.inliner")


def load_evaluator():
    """Import onnx's own evaluator of graphs, which is slow and runs anywhere."""
    return load("onnx.reference").ReferenceEvaluator


def plain_name(name: str) -> str:
    """Return a name as the file has it."""
    return name.removeprefix(THEIRS)


def constant_tensors(graph) -> dict:
    """Return initializers, and what nodes called Constant hold, by the name of the value."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    return found


def drop_weights_from_inputs(model) -> None:
    """Remove initializers from the graph's inputs, in place.

    Listed there they could be overridden by a caller, so ONNX Runtime could
    not fold them, and would run at half its speed.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    weights |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    kept = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def add_normalisation(model, preprocessing: Preprocessing, channels_last: bool = False) -> None:
    """Put in front of the graph, in place, what turns uint8 images into its input.

    Parameters
    ----------
    model : onnx.ModelProto
        Takes (N, 3, R, R) numbers of any type, or (N, R, R, 3).
    preprocessing : Preprocessing
        Its resolution is R. Integers are never normalised: such a graph takes pixels as they
        are, and mean 0 and std 1/255 say the same.
    channels_last : bool
        Whether the graph takes (N, R, R, 3).

    Notes
    -----
    Afterwards the input is ``images``, uint8 of shape (N, R, R, 3), RGB.
    """
    onnx = load_onnx()
    graph, helper, nodes = model.graph, onnx.helper, []
    old = graph.input[0].name
    kind = graph.input[0].type.tensor_type.elem_type
    real = kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)

    def constant(name: str, values: np.ndarray) -> str:
        graph.initializer.append(onnx.numpy_helper.from_array(values, name=name))
        return name

    def step(operator: str, inputs: list[str], **attributes) -> str:
        name = f"icecore_{operator.lower()}"
        nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    value, mean, std = IMAGES, preprocessing.mean, preprocessing.std
    if preprocessing.input_space == "BGR":
        order = constant("icecore_order", np.array([2, 1, 0], np.int64))
        value = step("Gather", [value, order], axis=3)
        mean, std = mean[::-1], std[::-1]
    if not channels_last:
        value = step("Transpose", [value], perm=[0, 3, 1, 2])
    if real:
        value = step("Cast", [value], to=onnx.TensorProto.FLOAT)
        sides = (1, 1, 1, 3) if channels_last else (1, 3, 1, 1)
        shift = np.asarray(mean, np.float64) * 255
        scale = 1 / (np.asarray(std, np.float64) * 255)
        shift, scale = (v.astype(np.float32).reshape(sides) for v in (shift, scale))
        value = step("Sub", [value, constant("icecore_shift", shift)])
        value = step("Mul", [value, constant("icecore_scale", scale)])
    if kind not in (onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8):
        nodes.append(helper.make_node("Cast", [value], ["icecore_typed"], to=kind))
    elif value == IMAGES:
        nodes.append(helper.make_node("Identity", [value], ["icecore_input"]))
    nodes[-1].output[0] = old
    _take_images(graph, nodes, preprocessing.resolution)


def _take_images(graph, nodes: list, side: int) -> None:
    """Put `nodes` in front of all others, and images in the place of the graph's input."""
    onnx = load_onnx()
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes + kept)
    del graph.input[:]
    shape, pixels = ["N", side, side, 3], onnx.TensorProto.UINT8
    graph.input.append(onnx.helper.make_tensor_value_info(IMAGES, pixels, shape))

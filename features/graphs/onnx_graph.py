"""What all that touches ONNX graphs shares: the library, our names, the input of uint8 images."""

import numpy as np

from ...core.errors import BackboneError
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


class NodeWriter:
    """Adds nodes and constants to a graph, under names that begin alike."""

    def __init__(self, graph, prefix: str) -> None:
        self._onnx, self._graph, self._prefix = load_onnx(), graph, prefix
        self._count = 0

    def constant(self, values, dtype: type = np.float32) -> str:
        """Add a constant and return its name."""
        name = self._name("c")
        array: np.ndarray = np.ascontiguousarray(values, dtype)
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **settings) -> str:
        """Add a node and return the name of its output, which is made up if none is given."""
        name = output or self._name(operator.lower())
        self._graph.node.append(
            self._onnx.helper.make_node(operator, list(inputs), [name], **settings)
        )
        return name

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{self._prefix}{what}{self._count}"


def require_one_input(model, name: str) -> None:
    """Take initializers from the inputs, in place; refuse a graph that has several inputs then."""
    drop_weights_from_inputs(model)
    if len(model.graph.input) != 1:
        raise BackboneError(
            f"{name} has {len(model.graph.input)} inputs: "
            f"{', '.join(i.name for i in model.graph.input)}",
            "a backbone takes images and nothing else",
        )


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
    graph, front = model.graph, onnx.GraphProto()
    write = NodeWriter(front, "icecore_pixels_")
    kind = graph.input[0].type.tensor_type.elem_type
    real = kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)

    value, mean, std = IMAGES, preprocessing.mean, preprocessing.std
    if preprocessing.input_space == "BGR":
        value = write.node("Gather", value, write.constant([2, 1, 0], np.int64), axis=3)
        mean, std = mean[::-1], std[::-1]
    if not channels_last:
        value = write.node("Transpose", value, perm=[0, 3, 1, 2])
    if real:
        value = write.node("Cast", value, to=onnx.TensorProto.FLOAT)
        sides = (1, 1, 1, 3) if channels_last else (1, 3, 1, 1)
        shift = np.asarray(mean, np.float64) * 255
        scale = 1 / (np.asarray(std, np.float64) * 255)
        value = write.node("Sub", value, write.constant(shift.reshape(sides)))
        value = write.node("Mul", value, write.constant(scale.reshape(sides)))
    if kind not in (onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8):
        write.node("Cast", value, to=kind)
    elif value == IMAGES:
        write.node("Identity", value)
    front.node[-1].output[0] = graph.input[0].name
    graph.initializer.extend(front.initializer)
    nodes = [*front.node, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    side = preprocessing.resolution
    shape, pixels = ["N", side, side, 3], onnx.TensorProto.UINT8
    graph.input.append(onnx.helper.make_tensor_value_info(IMAGES, pixels, shape))

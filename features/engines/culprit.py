"""Which operator of a graph is the first whose output is not what it should be."""

import numpy as np

from ..graphs.determined import operator_text
from ..graphs.network import GraphNetwork
from ..graphs.onnx_graph import IMAGES, load_onnx
from ..graphs.values import constants_of
from .judge import plain_run


def first_to_depend(network: GraphNetwork, images: np.ndarray) -> str:
    """Name the first operator whose output for two images is not that for each of them."""
    onnx = load_onnx()
    model = onnx.load_from_string(network.content())
    constants = constants_of(model.graph)
    nodes = {
        name: node for node in model.graph.node for name in node.output[:1] if name not in constants
    }
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in nodes)
    try:
        run = plain_run(model.SerializeToString())
        both, first, second = (run(None, {IMAGES: images[of]}) for of in ([0, 1], [0], [1]))
    except Exception:  # its exceptions share no base; then the name remains unknown
        return ""
    for node, *found in zip(nodes.values(), both, first, second):
        together, *single = map(np.atleast_1d, found)
        expected = np.concatenate(single)
        if together.dtype.kind == "f" and together.shape == single[0].shape:
            together = np.concatenate([together] * 2)  # It has no place for several images.
        if together.shape == expected.shape and not _are_close(together, expected):
            return f"; the first to differ is {operator_text(node)}"
    return ""


def _are_close(a: np.ndarray, b: np.ndarray) -> bool:
    return np.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True)

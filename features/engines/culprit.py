"""Which operator of a graph is the first whose output is not what it should be."""

import dataclasses
import math
import time

import numpy as np

from ...core.errors import IcecoreError
from ..graphs.determined import operator_text
from ..graphs.network import GraphNetwork
from ..graphs.onnx_graph import FEATURES, IMAGES, NodeWriter, load_onnx
from ..graphs.values import constants_of
from .base import Engine, Setup
from .distances import distance
from .judge import plain_run

# To name an operator is a courtesy: it is not to take long, or much memory.
_SECONDS, _MOST_NUMBERS = 20.0, 2**24
# Numbers of a value that belongs to no image.
_FEW = 16


def first_to_depend(network: GraphNetwork, images: np.ndarray) -> str:
    """Name the first operator whose output for two images is not that for each of them."""
    onnx = load_onnx()
    model = onnx.load_from_string(network.content())
    nodes = _moving(model.graph)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in nodes)
    try:
        run = plain_run(model.SerializeToString())
        both, first, second = (run(None, {IMAGES: images[of]}) for of in ([0, 1], [0], [1]))
    except Exception:  # its exceptions share no base; then the name remains unknown
        return ""
    for node, *found in zip(nodes.values(), both, first, second):
        together, *single = map(np.atleast_1d, found)
        if single[0].shape[1:] != single[1].shape[1:]:
            continue  # What is another shape for each image is not that of a batch of them.
        expected = np.concatenate(single)
        if together.dtype.kind == "f" and together.shape == single[0].shape:
            together = np.concatenate([together] * 2)  # It has no place for several images.
        if together.shape == expected.shape and not _are_close(together, expected):
            return f"; the first to differ is {operator_text(node)}"
    return ""


def _are_close(a: np.ndarray, b: np.ndarray) -> bool:
    return np.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True)


def _moving(graph) -> dict:
    """Return the nodes that depend on the images, by the name of their first output."""
    constants = constants_of(graph)
    return {
        name: node
        for node in graph.node
        for name in node.output[:1]
        if name and name not in constants
    }


def first_to_differ(
    engine: Engine, network: GraphNetwork, setup: Setup, images: np.ndarray, allowed: float
) -> str:
    """Name an operator whose output is another one in an engine, while what it reads is not.

    Values are looked at one by one, each as the output of a graph: first half of what is left,
    then what goes into an operator that differs. Nothing is named where that takes long.
    """
    nodes = _moving(load_onnx().load_from_string(network.content()).graph)
    look = _Look(engine, network, setup, images, time.monotonic() + _SECONDS)
    names, found = list(nodes), ""
    try:
        low, high = 0, len(names) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if look.away(names[middle]) > allowed else (middle + 1, high)
        differing = names[high:]
        while differing:
            found = differing[0]
            before = {one: look.away(one) for one in nodes[found].input if one in nodes}
            differing = [one for one, away in before.items() if away > allowed]
        known = look.away(found) > allowed and not any(map(math.isnan, before.values()))
    except Exception:  # of engines they share no base; then the name remains unknown
        return ""
    return f"; the first to differ is {operator_text(nodes[found])}" if known else ""


@dataclasses.dataclass
class _Look:
    """Compares values of a graph in an engine with what they should be."""

    engine: Engine
    network: GraphNetwork
    setup: Setup
    images: np.ndarray
    deadline: float

    def away(self, value: str) -> float:
        """Return how far a value is from what it should be; NaN where that is not known.

        Raises
        ------
        TimeoutError
        """
        if time.monotonic() > self.deadline:
            raise TimeoutError
        content = self._ending_at(value)
        expected = plain_run(content)([FEATURES], {IMAGES: self.images})[0]
        if expected.shape[0] != len(self.images):
            return 0.0 if expected.size <= _FEW else math.nan  # of shapes
        if expected.size > _MOST_NUMBERS:
            return math.nan
        record = dataclasses.replace(self.network.record, num_features=expected.shape[1])
        part = dataclasses.replace(self.network, record=record, graph=content)
        try:
            rows = type(self.engine)(part, self.setup).run(self.images)
        except IcecoreError:
            return math.nan
        return distance(rows, expected)

    def _ending_at(self, value: str) -> bytes:
        onnx = load_onnx()
        model = onnx.load_from_string(self.network.content())
        if value != FEATURES:
            kept = [node for node in model.graph.node if FEATURES not in node.output]
            del model.graph.node[:]
            write = NodeWriter(model.graph, "icecore_look_")
            model.graph.node.extend(kept)
            rows = write.node("Cast", value, to=onnx.TensorProto.FLOAT)
            write.node("Flatten", rows, output=FEATURES, axis=1)
            model.graph.output[0].type.tensor_type.shape.dim[1].Clear()
        return model.SerializeToString()

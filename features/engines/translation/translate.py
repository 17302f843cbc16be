"""Walk through an ONNX graph; what depends on the images becomes a PyTorch module.

All else is computed on the way: shapes, and what is made of shapes and weights. So a module is
made for batches of one size, and has no step left that PyTorch's compilers could not follow.
"""

from collections import Counter
from typing import Any

import numpy as np

from ....core.errors import BackboneError, enumerate_some, first_line
from ...graphs.determined import operator_text
from ...graphs.onnx_graph import load_onnx
from ...graphs.rules import HINT, broken_rule
from ..base import GraphRefusedError
from . import arithmetic, layers, shapes
from .known import evaluate
from .recorder import Live, Operation, Recorder, RefusedError

OPERATORS = {**arithmetic.OPERATORS, **layers.OPERATORS, **shapes.OPERATORS}
_CONVOLUTIONS = ("Conv", "ConvTranspose")


def translate(torch, content: bytes, shape: tuple[int, ...], narrow=None, name: str = "the graph"):
    """Make a module that computes what a feature graph says.

    Parameters
    ----------
    content : bytes
        The graph, from uint8 images to features.
    shape : tuple of int
        Of a batch of images, (N, R, R, 3).
    narrow : torch.dtype, optional
        In which layers with weights and what follows them compute; float32 if None.

    Returns
    -------
    torch.fx.GraphModule
        From uint8 images of `shape` to float32 features (N, D), on the CPU.

    Raises
    ------
    BackboneError
        `content` is no graph, or has operators that are not translated; all are named.
    """
    onnx = load_onnx()
    try:
        model = onnx.load_from_string(content)
        (given,), (output,) = model.graph.input, model.graph.output
    except Exception as error:  # protobuf's exceptions share no base with anything
        raise BackboneError(
            f"{name}: the engine torch refuses the graph: it is no ONNX graph with one input and "
            "one output",
            "export the network again, or use another engine",
        ) from error
    _require_known_operators(model, name)
    try:
        walk = _Walk(Recorder(torch, narrow), model, name)
    except Exception as error:  # a shape that its numbers do not have, a type that is none
        raise _refusal(name, f"a weight that cannot be read: {first_line(error)}") from error
    walk.values[given.name] = walk.recorder.images(shape)
    try:
        walk.through(model.graph)
        features = walk.values[output.name]
        if not isinstance(features, Live):
            raise RefusedError("whose output does not depend on the image")
        return walk.recorder.module(features)
    except BackboneError:
        raise
    except RefusedError as error:
        raise _refusal(name, f"{operator_text(walk.node)} {error}") from error
    except Exception as error:  # PyTorch has many kinds, and a graph may be wrong in any way
        raise _refusal(name, f"{operator_text(walk.node)}: {first_line(error)}") from error


def _refusal(name: str, what: str) -> BackboneError:
    return GraphRefusedError(
        f"{name}: the engine torch refuses the graph: it does not know {what}",
        "use --engine onnxruntime",
    )


def _require_known_operators(model, name: str) -> None:
    """Name every operator that is not translated; but what needs no image may be any."""
    live = {model.graph.input[0].name}
    unknown = set()
    for node in model.graph.node:
        if live.intersection(node.input):
            if node.op_type not in ("Shape", "Size"):  # which are known beforehand
                live.update(node.output)
            own = node.domain in ("", "ai.onnx")
            if node.op_type not in OPERATORS or not own:
                unknown.add(node.op_type if own else f"{node.domain}.{node.op_type}")
    if unknown:
        raise _refusal(name, f"the operators {enumerate_some(sorted(unknown))}")


class _Walk:
    """One way through a graph, with every value that was met."""

    def __init__(self, recorder: Recorder, model, name: str) -> None:
        self.recorder, self._name = recorder, name
        self.node: Any = None
        onnx = load_onnx()
        self._onnx = onnx
        self._opset = max(
            (one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1
        )
        self.values: dict[str, Live | np.ndarray] = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self._uses = Counter(name for node in model.graph.node for name in node.input)

    def through(self, graph) -> None:
        """Compute or record every node."""
        for self.node in graph.node:
            inputs = [self.values[name] if name else None for name in self.node.input]
            self._require_rules(inputs)
            if any(isinstance(one, Live) for one in inputs):
                found = self._recorded(inputs)
            else:
                found = self._computed(inputs)
            self.values.update((n, v) for n, v in zip(self.node.output, found) if n)

    def _require_rules(self, inputs: list) -> None:
        """Refuse what onnx forbids: PyTorch may take it, and so may onnx's evaluator."""
        shapes = [None if one is None else tuple(one.shape) for one in inputs]
        numbers = [one if isinstance(one, np.ndarray) else None for one in inputs]
        if broken := broken_rule(self.node, shapes, numbers):
            raise BackboneError(f"{self._name}: {operator_text(self.node)} {broken}", HINT)

    def _computed(self, inputs: list) -> list:
        node = self.node
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            return [self._onnx.numpy_helper.to_array(node.attribute[0].t)]
        if any(one.HasField("g") or one.graphs for one in node.attribute):
            raise RefusedError("with a graph inside")  # which may go on for ever
        return [np.asarray(one) for one in evaluate(node, inputs, self._opset)]

    def _recorded(self, inputs: list) -> list:
        node = self.node
        attributes = {
            one.name: self._onnx.helper.get_attribute_value(one) for one in node.attribute
        }
        outputs = sum(map(bool, node.output))
        operation = Operation(node.op_type, tuple(inputs), attributes, outputs, self._opset)
        found = OPERATORS[node.op_type](self.recorder, operation)
        if node.op_type in _CONVOLUTIONS and self._uses[node.output[0]] == 1:
            self.recorder.convolutions[found.node] = operation
        return list(found) if isinstance(found, list) else [found]

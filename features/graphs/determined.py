"""What would make a graph's row depend on more than its image, found without running it."""

import numpy as np

from ...core.errors import BackboneError, enumerate_some
from .onnx_graph import THEIRS, load_onnx
from .values import constants_of
from .walk import find_all

_RANDOM = frozenset(
    "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial".split()
)


def require_inference_mode(model, name: str) -> None:
    """Raise `BackboneError` where a graph draws random numbers or is still being trained.

    A ``Dropout`` in training mode that drops none is made a usual one, in place: some engines
    refuse any other.

    Notes
    -----
    Bodies of ``If``, ``Loop`` and ``Scan`` and the model's own functions are looked into.
    """
    opset = max(
        (one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1
    )
    nodes = [found.message for found in find_all(model, "NodeProto")]
    made_by = {name: node for node in nodes for name in node.output}
    tensors = {found.message.name: found.message for found in find_all(model, "TensorProto")}
    for node in nodes:
        if _drops_none(node, made_by, tensors):
            del node.input[1:]
    # NFNets and BiT normalise their weights so, which is alike for all images.
    fixed = constants_of(model.graph)
    faults = [
        f"{operator_text(node)} {why}"
        for node in nodes
        if (why := _why(node, opset, made_by, tensors))
        and not (node.op_type == "BatchNormalization" and node.input[0] in fixed)
    ]
    if faults:
        raise BackboneError(
            f"{name} gives an image other features each time or in another batch: "
            f"{enumerate_some(faults, 3)}",
            "export the network again in inference mode (model.eval() in PyTorch, "
            "training=False in Keras)",
        )


def operator_text(node) -> str:
    """Return a node's operator and name, for messages."""
    return f"{node.op_type} '{(node.name or node.output[0]).removeprefix(THEIRS)}'"


def _why(node, opset: int, made_by: dict, tensors: dict) -> str:
    if node.domain not in ("", "ai.onnx"):
        return ""
    if node.op_type in _RANDOM:
        return "draws random numbers"
    attributes = {one.name: one.i for one in node.attribute}
    if node.op_type == "BatchNormalization":
        # Before opset 14 it was said by the outputs alone.
        outputs = sum(map(bool, node.output)) if opset < 14 else 1
        trained = attributes.get("training_mode", 0) or outputs > 1
        return "normalises by the batch (training mode)" if trained else ""
    if _may_drop(node):
        known = _setting(node.input[2], made_by, tensors)
        if known is None:
            return "drops at random where what the graph computes says so (training mode)"
        return "drops at random (training mode)" if known else ""
    return ""


def _may_drop(node) -> bool:
    return node.op_type == "Dropout" and len(node.input) > 2 and bool(node.input[2])


def _drops_none(node, made_by: dict, tensors: dict) -> bool:
    return _may_drop(node) and _setting(node.input[1], made_by, tensors) == 0


def _setting(name: str, made_by: dict, tensors: dict) -> float | None:
    """Return a number or switch, which exporters convert or turn round; None if computed."""
    turned = False
    while (node := made_by.get(name)) is not None and node.op_type in ("Cast", "Identity", "Not"):
        turned ^= node.op_type == "Not"
        name = node.input[0]
    onnx = load_onnx()
    if node is None:
        value = tensors.get(name)
    elif node.op_type == "Constant" and node.attribute:
        value = onnx.helper.get_attribute_value(node.attribute[0])
    else:
        value = None
    if value is None:
        return None
    if isinstance(value, onnx.TensorProto):
        value = onnx.numpy_helper.to_array(value)
    found = np.ravel(value)
    if found.size != 1:
        return None
    return float(not found[0]) if turned else float(found[0])

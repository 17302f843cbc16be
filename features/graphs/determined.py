"""What would make a graph's row depend on more than its image, found without running it."""

from ...core.errors import BackboneError, enumerate_some
from .onnx_graph import THEIRS, load_onnx
from .walk import find_all

_RANDOM = frozenset(
    "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial".split()
)


def require_inference_mode(model, name: str) -> None:
    """Raise `BackboneError` where a graph draws random numbers or is still being trained.

    Notes
    -----
    Bodies of ``If``, ``Loop`` and ``Scan`` and the model's own functions are looked into.
    """
    opset = max(
        (one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1
    )
    nodes = [found.message for found in find_all(model, "NodeProto")]
    constants = {found.message.name: found.message for found in find_all(model, "TensorProto")}
    for node in nodes:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    faults = [
        f"{operator_text(node)} {why}" for node in nodes if (why := _why(node, opset, constants))
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


def _why(node, opset: int, constants: dict) -> str:
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
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] in constants:
        switch = load_onnx().numpy_helper.to_array(constants[node.input[2]])
        return "drops at random (training mode)" if switch.any() else ""
    return ""

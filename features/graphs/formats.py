"""Files of networks in other formats than ONNX: what they are, and how to get what is needed."""

from pathlib import Path

from ...core.content import describe_content, remedy_for
from ...core.regular_files import open_regular

_AGAIN = "get or export the file again"
_LOOKED_AT = 256
_EXPORT = "load it in PyTorch, and export it to ONNX: torch.onnx.export(model.eval(), ...)"
_SAVE = (
    "load it in PyTorch, and save its tensors alone: safetensors.torch.save_file("
    "model.state_dict(), FILE)"
)
_UNSAFE = "it may run code when it is loaded: where you trust it, "
_TENSORFLOW = "export it to ONNX with tf2onnx (python -m tf2onnx.convert)"
# By a word of what `describe_content` says: how a network is had of it as ONNX, and how weights
# as safetensors. The first that fits.
_REMEDIES = (
    ("PyTorch", _EXPORT, _SAVE),
    ("pickle", _UNSAFE + _EXPORT, _UNSAFE + _SAVE),
    ("safetensors", "it has weights and no graph: name the network that they are of (timm:NAME "
     "with --weights-dir), or load them there and export it to ONNX", ""),
    ("TensorFlow", _TENSORFLOW, ""),
    ("Keras", _TENSORFLOW, ""),
    ("HDF5", f"if it is a network of Keras (.h5), {_TENSORFLOW}", ""),
    ("llama.cpp", "take the same network in the format that it was made of: such files hold no "
     "graph", ""),
    ("TensorRT", "it runs on the device that it was built for alone: take the ONNX file that it "
     "was built from; --engine tensorrt builds its own", ""),
    ("ONNX Runtime", "take the .onnx file that it was made from", ""),
    ("MXNet", "name both files of the network with gluon-file:PREFIX, or a network of the zoo "
     "with gluon:NAME --weights-dir FOLDER", "give it as gluon:NAME, with its name in the zoo"),
    ("OpenVINO", "take the ONNX file that it was made from, or export the network to ONNX", ""),
    ("ncnn", "take the network that it was made from, and export it to ONNX", ""),
)  # fmt: skip


def other_format(head: bytes, weights: bool = False) -> tuple[str, str]:
    """Say what the file of a network is, by its first bytes, and what to do about it.

    Parameters
    ----------
    weights : bool
        Whether weights are wanted as safetensors, and no graph.

    Returns
    -------
    kind, hint : str
        The kind is empty where it is not known.

    >>> other_format(b"GGUF....", weights=True)[0]
    'weights of llama.cpp (.gguf)'
    """
    kind = describe_content(head)
    told = next((row for row in _REMEDIES if row[0] in kind), None) if kind else None
    if told is None:
        return kind, remedy_for(kind, _AGAIN)
    hint = told[2] if weights else told[1]
    return (
        kind,
        hint or "weights are taken as safetensors: get the file of this network in that format",
    )


def other_format_of_weights(path: Path, wanted: str = "safetensors") -> tuple[str, str]:
    """Say what the file is that should hold weights; the kind is empty if it is what is `wanted`.

    Raises
    ------
    IrregularFileError
    """
    with open_regular(path, 0) as file:
        kind, hint = other_format(file.read(_LOOKED_AT), weights=True)
    return (kind, hint) if kind and wanted not in kind else ("", "get the file again")

"""The ONNX graphs of both zoos' classifiers, which icecore brings along without their weights.

`tools/make_graphs.py` makes them with MXNet and proves each against it; the index beside
them holds their digests and the proofs. Here neither MXNet nor GluonCV is needed.
"""

import dataclasses
import functools
import gzip
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any, Self

from ...core.errors import BackboneError
from ..graphs.cutting import layers_of
from ..graphs.onnx_graph import load_onnx
from .graph_writer import Parameter

GRAPHS = Path(__file__).with_name("graphs")
INDEX = GRAPHS / "index.json"
_REINSTALL = "reinstall icecore: its library of graphs is not what it was released with"


@dataclasses.dataclass(frozen=True)
class NetworkGraph:
    """A classifier as an ONNX graph without weights.

    Attributes
    ----------
    spec : str
        ``gluon:NAME`` or ``mxnet:NAME``.
    model : onnx.ModelProto
        From ``data`` (N, 3, H, W), normalised, to the classifier's output. Its parameters
        have shapes, and no values but where MXNet takes them for 1.
    parameters : tuple of Parameter
        All of the network, in Gluon's order.
    """

    spec: str
    model: Any
    parameters: tuple[Parameter, ...]

    @classmethod
    def of(cls, spec: str, model) -> Self:
        """Read the parameters from a model."""
        parameters = []
        for tensor in model.graph.initializer:
            if tensor.doc_string:
                internal, *aliases = tensor.doc_string.split()
                shape = tuple(tensor.dims)
                parameters.append(Parameter(tensor.name, internal, shape, tuple(aliases)))
        return cls(spec, model, tuple(parameters))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter, by its structural name."""
        return {one.name: one.shape for one in self.parameters}

    def sized(self, side: int):
        """Return a copy of the model for images of this side, to be cut and filled."""
        model = load_onnx().ModelProto()
        model.CopyFrom(self.model)
        for extent in model.graph.input[0].type.tensor_type.shape.dim[2:]:
            extent.dim_value = side
        return model

    def layers(self, side: int) -> list[tuple[str, str, tuple[int, ...]]]:
        """List (name, operator, output shape for one image) of what features may come from."""
        found = layers_of(self.sized(side), side)
        return [layer for layer in found if "/" not in layer[0]]


def graph_file(source: str, name: str) -> Path:
    """Return where the graph of a network lies."""
    return GRAPHS / source / f"{name}.onnx.gz"


@functools.cache
def graph_index() -> dict[str, dict]:
    """Return what is known of each graph, by spec.

    Returns
    -------
    dict
        Of each graph: ``sha256`` of the ONNX file, unpacked; ``relative_error`` against
        MXNet by side of the images; ``made_with``; ``scales`` for random weights.
    """
    try:
        return json.loads(INDEX.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneError(f"{INDEX} cannot be read: {error}", _REINSTALL) from error


def network_graph(source: str, name: str) -> NetworkGraph:
    """Read the graph of a zoo's network.

    Raises
    ------
    BackboneError
        It is not there, or its digest is not the one that the index names.
    """
    content = _checked_content(source, name)
    return NetworkGraph.of(f"{source}:{name}", load_onnx().load_from_string(content))


def check_library() -> list[str]:
    """Read every graph, and return what is wrong; onnx is not needed."""
    faults = []
    for spec in graph_index():
        try:
            _checked_content(*spec.split(":"))
        except BackboneError as error:
            faults.append(error.message)
    return faults


def _checked_content(source: str, name: str) -> bytes:
    path, spec = graph_file(source, name), f"{source}:{name}"
    try:
        content = gzip.decompress(path.read_bytes())
        digest, expected = hashlib.sha256(content).hexdigest(), graph_index()[spec]["sha256"]
    except (OSError, EOFError, zlib.error, KeyError) as error:
        raise BackboneError(f"the graph of {spec} cannot be read: {error}", _REINSTALL) from error
    if digest != expected:
        raise BackboneError(
            f"the graph of {spec}, {path}, has the SHA-256 {digest}, not {expected}", _REINSTALL
        )
    return content

"""Export a Gluon backbone to ONNX once, prove it, and keep it.

A wrong graph is silent: it gives features that look like features. So every
graph is compared with MXNet on random images before its first use, and the
result of the comparison is kept beside it. The next run needs no MXNet.
"""

from __future__ import annotations

import abc
import dataclasses
from pathlib import Path

from ...core.errors import BackboneError
from ..engines.mxnet import MXNetEngine
from ..engines.onnxruntime import load_onnxruntime
from ..engines.proof import prove_graph
from ..gluon.loader import load_mxnet
from ..gluon.network import GluonBackbone
from ..gluon.symbols import explicit_shapes
from ..graphs.network import GraphNetwork
from ..graphs.onnx_graph import add_normalisation, drop_weights_from_inputs, load_onnx
from ..graphs.store import graph_folder, graph_key, keep_graph, kept_graph
from ..records.spec import BackboneSpec
from ..weights.request import WeightsRequest
from .base import Source

__all__ = ["ExportedSource", "Identity", "export_gluon", "prove"]

OPSET = 13
# Part of the key: raise it when the exported bytes change their meaning.
EXPORTER_VERSION = 2


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a network's graph depends on, known without building the network.

    Attributes
    ----------
    parts : dict
        JSON types: its name, the digest of its weights, its preprocessing.
    origin : str
        Where the weights came from.
    source : str
        What to give as a spec to get this very network again.
    """

    parts: dict
    origin: str
    source: str


class ExportedSource(Source):
    """Gluon networks, each exported to ONNX once, proved, and kept."""

    is_gluon = True

    @abc.abstractmethod
    def identify(self, spec: BackboneSpec, request: WeightsRequest) -> Identity:
        """Say what the network's graph depends on, without MXNet."""

    def load_graph(self, spec: BackboneSpec, request: WeightsRequest) -> GraphNetwork:
        """See `Source.load_graph`; a graph that does not agree with MXNet is not kept."""
        identity = self.identify(spec, request)
        key = _key(identity.parts, spec)
        path = graph_folder() / f"{Path(spec.name).name}-{key[:16]}.onnx"
        kept = kept_graph(path, key)
        if kept is not None:
            return GraphNetwork(kept[0], path, identity.origin, identity.source)
        backbone = self.load_gluon(spec, request)
        content = export_gluon(backbone).SerializeToString()

        def proof(graph: Path) -> float:
            return prove(backbone, graph)

        keep_graph(path, key, content, proof, backbone.record, origin=backbone.origin)
        return GraphNetwork(backbone.record, path, backbone.origin, identity.source)


def export_gluon(backbone: GluonBackbone):
    """Convert a cut network to an ONNX model of opset 13.

    Returns
    -------
    onnx.ModelProto
        With normalisation inside and the weights out of the inputs.
    """
    load_mxnet()
    onnx = load_onnx()
    from mxnet.onnx.mx2onnx import _op_translations  # noqa: F401  (registers the converters)
    from mxnet.onnx.mx2onnx._export_onnx import MXNetGraph

    record = backbone.record
    shape = (1, 3, record.resolution, record.resolution)
    # mxnet.onnx.export_model has no opset argument and would stamp the newest one
    # that the onnx package knows, on nodes that are written for opset 13.
    try:
        graph = MXNetGraph().create_onnx_graph_proto(
            explicit_shapes(backbone.symbol, record.resolution),
            backbone.parameters,
            [shape],
            [onnx.TensorProto.FLOAT],
            opset_version=OPSET,
            dynamic=True,
            dynamic_input_shapes=[("N", *shape[1:])],
        )
    except AttributeError as error:  # the exporter's way to say: no such converter
        raise BackboneError(
            f"{record.spec} cannot be exported to ONNX: {error}", "use --engine mxnet"
        ) from error
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    model.producer_name = "icecore"
    drop_weights_from_inputs(model)
    add_normalisation(model, record.resolution, record.mean, record.std)
    _name_output(model, record.num_features)
    return model


def prove(backbone: GluonBackbone, path: Path, seed: int | None = None) -> float:
    """Compare an exported graph with MXNet on fresh random images.

    Parameters
    ----------
    backbone : GluonBackbone
        The reference.
    path : Path
        The exported graph.
    seed : int, optional
        Of the images; drawn anew if None.

    Returns
    -------
    float
        Relative L2 error over all features.

    Raises
    ------
    ProofError
        The error is 1e-4 or more, or the features do not depend on the image,
        so that agreement would prove nothing.
    """
    reference = MXNetEngine(backbone).run
    hint = "use --engine mxnet for this network, and report it"
    return prove_graph(backbone.record, path, reference, "MXNet", hint, seed)


def _key(parts: dict, spec: BackboneSpec) -> str:
    """Digest everything that a graph depends on."""
    parts = parts | {
        "resolution": spec.resolution,
        "layer": spec.layer.text,
        "exporter": EXPORTER_VERSION,
        "opset": OPSET,
        "onnxruntime": load_onnxruntime().__version__,
    }
    return graph_key(parts)


def _name_output(model, width: int) -> None:
    onnx = load_onnx()
    old = model.graph.output[0].name
    model.graph.node.append(onnx.helper.make_node("Identity", [old], ["features"]))
    del model.graph.output[:]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["N", width])
    )

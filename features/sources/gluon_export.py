"""Export a Gluon backbone to ONNX once, prove it, and keep it.

A wrong graph is silent: it gives features that look like features. So every
graph is compared with MXNet on random images before its first use, and the
result of the comparison is kept beside it. The next run needs no MXNet.
"""

from __future__ import annotations

from pathlib import Path

from ...core.errors import BackboneError
from ...core.files import sha256_file
from ..engines.onnxruntime import load_onnxruntime
from ..engines.proof import prove_graph
from ..gluon.loader import load_mxnet
from ..gluon.network import GluonBackbone
from ..gluon.symbols import explicit_shapes
from ..gluon.zoo import native_preprocessing, require_resolution
from ..graphs.onnx_graph import add_normalisation, drop_weights_from_inputs, load_onnx
from ..graphs.store import graph_folder, graph_key, keep_graph, kept_graph
from ..records.record import BackboneRecord
from ..records.spec import BackboneSpec
from ..weights.fetch import find_weights
from ..weights.request import WeightsRequest
from .gluon import load_gluon_backbone
from .gluon_file import file_identity, load_gluon_file

__all__ = ["exported_graph", "export_gluon", "graph_folder", "prove"]

OPSET = 13
# Part of the key: raise it when the exported bytes change their meaning.
EXPORTER_VERSION = 2


def exported_graph(spec: BackboneSpec, request: WeightsRequest) -> tuple[Path, BackboneRecord, str]:
    """Return the proved graph of a Gluon backbone, exporting it if need be.

    Returns
    -------
    path : Path
        ONNX file: ``images`` uint8 (N, R, R, 3) to ``features`` (N, D).
    record : BackboneRecord
    origin : str
        Where the weights came from.

    Raises
    ------
    ProofError
        The graph does not agree with MXNet. It is not kept.
    """
    is_file = spec.source == "gluon-file"
    parts, origin = (file_identity if is_file else _zoo_identity)(spec, request)
    key = _key(parts, spec)
    path = graph_folder() / f"{Path(spec.name).name}-{key[:16]}.onnx"
    kept = kept_graph(path, key)
    if kept is not None:
        return path, kept[0], origin
    backbone = (load_gluon_file if is_file else load_gluon_backbone)(spec, request)
    model = export_gluon(backbone)
    content = model.SerializeToString()

    def proof(graph: Path) -> float:
        return prove(backbone, graph)

    keep_graph(path, key, content, proof, backbone.record, origin=backbone.origin)
    return path, backbone.record, backbone.origin


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
    from ..engines.mxnet import MXNetEngine

    reference = MXNetEngine(backbone).run
    hint = "use --engine mxnet for this network, and report it"
    return prove_graph(backbone.record, path, reference, "MXNet", hint, seed)


def _zoo_identity(spec: BackboneSpec, request: WeightsRequest) -> tuple[dict, str]:
    """Name everything that a zoo's network depends on, without building it."""
    require_resolution(spec.name, spec.resolution, spec.source)
    if request.random_seed is None:
        file = find_weights(spec.name, request.folder, spec.source)
        weights, origin = sha256_file(file.path), file.origin
    else:
        weights = origin = request.text
    parts = {
        "name": f"{spec.source}:{spec.name}",
        "weights": weights,
        "preprocessing": native_preprocessing(spec.name, spec.source),
    }
    return parts, origin


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

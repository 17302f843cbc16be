"""Export a Gluon backbone to ONNX once, prove it, and keep it.

A wrong graph is silent: it gives features that look like features. So every
graph is compared with MXNet on random images before its first use, and the
result of the comparison is kept beside it. The next run needs no MXNet.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from ..errors import BackboneError, ProofError
from ..files import publish, publish_json, sha256_file
from .gluon_network import GluonBackbone, load_gluon_backbone
from .mxnet_loader import load_mxnet
from .onnx_graph import add_normalisation, drop_weights_from_inputs, load_onnx
from .onnxruntime_engine import load_onnxruntime
from .record import BackboneRecord, BackboneSpec
from .weights import WeightsRequest, find_weights
from .zoo import native_preprocessing

__all__ = ["exported_graph", "export_gluon", "graph_folder", "prove"]

OPSET = 13
# Part of the key: raise it when the exported bytes change their meaning.
EXPORTER_VERSION = 1
TOLERANCE = 1e-4


def graph_folder() -> Path:
    """Return where exported graphs are kept: ``$ICECORE_GRAPHS`` or the user's cache folder."""
    if "ICECORE_GRAPHS" in os.environ:
        return Path(os.environ["ICECORE_GRAPHS"])
    import platformdirs

    return Path(platformdirs.user_cache_dir("icecore", appauthor=False)) / "graphs"


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
    key, origin = _key(spec, request)
    path = graph_folder() / f"{spec.name}-{key[:16]}.onnx"
    kept = _read_kept(path, key)
    if kept is not None:
        return path, kept, origin
    backbone = load_gluon_backbone(spec, request)
    model = export_gluon(backbone)
    with publish(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        error = prove(backbone, temporary)
    note = {
        "key": key,
        "sha256": sha256_file(path),
        "relative_error": error,
        "origin": backbone.origin,
        "record": backbone.record.as_dict(),
    }
    publish_json(path.with_suffix(".json"), note)
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
            backbone.symbol,
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
    from .mxnet_engine import MXNetEngine
    from .onnxruntime_engine import OnnxRuntimeEngine

    rng = np.random.default_rng(seed)
    side = backbone.record.resolution
    # Smooth and rough, dark and bright: noise alone averages out in deep networks.
    coarse = rng.integers(0, 256, (4, 5, 5, 3), dtype=np.uint8)
    zoom = -(-side // 5)
    images = coarse.repeat(zoom, axis=1).repeat(zoom, axis=2)[:, :side, :side]
    images[::2] ^= rng.integers(0, 64, images[::2].shape, dtype=np.uint8)
    expected = MXNetEngine(backbone).run(images)
    found = OnnxRuntimeEngine(path, backbone.record).run(images)
    spread = np.linalg.norm(expected - expected.mean(axis=0)) / np.linalg.norm(expected)
    if not np.isfinite(expected).all() or spread < 1e-3:
        raise ProofError(
            f"{backbone.record.spec}: MXNet's own features are not finite or hardly depend on the "
            f"image (relative spread {spread:.1e}), so the export cannot be proved",
            "check the weights file",
        )
    error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    if not error < TOLERANCE:
        raise ProofError(
            f"{backbone.record.spec}: the exported graph differs from MXNet by {error:.2e} "
            f"(relative L2), {TOLERANCE:.0e} is allowed",
            "use --engine mxnet for this network, and report it",
        )
    return error


def _key(spec: BackboneSpec, request: WeightsRequest) -> tuple[str, str]:
    """Digest everything the graph depends on, without building the network."""
    if request.random_seed is None:
        file = find_weights(spec.name, request.folder, spec.source)
        weights, origin = sha256_file(file.path), file.origin
    else:
        weights = origin = request.text
    parts = {
        "name": f"{spec.source}:{spec.name}",
        "weights": weights,
        "preprocessing": native_preprocessing(spec.name, spec.source),
        "resolution": spec.resolution,
        "exporter": EXPORTER_VERSION,
        "opset": OPSET,
        "onnxruntime": load_onnxruntime().__version__,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(), origin


def _read_kept(path: Path, key: str) -> BackboneRecord | None:
    """Return the record of a kept graph, or None if there is none that is whole."""
    try:
        note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if note["key"] == key and sha256_file(path) == note["sha256"]:
            return BackboneRecord.from_dict(note["record"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # A damaged note is as good as none: the graph is exported and proved anew.
    return None


def _name_output(model, width: int) -> None:
    onnx = load_onnx()
    old = model.graph.output[0].name
    model.graph.node.append(onnx.helper.make_node("Identity", [old], ["features"]))
    del model.graph.output[:]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["N", width])
    )

"""From a spec to a backbone that runs: record, origin of its weights, engines."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import BackboneError, enumerate_some
from ..files import sha256_file
from .engines import ENGINES, Engine, MXNetEngine, OnnxRuntimeEngine
from .gluon_export import exported_graph
from .gluon_network import load_gluon_backbone
from .onnx_graph import add_normalisation, cut_classifier, read_graph
from .record import BackboneRecord, BackboneSpec, read_preprocessing
from .weights import WeightsRequest

__all__ = ["Backbone", "load_backbone", "load_backbones"]


@dataclasses.dataclass
class Backbone:
    """A backbone on an engine.

    Attributes
    ----------
    record : BackboneRecord
    engine : str
        Name of the engine.
    origin : str
        Where the weights came from.
    source : str
        What to give as a spec to get this very backbone again.
    size_bytes : int
        Of the network: its parameters, or its graph with them.
    start : callable
        Takes a device, returns an `Engine`.
    graph : callable or None
        Returns the bytes of its ONNX graph, where it has one.
    """

    record: BackboneRecord
    engine: str
    origin: str
    source: str
    size_bytes: int
    start: Callable[[str], Engine]
    graph: Callable[[], bytes] | None = None


def load_backbones(
    specs: Sequence[str], engine: str = "auto", request: WeightsRequest | None = None
) -> list[Backbone]:
    """Load several backbones; each may be named once.

    Raises
    ------
    BackboneError
        None is named, one is named twice, or one cannot be loaded.
    """
    if not specs:
        raise BackboneError("no backbone is named", "add -b gluon:inceptionv3, for instance")
    parsed = [BackboneSpec.parse(spec) for spec in specs]
    names = [spec.canonical for spec in parsed]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise BackboneError(
            f"backbones named twice: {enumerate_some(repeated)}",
            "name each once; ONNX files need different file names",
        )
    return [load_backbone(spec, engine, request or WeightsRequest()) for spec in parsed]


def load_backbone(spec: BackboneSpec, engine: str, request: WeightsRequest) -> Backbone:
    """Load one backbone for an engine.

    Parameters
    ----------
    spec : BackboneSpec
    engine : {"auto", "mxnet", "onnxruntime"}
        ``auto`` takes ONNX Runtime where it is installed: it runs the same
        network about twice as fast as MXNet on a CPU.
    request : WeightsRequest
    """
    if engine not in ENGINES:
        raise BackboneError(f"no engine '{engine}'", f"choose one of {', '.join(ENGINES)}")
    if spec.source == "onnx":
        return _load_onnx(spec, engine, request)
    if engine == "auto":
        engine = "onnxruntime" if importlib.util.find_spec("onnxruntime") else "mxnet"
    if engine == "mxnet":
        network = load_gluon_backbone(spec, request)
        return Backbone(
            network.record,
            engine,
            network.origin,
            spec.canonical,
            sum(4 * value.size for value in network.parameters.values()),
            lambda device: MXNetEngine(network, device),
        )
    path, record, origin = exported_graph(spec, request)
    return Backbone(
        record,
        engine,
        origin,
        spec.canonical,
        path.stat().st_size,
        lambda device: OnnxRuntimeEngine(path, record, device),
        path.read_bytes,
    )


def _load_onnx(spec: BackboneSpec, engine: str, request: WeightsRequest) -> Backbone:
    if engine == "mxnet":
        raise BackboneError(
            f"{spec.canonical} is an ONNX file, which MXNet does not run",
            "use --engine onnxruntime or auto",
        )
    if request.random_seed is not None:
        raise BackboneError(
            f"{spec.canonical} carries its own weights; {request.text} cannot apply",
            "leave --weights away, or extract this backbone in a run of its own",
        )
    path = _locate(Path(spec.name), request.folder)
    model = read_graph(path)
    fields = read_preprocessing(path.with_suffix(".json"))
    side = spec.resolution or fields["input_size"][1]
    _check_input(model, side, path)
    width = cut_classifier(model, str(path))
    if fields.get("num_features", width) != width:
        raise BackboneError(
            f"{path.with_suffix('.json')} says {fields['num_features']} features, the graph has "
            f"{width} before its classifier",
            "correct num_features, or check that the record belongs to this graph",
        )
    add_normalisation(model, side, fields["mean"], fields["std"])
    record = BackboneRecord(
        spec=spec.canonical,
        architecture=str(fields.get("architecture", path.stem)),
        weights_digest=sha256_file(path),
        weights="pretrained",
        resolution=side,
        mean=tuple(map(float, fields["mean"])),
        std=tuple(map(float, fields["std"])),
        crop_pct=float(fields["crop_pct"]),
        interpolation=fields["interpolation"],
        num_features=width,
    )
    graph = model.SerializeToString()
    resolution = f"@{spec.resolution}" if spec.resolution else ""
    return Backbone(
        record,
        "onnxruntime",
        str(path.resolve()),
        f"onnx:{path.resolve()}{resolution}",
        len(graph),
        lambda device: OnnxRuntimeEngine(graph, record, device),
        lambda: graph,
    )


def _locate(path: Path, folder: Path | None) -> Path:
    if not path.is_file() and folder is not None and (folder / path.name).is_file():
        return folder / path.name
    return path


def _check_input(model, side: int, path: Path) -> None:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    shape = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if len(inputs) == 1 else []
    if shape and (
        len(shape) != 4 or shape[1] not in (0, 3) or any(n not in (0, side) for n in shape[2:])
    ):
        raise BackboneError(
            f"{path} takes inputs of shape {shape} (0 stands for any), not [N, 3, {side}, {side}]",
            "correct input_size in the JSON record beside it, or leave @RESOLUTION away",
        )

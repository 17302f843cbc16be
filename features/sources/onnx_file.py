"""The source ``onnx:FILE``: anybody's image classifier, with a JSON record beside it."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import BackboneError
from ...core.files import sha256_file
from ..graphs.network import GraphNetwork
from ..graphs.onnx_graph import add_normalisation, cut_classifier, layers_of, read_graph
from ..images.preprocessing import Preprocessing, read_preprocessing
from ..records.record import BackboneRecord
from ..records.spec import BackboneSpec
from ..weights.request import WeightsRequest
from .base import LayerShape, Source

__all__ = ["OnnxFileSource"]


class OnnxFileSource(Source):
    """``onnx:FILE``: image classifiers with a JSON record beside them."""

    name = "onnx"

    def load_graph(self, spec: BackboneSpec, request: WeightsRequest) -> GraphNetwork:
        """See `Source.load_graph`: the classifier is cut off, and uint8 made the input."""
        return _load(spec, request)

    def layers(self, spec: BackboneSpec, request: WeightsRequest) -> list[LayerShape]:
        """See `Source.layers`."""
        path = _locate(Path(spec.name), request.folder)
        side = spec.resolution or read_preprocessing(path.with_suffix(".json"))["input_size"][1]
        return layers_of(read_graph(path), side)


def _load(spec: BackboneSpec, request: WeightsRequest) -> GraphNetwork:
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
    width = cut_classifier(model, f"onnx:{path}", spec.layer, side)
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
        random_seed=None,
        num_features=width,
        preprocessing=Preprocessing.from_dict(fields, side),
    )
    resolution = f"@{spec.resolution}" if spec.resolution else ""
    return GraphNetwork(
        record,
        model.SerializeToString(),
        str(path.resolve()),
        f"onnx:{path.resolve()}{resolution}",
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

"""The source ``onnx:FILE``: anybody's image classifier, with a JSON record beside it."""

import dataclasses
from pathlib import Path

from ..graphs.apart import one_at_a_time, why_not_apart
from ..graphs.cutting import cut_classifier, layers_of
from ..graphs.determined import require_inference_mode
from ..graphs.first_steps import PREPARES, first_steps, require_unprepared
from ..graphs.image_metadata import require_record_of_metadata
from ..graphs.inference import require_inferable
from ..graphs.network import GraphNetwork
from ..graphs.onnx_graph import add_normalisation, load_onnx
from ..graphs.pixel_input import compute_in_float32, free_batch, read_input
from ..graphs.reading import read_graph
from ..graphs.rules import require_rules
from ..images.foreign_record import find_record, read_record, require_width
from ..images.preprocessing import Preprocessing
from ..records.record import BackboneRecord
from ..records.spec import BackboneSpec
from ..weights.request import WeightsRequest
from .base import LayerShape, Source
from .trial import measure_width, require_bounded_run

# Of pixels from 0 to 255 they say: take them as they are.
_AS_THEY_ARE = {"mean": [0.0] * 3, "std": [1 / 255] * 3}


class OnnxFileSource(Source):
    """``onnx:FILE``: image classifiers with a JSON record beside them."""

    name = "onnx"

    def load_graph(self, spec: BackboneSpec, request: WeightsRequest) -> GraphNetwork:
        """See `Source.load_graph`: the classifier is cut off, and uint8 made the input."""
        request.require_none_for(spec.canonical)
        return _load(spec, request.located(Path(spec.name)))

    def layers(self, spec: BackboneSpec, request: WeightsRequest) -> list[LayerShape]:
        """See `Source.layers`."""
        path = request.located(Path(spec.name))
        side = spec.resolution or read_record(find_record(path))["input_size"][1]
        model, name = read_graph(path).model, f"onnx:{path}"
        read_input(load_onnx(), model, side, name)  # Where its channels are is known then.
        require_inferable(model, side, name)
        return layers_of(model, side)


def _load(spec: BackboneSpec, path: Path) -> GraphNetwork:
    onnx, file, where = load_onnx(), read_graph(path), find_record(path)
    model, fields, name = file.model, read_record(where), f"onnx:{path}"
    side = spec.resolution or fields["input_size"][1]
    takes = read_input(onnx, model, side, name)
    require_inferable(model, side, name)
    if takes.takes_pixels:
        # They cannot be normalised before they get there, so the graph does it by itself.
        fields |= _AS_THEY_ARE
    compute_in_float32(onnx, model)
    batch = None if free_batch(onnx, model, side) else takes.batch
    taken = cut_classifier(model, name, spec.layer, side, fields.get("num_classes"))
    require_inference_mode(model, name)
    require_rules(model, side, batch or 1, name)
    if spec.layer.name is None and spec.layer.pool != "none":
        require_width(fields, where, taken.width, f" ({taken.text})")
    how = Preprocessing.from_dict(fields, side)
    require_record_of_metadata(file.metadata, how, name)
    steps = first_steps(model)
    add_normalisation(model, how, takes.channels_last)
    width = taken.width
    if spec.layer.pool == "none" and not width:
        # The shapes of maps are often known to no one but the graph that computes them.
        width = measure_width(model, side, name, batch)
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = width
    record = BackboneRecord(
        spec=spec.canonical,
        architecture=str(fields.get("architecture", path.stem)),
        weights_digest=file.digest,
        random_seed=None,
        num_features=width,
        preprocessing=how,
    )
    mixing = why_not_apart(model, batch)
    about = taken.text + one_at_a_time(mixing)
    if takes.takes_pixels:
        about += "; it takes pixels as they are, so mean and std are its own"
    again = dataclasses.replace(spec, name=str(path.resolve())).text
    network = GraphNetwork(
        record,
        model.SerializeToString(),
        origin=str(path.resolve()),
        source=again,
        layer=about,
        batch=batch,
        mixing=mixing,
    )
    require_bounded_run(network, model)
    if fields.get(PREPARES) is not False:
        require_unprepared(steps, how, name, takes.channels_last)
    return network

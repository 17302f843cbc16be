"""The sources ``gluon:NAME`` and ``mxnet:NAME``: classifiers of both Gluon zoos.

A graph of icecore's library is cut, and filled with the parameters from a file. It was
proved against MXNet when the library was made; MXNet itself is needed for the engine
``mxnet`` alone, the reference.
"""

import hashlib

import numpy as np

from ...core.errors import BackboneError
from ..gluon.efficientnet_lite import VARIANTS
from ..gluon.library import NetworkGraph, graph_index, network_graph
from ..gluon.network import GluonBackbone, reference_network
from ..gluon.parameters import parameters_digest, random_parameters
from ..gluon.zoo import require_known, require_resolution, zoo_record
from ..graphs.cutting import cut_classifier
from ..graphs.network import GraphNetwork
from ..graphs.onnx_graph import add_normalisation, load_onnx
from ..graphs.parameters import FilledGraph, parameters_of
from ..records.record import BackboneRecord
from ..records.spec import BackboneSpec
from ..weights.convert import from_legacy_torch, from_params
from ..weights.fetch import find_weights
from ..weights.file_memory import FileMemory
from ..weights.request import WeightsRequest
from .base import LayerShape, Source


class GluonCVSource(Source):
    """``gluon:NAME``: GluonCV's zoo and EfficientNet-Lite."""

    name = "gluon"
    is_gluon = True

    def load_graph(self, spec: BackboneSpec, request: WeightsRequest) -> GraphNetwork:
        """See `Source.load_graph`."""
        graph, values, origin, memory = _load(spec, request)
        record, filled = feature_graph(spec, graph, values, request.random_seed, memory)
        return GraphNetwork(record, filled, origin, spec.canonical)

    def load_gluon(self, spec: BackboneSpec, request: WeightsRequest) -> GluonBackbone:
        """See `Source.load_gluon`."""
        _, values, origin, _ = _load(spec, request)
        return reference_network(spec, values, request.random_seed, origin)

    def layers(self, spec: BackboneSpec, request: WeightsRequest) -> list[LayerShape]:
        """See `Source.layers`; no weights are needed."""
        self.check(spec)
        side = spec.resolution or require_known(spec.name, spec.source).resolution
        return network_graph(spec.source, spec.name).layers(side)

    def check(self, spec: BackboneSpec) -> None:
        """See `Source.check`."""
        require_resolution(spec.name, spec.resolution, spec.source)


class MXNetSource(GluonCVSource):
    """``mxnet:NAME``: the zoo of MXNet itself, with weights of its own."""

    name = "mxnet"


def feature_graph(
    spec: BackboneSpec,
    graph: NetworkGraph,
    values: dict[str, np.ndarray],
    seed: int | None,
    memory: FileMemory | None = None,
) -> tuple[BackboneRecord, FilledGraph]:
    """Cut a graph, fill it and put the normalisation in front.

    It takes ``images``, uint8 (N, R, R, 3), to ``features`` (N, D). `memory` is of the file that
    the values were read from.
    """
    side = spec.resolution or require_known(spec.name, spec.source).resolution
    model = graph.sized(side)
    width = cut_classifier(model, spec.canonical, spec.layer, side, known=True).width
    _require_passage(model, spec, side)
    digest = _digest(model, values, memory)
    record = zoo_record(spec, width, digest, seed)
    add_normalisation(model, record.preprocessing)
    return record, FilledGraph.of(model, values, digest)


def _digest(model, values: dict[str, np.ndarray], memory: FileMemory | None) -> str:
    parameters = parameters_of(model, values)
    if memory is None:
        return parameters_digest(parameters)
    cut = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    return memory.recall(f"parameters of {cut}", lambda: parameters_digest(parameters))


def _require_passage(model, spec: BackboneSpec, side: int) -> None:
    """Raise `BackboneError` where maps that are summed or joined are of different sizes."""
    try:
        load_onnx().shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # its exceptions share no base of their own
        raise BackboneError(
            f"{spec.canonical} cannot take images of {side} x {side} pixels",
            "use its native resolution (its layers are laid out for that), or a multiple of 32",
        ) from error


def _load(
    spec: BackboneSpec, request: WeightsRequest
) -> tuple[NetworkGraph, dict[str, np.ndarray], str, FileMemory | None]:
    require_resolution(spec.name, spec.resolution, spec.source)
    graph = network_graph(spec.source, spec.name)
    if request.random_seed is not None:
        scales = [int(n) for n in graph_index()[graph.spec]["scales"].split()]
        values = random_parameters(graph.parameters, scales, request.random_seed)
        return graph, values, request.text, None
    file = find_weights(spec.name, request.folder, spec.source)
    lite = spec.source == "gluon" and spec.name in VARIANTS
    memory = FileMemory(file.path)
    values = (from_legacy_torch if lite else from_params)(file.path, graph)
    return graph, values, file.origin, memory

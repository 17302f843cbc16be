"""Where backbones come from: one entry for each source that a spec may name.

A source turns a spec into a proved feature graph, and, where the network is
one of Gluon's, into the Gluon network itself. What runs either is an engine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..graphs.network import GraphNetwork
from ..records.spec import BackboneSpec
from ..weights.request import WeightsRequest

__all__ = ["Source", "source_of"]


@dataclasses.dataclass(frozen=True)
class Source:
    """A kind of backbone.

    Attributes
    ----------
    name : str
        Before the colon of a spec.
    load_graph : callable
        Takes a `BackboneSpec` and a `WeightsRequest`, returns a `GraphNetwork`.
    load_gluon : callable or None
        The same for a `GluonBackbone`, which MXNet runs; None where there is no such network.
    layers : callable or None
        The same for a list of (name, operator, shape) of the layers that features may come
        from; None where there is but the default layer.
    check : callable
        Takes a `BackboneSpec` and raises `BackboneError` where a look into a table shows that
        there is no such network, or not at that resolution. It costs nothing.
    """

    name: str
    load_graph: Callable[[BackboneSpec, WeightsRequest], GraphNetwork]
    load_gluon: Callable[[BackboneSpec, WeightsRequest], object] | None = None
    layers: Callable[[BackboneSpec, WeightsRequest], list] | None = None
    check: Callable[[BackboneSpec], None] = lambda spec: None


def _check_gluon(spec: BackboneSpec) -> None:
    from ..gluon.zoo import require_resolution

    require_resolution(spec.name, spec.resolution, spec.source)


def _gluon_graph(spec: BackboneSpec, request: WeightsRequest) -> GraphNetwork:
    from .gluon_export import exported_graph

    path, record, origin = exported_graph(spec, request)
    return GraphNetwork(record, path, origin, spec.canonical)


def _gluon_network(spec: BackboneSpec, request: WeightsRequest):
    from .gluon import load_gluon_backbone

    return load_gluon_backbone(spec, request)


def _gluon_file_graph(spec: BackboneSpec, request: WeightsRequest) -> GraphNetwork:
    from .gluon_export import exported_graph
    from .gluon_file import file_spec

    path, record, origin = exported_graph(spec, request)
    return GraphNetwork(record, path, origin, file_spec(spec, request))


def _gluon_file_network(spec: BackboneSpec, request: WeightsRequest):
    from .gluon_file import load_gluon_file

    return load_gluon_file(spec, request)


def _gluon_file_layers(spec: BackboneSpec, request: WeightsRequest) -> list:
    from .gluon_file import file_layers

    return file_layers(spec, request)


def _gluon_layers(spec: BackboneSpec, request: WeightsRequest) -> list:
    from ..gluon.network import zoo_layers

    return zoo_layers(spec)


def _onnx_layers(spec: BackboneSpec, request: WeightsRequest) -> list:
    from .onnx_file import onnx_file_layers

    return onnx_file_layers(spec, request)


def _onnx_graph(spec: BackboneSpec, request: WeightsRequest) -> GraphNetwork:
    from .onnx_file import load_onnx_file

    return load_onnx_file(spec, request)


def _timm_graph(spec: BackboneSpec, request: WeightsRequest) -> GraphNetwork:
    from .timm import load_timm

    return load_timm(spec, request)


_SOURCES = {
    source.name: source
    for source in (
        Source("gluon", _gluon_graph, _gluon_network, _gluon_layers, _check_gluon),
        Source("mxnet", _gluon_graph, _gluon_network, _gluon_layers, _check_gluon),
        Source("gluon-file", _gluon_file_graph, _gluon_file_network, _gluon_file_layers),
        Source("onnx", _onnx_graph, None, _onnx_layers),
        Source("timm", _timm_graph),
    )
}


def source_of(spec: BackboneSpec) -> Source:
    """Return the source that `spec` names."""
    return _SOURCES[spec.source]

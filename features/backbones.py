"""From a spec to a backbone that runs: record, origin of its weights, engines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from ..errors import BackboneError, enumerate_some
from .engines import Engine, choose_engine
from .record import BackboneRecord, BackboneSpec
from .sources import source_of
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
    engine : str
        One of `icecore.features.engines.ENGINES`.
    request : WeightsRequest

    Raises
    ------
    BackboneError
        The engine does not run this kind of backbone, or the backbone cannot be loaded.
    """
    source = source_of(spec)
    kind = choose_engine(engine, graphs_only=source.load_gluon is None)
    if kind.runs_graphs:
        network = source.load_graph(spec, request)
        return Backbone(
            network.record,
            kind.name,
            network.origin,
            network.source,
            network.size_bytes,
            lambda device: kind.start(network, device),
            network.content,
        )
    if source.load_gluon is None:
        raise BackboneError(
            f"{spec.canonical} is no Gluon network, so MXNet does not run it",
            "use --engine onnxruntime or auto",
        )
    network = source.load_gluon(spec, request)
    return Backbone(
        network.record,
        kind.name,
        network.origin,
        spec.canonical,
        sum(4 * value.size for value in network.parameters.values()),
        lambda device: kind.start(network, device),
    )

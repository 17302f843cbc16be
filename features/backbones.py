"""From a spec to a backbone that runs: record, origin of its weights, engines."""

import dataclasses
import functools
import textwrap
from collections.abc import Callable, Sequence

from ..core.errors import BackboneError, IcecoreError, WeightsError, counted, enumerate_some
from ..core.text import repeated
from .engines.base import Engine, Setup
from .engines.choose import choose_engine
from .gluon.network import GluonBackbone
from .graphs.network import GraphNetwork
from .records.layer import BEFORE_CLASSIFIER, Layer
from .records.record import BackboneRecord
from .records.spec import BackboneSpec
from .sources.registry import source_of
from .weights.request import WeightsRequest


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network, with the engine that is to run it.

    Attributes
    ----------
    network : GraphNetwork or GluonBackbone
    kind : type of Engine
    compute : {"f32", "bf16", "fp16"}
        In what the engine computes.
    layer : Layer
        Where its features are taken.
    """

    network: GraphNetwork | GluonBackbone
    kind: type[Engine]
    compute: str = "f32"
    layer: Layer = BEFORE_CLASSIFIER

    @property
    def record(self) -> BackboneRecord:
        """What makes its features what they are."""
        return self.network.record

    @property
    def engine(self) -> str:
        """Name of the engine."""
        return self.kind.name

    def graph(self) -> bytes:
        """Return its ONNX graph.

        Raises
        ------
        BackboneError
            It is on an engine that runs Gluon networks themselves.
        """
        if not isinstance(self.network, GraphNetwork):
            raise BackboneError(
                f"{self.record.spec} has no graph on the engine {self.engine}",
                "install onnxruntime",
            )
        return self.network.content()

    def start(
        self, device: str, batch_size: int = 16, images: int = 0, threads: int | None = None
    ) -> Engine:
        """Start the engine on a device, for batches of usually `batch_size` images.

        How many `images` are to come is as far as that is known; `threads` are those of a CPU.
        """
        return self.kind(self.network, Setup(device, self.compute, batch_size, images, threads))


def load_backbones(
    specs: Sequence[str | BackboneSpec],
    engine: str = "auto",
    request: WeightsRequest | None = None,
    *,
    device: str = "cpu",
    precision: str = "f32",
    layer: Layer | None = None,
) -> list[Backbone]:
    """Load several backbones; each may be named once.

    Parameters
    ----------
    specs : sequence of str or BackboneSpec
    engine, device, precision : str
        As in `icecore.features.engines.choose_engine`.
    request : WeightsRequest, optional
    layer : Layer, optional
        Where to take the features of those that are given as text without a layer of their own;
        the input of the classifier, average pooled, if None.

    Raises
    ------
    BackboneError
        None is named, one is named twice, or one cannot be loaded.
    """
    if not specs:
        raise BackboneError("no backbone is named", "add -b gluon:inceptionv3, for instance")
    parsed = _parse_all(specs, layer or BEFORE_CLASSIFIER)
    names = [
        spec.canonical if spec.layer.is_default else f"{spec.canonical} ({spec.layer.text})"
        for spec in parsed
    ]
    if twice := repeated(names):
        raise BackboneError(
            f"backbones are named twice: {enumerate_some(twice)}",
            "name each once; ONNX files need different file names",
        )
    request = request or WeightsRequest()
    load = functools.partial(
        load_backbone, engine=engine, request=request, device=device, precision=precision
    )
    return _of_each(load, parsed, WeightsError)


def _parse_all(specs: Sequence[str | BackboneSpec], layer: Layer) -> list[BackboneSpec]:
    """Parse specs and look their networks up; name all that are unknown before one is loaded."""

    def parse(spec: str | BackboneSpec) -> BackboneSpec:
        if isinstance(spec, str):
            spec = BackboneSpec.parse(spec)
            if spec.layer.is_default:  # it has none of its own
                spec = dataclasses.replace(spec, layer=layer)
        spec = source_of(spec).settled(spec)
        source_of(spec).check(spec)
        return spec

    return _of_each(parse, specs, BackboneError)


def _of_each(load: Callable, specs: Sequence, kind: type[IcecoreError]) -> list:
    """Return what `load` makes of each spec, or raise all errors of a kind as one."""
    loaded, errors = [], []
    for spec in specs:
        try:
            loaded.append(load(spec))
        except kind as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        lines = [
            "\n" + textwrap.indent(f"{error.message}\n  {error.hint}", "    ") for error in errors
        ]
        raise kind(
            f"{counted(len(errors), 'backbone')} cannot be had:{''.join(lines)}",
            "correct them and run the command again",
        )
    return loaded


def load_backbone(
    spec: BackboneSpec,
    engine: str,
    request: WeightsRequest,
    *,
    device: str = "cpu",
    precision: str = "f32",
    network: GraphNetwork | None = None,
) -> Backbone:
    """Load one backbone for an engine.

    Parameters
    ----------
    spec : BackboneSpec
    engine, device, precision : str
        As in `icecore.features.engines.choose_engine`.
    request : WeightsRequest
    network : GraphNetwork, optional
        What was loaded by this spec elsewhere: no file of it is looked for here.

    Raises
    ------
    BackboneError
        The engine does not run this kind of backbone, or does not compute in that
        precision here, or the backbone cannot be loaded.
    """
    source = source_of(spec)
    spec = source.settled(spec)
    if network is None:
        source.check(spec)
    kind, compute = choose_engine(
        engine, graphs_only=not source.is_gluon, device=device, precision=precision
    )
    if network is not None and kind.runs_graphs:
        return Backbone(network, kind, compute, spec.layer)
    load = source.load_graph if kind.runs_graphs else source.load_gluon
    return Backbone(load(spec, request), kind, compute, spec.layer)

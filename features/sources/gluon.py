"""Build a Gluon classifier, fill in its weights, freeze it, and cut it."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import WeightsError, enumerate_some
from ...core.files import sha256_file
from ..gluon.efficientnet_lite import set_efficientnet_lite_weights
from ..gluon.loader import load_mxnet
from ..gluon.network import (
    CLASSES,
    GluonBackbone,
    _initialise_at_random,
    _is_lite,
    build_network,
    digest_of,
    values_of,
    zoo_layers,
)
from ..gluon.params_file import check_params, read_params
from ..gluon.symbols import cut_symbol, trace
from ..gluon.zoo import native_preprocessing, require_known, require_resolution
from ..records.record import BackboneRecord
from ..records.spec import BackboneSpec
from ..weights.fetch import find_weights
from ..weights.request import WeightsFile, WeightsRequest
from ..weights.torch_legacy import read_legacy_torch
from .base import LayerShape
from .gluon_export import ExportedSource, Identity

__all__ = ["GluonCVSource", "MXNetSource", "load_gluon_backbone"]


class GluonCVSource(ExportedSource):
    """``gluon:NAME``: GluonCV's zoo and EfficientNet-Lite."""

    name = "gluon"

    def load_gluon(self, spec: BackboneSpec, request: WeightsRequest) -> GluonBackbone:
        """See `Source.load_gluon`."""
        return load_gluon_backbone(spec, request)

    def layers(self, spec: BackboneSpec, request: WeightsRequest) -> list[LayerShape]:
        """See `Source.layers`; no weights are needed."""
        return zoo_layers(spec)

    def check(self, spec: BackboneSpec) -> None:
        """See `Source.check`."""
        require_resolution(spec.name, spec.resolution, spec.source)

    def identify(self, spec: BackboneSpec, request: WeightsRequest) -> Identity:
        """See `ExportedSource.identify`."""
        self.check(spec)
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
        return Identity(parts, origin, spec.canonical)


class MXNetSource(GluonCVSource):
    """``mxnet:NAME``: the zoo of MXNet itself, with weights of its own."""

    name = "mxnet"


def load_gluon_backbone(spec: BackboneSpec, request: WeightsRequest) -> GluonBackbone:
    """Build, initialise, freeze and cut the network that `spec` names.

    Raises
    ------
    BackboneError
        No such network, or it cannot take that resolution.
    WeightsError
        Its weights cannot be had or do not fit.
    """
    mx = load_mxnet()
    require_resolution(spec.name, spec.resolution, spec.source)
    settings = native_preprocessing(spec.name, spec.source)
    native = settings["resolution"]
    settings["resolution"] = spec.resolution or native
    network = build_network(spec, settings["resolution"])
    if request.random_seed is None:
        file = find_weights(spec.name, request.folder, spec.source)
        origin = _load_weights(network, spec, file)
    else:
        # At the native resolution, which every network takes; the cut one may take others.
        _initialise_at_random(network, request.random_seed, native)
        origin = request.text
    for parameter in network.collect_params().values():
        parameter.grad_req = "null"
    symbol, width = cut_symbol(
        trace(network),
        spec.layer,
        settings["resolution"],
        native=native,
        classes=CLASSES,
        prefix=network.prefix,
        name=spec.canonical,
    )
    values = {p.name: p.data(mx.cpu()) for p in network.collect_params().values()}
    parameters = values_of(symbol, values)
    record = BackboneRecord(
        spec=spec.canonical,
        architecture=spec.name,
        weights_digest=digest_of(symbol, parameters),
        weights=request.text,
        num_features=width,
        **settings,
    )
    return GluonBackbone(record, symbol, parameters, origin, network)


def _load_weights(network, spec: BackboneSpec, file: WeightsFile) -> str:
    mx = load_mxnet()
    if _is_lite(spec):
        network.initialize()
        set_efficientnet_lite_weights(network, read_legacy_torch(file.path))
        return file.origin
    check_params(file.path)  # MXNet's own reader trusts what it reads
    if require_known(spec.name, spec.source).family == "resnetv1b_pruned":
        _load_pruned(network, spec, file.path)
        return file.origin
    try:
        network.load_parameters(str(file.path), ctx=mx.cpu())
    except (mx.MXNetError, AssertionError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise WeightsError(
            f"{file.path} does not fit {spec.source}:{spec.name}: {reason}",
            "get the .params file of this very network",
        ) from error
    return file.origin


def _load_pruned(network, spec: BackboneSpec, path: Path) -> None:
    """Load a pruned ResNet, whose file names arrays as its unpruned original did.

    The original is always called ``resnetv1d`` there (GluonCV's ``prune_gluon_block``).
    """
    mx = load_mxnet()
    values = read_params(path)
    wrong = []
    for parameter in network.collect_params().values():
        value = values.get(f"resnetv1d_{parameter.name.removeprefix(network.prefix)}")
        # Of normalisations the shape is not known before; it is that of the file.
        known = parameter.shape is not None and min(parameter.shape) > 0
        if value is None or (known and tuple(parameter.shape) != value.shape):
            wrong.append(parameter.name)
            continue
        parameter.shape = value.shape
        parameter.initialize(mx.init.Zero(), force_reinit=True)
        parameter.set_data(mx.nd.array(value))
    if wrong:
        raise WeightsError(
            f"{path} does not fit {spec.canonical}: {enumerate_some(wrong)} are missing or of "
            "another shape",
            "get the .params file of this very network",
        )

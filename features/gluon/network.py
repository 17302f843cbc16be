"""Gluon networks of both zoos in MXNet, the reference: built, filled with values, cut."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..records.record import BackboneRecord
from ..records.spec import BackboneSpec
from .efficientnet_lite import VARIANTS, build_efficientnet_lite
from .loader import load_gluoncv, load_mxnet
from .parameters import parameters_digest
from .symbols import cut_symbol, trace
from .zoo import require_known, zoo_record

CLASSES = 1000


@dataclasses.dataclass
class GluonBackbone:
    """A frozen network, cut before its classifier, that MXNet runs.

    Attributes
    ----------
    symbol : mxnet.symbol.Symbol
        From ``data`` (N, 3, R, R), normalised, to features (N, D).
    parameters : dict of str to mxnet.ndarray.NDArray
        Values of the symbol's arguments and auxiliary states.
    network : mxnet.gluon.HybridBlock or None
        The whole classifier, every parameter with ``grad_req`` null; None where the
        user's file has no such thing.
    source : str
        What to give as a spec to get this very backbone again.
    layer, license : str
        As of a `GraphNetwork`; nothing is known of them here.
    """

    record: BackboneRecord
    symbol: Any
    parameters: dict
    origin: str
    network: Any = None
    source: str = ""
    layer: str = ""
    license: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes of its parameters."""
        return sum(4 * value.size for value in self.parameters.values())


def build_network(spec: BackboneSpec, resolution: int):
    """Build the classifier that `spec` names, not initialised, named as in a fresh process."""
    mx = load_mxnet()
    with mx.name.NameManager():
        if spec.source == "gluon" and spec.name in VARIANTS:
            return build_efficientnet_lite(spec.name, resolution, CLASSES)
        if spec.source == "mxnet":
            return mx.gluon.model_zoo.vision.get_model(spec.name, pretrained=False)
        return load_gluoncv().model_zoo.get_model(spec.name, pretrained=False)


def fill_network(network, values: Mapping[str, np.ndarray]) -> None:
    """Give every parameter of a network its value, in Gluon's order, and freeze it."""
    mx = load_mxnet()
    # Not by name: EfficientNet-Lite's names depend on the size that it is laid out for.
    for parameter, value in zip(_parameters(network), values.values(), strict=True):
        parameter.shape = value.shape
        parameter.initialize(mx.init.Zero(), ctx=mx.cpu(), force_reinit=True)
        parameter.set_data(mx.nd.array(value))
        parameter.grad_req = "null"


def reference_network(
    spec: BackboneSpec, values: Mapping[str, np.ndarray], seed: int | None, origin: str
) -> GluonBackbone:
    """Build, fill and cut the network that `spec` names.

    Parameters
    ----------
    values : mapping of str to ndarray
        All parameters by their structural names, in Gluon's order.

    Raises
    ------
    BackboneError
        It cannot take that resolution, or has no such layer.
    """
    mx, native = load_mxnet(), require_known(spec.name, spec.source).resolution
    side = spec.resolution or native
    network = build_network(spec, side)
    fill_network(network, values)
    symbol, width = cut_symbol(
        trace(network),
        spec.layer,
        side,
        native=native,
        classes=CLASSES,
        prefix=network.prefix,
        name=spec.canonical,
    )
    parameters = values_of(symbol, {p.name: p.data(mx.cpu()) for p in _parameters(network)})
    digest = parameters_digest(
        {
            name: parameters[parameter.name].asnumpy()
            for name, parameter in zip(values, _parameters(network))
            if parameter.name in parameters
        }
    )
    record = zoo_record(spec, width, digest, seed)
    return GluonBackbone(record, symbol, parameters, origin, network, spec.canonical)


def values_of(symbol, values: dict) -> dict:
    """Take the values that a cut symbol needs, gamma set to 1 where it is fixed.

    ``fix_gamma`` means that the stored gamma is not used, but not all of MXNet keeps to
    that, so the value itself is made the one that holds.
    """
    mx = load_mxnet()
    values = {n: values[n] for n in symbol.list_inputs() if n in values}
    nodes = json.loads(symbol.tojson())["nodes"]
    for node in nodes:
        fixed = node.get("attrs", {}).get("fix_gamma", "True") in ("True", "1")
        if node["op"] == "BatchNorm" and fixed:
            gamma = nodes[node["inputs"][1][0]]["name"]
            values[gamma] = mx.nd.ones_like(values[gamma])
    return values


def _parameters(network) -> list:
    # One may have two names.
    return list({p.name: p for p in network._collect_params_with_prefix().values()}.values())

"""Gluon networks of both zoos: built, filled with values and described."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np

from ...core.errors import BackboneError
from ..records.record import BackboneRecord
from ..records.spec import BackboneSpec
from .efficientnet_lite import VARIANTS, build_efficientnet_lite
from .loader import load_gluoncv, load_mxnet
from .symbols import layer_shapes, trace
from .zoo import native_preprocessing, require_resolution

__all__ = ["CLASSES", "GluonBackbone", "build_network", "digest_of", "values_of", "zoo_layers"]


CLASSES = 1000


@dataclasses.dataclass
class GluonBackbone:
    """A frozen network, cut before its classifier.

    Attributes
    ----------
    record : BackboneRecord
    symbol : mxnet.symbol.Symbol
        From ``data`` (N, 3, R, R), normalised, to features (N, D).
    parameters : dict of str to mxnet.ndarray.NDArray
        Values of the symbol's arguments and auxiliary states.
    origin : str
        Where the weights came from.
    network : mxnet.gluon.HybridBlock or None
        The whole classifier, every parameter with ``grad_req`` null; None where the
        user's file has no such thing.
    source : str
        What to give as a spec to get this very backbone again; its record's spec if empty.
    """

    record: BackboneRecord
    symbol: object
    parameters: dict
    origin: str
    network: object = None
    source: str = ""


def build_network(spec: BackboneSpec, resolution: int):
    """Build the classifier that `spec` names, not initialised, named as in a fresh process."""
    mx = load_mxnet()
    with mx.name.NameManager():
        if _is_lite(spec):
            return build_efficientnet_lite(spec.name, resolution, CLASSES)
        if spec.source == "mxnet":
            return mx.gluon.model_zoo.vision.get_model(spec.name, pretrained=False)
        return load_gluoncv().model_zoo.get_model(spec.name, pretrained=False)


def zoo_layers(spec: BackboneSpec) -> list[tuple[str, str, tuple[int, ...]]]:
    """List (name, operator, output shape) of the layers of a zoo's network; no weights needed."""
    require_resolution(spec.name, spec.resolution, spec.source)
    side = spec.resolution or native_preprocessing(spec.name, spec.source)["resolution"]
    network = build_network(spec, side)
    return layer_shapes(trace(network), side, network.prefix)


def _is_lite(spec: BackboneSpec) -> bool:
    return spec.source == "gluon" and spec.name in VARIANTS


def _initialise_at_random(network, seed: int, resolution: int) -> None:
    """Initialise with a seed, the same on every machine.

    He initialisation (arXiv:1502.01852) keeps the scale through ReLUs, but
    residual sums grow by powers of two in a network as deep as ResNet-152, so
    each batch normalisation is given the scale of what reaches it.
    """
    mx = load_mxnet()
    rng = np.random.default_rng(seed)
    network.initialize(mx.init.Zero(), force_reinit=True)
    noise = rng.standard_normal((4, 3, resolution, resolution), dtype=np.float32)
    network(mx.nd.array(noise))  # fixes shapes that are inferred late
    for name, parameter in network.collect_params().items():
        shape = parameter.shape
        if name.endswith("weight"):
            scale = np.float32((2 / int(np.prod(shape[1:]))) ** 0.5)
            values = rng.standard_normal(shape, dtype=np.float32) * scale
        else:
            values = np.full(shape, float(name.endswith(("gamma", "running_var"))))
        parameter.set_data(mx.nd.array(values))
    _settle_batch_statistics(network, mx.nd.array(noise), rng)


def _never_drop(block) -> None:
    # It acts in training alone, for maps of one size: the larger ResNeSts' are made for 224 pixels.
    if type(block).__name__ == "DropBlock":
        block.drop_prob = 0


def _settle_batch_statistics(network, noise, rng: np.random.Generator) -> None:
    mx = load_mxnet()
    layers: list = []
    network.apply(lambda b: layers.append(b) if isinstance(b, mx.gluon.nn.BatchNorm) else None)
    network.apply(_never_drop)
    momenta = [layer._kwargs["momentum"] for layer in layers]
    for layer in layers:
        layer._kwargs["momentum"] = 0.0
    with mx.autograd.record():
        output = network(noise)
    try:
        # MXNet updates the statistics on the way back.
        (output[0] if isinstance(output, list | tuple) else output).backward()
        mx.nd.waitall()
    except mx.MXNetError as error:
        raise BackboneError(
            "MXNet cannot initialise this network at random on this processor: "
            f"{str(error).strip().splitlines()[-1][:200]}",
            "set MXNET_MKLDNN_ENABLED=0: its oneDNN fails on some networks",
        ) from error
    for layer, momentum in zip(layers, momenta):
        layer._kwargs["momentum"] = momentum
        mean, variance = layer.running_mean.data().asnumpy(), layer.running_var.data().asnumpy()
        # The mean is kept, not subtracted: it is what differs between images.
        found = float((variance + mean**2).mean())
        # Rounded to half powers of two: the last bits differ from machine to machine.
        scale = 2 ** (round(2 * np.log2(max(found, 1e-12))) / 2)
        shape = layer.running_var.shape
        layer.running_var.set_data(mx.nd.array(scale * rng.uniform(0.8, 1.2, shape)))
        layer.running_mean.set_data(mx.nd.array(scale**0.5 * rng.normal(0, 0.05, shape)))


def values_of(symbol, values: dict) -> dict:
    """Take the values that a cut symbol needs, gamma set to 1 where it is fixed.

    ``fix_gamma`` means that the stored gamma is not used. MXNet's executors and
    its exporter disagree on that, so the value itself is made the one that holds.
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


def digest_of(symbol, parameters: dict) -> str:
    """Return the SHA-256 of a symbol's parameters, in its order of them."""
    # Names carry a counter that depends on what was built before; the order does not.
    digest = hashlib.sha256()
    for name in symbol.list_inputs():
        if name in parameters:
            values = parameters[name].asnumpy()
            digest.update(f"{values.dtype.str}{values.shape};".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()

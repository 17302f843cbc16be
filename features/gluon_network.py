"""Build a Gluon classifier, freeze it, and cut it before its classifier.

One recipe serves every network of the zoo: the traced symbol is walked back
from its output to the last layer as wide as the number of classes, and cut at
that layer's input; a fixed average pool on the way is made global, which at
the native resolution changes nothing.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json

import numpy as np

from ..errors import BackboneError, WeightsError
from .efficientnet_lite import VARIANTS, build_efficientnet_lite, set_efficientnet_lite_weights
from .mxnet_loader import load_gluoncv, load_mxnet
from .params_file import check_params
from .record import BackboneRecord, BackboneSpec
from .torch_legacy import read_legacy_torch
from .weights import WeightsFile, WeightsRequest, find_weights
from .zoo import native_preprocessing, require_known

__all__ = ["GluonBackbone", "build_network", "load_gluon_backbone"]

CLASSES = 1000
_PASSED_ON_THE_WAY_BACK = ("Flatten", "Activation", "Pooling", "Dropout", "Reshape", "softmax")
_PASSED_BEFORE_THE_POOL = ("Flatten", "Dropout", "Reshape")


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
    network : mxnet.gluon.HybridBlock
        The whole classifier, every parameter with ``grad_req`` null.
    """

    record: BackboneRecord
    symbol: object
    parameters: dict
    origin: str
    network: object


def load_gluon_backbone(spec: BackboneSpec, request: WeightsRequest) -> GluonBackbone:
    """Build, initialise, freeze and cut the network that `spec` names.

    Raises
    ------
    BackboneError
        No such network, or it cannot take that resolution.
    WeightsError
        Its weights cannot be had or do not fit.
    """
    settings = native_preprocessing(spec.name, spec.source)
    if spec.resolution:
        settings["resolution"] = spec.resolution
    network = build_network(spec, settings["resolution"])
    if request.random_seed is None:
        file = find_weights(spec.name, request.folder, spec.source)
        origin = _load_weights(network, spec, file)
    else:
        # At the native resolution, which every network takes; the cut one may take others.
        native = native_preprocessing(spec.name, spec.source)["resolution"]
        _initialise_at_random(network, request.random_seed, native)
        origin = request.text
    for parameter in network.collect_params().values():
        parameter.grad_req = "null"
    symbol, width = cut_before_classifier(network, settings["resolution"], spec.canonical)
    parameters = _values_of(symbol, network)
    record = BackboneRecord(
        spec=spec.canonical,
        architecture=spec.name,
        weights_digest=_digest(symbol, parameters),
        weights=request.text,
        num_features=width,
        **settings,
    )
    return GluonBackbone(record, symbol, parameters, origin, network)


def cut_before_classifier(network, resolution: int, name: str = "the network"):
    """Trace a classifier and cut it at the input of its last classifier layer.

    Parameters
    ----------
    network : mxnet.gluon.HybridBlock
        Initialised.
    resolution : int
        Side of the square input.
    name : str
        For messages.

    Returns
    -------
    symbol : mxnet.symbol.Symbol
        From ``data`` (N, 3, R, R) to features (N, D).
    width : int
        D.

    Raises
    ------
    BackboneError
        There is no such layer, or the resolution does not go through.
    """
    mx = load_mxnet()
    output = network(mx.sym.var("data"))
    output = output[0] if isinstance(output, list | tuple) else output
    graph = json.loads(output.tojson())
    nodes = graph["nodes"]
    classifier = _find_classifier(nodes, graph["heads"][0][0])
    if classifier is None:
        raise BackboneError(
            f"{name} has no classifier layer of {CLASSES} outputs at its end",
            "give a network that classifies ImageNet",
        )
    cut = nodes[classifier]["inputs"][0]
    _make_pool_global(nodes, cut[0])
    graph["heads"] = [cut]
    symbol = mx.sym.load_json(json.dumps(graph))
    shape = _output_shape(symbol, resolution, name)
    if len(shape) == 4:
        symbol = mx.sym.flatten(mx.sym.Pooling(symbol, global_pool=True, pool_type="avg"))
        shape = _output_shape(symbol, resolution, name)
    return symbol, int(shape[1])


def build_network(spec: BackboneSpec, resolution: int):
    """Build the network that `spec` names, its parameters not yet initialised."""
    if _is_lite(spec):
        return build_efficientnet_lite(spec.name, resolution, CLASSES)
    require_known(spec.name, spec.source)
    if spec.source == "mxnet":
        return load_mxnet().gluon.model_zoo.vision.get_model(spec.name, pretrained=False)
    return load_gluoncv().model_zoo.get_model(spec.name, pretrained=False)


def _is_lite(spec: BackboneSpec) -> bool:
    return spec.source == "gluon" and spec.name in VARIANTS


def _load_weights(network, spec: BackboneSpec, file: WeightsFile) -> str:
    mx = load_mxnet()
    if _is_lite(spec):
        network.initialize()
        set_efficientnet_lite_weights(network, read_legacy_torch(file.path))
        return file.origin
    check_params(file.path)  # MXNet's own reader trusts what it reads
    try:
        network.load_parameters(str(file.path), ctx=mx.cpu())
    except (mx.MXNetError, AssertionError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise WeightsError(
            f"{file.path} does not fit {spec.source}:{spec.name}: {reason}",
            "get the .params file of this very network",
        ) from error
    return file.origin


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


def _settle_batch_statistics(network, noise, rng: np.random.Generator) -> None:
    mx = load_mxnet()
    layers: list = []
    network.apply(lambda b: layers.append(b) if isinstance(b, mx.gluon.nn.BatchNorm) else None)
    momenta = [layer._kwargs["momentum"] for layer in layers]
    for layer in layers:
        layer._kwargs["momentum"] = 0.0
    with mx.autograd.record():
        output = network(noise)
    # MXNet updates the statistics on the way back.
    (output[0] if isinstance(output, list | tuple) else output).backward()
    mx.nd.waitall()
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


def _find_classifier(nodes: list[dict], index: int) -> int | None:
    while True:
        node = nodes[index]
        attributes = node.get("attrs", {})
        width = attributes.get("num_hidden") or attributes.get("num_filter")
        if node["op"] in ("FullyConnected", "Convolution") and width == str(CLASSES):
            return index
        if node["op"] not in _PASSED_ON_THE_WAY_BACK or not node["inputs"]:
            return None
        index = node["inputs"][0][0]


def _make_pool_global(nodes: list[dict], index: int) -> None:
    while nodes[index]["op"] in _PASSED_BEFORE_THE_POOL:
        index = nodes[index]["inputs"][0][0]
    attributes = nodes[index].get("attrs", {})
    if nodes[index]["op"] == "Pooling" and attributes.get("pool_type") == "avg":
        # Pools with padding would count the border, and small ones are no last pool.
        kernel = ast.literal_eval(attributes.get("kernel", "()"))
        if kernel and min(kernel) >= 7:
            attributes["global_pool"] = "True"


def _output_shape(symbol, resolution: int, name: str) -> tuple[int, ...]:
    mx = load_mxnet()
    try:
        return symbol.infer_shape(data=(1, 3, resolution, resolution))[1][0]
    except mx.MXNetError as error:
        raise BackboneError(
            f"{name} cannot take images of {resolution} x {resolution} pixels",
            "use its native resolution: its layers are laid out for that",
        ) from error


def _values_of(symbol, network) -> dict:
    """Collect the values the cut symbol needs, gamma set to 1 where it is fixed.

    ``fix_gamma`` means that the stored gamma is not used. MXNet's executors and
    its exporter disagree on that, so the value itself is made the one that holds.
    """
    mx = load_mxnet()
    values = {p.name: p.data(mx.cpu()) for p in network.collect_params().values()}
    values = {n: values[n] for n in symbol.list_inputs() if n in values}
    nodes = json.loads(symbol.tojson())["nodes"]
    for node in nodes:
        fixed = node.get("attrs", {}).get("fix_gamma", "True") in ("True", "1")
        if node["op"] == "BatchNorm" and fixed:
            gamma = nodes[node["inputs"][1][0]]["name"]
            values[gamma] = mx.nd.ones_like(values[gamma])
    return values


def _digest(symbol, parameters: dict) -> str:
    # Names carry a counter that depends on what was built before; the order does not.
    digest = hashlib.sha256()
    for name in symbol.list_inputs():
        if name in parameters:
            values = parameters[name].asnumpy()
            digest.update(f"{values.dtype.str}{values.shape};".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()

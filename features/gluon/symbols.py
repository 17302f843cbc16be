"""Traced Gluon networks as graphs: find the classifier, cut, pool, check shapes.

One recipe serves every network of the zoo: the symbol is walked back from its
output to the last layer as wide as the number of classes, and cut at that
layer's input; a fixed average pool on the way that covers the whole map is
made global, which at the native resolution changes nothing.
"""

import ast
import contextlib
import json
from collections.abc import Iterator

from ...core.errors import BackboneError
from ..records.layer import GEM_EPSILON, GEM_POWER, Layer, no_such_layer, nothing_to_pool
from .loader import load_mxnet

_PASSED_ON_THE_WAY_BACK = frozenset(
    "Flatten Activation Pooling Dropout Reshape softmax SoftmaxOutput SoftmaxActivation "
    "log_softmax squeeze relu".split()
)
_PASSED_BEFORE_THE_POOL = frozenset("Flatten Dropout Reshape squeeze".split())


def trace(network):
    """Return a network's first output as a symbol of ``data``, names as in a fresh process."""
    mx = load_mxnet()
    with mx.name.NameManager(), _traceable_group_norms(network):
        output = network(mx.sym.var("data"))
    return output[0] if isinstance(output, list | tuple) else output


def cut_symbol(
    symbol,
    layer: Layer,
    resolution: int,
    *,
    native: int,
    classes: int | None = 1000,
    prefix: str = "",
    name: str = "the network",
):
    """Cut a classifier at its classifier's input, or at a named layer, and pool.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        From ``data`` (N, 3, R, R); its parameters' shapes known or inferable.
    resolution : int
        Side R of the square input.
    native : int
        Side that the network was made for.
    classes : int or None
        Width of the classifier; any if None.
    prefix : str
        Begins the names of layers in the symbol; users leave it away.

    Returns
    -------
    symbol : mxnet.symbol.Symbol
        From ``data`` (N, 3, R, R) to features (N, D).
    width : int
        D.

    Raises
    ------
    BackboneError
        There is no such layer, the resolution does not go through, or there is nothing
        to pool.
    """
    mx = load_mxnet()
    graph = json.loads(symbol.tojson())
    nodes = graph["nodes"]
    if layer.name is not None:
        site = _named(nodes, layer.name, prefix, name)
    else:
        classifier = _find_classifier(nodes, graph["heads"][0][0], classes)
        if classifier is None:
            raise _no_classifier(name, classes)
        site = nodes[classifier]["inputs"][0]
        _make_pool_global(symbol, nodes, site[0], native)
    graph["heads"] = [site]
    cut = mx.sym.load_json(json.dumps(graph))
    shape = _checked_shape(cut, resolution, name)
    with mx.name.NameManager():
        cut = _pooled(cut, graph, shape, layer, name)
    return cut, int(_checked_shape(cut, resolution, name)[1])


def _no_classifier(name: str, classes: int | None) -> BackboneError:
    if classes:
        return BackboneError(
            f"{name} has no classifier layer of {classes} outputs at its end",
            "give a network that classifies ImageNet",
        )
    return BackboneError(
        f"{name} has no classifier layer at its end",
        f"name the layer with --layer; 'icecore backbones --layers {name}' lists them",
    )


def passes(symbol, resolution: int) -> bool:
    """Tell whether images of this side go through: every map is there, every kernel fits."""
    internals = symbol.get_internals()
    shapes = _infer(internals, resolution)
    if shapes is None:
        return False
    named = dict(zip(internals.list_outputs(), shapes))
    nodes = json.loads(symbol.tojson())["nodes"]
    for node in nodes:
        attributes = node.get("attrs", {})
        if node["op"] not in ("Convolution", "Pooling"):
            continue
        if attributes.get("global_pool", "False") in ("True", "1"):
            continue
        source, number = nodes[node["inputs"][0][0]], node["inputs"][0][1]
        shape = _output_shape(named, source, number)
        kernel, pad, dilate = (_pair(attributes, key) for key in ("kernel", "pad", "dilate"))
        for side, k, p, d in zip(shape[2:], kernel, pad or (0, 0), dilate or (1, 1)):
            # MXNet or ONNX Runtime may compute something even so.
            if (k - 1) * d + 1 > side + 2 * p:
                return False
    return True


def _named(nodes: list[dict], wanted: str, prefix: str, name: str) -> list[int]:
    layers = {
        node["name"].removeprefix(prefix): index
        for index, node in enumerate(nodes)
        if node["op"] != "null"
    }
    if wanted not in layers:
        raise no_such_layer(name, wanted, list(layers))
    return [layers[wanted], 0, 0]


def _find_classifier(nodes: list[dict], index: int, classes: int | None) -> int | None:
    while True:
        node = nodes[index]
        attributes = node.get("attrs", {})
        if node["op"] in ("FullyConnected", "Convolution"):
            width = attributes.get("num_hidden") or attributes.get("num_filter")
            if classes is not None:
                return index if width == str(classes) else None
            # As a convolution a classifier looks at one place at a time.
            kernel = _pair(attributes, "kernel")
            return index if all(n == 1 for n in kernel) else None
        if node["op"] not in _PASSED_ON_THE_WAY_BACK or not node["inputs"]:
            return None
        index = node["inputs"][0][0]


def _make_pool_global(symbol, nodes: list[dict], index: int, native: int) -> None:
    while nodes[index]["op"] in _PASSED_BEFORE_THE_POOL:
        index = nodes[index]["inputs"][0][0]
    attributes = nodes[index].get("attrs", {})
    if nodes[index]["op"] != "Pooling" or attributes.get("pool_type") != "avg":
        return
    # A pool that leaves a map of more than one place, or that counts a border, is none.
    if not _pair(attributes, "kernel") or any(_pair(attributes, "pad")):
        return
    internals = symbol.get_internals()
    shapes = dict(zip(internals.list_outputs(), _infer(internals, native) or []))
    if _output_shape(shapes, nodes[index], 0)[2:] == (1, 1):
        attributes["global_pool"] = "True"


def _pooled(cut, graph: dict, shape: tuple, layer: Layer, name: str):
    """Give `cut` the form (N, D) with the pool that is asked for."""
    mx = load_mxnet()
    if len(shape) not in (2, 4):
        raise nothing_to_pool(name, layer, shape)
    if len(shape) == 4 and max(shape[2:]) > 1:
        return _pool(cut, layer.pool)
    if layer.pool != "avg" and layer.name is None:
        before = _map_before(graph["nodes"], graph["heads"][0][0])
        if before is not None:
            return _pool(mx.sym.load_json(json.dumps(graph | {"heads": [before]})), layer.pool)
    if layer.pool != "avg":
        raise nothing_to_pool(name, layer, shape)
    return _pool(cut, "avg") if len(shape) == 4 else cut


def _map_before(nodes: list[dict], index: int) -> list[int] | None:
    """Return the map that an average pool before a node averages away, or None."""
    while nodes[index]["op"] in _PASSED_BEFORE_THE_POOL:
        index = nodes[index]["inputs"][0][0]
    attributes = nodes[index].get("attrs", {})
    is_global = attributes.get("global_pool", "False") in ("True", "1")
    if nodes[index]["op"] == "Pooling" and is_global and attributes.get("pool_type") == "avg":
        return nodes[index]["inputs"][0]
    return None


def _pool(symbol, pool: str):
    mx = load_mxnet()

    def whole(x, kind: str):
        return mx.sym.flatten(mx.sym.Pooling(x, global_pool=True, pool_type=kind))

    if pool == "none":
        return mx.sym.flatten(symbol)
    if pool == "avgmax":
        return (whole(symbol, "avg") + whole(symbol, "max")) * 0.5
    if pool == "gem":
        return whole(mx.sym.maximum(symbol, GEM_EPSILON) ** GEM_POWER, "avg") ** (1 / GEM_POWER)
    return whole(symbol, pool)


def _checked_shape(symbol, resolution: int, name: str) -> tuple[int, ...]:
    if not passes(symbol, resolution):
        raise BackboneError(
            f"{name} cannot take images of {resolution} x {resolution} pixels",
            "use its native resolution (its layers are laid out for that), or a multiple of 32",
        )
    found = _infer(symbol, resolution)
    assert found is not None  # it passes
    return found[0]


def _infer(symbol, resolution: int) -> list[tuple[int, ...]] | None:
    """Return the shapes of a symbol's outputs; None where shapes contradict each other."""
    mx = load_mxnet()
    try:
        # The other method prints before it raises. What stays unknown has an extent of 0.
        shapes = symbol.infer_shape_partial(data=(1, 3, resolution, resolution))[1]
    except mx.MXNetError:
        return None
    return shapes if all(shape and min(shape) > 0 for shape in shapes) else None


def _output_shape(shapes: dict, node: dict, number: int) -> tuple[int, ...]:
    if node["op"] == "null":
        return shapes[node["name"]]
    single = shapes.get(f"{node['name']}_output")
    return single if single is not None else shapes[f"{node['name']}_output{number}"]


def _pair(attributes: dict, key: str) -> tuple[int, ...]:
    return tuple(ast.literal_eval(attributes.get(key, "()")))


@contextlib.contextmanager
def _traceable_group_norms(network) -> Iterator[None]:
    """Let GluonCV's GroupNorm be traced: its own code asks arrays for their shapes."""
    load_mxnet()
    blocks: list = []

    def collect(block) -> None:
        if type(block).__name__ == "GroupNorm" and hasattr(block, "ngroups"):
            blocks.append(block)

    network.apply(collect)
    for block in blocks:
        block.hybrid_forward = _group_norm(block)
    try:
        yield
    finally:
        for block in blocks:
            del block.hybrid_forward


def _group_norm(block):
    groups, epsilon, scales = block.ngroups, block._kwargs["eps"], block.scale

    def forward(F, x, gamma, beta):
        # Means by pooling: ONNX changed how its own mean is written, pooling it left alone.
        y = x.reshape((0, groups, -1, 1))
        y = F.broadcast_sub(y, F.Pooling(y, global_pool=True, pool_type="avg"))
        variance = F.Pooling(F.square(y), global_pool=True, pool_type="avg")
        y = F.broadcast_div(y, F.sqrt(variance + epsilon)).reshape_like(x)
        if scales:
            y = F.broadcast_mul(y, gamma.reshape((1, -1, 1, 1)))
        return F.broadcast_add(y, beta.reshape((1, -1, 1, 1)))

    return forward

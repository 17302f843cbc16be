"""Make the library of ONNX graphs of both Gluon zoos, and prove each against MXNet.

``python tools/make_graphs.py [SPEC ...]`` makes the graphs of the networks that are named,
else of all. It needs MXNet and GluonCV, so Python 3.11. The same versions write the same
bytes; the index beside the graphs says which versions, seeds and errors there were.
Where MXNet's oneDNN fails on a network, set ``MXNET_MKLDNN_ENABLED=0``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import platform
import sys
from importlib.metadata import version

import numpy as np

from icecore.core.errors import IcecoreError
from icecore.core.files import publish, publish_json
from icecore.features.engines.mxnet import MXNetEngine
from icecore.features.engines.proof import prove_graph
from icecore.features.gluon.efficientnet_lite import VARIANTS
from icecore.features.gluon.graph_writer import Parameter
from icecore.features.gluon.library import INDEX, NetworkGraph, graph_file
from icecore.features.gluon.loader import load_mxnet
from icecore.features.gluon.network import build_network, fill_network, reference_network
from icecore.features.gluon.parameters import random_parameters
from icecore.features.gluon.symbols import trace
from icecore.features.gluon.to_onnx import make_last_pool_global, symbol_to_onnx
from icecore.features.gluon.zoo import require_known, zoo
from icecore.features.graphs.onnx_graph import load_onnx
from icecore.features.records.spec import BackboneSpec
from icecore.features.sources.gluon import feature_graph

__all__ = ["make_graph", "measure_scales", "prove"]

SEED = 0


def make_graph(spec: BackboneSpec) -> bytes:
    """Return the ONNX file of a zoo's classifier, without weights."""
    side = require_known(spec.name, spec.source).resolution
    network = build_network(spec, side)
    symbol = trace(network)
    parameters = _parameters(network, symbol, side)
    model = symbol_to_onnx(json.loads(symbol.tojson()), parameters, network.prefix)
    make_last_pool_global(model, side)
    if spec.source == "gluon" and spec.name in VARIANTS:
        _pad_for_every_size(model)
    return model.SerializeToString(deterministic=True)


def measure_scales(spec: BackboneSpec, graph: NetworkGraph) -> list[int]:
    """Measure what `random_parameters` wants to know of each batch normalisation."""
    norms = [one.name for one in graph.parameters if one.name.endswith("running_var")]
    if not norms:
        return []
    mx, side = load_mxnet(), require_known(spec.name, spec.source).resolution
    network = build_network(spec, side)
    fill_network(network, random_parameters(graph.parameters, [0] * len(norms), SEED))
    found: dict[str, float] = {}

    def look(block, inputs) -> None:
        # The mean is kept, not subtracted: it is what differs between images.
        found[block.running_var.name] = float((inputs[0] ** 2).mean().asscalar())

    def watch(block) -> None:
        if isinstance(block, mx.gluon.nn.BatchNorm):
            block.register_forward_pre_hook(look)
        elif type(block).__name__ == "DropBlock":
            block.drop_prob = 0  # the larger ResNeSts' are made for maps of 224 pixels

    network.apply(watch)
    noise = np.random.default_rng(SEED).standard_normal((2, 3, side, side), dtype=np.float32)
    with mx.autograd.train_mode():  # each normalises by its own batch
        network(mx.nd.array(noise))
    mx.nd.waitall()
    internal = network._collect_params_with_prefix()
    reached = [found.get(internal[name].name, 1.0) for name in norms]
    # Rounded to half powers of two: the last bits differ from machine to machine.
    return [round(2 * np.log2(max(one, 1e-12))) for one in reached]


def prove(spec: BackboneSpec, graph: NetworkGraph, scales: list[int]) -> dict[str, float]:
    """Compare a graph with MXNet at its native size and, where it takes others, at one more."""
    values = random_parameters(graph.parameters, scales, SEED)
    errors = {}
    for side in _sides(spec):
        sized = BackboneSpec(spec.source, spec.name, side)
        reference = reference_network(sized, values, SEED, "")
        record, content = feature_graph(sized, graph, values, SEED)
        if record != reference.record:
            raise SystemExit(f"{spec.canonical}: {record} is not {reference.record}")
        error = prove_graph(
            record, content, MXNetEngine(reference).run, "MXNet", "look into the converter", SEED
        )
        errors[str(side or record.resolution)] = float(f"{error:.2g}")
    return errors


def _sides(spec: BackboneSpec) -> list[int | None]:
    known = require_known(spec.name, spec.source)
    if known.fixed:
        return [None]
    # An odd size shows how maps are rounded. Some sum maps that then differ.
    even = known.family in ("dla", "hrnet") or spec.name == "nasnet_6_4032"
    odd = known.resolution - (32 if even else 17)
    return [None, odd]


def _parameters(network, symbol, side: int) -> dict[str, Parameter]:
    """Return all parameters by MXNet's names, in Gluon's order."""
    mx = load_mxnet()
    with mx.name.NameManager():
        outputs = network(mx.sym.var("data")) if _has_more_outputs(network) else symbol
    outputs = mx.sym.Group(list(outputs)) if isinstance(outputs, list | tuple) else outputs
    arguments, _, states = outputs.infer_shape(data=(1, 3, side, side))
    shapes = dict(zip(outputs.list_arguments(), arguments))
    shapes |= zip(outputs.list_auxiliary_states(), states)
    names: dict[str, list[str]] = {}
    for name, one in network._collect_params_with_prefix().items():
        names.setdefault(one.name, []).append(name)
    return {
        internal: Parameter(
            first, internal.removeprefix(network.prefix), tuple(shapes[internal]), tuple(others)
        )
        for internal, (first, *others) in names.items()
    }


def _has_more_outputs(network) -> bool:
    # Others are traced once: the GroupNorms of some are patched while they are.
    return type(network).__name__ == "NASNetALarge"


def _pad_for_every_size(model) -> None:
    """Let convolutions be padded as TensorFlow does, at whatever size, in place.

    Gluon's network is laid out for one size: it has other paddings for another.
    """
    pads = {node.output[0]: node for node in model.graph.node if node.op_type == "Pad"}
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.input[0] = getattr(pads.get(node.input[0]), "input", node.input)[0]
            kept = [a for a in node.attribute if a.name != "pads"]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.add(name="auto_pad", type=3, s=b"SAME_UPPER")
    kept = [node for node in model.graph.node if node.op_type != "Pad"]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    tensors = [t for t in model.graph.initializer if t.doc_string or t.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)


def _versions() -> dict[str, str]:
    packages = ("mxnet", "gluoncv", "numpy", "onnx", "onnxruntime")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _make(spec: BackboneSpec, known: dict) -> dict:
    """Make and prove a graph; `known` is what the index says of it so far."""
    content = make_graph(spec)
    digest = hashlib.sha256(content).hexdigest()
    graph = NetworkGraph.of(spec.canonical, load_onnx().load_from_string(content))
    if known.get("sha256") == digest:
        # Whoever has rows of its random weights is to get these weights again.
        scales = [int(scale) for scale in known["scales"].split()]
    else:
        scales = measure_scales(spec, graph)
    errors = prove(spec, graph, scales)
    path = graph_file(spec.source, spec.name)
    with publish(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0))
    return {
        "sha256": digest,
        "relative_error": errors,
        "seed": SEED,
        "made_with": _versions(),
        "scales": " ".join(map(str, scales)),
    }


def main() -> int:
    """Make graphs; those that cannot be proved are named, and nothing of them is kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("specs", nargs="*", metavar="SPEC", help="gluon:NAME or mxnet:NAME")
    parser.add_argument("--missing", action="store_true", help="only those that are not there")
    wanted = parser.parse_args()
    failed = 0
    for text in wanted.specs or [network.spec for network in zoo().values()]:
        spec = BackboneSpec.parse(text)
        index = json.loads(INDEX.read_text(encoding="utf-8")) if INDEX.exists() else {}
        if wanted.missing and text in index:
            continue
        try:
            index[text] = _make(spec, index.get(text, {}))
        except (IcecoreError, load_mxnet().MXNetError) as error:
            failed += 1
            print(f"{text}: {str(error).strip()[-300:]}", file=sys.stderr, flush=True)
            continue
        publish_json(INDEX, dict(sorted(index.items())))
        print(text, index[text]["relative_error"], flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main())

"""Networks that users exported themselves: read, proved, and never trusted."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from packages import needs

from icecore import jobs
from icecore.cache import FeatureCache
from icecore.core.errors import BackboneError, IcecoreError, MissingFileError, WeightsError
from icecore.features.backbones import load_backbone
from icecore.features.catalogue import list_layers, verify_backbones
from icecore.features.gluon.loader import load_mxnet
from icecore.features.records.layer import Layer
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.request import WeightsRequest

pytestmark = needs("mxnet")
SIDE = 32
RECORD = {
    "input_size": [3, SIDE, SIDE],
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.25],
    "crop_pct": 0.875,
    "interpolation": "bilinear",
}


def small_network():
    """A classifier of seven classes, of nobody's zoo."""
    mx = load_mxnet()
    nn = mx.gluon.nn
    network = nn.HybridSequential()
    network.add(
        # Named here: MXNet's own names count what the process has built before.
        nn.Conv2D(8, 3, 2, 1, activation="relu", in_channels=3, prefix="conv0_"),
        nn.BatchNorm(in_channels=8, scale=False, prefix="norm0_"),
        nn.Conv2D(12, 3, 2, 1, activation="relu", in_channels=8, prefix="conv1_"),
        nn.AvgPool2D(8),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Dense(7, in_units=12, prefix="dense0_"),
    )
    network.initialize(mx.init.Xavier())
    for name, parameter in network.collect_params(".*(running|gamma).*").items():
        low = 2.5 if name.endswith("gamma") else 0.5  # a fixed gamma must not count
        parameter.set_data(mx.nd.random.uniform(low, 3, parameter.shape))
    return network


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """What HybridBlock.export writes, a record beside it, and the network."""
    mx = load_mxnet()
    mx.random.seed(5)
    network = small_network()
    network.hybridize()
    network(mx.nd.zeros((1, 3, SIDE, SIDE)))
    prefix = tmp_path_factory.mktemp("own") / "my.net"
    network.export(str(prefix))
    prefix.with_name("my.net.json").write_text(json.dumps(RECORD | {"num_features": 12}))
    return prefix, network


@pytest.fixture
def copied(exported, tmp_path):
    prefix, _ = exported
    for path in prefix.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / prefix.name


def load(prefix, engine="mxnet", **spec):
    return load_backbone(BackboneSpec("gluon-file", str(prefix), **spec), engine, WeightsRequest())


def images(count=3, side=SIDE):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("engine", ["mxnet", "onnxruntime"])
def test_features_are_those_of_the_network_itself(exported, engine):
    prefix, network = exported
    batch = images()
    backbone = load(prefix, engine)
    scaled = (batch / 255 - np.array(RECORD["mean"])) / np.array(RECORD["std"])
    x = load_mxnet().nd.array(scaled.transpose(0, 3, 1, 2))
    for layer in list(network)[:-1]:
        x = layer(x)
    found = backbone.start("cpu").run(batch)
    np.testing.assert_allclose(found, x.asnumpy(), rtol=1e-4, atol=1e-5)
    assert backbone.record.spec == "gluon-file:my.net"
    assert backbone.record.num_features == 12
    assert backbone.network.source == f"gluon-file:{prefix}"


def test_it_can_be_extracted_moved_and_named_by_its_base_name(image_folder, copied, tmp_path):
    cache = tmp_path / "cache"
    jobs.extract(image_folder, cache, [f"gluon-file:{copied}"])
    (found,) = FeatureCache(cache).sets()
    assert found.name == "gluon-file:my.net"
    keys = FeatureCache(cache).ids(f"gluon-file:{copied}")
    assert FeatureCache(cache).matrix([f"gluon-file:{copied}"], keys).shape == (6, 12)
    elsewhere = tmp_path / "models"
    elsewhere.mkdir()
    for path in tmp_path.glob("my.net*"):
        path.rename(elsewhere / path.name)
    options = jobs.ExtractOptions(weights_dir=elsewhere, engine="mxnet")
    report = jobs.extract(image_folder, cache, [f"gluon-file:{copied}"], options)
    assert (report.rows, len(FeatureCache(cache).sets())) == (0, 1)


def test_other_sizes_layers_and_proofs(exported):
    prefix, _ = exported
    larger = load(prefix, "onnxruntime", resolution=48)
    assert larger.start("cpu").run(images(2, 48)).shape == (2, 12)
    names = [name for name, _, _ in list_layers(f"gluon-file:{prefix}", WeightsRequest())]
    convolution = next(name for name in names if "conv0" in name)
    other = load(prefix, "onnxruntime", layer=Layer(convolution, "gem"))
    assert other.start("cpu").run(images()).shape == (3, 8)
    (proof,) = verify_backbones([f"gluon-file:{prefix}"], WeightsRequest())
    assert proof.problem is None
    assert proof.relative_error < 1e-4


def test_a_symbol_of_the_module_interface_with_a_label(copied):
    mx = load_mxnet()
    data = mx.sym.var("image")
    body = mx.sym.Convolution(data, num_filter=4, kernel=(3, 3), name="c")
    body = mx.sym.Flatten(mx.sym.Pooling(body, global_pool=True, pool_type="max", kernel=(1, 1)))
    whole = mx.sym.SoftmaxOutput(
        mx.sym.FullyConnected(body, num_hidden=5, name="fc"), name="softmax"
    )
    values = {"c_weight": (4, 3, 3, 3), "c_bias": (4,), "fc_weight": (5, 4), "fc_bias": (5,)}
    for path in copied.parent.glob("my.net-*"):
        path.unlink()
    whole.save(f"{copied}-symbol.json")
    mx.nd.save(
        f"{copied}-0012.params",
        {f"arg:{k}": mx.nd.random.normal(shape=s) for k, s in values.items()},
    )
    copied.with_name("my.net.json").write_text(json.dumps(RECORD))
    assert load(copied, "onnxruntime").start("cpu").run(images()).shape == (3, 4)
    (copied.parent / "my.net-0013.params").write_bytes(b"")
    with pytest.raises(MissingFileError, match=r"(?s)weights of 2 epochs.*name the one to use"):
        load(copied)


def test_missing_files_are_named(copied):
    (copied.parent / "my.net-0000.params").unlink()
    with pytest.raises(MissingFileError, match=r"my.net.params and .*my.net-0000.params are not"):
        load(copied)
    (copied.parent / "my.net-symbol.json").unlink()
    with pytest.raises(MissingFileError, match=r"(?s)my.net-symbol.json is not there.*export"):
        load(copied)


def test_a_record_that_contradicts_its_graph_is_refused(copied):
    record = copied.with_name("my.net.json")
    record.write_text(json.dumps(RECORD | {"num_features": 13}))
    with pytest.raises(BackboneError, match=r"my.net.json says 13 features, the graph has 12"):
        load(copied)
    record.write_text(json.dumps(RECORD | {"input_size": [3, 20, 20]}))
    with pytest.raises(BackboneError, match=r"(?s)for images of 20 x 20 pixels.*input_size in my"):
        load(copied)
    record.write_text("[]")
    with pytest.raises(BackboneError, match=r"my.net.json holds a JSON array, not a JSON object"):
        load(copied)


def test_weights_of_another_network_are_refused_with_all_that_differ(copied):
    mx = load_mxnet()
    path = copied.with_name("my.net-0000.params")
    values = mx.nd.load(str(path))
    dense = next(name for name in values if "dense" in name and "weight" in name)
    wrong = dict(values) | {dense: mx.nd.zeros((7, 13))}
    mx.nd.save(str(path), wrong)
    with pytest.raises(
        WeightsError, match=r"(?s)dense0_weight \(7, 13\) for \(7, 12\).*input_size"
    ):
        load(copied)
    del wrong[dense]
    mx.nd.save(str(path), wrong)
    with pytest.raises(WeightsError, match=r"(?s)lacks 1 array of the graph: .*dense0_weight"):
        load(copied)
    mx.nd.save(str(path), {k: v.astype("int8") for k, v in values.items()})
    with pytest.raises(WeightsError, match="not a float"):
        load(copied)


@pytest.mark.parametrize("engine", ["mxnet", "onnxruntime"])
def test_weights_of_another_number_of_outputs_are_refused(copied, engine):
    """ONNX has the number from the weights alone, and gave rows."""
    path = copied.with_name("my.net-symbol.json")
    graph = json.loads(path.read_text())
    place = next(n for n, node in enumerate(graph["nodes"]) if node["op"] == "Convolution")
    attributes = graph["nodes"][place]["attrs"] | {"num_filter": "99999999999"}
    path.write_text(json.dumps(edited(graph, place, "attrs", attributes)))
    with pytest.raises(WeightsError, match=r"conv0_fwd has \d+ outputs, not 99999999999") as caught:
        load(copied, engine)
    assert caught.value.hint == "get the .params file of this very network"


HOSTILE = {
    "no JSON": lambda graph: "{",
    "deep": lambda graph: "[" * 100_000,
    "no nodes": lambda graph: {"heads": [[0, 0, 0]]},
    "an input from the future": lambda graph: edited(graph, -1, "inputs", [[10**6, 0, 0]]),
    "an output that is not there": lambda graph: edited(graph, -1, "inputs", [[3, 7, 0]]),
    "a negative index": lambda graph: edited(graph, -1, "inputs", [[-1, 0, 0]]),
    "an operator that runs code": lambda graph: edited(graph, -1, "op", "Custom"),
    "heads beyond the end": lambda graph: graph | {"heads": [[10**6, 0, 0]]},
    "attributes that are no text": lambda graph: edited(graph, -1, "attrs", {"num_hidden": 7}),
    "two nodes of one name": lambda graph: edited(graph, -1, "name", graph["nodes"][0]["name"]),
    "a huge layer": lambda graph: edited(graph, -1, "attrs", {"num_hidden": str(2**40)}),
    "nonsense numbers": lambda graph: edited(graph, -1, "attrs", {"num_hidden": "seven"}),
}


def edited(graph, index, key, value):
    nodes = [dict(node) for node in graph["nodes"]]
    nodes[index][key] = value
    return graph | {"nodes": nodes}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_graphs_give_one_clear_error(copied, kind):
    path = copied.with_name("my.net-symbol.json")
    graph = HOSTILE[kind](json.loads(path.read_text()))
    path.write_text(graph if isinstance(graph, str) else json.dumps(graph))
    with pytest.raises(IcecoreError) as caught:
        load(copied)
    assert "my.net" in str(caught.value)
    assert caught.value.hint


def test_no_damage_crashes_the_process(copied):
    """Parsers of MXNet and ONNX are C++: hundreds of damaged graphs in a process that may die."""
    code = """
import json, random, sys
from icecore.core.errors import IcecoreError
from icecore.features.sources.gluon_file import GluonFileSource
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.request import WeightsRequest
prefix = sys.argv[1]
path = f"{prefix}-symbol.json"
whole = json.load(open(path))
rng = random.Random(0)
values = [0, -1, 1, 3, 2**31, 2**63, "", "0", "-1", "(1,)", "(0, 0)", "None", "1e9", [], {}, None,
          "Pooling", "Concat", "BatchNorm", "SliceChannel", "Reshape", "(99999999, 99999999)"]
loaded = refused = 0
for _ in range(400):
    graph = json.loads(json.dumps(whole))
    for _ in range(rng.randint(1, 3)):
        node = rng.choice(graph["nodes"])
        place = node
        key = rng.choice([*node, *node.get("attrs", {})])
        if key in node.get("attrs", {}):
            place = node["attrs"]
        if key == "inputs" and rng.random() < 0.7 and node["inputs"]:
            one = rng.choice(node["inputs"])
            one[rng.randrange(2)] = rng.randrange(20)
        else:
            place[key] = rng.choice(values)
    json.dump(graph, open(path, "w"))
    load = (GluonFileSource().load_gluon, GluonFileSource().load_graph)[_ % 2]
    try:
        load(BackboneSpec("gluon-file", prefix), WeightsRequest())
        loaded += 1
    except IcecoreError:
        refused += 1
print(loaded, refused)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(copied)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    loaded, refused = map(int, done.stdout.split()[-2:])
    assert loaded + refused == 400
    assert refused > 200

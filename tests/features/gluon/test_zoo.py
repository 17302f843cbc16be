"""The zoos: the list, every family cut and proved, every network in the slow run."""

from __future__ import annotations

import gc
import json
import subprocess
import sys

import numpy as np
import pytest
from gluon_files import load_gluon_backbone
from packages import needs

from icecore.core.errors import BackboneError
from icecore.features.catalogue import find_networks, verify_backbones
from icecore.features.engines.mxnet import MXNetEngine
from icecore.features.engines.proof import prove_graph
from icecore.features.gluon.zoo import TABLE, published_files, zoo
from icecore.features.records.spec import BackboneSpec
from icecore.features.sources.registry import source_of
from icecore.features.weights.request import WeightsRequest

of_mxnet = needs("mxnet", "gluoncv")

RANDOM = WeightsRequest.parse("random:0")
# The smallest of each family, at a small size where it takes one. EfficientNet-Lite and the
# families of test_gluon.SMALL are proved there.
FAMILIES = {
    "alexnet": "alexnet",
    "darknet": "darknet53@64",
    "dla": "dla34@64",
    "googlenet": "googlenet@64",
    "hrnet": "hrnet_w18_small_v1_c@64",
    "inception": "inceptionv3@96",
    "mobilenetv3": "mobilenetv3_small@96",
    "nasnet": "nasnet_4_1056@64",
    "residual_attentionnet": "residualattentionnet56",
    "resnest": "resnest14@64",
    "resnetv1b": "resnet50_v1b_gn@64",
    "resnetv1b_pruned": "resnet50_v1d_0.11@64",
    "resnext": "se_resnext50_32x4d@64",
    "senet": "senet_154@64",
    "shufflenet": "shufflenet_v1@64",
    "shufflenet_v2": "shufflenet_v2@64",
    "vgg": "vgg11",
    "xception": "xception@96",
}
ELSEWHERE = {"densenet", "efficientnet_lite", "mobilenet", "resnet", "squeezenet"}


def images(side, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    zoom = -(-side // 4)
    return coarse.repeat(zoom, axis=1).repeat(zoom, axis=2)[:, :side, :side]


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def logits_of_the_whole(backbone, batch):
    """What GluonCV's own network answers, run eagerly, its code untouched."""
    from icecore.features.gluon.loader import load_mxnet

    mx, record = load_mxnet(), backbone.record
    scaled = (batch / 255 - np.array(record.preprocessing.mean)) / np.array(
        record.preprocessing.std
    )
    output = backbone.network(mx.nd.array(scaled.transpose(0, 3, 1, 2)))
    output = output[0] if isinstance(output, list | tuple) else output
    return output.asnumpy().reshape(len(batch), -1)


def classified(backbone, features):
    """Put features through the network's last parameters: the classifier, by hand."""
    values = [p.data().asnumpy() for p in backbone.network.collect_params().values()]
    wide = [value for value in values if value.shape[0] == 1000]
    matrix = next(value for value in wide if value.size == 1000 * features.shape[1])
    biases = [value for value in wide if value.shape == (1000,)]
    return features @ matrix.reshape(1000, -1).T + (biases[-1] if biases else 0)


def check(name):
    """Prove a network: the graph against MXNet, the cut against the whole classifier."""
    spec = BackboneSpec.parse(f"gluon:{name}")
    network, backbone = source_of(spec).load_graph(spec, RANDOM), load_gluon_backbone(spec, RANDOM)
    assert network.record == backbone.record
    entry = zoo()["gluon", backbone.record.architecture]
    assert backbone.record.num_features == entry.num_features
    run = MXNetEngine(backbone).run
    error = prove_graph(network.record, network.graph, run, "MXNet", "", 3)
    # A hundred layers of GroupNorm: MXNet itself is 1.5e-5 from float64, ONNX Runtime 3e-6.
    assert error < (2e-5 if name.endswith("_gn") else 1e-5)
    batch = images(backbone.record.resolution)
    features = MXNetEngine(backbone).run(batch)
    assert features.shape == (3, entry.num_features)
    assert relative(features[0], features[1]) > 1e-3, "features must depend on the image"
    at_native_size = backbone.record.resolution == entry.resolution
    # SqueezeNet has a ReLU after its classifier; fixed pools are another pool at other sizes.
    if entry.family != "squeezenet" and (at_native_size or "@" in name):
        pools_fixed = entry.family in ("densenet", "googlenet", "inception") and not at_native_size
        if not pools_fixed:
            whole = logits_of_the_whole(backbone, batch)
            assert relative(classified(backbone, features), whole) < 1e-4
    return error


@of_mxnet
def test_gluoncv_lists_115_classifiers_and_the_table_has_each():
    from zoo_table import classifiers

    found = classifiers("gluon")
    named = {name: family for name, family in found.items() if family != "efficientnet_lite"}
    assert len(named) == 115
    assert len(classifiers("mxnet")) == 34
    assert {(s, n) for s in ("gluon", "mxnet") for n in classifiers(s)} == set(zoo())
    for source in ("gluon", "mxnet"):
        for name, family in classifiers(source).items():
            assert zoo()[source, name].family == family


@of_mxnet
@pytest.mark.parametrize(
    "place",
    ["gluon:resnet18_v2", "gluon:mobilenetv3_small", "gluon:vgg11", "mxnet:inceptionv3"],
)
def test_the_table_is_what_its_script_makes(place):
    from zoo_table import describe

    source, name = place.split(":")
    kept = json.loads(TABLE.read_text())[source][name]
    assert describe(source, name, kept["family"]) == kept


@of_mxnet
def test_the_table_has_the_digest_of_every_file_that_the_zoos_publish():
    from zoo_table import published

    for source in ("gluon", "mxnet"):
        assert published_files(source).items() <= published(source).items()
    assert published_files("mxnet") == published("mxnet")


def test_looking_up_a_digest_loads_no_framework():
    """It took 2.5 s, and failed where MXNet is not installed."""
    code = (
        "import sys; from icecore.features.gluon.zoo import published_sha1; "
        "assert published_sha1('resnet18_v2').startswith('a81db45f'); "
        "assert not {'mxnet', 'gluoncv'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_counts_are_those_of_the_literature():
    """Torchvision and timm print these: classifier's parameters taken off, bias of fc aside."""
    kept = {n: zoo()["gluon", n] for n in ("resnet50_v1b", "vgg16", "densenet121")}
    assert kept["resnet50_v1b"].parameters == 25_557_032 - 2_049_000
    assert kept["vgg16"].parameters == 138_357_544 - 4_097_000
    assert kept["densenet121"].parameters == 7_978_856 - 1_025_000
    assert round(kept["resnet50_v1b"].multiply_adds / 1e9, 2) == 4.09
    assert round((kept["vgg16"].multiply_adds + 4_096_000) / 1e9, 2) == 15.47
    assert round(kept["densenet121"].multiply_adds / 1e9, 2) == 2.83


def test_every_family_is_proved():
    families = {network.family for network in zoo().values()}
    assert families == {key for key in FAMILIES if key != "shufflenet_v2"} | ELSEWHERE
    for family, name in FAMILIES.items():
        entry = zoo()["gluon", name.partition("@")[0]]
        assert entry.family == family.removesuffix("_v2") or family == "mobilenetv3"


# They take three seconds and more: their graphs are made again byte for byte in
# test_library.py, and they run beside MXNet in the slow tests.
LARGE = {"alexnet", "darknet", "nasnet", "residual_attentionnet", "senet", "vgg", "xception"}


@of_mxnet
@pytest.mark.parametrize("name", [FAMILIES[family] for family in FAMILIES if family not in LARGE])
def test_one_of_each_family(name):
    check(name)
    gc.collect()


@of_mxnet
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sorted(n for s, n in zoo() if s == "gluon" and "efficientnet" not in n)
)
def test_every_network_of_gluoncv(name, record_property):
    record_property("relative_error", check(name))
    gc.collect()


@of_mxnet
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(n for s, n in zoo() if s == "mxnet"))
def test_every_network_of_mxnet(name):
    (found,) = verify_backbones([f"mxnet:{name}"], RANDOM)
    assert found.problem is None
    assert found.relative_error < 1e-4
    assert found.num_features == zoo()["mxnet", name].num_features
    gc.collect()


@of_mxnet
@pytest.mark.parametrize("name", ["densenet121", "googlenet", "inceptionv3"])
def test_fixed_pools_are_made_global_at_other_sizes(name):
    """MXNet alone would pool a corner of the map, or give several places for one."""
    side = zoo()["gluon", name].resolution + 75
    backbone = load_gluon_backbone(BackboneSpec.parse(f"gluon:{name}@{side}"), RANDOM)
    nodes = json.loads(backbone.symbol.tojson())["nodes"]
    last = [node for node in nodes if node["op"] == "Pooling"][-1]
    assert last["attrs"]["global_pool"] == "True"
    assert backbone.record.num_features == zoo()["gluon", name].num_features
    batch = images(side)
    dark = batch.copy()
    dark[:, -side // 4 :] = 0
    engine = MXNetEngine(backbone)
    assert relative(engine.run(dark), engine.run(batch)) > 1e-3, "the lower edge must count"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gluon:vgg16@256", r"takes 224 x 224 pixels and no other size: its fully connected"),
        ("mxnet:alexnet@192", r"takes 224 x 224 pixels and no other size: its fully connected"),
        ("gluon:residualattentionnet56@256", r"no other size: its attention masks"),
        ("gluon:inceptionv3@64", r"(?s)cannot take images of 64 x 64.*smallest input is 75 x 75"),
        ("gluon:densenet201@28", r"(?s)cannot take images of 28 x 28.*smallest input is 29"),
        ("gluon:cifar_resnet20_v1", r"(?s)no network 'cifar_resnet20_v1' that classifies ImageNet"),
        ("gluon:ressnet50_v1", r"(?s)no network 'ressnet50_v1'.*did you mean .*resnet50_v1"),
        ("mxnet:googlenet", r"(?s)mxnet has no network 'googlenet'.*gluon:googlenet is there"),
    ],
)
@pytest.mark.parametrize("engine", ["mxnet", "onnxruntime"])
def test_what_cannot_be_is_said_before_weights_are_sought(spec, message, engine, tmp_path):
    from icecore.features.backbones import load_backbone

    with pytest.raises(BackboneError, match=message):
        load_backbone(BackboneSpec.parse(spec), engine, WeightsRequest(folder=tmp_path))


@of_mxnet
def test_a_size_that_does_not_go_through_is_said():
    with pytest.raises(BackboneError, match=r"(?s)cannot take images of 225 x 225.*multiple of 32"):
        load_gluon_backbone(BackboneSpec.parse("gluon:hrnet_w18_small_v1_c@225"), RANDOM)


@of_mxnet
def test_names_of_layers_do_not_depend_on_what_was_built_before():
    specs = [BackboneSpec.parse(f"gluon:{name}") for name in ("mobilenetv3_small", "resnet18_v1")]
    first = [load_gluon_backbone(spec, RANDOM).symbol.tojson() for spec in specs]
    again = [load_gluon_backbone(spec, RANDOM).symbol.tojson() for spec in reversed(specs)]
    assert first == again[::-1]


def test_networks_are_found_by_name_spec_part_and_pattern():
    def specs(*wanted):
        return [network.spec for network in find_networks(wanted)]

    assert specs("resnet18_v1") == ["gluon:resnet18_v1", "mxnet:resnet18_v1"]
    assert specs("mxnet:resnet18_v1") == ["mxnet:resnet18_v1"]
    assert specs("gluon:squeezenet*") == ["gluon:squeezenet1.0", "gluon:squeezenet1.1"]
    assert "gluon:se_resnet18_v2" in specs("resnet18")
    assert specs("xception", "dla34") == ["gluon:dla34", "gluon:xception"]
    assert len(specs()) == 115 + 3 + 34
    with pytest.raises(BackboneError, match=r"(?s)named by incepton, zzz.*did you mean"):
        specs("incepton", "zzz")


def test_the_list_is_quick_and_needs_neither_zoo():
    code = (
        "import sys; from icecore.cli import main\n"
        "try: main(['backbones', 'resnet', '--json'])\n"
        "except SystemExit: pass\n"
        "assert not {'mxnet', 'gluoncv', 'onnxruntime', 'onnx'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert {"spec", "num_features", "multiply_adds", "weights"} <= set(found[0])


@of_mxnet
def test_verify_proves_and_goes_on_after_a_failure(capsys):
    from icecore.cli.main import main

    with pytest.raises(SystemExit) as exit_:
        main(["backbones", "--verify", "--json", "gluon:mobilenet0.25@64", "gluon:vgg11@64"])
    assert exit_.value.code == 1
    good, bad = json.loads(capsys.readouterr().out)
    assert good["relative_error"] < 1e-4
    assert good["problem"] is None
    assert good["num_features"] == 256
    assert "no other size" in bad["problem"]
    assert bad["relative_error"] is None

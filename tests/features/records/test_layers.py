"""Other features than the default: named layers and other pools, in both kinds of graphs."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from gluon_files import load_gluon_backbone
from packages import skip_without

from icecore import jobs
from icecore.cache import FeatureCache
from icecore.core.errors import BackboneError
from icecore.features.backbones import load_backbone, load_backbones
from icecore.features.catalogue import list_layers
from icecore.features.records.layer import MAP_POOLS as POOLS
from icecore.features.records.layer import Layer
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.request import WeightsRequest

RANDOM = WeightsRequest.parse("random:0")


def needs_mxnet():
    skip_without("mxnet", "gluoncv")


def spec(text, name=None, pool="avg"):
    parsed = BackboneSpec.parse(text)
    return BackboneSpec(parsed.source, parsed.name, parsed.resolution, Layer(name, pool))


def images(side, count=3, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    zoom = -(-side // 4)
    return coarse.repeat(zoom, axis=1).repeat(zoom, axis=2)[:, :side, :side]


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def pooled(maps, pool):
    """The definitions, written out in NumPy in double precision."""
    flat = maps.reshape(*maps.shape[:2], -1).astype(np.float64)
    if pool == "none":
        return flat.reshape(len(flat), -1)
    if pool == "avg":
        return flat.mean(axis=2)
    if pool == "max":
        return flat.max(axis=2)
    if pool == "avgmax":
        return (flat.mean(axis=2) + flat.max(axis=2)) / 2
    return (np.maximum(flat, 1e-6) ** 3).mean(axis=2) ** (1 / 3)


def test_layers_tell_themselves_apart_in_words():
    assert Layer().text == "before classifier, average pooled"
    assert len({Layer(name, pool).text for name in (None, "x") for pool in POOLS}) == 10
    with pytest.raises(BackboneError, match=r"(?s)no pool 'median'.*avg, max, avgmax, gem"):
        Layer(pool="median")


@pytest.mark.parametrize("pool", POOLS)
def test_every_pool_of_a_gluon_network_is_proved_and_is_what_it_says(pool):
    needs_mxnet()
    from icecore.features.engines.mxnet import MXNetEngine
    from icecore.features.gluon.loader import load_mxnet

    mx, text = load_mxnet(), "gluon:mobilenetv2_0.25@64"
    batch = images(64)
    exported = load_backbone(spec(text, pool=pool), "onnxruntime", RANDOM)  # proves it, too
    found = exported.start("cpu").run(batch)
    backbone = load_gluon_backbone(spec(text, pool=pool), RANDOM)
    assert relative(MXNetEngine(backbone).run(batch), found) < 1e-4
    record = backbone.record
    scaled = (batch / 255 - np.array(record.preprocessing.mean)) / np.array(
        record.preprocessing.std
    )
    x = mx.nd.array(scaled.transpose(0, 3, 1, 2))
    for layer in list(backbone.network.features)[:-1]:  # all but its own pool
        x = layer(x)
    assert relative(found, pooled(x.asnumpy(), pool)) < 1e-4
    assert found.shape == (3, 1280 * (4 if pool == "none" else 1))
    assert relative(found[0], found[1]) > 1e-3


@pytest.mark.parametrize(("pool", "width"), [("avg", 64), ("gem", 64)])
def test_a_named_layer_of_a_gluon_network(pool, width):
    needs_mxnet()
    from icecore.features.engines.mxnet import MXNetEngine
    from icecore.features.gluon.loader import load_mxnet

    mx, text, name = load_mxnet(), "gluon:resnet18_v1@64", "stage1_activation1"
    listed = dict((n, shape) for n, _, shape in list_layers(text, WeightsRequest()))
    assert listed[name] == (64, 16, 16)
    batch = images(64)
    found = load_backbone(spec(text, name, pool), "onnxruntime", RANDOM).start("cpu").run(batch)
    backbone = load_gluon_backbone(spec(text, name, pool), RANDOM)
    assert relative(MXNetEngine(backbone).run(batch), found) < 1e-4
    record = backbone.record
    scaled = (batch / 255 - np.array(record.preprocessing.mean)) / np.array(
        record.preprocessing.std
    )
    x = mx.nd.array(scaled.transpose(0, 3, 1, 2))
    for layer in list(backbone.network.features)[:5]:  # stem and the first stage
        x = layer(x)
    assert record.num_features == width
    assert relative(found, pooled(x.asnumpy(), pool)) < 1e-4


@pytest.mark.parametrize("engine", ["onnxruntime", "mxnet"])
def test_a_network_that_joins_the_averages_of_several_maps_has_none_to_pool(engine):
    if engine == "mxnet":
        needs_mxnet()
    with pytest.raises(BackboneError, match="without a height and width"):
        load_backbone(spec("gluon:dla34@64", pool="max"), engine, RANDOM)


def test_what_a_gluon_network_lacks_is_said():
    needs_mxnet()
    with pytest.raises(
        BackboneError, match=r"(?s)no layer 'stage1_activatoin1'.*did you mean stage"
    ):
        load_backbone(spec("gluon:resnet18_v1", "stage1_activatoin1"), "mxnet", RANDOM)
    with pytest.raises(BackboneError, match=r"(?s)4096 numbers without a height.*leave --pool max"):
        load_backbone(spec("gluon:alexnet", pool="max"), "mxnet", RANDOM)
    with pytest.raises(BackboneError, match=r"without a height and width to pool"):
        load_backbone(spec("gluon:mobilenetv3_small", pool="gem"), "mxnet", RANDOM)


def maps_of(path, batch, tensor):
    """The output of a node inside an ONNX graph, read by ONNX Runtime itself."""
    model = onnx.load(str(path))
    shape = ["N", None, None, None]
    model.graph.output.append(onnx.helper.make_tensor_value_info(tensor, 1, shape))
    record = json.loads(path.with_suffix(".json").read_text())
    scaled = (batch / 255 - np.array(record["mean"])) / np.array(record["std"])
    data = scaled.transpose(0, 3, 1, 2).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run([tensor], {model.graph.input[0].name: data})[0]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", [None, "c"])
def test_every_pool_and_a_named_layer_of_an_onnx_graph(tiny_onnx, pool, name):
    batch = images(32)
    backbone = load_backbone(spec(f"onnx:{tiny_onnx}", name, pool), "auto", WeightsRequest())
    found = backbone.start("cpu").run(batch)
    expected = pooled(maps_of(tiny_onnx, batch, name or "r"), pool)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert backbone.layer == Layer(name, pool)


def test_layers_of_an_onnx_graph_are_listed_and_misses_get_near_matches(tiny_onnx):
    listed = list_layers(f"onnx:{tiny_onnx}", WeightsRequest())
    assert ("c", "Conv", (6, 16, 16)) in listed
    assert ("f", "Flatten", (6,)) in listed
    with pytest.raises(BackboneError, match=r"(?s)no layer 'rr'.*did you mean .*r"):
        load_backbones([spec(f"onnx:{tiny_onnx}", "rr")])
    with pytest.raises(BackboneError, match=r"(?s)layer 'f' gives 6 numbers without a height"):
        load_backbones([spec(f"onnx:{tiny_onnx}", "f", "max")])


def test_layers_and_pools_live_side_by_side_and_prediction_finds_them(
    image_folder, tiny_onnx, tmp_path
):
    cache, plain = tmp_path / "cache", f"onnx:{tiny_onnx}"
    jobs.extract(image_folder, cache, [plain])
    jobs.extract(image_folder, cache, [plain], jobs.ExtractOptions(layer="c", pool="gem"))
    sets = FeatureCache(cache).sets()
    places = {(one.record["layer"], one.record["pool"]) for one in sets}
    assert places == {(None, "avg"), ("c", "gem")}
    one = next(one for one in sets if one.record["layer"] == "c")
    chosen = [f"tiny.onnx#{one.fingerprint[:8]}"]
    run = tmp_path / "run"
    jobs.train(
        cache,
        image_folder,
        run,
        jobs.TrainOptions(features=[chosen[0]], heads=["logistic"], folds=3),
    )
    report = jobs.predict(run, image_folder, tmp_path / "answers.csv")
    assert report.images == 6
    made = jobs.bundle(run, tmp_path / "bundle.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "bundle.onnx"))
    squares = images(32, 2)
    name = session.get_inputs()[0].name
    output = session.run(None, {name: squares})[0]
    assert made["inputs"]
    np.testing.assert_allclose(output.sum(axis=1), 1, rtol=1e-5)
    maps = pooled(maps_of(tiny_onnx, squares, "c"), "gem").astype(np.float16).astype(np.float32)
    from icecore.heads import load_task_head
    from icecore.runs import open_run

    (head,) = [
        load_task_head(task, m) for task in open_run(run).tasks.values() for m in task.models
    ]
    np.testing.assert_allclose(output, head.predict_proba(maps), rtol=1e-3, atol=1e-4)

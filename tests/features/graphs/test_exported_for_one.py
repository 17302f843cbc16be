"""Graphs as exporters leave them: for one image, with shapes that say little, or too much."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx_files import (
    CLASSES,
    SIDE,
    WIDTH,
    body,
    classifier,
    expected,
    make,
    save,
    some_images,
    weights,
)

from icecore import jobs
from icecore.core.errors import BackboneError, ProofError
from icecore.features.backbones import load_backbones
from icecore.features.catalogue import list_layers
from icecore.features.engines.base import Setup
from icecore.features.engines.choose import ENGINES
from icecore.features.engines.proof import prove_in_engine
from icecore.features.weights.request import WeightsRequest

node = helper.make_node
CLOSE = {"rtol": 2e-4, "atol": 1e-5}
ENGINE = pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])


def for_one(nodes: list, arrays: dict, **more):
    return make(
        nodes, weights() | arrays, shape=[1, 3, SIDE, SIDE], outputs={"out": [1, CLASSES]}, **more
    )


def started(spec: str, engine: str, size: int):
    """Start an engine for batches of a size, and prove the graph in it."""
    if not ENGINES[engine].able("cpu"):
        pytest.skip(f"{engine} is not installed")
    (backbone,) = load_backbones([spec], engine)
    engine_of_it = backbone.start("cpu", size)
    prove_in_engine(engine_of_it, backbone.network, Setup(batch_size=size))
    return backbone.network, engine_of_it


def weighed_by_places() -> tuple[list, dict]:
    """Fold channels into the axis of the images, which no shape that begins with 1 undoes."""
    nodes = [
        *body()[:2],
        node("Reshape", ["r", "folded"], ["flat"]),
        node("Softmax", ["flat"], ["share"], axis=-1),
        node("Reshape", ["share", "map"], ["back"]),
        node("Mul", ["back", "r"], ["m"]),
        node("GlobalAveragePool", ["m"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        *classifier(),
    ]
    shapes = {
        "folded": np.array([WIDTH, SIDE * SIDE]),
        "map": np.array([1, WIDTH, SIDE, SIDE]),
    }
    return nodes, shapes


@ENGINE
@pytest.mark.parametrize("size", [1, 4])
def test_what_takes_one_image_alone_runs_in_every_engine(engine, size, tmp_path):
    nodes, shapes = weighed_by_places()
    spec = save(tmp_path / "net.onnx", for_one(nodes, shapes), num_classes=CLASSES)
    network, running = started(spec, engine, size)
    assert network.batch == 1
    assert not network.mixing
    images = some_images(6)
    rows = running.run(images)
    for image, row in zip(images, rows):
        np.testing.assert_allclose(running.run(image[np.newaxis])[0], row, **CLOSE)
    assert np.ptp(rows, axis=0).min() > 0


def test_what_takes_one_image_alone_is_extracted_by_onnx_runtime_as_by_default(
    tmp_path, image_folder
):
    nodes, shapes = weighed_by_places()
    spec = save(tmp_path / "net.onnx", for_one(nodes, shapes), num_classes=CLASSES)
    for size in (None, 1):
        options = {} if size is None else {"batch_size": size}
        report = jobs.extract(
            image_folder,
            tmp_path / f"cache{size}",
            [spec],
            jobs.ExtractOptions(engine="onnxruntime", **options),
        )
        assert report.sets[0]["relative_error"] < 1e-5


@ENGINE
def test_a_shape_that_asks_for_no_extent_of_0_does_not_tie_a_graph_to_one_image(engine, tmp_path):
    """As PyTorch's exporter writes every view."""
    nodes = [*body()[:3], node("Reshape", ["p", "row"], ["f"], allowzero=1), *classifier()]
    model = for_one(nodes, {"row": np.array([1, WIDTH])}, opset=18)
    network, running = started(save(tmp_path / "net.onnx", model), engine, 4)
    assert network.batch is None
    assert not network.mixing
    images = some_images(4)
    np.testing.assert_allclose(running.run(images), expected(images), **CLOSE)


@ENGINE
def test_a_constant_that_is_reshaped_does_not_tie_a_graph_to_one_image(engine, tmp_path):
    nodes = [
        *body(),
        node("Reshape", ["place", "row"], ["places"]),
        node("Add", ["f", "places"], ["g"]),
        node("Gemm", ["g", "k", "b"], ["out"]),
    ]
    place = np.arange(WIDTH, dtype=np.float32)
    model = for_one(nodes, {"place": place, "row": np.array([1, WIDTH])})
    network, running = started(save(tmp_path / "net.onnx", model), engine, 4)
    assert network.batch is None
    images = some_images(4)
    np.testing.assert_allclose(running.run(images), expected(images) + place, **CLOSE)


@ENGINE
def test_a_shape_that_begins_with_another_1_than_that_of_the_image_is_kept(engine, tmp_path):
    """Softmax over the channels, which come first when the shape that begins with 1 is made."""
    nodes = [
        *body()[:3],
        node("Transpose", ["p"], ["turned"], perm=[1, 0, 2, 3]),
        node("Reshape", ["turned", "row"], ["channels"]),
        node("Softmax", ["channels"], ["share"], axis=-1),
        node("Transpose", ["share"], ["column"], perm=[1, 0]),
        node("Reshape", ["column", "again"], ["f"]),
        *classifier(),
    ]
    shapes = {"row": np.array([1, -1]), "again": np.array([1, WIDTH])}
    spec = save(tmp_path / "net.onnx", for_one(nodes, shapes), num_classes=CLASSES)
    _, running = started(spec, engine, 1)
    images = some_images(4)
    power = np.exp(expected(images))
    np.testing.assert_allclose(running.run(images), power / power.sum(1, keepdims=True), **CLOSE)


@ENGINE
def test_channels_that_are_last_in_a_shape_that_says_nothing_are_found(engine, tmp_path):
    nodes = [
        node("Cast", ["data"], ["real"], to=1),
        node("Transpose", ["real"], ["x"], perm=[0, 3, 1, 2]),
        node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        *body()[1:],
        *classifier(),
    ]
    model = make(nodes, weights(), shape=["N", "height", "width", "channels"])
    spec = save(tmp_path / "net.onnx", model)
    _, running = started(spec, engine, 4)
    images = some_images(4)
    np.testing.assert_allclose(running.run(images), expected(images), **CLOSE)
    assert ("c", "Conv", (WIDTH, SIDE, SIDE)) in list_layers(spec, WeightsRequest())


def test_a_size_beyond_the_bound_is_told_by_the_name_in_the_file(tmp_path):
    nodes = [*body()[:2], node("Tile", ["r", "times"], ["large"]), *body()[2:], *classifier()]
    nodes[3].input[0] = "large"
    model = make(nodes, weights() | {"times": np.array([1, 1, 2000, 2000])})
    with pytest.raises(BackboneError, match=r"onnx: large of one image would have more than"):
        load_backbones([save(tmp_path / "net.onnx", model)])


def test_what_has_another_shape_for_each_image_is_refused_in_one_line(tmp_path):
    nodes = [
        *body()[:2],
        node("NonZero", ["r"], ["where"]),
        node("Cast", ["where"], ["real"], to=1),
        node("ReduceMean", ["real"], ["mean"], "mean_of_places", keepdims=0),
        node("Add", ["r", "mean"], ["m"]),
        *body()[2:],
        *classifier(),
    ]
    nodes[6].input[0] = "m"
    spec = save(tmp_path / "net.onnx", make(nodes, weights()))
    with pytest.raises(ProofError, match="depend on what else is in its batch.*mean_of_places"):
        started(spec, "onnxruntime", 4)


@pytest.mark.parametrize(
    "versions", [[("", 13), ("", 11)], [("", 11), ("ai.onnx", 13)]], ids=["", "ai.onnx"]
)
def test_two_versions_of_the_operators_are_refused(versions, tmp_path):
    """Of Softmax they say different things, and ONNX Runtime takes the last that is named."""
    nodes = [
        *body(),
        node("Transpose", ["f"], ["turned"]),
        node("Reshape", ["turned", "row"], ["channels"]),
        node("Softmax", ["channels"], ["share"], axis=1),
        node("Reshape", ["share", "back"], ["column"]),
        node("Transpose", ["column"], ["g"]),
        node("Gemm", ["g", "k", "b"], ["out"]),
    ]
    model = make(nodes, weights())
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(shape), name)
        for name, shape in (("row", [1, WIDTH, -1]), ("back", [WIDTH, -1]))
    )
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*one) for one in versions)
    with pytest.raises(BackboneError, match="names the versions 11, 13 of the operators of ONNX"):
        load_backbones([save(tmp_path / "net.onnx", model, num_classes=CLASSES)])
    # One that is named twice is no contradiction.
    model = make(
        nodes, {**weights(), "row": np.array([1, WIDTH, -1]), "back": np.array([WIDTH, -1])}
    )
    model.opset_import.append(helper.make_opsetid("ai.onnx", 13))
    load_backbones([save(tmp_path / "net.onnx", model, num_classes=CLASSES)])

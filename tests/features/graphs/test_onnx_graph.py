from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from icecore.core.errors import BackboneError, MissingFileError
from icecore.features.backbones import load_backbone, load_backbones
from icecore.features.graphs.cutting import cut_classifier
from icecore.features.graphs.reading import read_graph
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.request import WeightsRequest

SIDE = 16


def save(path, ending: str, *, weights_as_inputs=False, external=False):
    """Write conv -> relu and one of several ways to end a classifier."""
    rng = np.random.default_rng(3)
    arrays = {"w": rng.normal(0, 0.3, (5, 3, 3, 3)), "shape": np.array([0, -1], np.int64)}
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
    ]
    if ending == "convolution":
        arrays |= {"k": rng.normal(size=(7, 5, 1, 1))}
        nodes += [
            helper.make_node("Conv", ["r", "k"], ["s"]),
            helper.make_node("GlobalAveragePool", ["s"], ["p"]),
            helper.make_node("Reshape", ["p", "shape"], ["out"]),
        ]
    elif ending == "none":
        nodes += [helper.make_node("GlobalAveragePool", ["r"], ["out"])]
    else:
        nodes += [
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Reshape", ["p", "shape"], ["f"]),
        ]
        if ending == "gemm":
            arrays |= {"k": rng.normal(size=(5, 7)), "b": rng.normal(size=7)}
            nodes.append(helper.make_node("Gemm", ["f", "k", "b"], ["g"]))
        else:
            arrays |= {"k": rng.normal(size=(5, 7)), "b": rng.normal(size=7)}
            nodes += [
                helper.make_node("MatMul", ["f", "k"], ["m"]),
                helper.make_node("Add", ["b", "m"], ["g"]),
            ]
        nodes.append(helper.make_node("Softmax", ["g"], ["out"], axis=1))
    arrays = {k: v if v.dtype == np.int64 else v.astype(np.float32) for k, v in arrays.items()}
    inputs = [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])]
    if weights_as_inputs:
        inputs += [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in arrays.items()
        ]
    shape = ["N", 5, 1, 1] if ending == "none" else ["N", 7]
    graph = helper.make_graph(
        nodes,
        "g",
        inputs,
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(v, k) for k, v in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(
        model, str(path), save_as_external_data=external, location="weights.bin", size_threshold=0
    )
    record = {
        "input_size": [3, SIDE, SIDE],
        "mean": [0.1, 0.2, 0.3],
        "std": [0.5, 0.6, 0.7],
        "crop_pct": 1.0,
        "interpolation": "bilinear",
    }
    if ending == "convolution":
        record["num_classes"] = 7  # it could be the last layer of the features as well
    path.with_suffix(".json").write_text(json.dumps(record))
    return arrays


def expected_features(arrays, images):
    """Convolution, ReLU and mean over the image, written out in NumPy."""
    scaled = (images / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    padded = np.pad(scaled, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.maximum(np.einsum("nhwcij,ocij->nhwo", patches, arrays["w"]), 0).mean(axis=(1, 2))


@pytest.mark.parametrize("ending", ["gemm", "matmul and add", "convolution"])
@pytest.mark.parametrize("weights_as_inputs", [False, True])
def test_every_kind_of_ending_is_cut_at_its_input(tmp_path, ending, weights_as_inputs):
    path = tmp_path / "net.onnx"
    arrays = save(path, ending, weights_as_inputs=weights_as_inputs)
    backbone = load_backbone(BackboneSpec.parse(f"onnx:{path}"), "auto", WeightsRequest())
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    assert backbone.record.num_features == 5
    np.testing.assert_allclose(
        backbone.start("cpu").run(images), expected_features(arrays, images), rtol=2e-4, atol=1e-5
    )


def test_what_the_features_do_not_need_is_gone(tmp_path):
    path = tmp_path / "net.onnx"
    save(path, "gemm")
    model = read_graph(path).model
    assert cut_classifier(model).width == 5
    assert {tensor.name for tensor in model.graph.initializer} == {"net_w", "net_shape"}
    assert "Gemm" not in [node.op_type for node in model.graph.node]


def test_real_networks_are_cut_where_a_person_would(models):
    path = models / "efficientnet_lite0.onnx"
    backbone = load_backbone(BackboneSpec.parse(f"onnx:{path}"), "auto", WeightsRequest())
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    features = backbone.start("cpu").run(images)
    whole = onnx.load(str(path))
    fields = {t.name: numpy_helper.to_array(t) for t in whole.graph.initializer}
    scaled = (images / 255 - np.array(backbone.record.preprocessing.mean)) / np.array(
        backbone.record.preprocessing.std
    )
    data = scaled.transpose(0, 3, 1, 2).astype(np.float32)
    logits = onnxruntime.InferenceSession(str(path)).run(None, {"data": data})[0]
    again = features @ fields["_fc.weight"].T + fields["_fc.bias"]
    assert np.linalg.norm(again - logits) / np.linalg.norm(logits) < 1e-5


def test_a_graph_without_classifier_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    save(path, "none")
    with pytest.raises(BackboneError, match=r"(?s)has no classifier layer.*give a classifier"):
        load_backbones([f"onnx:{path}"])


@pytest.mark.parametrize("gate", [False, True])
def test_a_network_without_its_classifier_is_not_cut_in_the_middle(tmp_path, gate):
    """A residual sum, or a gate, before the pool: the convolution in there is no classifier."""
    rng = np.random.default_rng(0)
    shapes = {"w": (5, 3, 3, 3), "a": (4, 5, 1, 1), "b": (5, 4, 1, 1)}
    weights = {k: rng.normal(size=shape).astype(np.float32) for k, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "a"], ["x"]),
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Conv", ["y", "b"], ["z"]),
        helper.make_node("Sigmoid" if gate else "Identity", ["z"], ["s"]),
        helper.make_node("Mul" if gate else "Add", ["s", "c"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["out"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    with pytest.raises(BackboneError, match="has no classifier layer"):
        cut_classifier(model)


@pytest.mark.parametrize("name", ["images", "features", "icecore_transpose"])
@pytest.mark.parametrize("old", ["data", "r", "out"])
def test_names_in_the_graph_may_be_ours(tmp_path, name, old):
    path = tmp_path / "net.onnx"
    arrays = save(path, "gemm")
    model = onnx.load(str(path))
    for node in model.graph.node:
        node.input[:] = [name if one == old else one for one in node.input]
        node.output[:] = [name if one == old else one for one in node.output]
    for value in [*model.graph.input, *model.graph.output]:
        value.name = name if value.name == old else value.name
    onnx.save(model, str(path))
    backbone = load_backbone(BackboneSpec.parse(f"onnx:{path}"), "auto", WeightsRequest())
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        backbone.start("cpu").run(images), expected_features(arrays, images), rtol=2e-4, atol=1e-5
    )


@pytest.mark.parametrize("content", [b"", b"not a graph at all", b"\x08\x08" * 50])
def test_what_is_no_onnx_is_refused(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(BackboneError, match="not a valid ONNX model"):
        load_backbones([f"onnx:{path}"])


def test_missing_files_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="none.onnx is not there"):
        load_backbones([f"onnx:{tmp_path}/none.onnx"])
    save(tmp_path / "net.onnx", "gemm")
    (tmp_path / "net.json").unlink()
    with pytest.raises(MissingFileError, match=r"(?s)net.json is not there.*crop_pct"):
        load_backbones([f"onnx:{tmp_path}/net.onnx"])


def test_every_fault_of_a_record_is_named_at_once(tmp_path):
    save(tmp_path / "net.onnx", "gemm")
    record = {"input_size": [3, 8], "mean": [0.1, 0.2], "std": [1, 0, 1], "crop_pct": 2}
    (tmp_path / "net.json").write_text(json.dumps(record))
    with pytest.raises(BackboneError) as caught:
        load_backbones([f"onnx:{tmp_path}/net.onnx"])
    for part in ("input_size is [3, 8]", "mean is", "std is", "crop_pct is 2", "interpolation is"):
        assert part in str(caught.value)


def test_sizes_are_whole_numbers(tmp_path):
    save(tmp_path / "net.onnx", "gemm")
    record = json.loads((tmp_path / "net.json").read_text())
    wrong = record | {"input_size": [3, 16.0, 16.0], "num_features": "5"}
    (tmp_path / "net.json").write_text(json.dumps(wrong))
    with pytest.raises(BackboneError, match=r"(?s)input_size is \[3, 16.0.*num_features is '5'"):
        load_backbones([f"onnx:{tmp_path}/net.onnx"])


def test_a_record_that_contradicts_its_graph_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    save(path, "gemm")
    record = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(record | {"num_features": 6}))
    with pytest.raises(BackboneError, match="says 6 features, the graph has 5"):
        load_backbones([f"onnx:{path}"])
    path.with_suffix(".json").write_text(json.dumps(record | {"input_size": [3, 24, 24]}))
    with pytest.raises(BackboneError, match=r"takes inputs of shape \[0, 3, 16, 16\]"):
        load_backbones([f"onnx:{path}"])


def test_options_that_cannot_apply_are_refused(tmp_path):
    path = tmp_path / "net.onnx"
    save(path, "gemm")
    with pytest.raises(BackboneError, match="MXNet does not run"):
        load_backbones([f"onnx:{path}"], "mxnet")
    with pytest.raises(BackboneError, match="carries its own weights"):
        load_backbones([f"onnx:{path}"], "auto", WeightsRequest.parse("random:0"))
    with pytest.raises(BackboneError, match="named twice"):
        load_backbones([f"onnx:{path}", f"onnx:{path}"])
    with pytest.raises(BackboneError, match="no backbone is named"):
        load_backbones([])


@pytest.mark.parametrize(
    "text", ["inceptionv3", "torch:resnet", "gluon:", "gluon:x@8", "gluon:x@9999", ""]
)
def test_what_is_no_spec_is_refused(text):
    with pytest.raises(BackboneError, match="is not a backbone spec|asks for a resolution"):
        BackboneSpec.parse(text)


def test_specs_are_canonical_without_folders():
    assert BackboneSpec.parse("onnx:a/b/c.onnx@64").canonical == "onnx:c.onnx@64"
    assert BackboneSpec.parse("gluon:inceptionv3").canonical == "gluon:inceptionv3"

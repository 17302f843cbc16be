"""No graph reads another file, and none costs more than it may."""

from __future__ import annotations

import contextlib
import hashlib
import os
from contextlib import nullcontext

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import body, classifier, expected, make, plain, save, some_images, weights

from icecore.core.errors import BackboneError
from icecore.features.backbones import load_backbone
from icecore.features.catalogue import list_layers
from icecore.features.engines.choose import ENGINES
from icecore.features.graphs import inference, questions
from icecore.features.records.spec import BackboneSpec
from icecore.features.sources import trial
from icecore.features.weights.request import WeightsRequest

SECRET = np.array([7, 7, 7, 7, 7], np.float32)


def load(spec: str, engine: str = "auto"):
    return load_backbone(BackboneSpec.parse(spec), engine, WeightsRequest())


def outside(name: str, dims: list[int], location: str = "secret.bin", **fields) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **fields}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def in_a_constant():
    nodes = body()
    nodes.insert(0, helper.make_node("Constant", [], ["e"], value=outside("E", [5])))
    nodes += [helper.make_node("Mul", ["f", "e"], ["h"])]
    nodes += [helper.make_node("Gemm", ["h", "k", "b"], ["out"])]
    return make(nodes, weights())


def in_a_body(kind: str):
    inner = helper.make_node("Constant", [], ["e"], value=outside("E", [5]))
    branch = helper.make_graph(
        [inner], "branch", [], [helper.make_tensor_value_info("e", TensorProto.FLOAT, [5])]
    )
    flag = numpy_helper.from_array(np.array(True), "flag")
    if kind == "If":
        node = helper.make_node("If", ["flag"], ["s"], then_branch=branch, else_branch=branch)
    else:
        loop = helper.make_graph(
            [inner, helper.make_node("Identity", ["go"], ["on"])],
            "loop",
            [
                helper.make_tensor_value_info("i", TensorProto.INT64, []),
                helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            ],
            [
                helper.make_tensor_value_info("on", TensorProto.BOOL, []),
                helper.make_tensor_value_info("e", TensorProto.FLOAT, [5]),
            ],
        )
        node = helper.make_node("Loop", ["once", "flag"], ["s"], body=loop)
    nodes = [*body(), node, helper.make_node("Mul", ["f", "s"], ["h"])]
    nodes += [helper.make_node("Gemm", ["h", "k", "b"], ["out"])]
    model = make(nodes, weights() | {"once": np.array(1, np.int64)})
    model.graph.initializer.append(flag)
    return model


def in_an_initializer_of_a_body():
    model = in_a_body("If")
    for attribute in next(n for n in model.graph.node if n.op_type == "If").attribute:
        attribute.g.initializer.append(outside("E", [5]))
    return model


def in_a_sparse_initializer():
    model = plain()
    sparse = onnx.SparseTensorProto(dims=[5])
    sparse.values.CopyFrom(outside("scale", [5]))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.arange(5), "indices"))
    model.graph.sparse_initializer.append(sparse)
    return model


def in_a_sparse_attribute():
    model = plain()
    sparse = onnx.SparseTensorProto(dims=[5])
    sparse.values.CopyFrom(outside("scale", [5]))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.arange(5), "indices"))
    model.graph.node.insert(0, helper.make_node("Constant", [], ["e"], sparse_value=sparse))
    return model


def in_a_function():
    inner = [
        helper.make_node("Constant", [], ["e"], value=outside("E", [5])),
        helper.make_node("Mul", ["x", "e"], ["y"]),
    ]
    function = helper.make_function(
        "local", "Scale", ["x"], ["y"], inner, [helper.make_opsetid("", 13)]
    )
    nodes = [*body(), helper.make_node("Scale", ["f"], ["h"], domain="local")]
    nodes += [helper.make_node("Gemm", ["h", "k", "b"], ["out"])]
    return make(nodes, weights(), functions=[function])


def in_training_info():
    model = plain()
    model.training_info.add().initialization.initializer.append(outside("E", [5]))
    return model


PLACES = {
    "constant": in_a_constant,
    "if": lambda: in_a_body("If"),
    "loop": lambda: in_a_body("Loop"),
    "initializer of a body": in_an_initializer_of_a_body,
    "sparse initializer": in_a_sparse_initializer,
    "sparse attribute": in_a_sparse_attribute,
    "function": in_a_function,
    "training": in_training_info,
}


@pytest.mark.parametrize("place", PLACES)
def test_numbers_of_another_file_are_refused_wherever_they_stand(place, tmp_path, monkeypatch):
    SECRET.tofile(tmp_path / "secret.bin")
    monkeypatch.chdir(tmp_path)
    spec = save(tmp_path / "net.onnx", PLACES[place]())
    with pytest.raises(BackboneError, match="would be read from another file"):
        load(spec)


def save_beside(path, location: str = "net.onnx.data", record: bool = True) -> str:
    """Write what torch.onnx.export writes: the graph, and its weights in a file of their own."""
    onnx.save(plain(), str(path), save_as_external_data=True, location=location, size_threshold=0)
    spec = save(path.with_name("inside.onnx"), plain())
    path.with_suffix(".json").write_text(path.with_name("inside.json").read_text())
    return f"onnx:{path}" if record else spec


@pytest.mark.parametrize("elsewhere", [False, True])
def test_weights_beside_the_graph_are_read_from_its_own_folder(tmp_path, monkeypatch, elsewhere):
    (tmp_path / "a").mkdir()
    (tmp_path / "other").mkdir()
    spec = save_beside(tmp_path / "a" / "net.onnx")
    np.zeros(10_000, np.float32).tofile(tmp_path / "other" / "net.onnx.data")
    monkeypatch.chdir(tmp_path / ("other" if elsewhere else "a"))
    if not elsewhere:
        spec = "onnx:net.onnx"
    images = some_images()
    for engine in ("openvino", "onnxruntime"):
        np.testing.assert_allclose(
            load(spec, engine).start("cpu").run(images), expected(images), rtol=2e-4, atol=1e-5
        )


def test_weights_beside_the_graph_are_part_of_the_digest(tmp_path):
    spec = save_beside(tmp_path / "net.onnx")
    before = load(spec).record.weights_digest
    assert before == load(spec).record.weights_digest
    content = bytearray((tmp_path / "net.onnx.data").read_bytes())
    content[2] ^= 1
    (tmp_path / "net.onnx.data").write_bytes(content)
    assert load(spec).record.weights_digest != before
    alone = save(tmp_path / "alone.onnx", plain())
    file = (tmp_path / "alone.onnx").read_bytes()
    assert load(alone).record.weights_digest == hashlib.sha256(file).hexdigest()


def test_weights_may_lie_in_a_folder_below(tmp_path):
    (tmp_path / "weights").mkdir()
    spec = save_beside(tmp_path / "net.onnx", location="weights/net.data")
    images = some_images()
    np.testing.assert_allclose(
        load(spec).start("cpu").run(images), expected(images), rtol=2e-4, atol=1e-5
    )


def hub_cache(top):
    """Write what huggingface_hub leaves of a repository; return the folder of its graph."""
    blobs = top / "models--a--b" / "blobs"
    folder = top / "models--a--b" / "snapshots" / "1234" / "onnx"
    blobs.mkdir(parents=True)
    folder.mkdir(parents=True)
    save_beside(top / "model.onnx", location="model.onnx_data")
    for name in ("model.onnx", "model.onnx_data", "model.json"):
        content = (top / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        (folder / name).symlink_to(f"../../../blobs/{digest}")
        (top / name).unlink()
    return folder


def test_links_that_the_cache_of_the_hub_is_made_of_are_followed(tmp_path, monkeypatch):
    folder = hub_cache(tmp_path)
    images = some_images()
    for where, spec in ((tmp_path, f"onnx:{folder}/model.onnx"), (folder, "onnx:model.onnx")):
        monkeypatch.chdir(where)
        rows = load(spec).start("cpu").run(images)
        np.testing.assert_allclose(rows, expected(images), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("where", ["model.bin", "other/blobs/" + "a" * 64, "models--a--b/x"])
def test_a_link_out_of_the_cache_of_the_hub_is_not_followed(tmp_path, where):
    folder = hub_cache(tmp_path)
    target = tmp_path / where
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes((folder / "model.onnx_data").read_bytes())
    (folder / "model.onnx_data").unlink()
    (folder / "model.onnx_data").symlink_to(target)
    with pytest.raises(BackboneError, match="model.onnx_data, which is a link"):
        load(f"onnx:{folder}/model.onnx")


def test_a_blob_of_the_hub_that_is_a_link_is_not_followed(tmp_path):
    folder = hub_cache(tmp_path)
    blob = (folder / "model.onnx_data").resolve()
    blob.rename(tmp_path / "secret")
    blob.symlink_to(tmp_path / "secret")
    with pytest.raises(BackboneError, match="which is a link"):
        load(f"onnx:{folder}/model.onnx")


def with_weight_at(location: str, **fields):
    model = plain()
    (kernel,) = [t for t in model.graph.initializer if t.name == "w"]
    kernel.CopyFrom(outside("w", list(kernel.dims), location, **fields))
    return model


@pytest.mark.parametrize(
    "location",
    [
        "../secret.bin", "/etc/hostname", "a/../../secret.bin", "", ".", "..", "sub/", "/",
        "C:\\secret.bin", "..\\secret.bin", "a//b", "x\0y", "file:///etc/hostname",
    ],
)  # fmt: skip
def test_weights_outside_of_the_folder_are_refused(location, tmp_path):
    (tmp_path / "sub").mkdir()
    np.zeros(1000, np.float32).tofile(tmp_path / "secret.bin")
    spec = save(tmp_path / "sub" / "net.onnx", with_weight_at(location))
    with pytest.raises(BackboneError, match="weight 'w' points to|weight 'w' lies in"):
        load(spec)


def test_links_are_not_followed(tmp_path):
    np.zeros(1000, np.float32).tofile(tmp_path / "secret.bin")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").symlink_to(tmp_path / "secret.bin")
    (tmp_path / "sub" / "deep").symlink_to(tmp_path)
    for location in ("w.bin", "deep/secret.bin"):
        spec = save(tmp_path / "sub" / "net.onnx", with_weight_at(location))
        with pytest.raises(BackboneError, match="which is a link"):
            load(spec)


def test_pipes_and_folders_are_not_weights(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for location in ("pipe", "folder"):
        spec = save(tmp_path / "net.onnx", with_weight_at(location))
        with pytest.raises(BackboneError, match="no regular file"):
            load(spec)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"offset": -4}, "has 540 bytes by its shape"),
        ({"length": 4}, "has 540 bytes by its shape, not 4"),
        ({"length": 2**60}, "has 540 bytes by its shape"),
        ({"offset": 2**62}, "ends beyond the end"),
        ({"offset": 1}, "ends beyond the end"),
        ({"offset": "one"}, "begins or ends where no number is: {'offset': 'one'}"),
        ({"offset": "9" * 5000}, "begins or ends where no number is"),
        ({"archive": "x"}, "unknown fields archive"),
    ],
)
def test_places_in_a_file_are_bounded(fields, said, tmp_path):
    np.zeros(135, np.float32).tofile(tmp_path / "w.bin")
    spec = save(tmp_path / "net.onnx", with_weight_at("w.bin", **fields))
    with pytest.raises(BackboneError, match=said):
        load(spec)


def test_weights_that_are_cut_short_are_to_be_copied_again(tmp_path):
    """Nothing can load the graph as it is, and so nothing can save it as one file."""
    np.zeros(100, np.float32).tofile(tmp_path / "w.bin")
    spec = save(tmp_path / "net.onnx", with_weight_at("w.bin"))
    with pytest.raises(BackboneError, match="has 400 bytes and would need 540") as caught:
        load(spec)
    assert "copy or download both files again" in str(caught.value)
    assert "onnx.save" not in str(caught.value)


@pytest.mark.parametrize("number", [0, 99, 2**31 - 1])
def test_a_weight_of_an_unknown_type_is_refused(number, tmp_path):
    model = with_weight_at("w.bin")
    next(t for t in model.graph.initializer if t.name == "w").data_type = number
    spec = save(tmp_path / "net.onnx", model)
    with pytest.raises(BackboneError, match=rf"of a type that is not known \({number}\)"):
        load(spec)


def test_a_missing_file_of_weights_is_named(tmp_path):
    spec = save(tmp_path / "net.onnx", with_weight_at("net.onnx.data"))
    with pytest.raises(BackboneError, match=r"(?s)in net.onnx.data beside it.*put both files"):
        load(spec)


def loop(rounds: int):
    """Add something to the features, round after round."""
    inner = helper.make_graph(
        [
            helper.make_node("Add", ["v", "one"], ["w1"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "loop",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w1", TensorProto.FLOAT, None),
        ],
    )
    nodes = [*body(), helper.make_node("Loop", ["rounds", "true", "f"], ["h"], body=inner)]
    nodes += [helper.make_node("Gemm", ["h", "k", "b"], ["out"])]
    more = {"rounds": np.array(rounds, np.int64), "one": np.array([1], np.float32)}
    return make(nodes, weights() | more | {"true": np.array(True)})


def test_a_loop_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "LEAST_SECONDS", 3)
    with pytest.raises(BackboneError, match=r"one image takes more than 3 s of processor time"):
        load(save(tmp_path / "net.onnx", loop(2**60)))


def test_a_short_loop_runs_and_is_tried_once(tmp_path, monkeypatch):
    spec = save(tmp_path / "net.onnx", loop(3))
    images = some_images()
    found = load(spec, "onnxruntime").start("cpu").run(images)
    np.testing.assert_allclose(found, expected(images) + 3, rtol=2e-4, atol=1e-5)
    monkeypatch.setattr(questions, "ask_child", None)
    load(spec)


def made_of_nothing(sides: list[int], known: bool):
    nodes = body()
    if known:
        nodes += [helper.make_node("ConstantOfShape", ["sides"], ["huge"])]
    else:
        nodes += [
            helper.make_node("ReduceMax", ["f"], ["most"], keepdims=0),
            helper.make_node("Mul", ["most", "zero"], ["none"]),
            helper.make_node("Cast", ["none"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Add", ["whole", "sides"], ["sides2"]),
            helper.make_node("ConstantOfShape", ["sides2"], ["huge"]),
        ]
    nodes += [
        helper.make_node("ReduceSum", ["huge"], ["s"], keepdims=0),
        helper.make_node("Add", ["f", "s"], ["h"]),
        helper.make_node("Gemm", ["h", "k", "b"], ["out"]),
    ]
    more = {"sides": np.array(sides, np.int64), "zero": np.array(0, np.float32)}
    return make(nodes, weights() | more)


def test_gigabytes_made_of_nothing_are_refused_before_they_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "ask_once", None)
    spec = save(tmp_path / "net.onnx", made_of_nothing([10, 2**28], known=True))
    with pytest.raises(BackboneError, match="numbers from constants before it sees an image"):
        load(spec)


def enlarged(scale: int, times: int):
    """Make a graph that enlarges its map, and does little with it, many times."""
    nodes = [*body(), helper.make_node("Resize", ["r", "", "scales"], ["e0"], mode="nearest")]
    nodes += [helper.make_node("Neg", [f"e{n}"], [f"e{n + 1}"]) for n in range(times)]
    nodes += [
        helper.make_node("ReduceMax", [f"e{times}"], ["m"], keepdims=0),
        helper.make_node("Add", ["f", "m"], ["h"]),
        helper.make_node("Gemm", ["h", "k", "b"], ["out"]),
    ]
    return make(nodes, weights() | {"scales": np.array([1, 1, scale, scale], np.float32)})


def test_a_value_of_an_image_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "ask_once", None)
    spec = save(tmp_path / "net.onnx", enlarged(400, 1))
    with pytest.raises(BackboneError, match=r"e0, .*e1 of one image would have more than 67108864"):
        load(spec)


@pytest.mark.parametrize(("several", "refused"), [(3, False), (9, True)])
def test_large_values_that_are_needed_together_are_refused(tmp_path, monkeypatch, several, refused):
    """Each of them is small enough; a batch of eight images took seven gigabytes."""
    monkeypatch.setattr(trial, "ask_once", lambda *arguments: None)
    kept = [f"k{n}" for n in range(several)]
    nodes = [*body(), helper.make_node("Resize", ["r", "", "scales"], ["e"], mode="nearest")]
    nodes += [helper.make_node("Neg", ["e"], [one]) for one in kept]
    nodes += [
        helper.make_node("Sum", kept, ["s"]),
        helper.make_node("ReduceMax", ["s"], ["m"], keepdims=0),
        helper.make_node("Add", ["f", "m"], ["h"]),
        helper.make_node("Gemm", ["h", "k", "b"], ["out"]),
    ]
    scales = {"scales": np.array([1, 1, 150, 150], np.float32)}
    spec = save(tmp_path / "net.onnx", make(nodes, weights() | scales))
    wanted = pytest.raises(BackboneError, match=r"needs \d+ numbers at a time for one image, more")
    with wanted if refused else nullcontext():
        load(spec)


def test_many_cheap_operators_on_large_values_are_tried_in_a_child(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(trial, "ask_once", lambda *arguments: asked.append(arguments))
    load(save(tmp_path / "few.onnx", enlarged(100, 3)))
    assert not asked
    load(save(tmp_path / "many.onnx", enlarged(100, 1000)))
    assert asked


def test_products_of_constants_are_tried_in_a_child(tmp_path, monkeypatch):
    """OpenVINO computes them in its slowest way, in which nothing can interrupt it."""
    asked = []
    monkeypatch.setattr(trial, "ask_once", lambda *arguments: asked.append(arguments))
    for side, tried in ((256, False), (2048, True)):
        nodes = [
            helper.make_node("ConstantOfShape", ["sides"], ["square"]),
            helper.make_node("MatMul", ["square", "square"], ["product"]),
            helper.make_node("ReduceMean", ["product"], ["mean"], keepdims=0),
            *body(),
            helper.make_node("Add", ["f", "mean"], ["h"]),
            helper.make_node("Gemm", ["h", "k", "b"], ["out"]),
        ]
        sides = {"sides": np.array([side, side], np.int64)}
        load(save(tmp_path / f"{side}.onnx", make(nodes, weights() | sides)))
        assert bool(asked) == tried


def test_gigabytes_whose_number_is_computed_are_refused_in_a_child(tmp_path):
    spec = save(tmp_path / "net.onnx", made_of_nothing([10, 2**30], known=False))
    with pytest.raises(BackboneError, match="computed in 4 GiB|ends the process|what the image"):
        load(spec)


def test_gigabytes_that_an_engine_takes_to_prepare_a_graph_are_refused_in_a_child(tmp_path):
    """OpenVINO makes a product of three matrices by way of all products of their numbers."""
    if not ENGINES["openvino"].able("cpu"):
        pytest.skip("openvino is not installed")
    nodes = [
        helper.make_node("ConstantOfShape", ["sides"], ["square"]),
        helper.make_node("Einsum", ["square"] * 3, ["product"], equation="ab,bc,cd->ad"),
        helper.make_node("ReduceMean", ["product"], ["mean"], keepdims=0),
        *body(),
        helper.make_node("Add", ["f", "mean"], ["h"]),
        helper.make_node("Gemm", ["h", "k", "b"], ["out"]),
    ]
    model = make(nodes, weights() | {"sides": np.array([2048, 2048], np.int64)})
    with pytest.raises(BackboneError, match="needs more than 4.0 GiB of memory on openvino"):
        load(save(tmp_path / "net.onnx", model))


def steered(kind: str):
    """Make a graph that computes as much as the image is bright, or says whether it shall."""
    node = helper.make_node
    bright = [
        node("ReduceMax", ["data"], ["most"], keepdims=0),
        node("Cast", ["most"], ["number"], to=TensorProto.INT64),
        node("Cast", ["most"], ["yes"], to=TensorProto.BOOL),
        node("Unsqueeze", ["number", "axis"], ["sides"]),
        node("Expand", ["b", "one"], ["wide"]),
    ]
    value = helper.make_tensor_value_info
    add = node("Add", ["x", "x"], ["y"])
    going = node("Cast", ["x" if kind == "loop goes on" else "c"], ["on"], to=TensorProto.BOOL)
    inner = helper.make_graph(
        [add, going], "inner",
        [value("i", 7, []), value("c", 9, []), value("x", 1, [])],
        [value("on", 9, []), value("y", 1, [])],
    )  # fmt: skip
    branch = helper.make_graph([node("Identity", ["most"], ["z"])], "b", [], [value("z", 1, [])])
    more = {
        "shape": [node("ConstantOfShape", ["sides"], ["huge"])],
        "tile": [node("Tile", ["wide", "sides"], ["huge"])],
        "range": [node("Range", ["zero", "number", "step"], ["huge"])],
        "loop": [node("Loop", ["number", "", "most"], ["huge"], body=inner)],
        "loop goes on": [node("Loop", ["step", "", "most"], ["huge"], body=inner)],
        "if": [node("If", ["yes"], ["huge"], then_branch=branch, else_branch=branch)],
    }[kind]
    end = [
        node("Cast", ["huge"], ["whole"], to=TensorProto.FLOAT),
        node("ReduceMax", ["whole"], ["largest"], keepdims=0),
        node("Add", ["f", "largest"], ["h"]),
        node("Gemm", ["h", "k", "b"], ["out"]),
    ]
    arrays = {"axis": np.array([0]), "one": np.array([1]), "zero": np.int64(0), "step": np.int64(1)}
    nodes = [*body(), *bright, *more, *end]
    return make(nodes, weights() | arrays)


@pytest.mark.parametrize("kind", ["shape", "tile", "range", "loop", "loop goes on", "if"])
def test_a_cost_that_hangs_on_what_the_image_shows_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(trial, "ask_once", None)
    spec = save(tmp_path / "net.onnx", steered(kind))
    with pytest.raises(BackboneError, match=r"how much \w+ '\w+' computes depends on what the"):
        load(spec)


def of_shapes(*nodes, opset: int = 13, **arrays):
    """Make a graph that adds the largest of 'huge' to its features."""
    end = [
        helper.make_node("Cast", ["huge"], ["whole"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["whole"], ["most"], keepdims=0),
        helper.make_node("Add", ["f", "most"], ["h"]),
        helper.make_node("Gemm", ["h", "k", "b"], ["out"]),
    ]
    made = [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes]
    return make([*body(), *made, *end], weights() | arrays, opset=opset)


def doubled(times: int) -> list[tuple]:
    steps = [("Concat", [f"s{n}"] * 2, [f"s{n + 1}"], {"axis": 0}) for n in range(times)]
    return [("Shape", ["f"], ["s0"]), *steps, ("Identity", [f"s{times}"], ["huge"])]


SHAPES = {
    "a step of 0": of_shapes(
        ("MaxPool", ["r"], ["huge"], {"kernel_shape": [2] * 2, "strides": [0] * 2})
    ),
    "2**28 dimensions": of_shapes(
        ("ConstantOfShape", ["n"], ["y"]), ("ConstantOfShape", ["y"], ["huge"]), n=np.array([2**28])
    ),
    "2**33 numbers": of_shapes(
        ("Range", ["zero", "n", "one"], ["huge"]),
        n=np.int64(2**33), zero=np.int64(0), one=np.int64(1),
    ),
    "doubled 28 times": of_shapes(*doubled(28)),
    "fractions doubled 34 times": of_shapes(*doubled(34)[1:], s0=np.ones(1, np.float32)),
    "a window of 2**34": of_shapes(("HannWindow", ["n"], ["huge"]), opset=17, n=np.int64(2**34)),
    "2**31 parts": of_shapes(
        ("Split", ["f"], ["huge"], {"axis": 0, "num_outputs": 2**31 - 1}), opset=18
    ),
}  # fmt: skip


# A newer onnx infers these without harm: that no process has ended is what counts.
BORNE_BY_NEWER = ("a step of 0", "2**28 dimensions")


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_that_end_the_process_that_infers_them_are_refused(tmp_path, name):
    spec = save(tmp_path / "net.onnx", SHAPES[name])
    borne = name in BORNE_BY_NEWER and tuple(map(int, onnx.__version__.split(".")[:2])) > (1, 18)
    refused = pytest.raises(BackboneError, match="shapes of its values (needs more|ends the pro)")
    with contextlib.nullcontext() if borne else refused:
        list_layers(spec, WeightsRequest()) if "step" in name else load(spec)


def test_shapes_of_few_numbers_need_no_child(tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "ask_once", None)
    load(save(tmp_path / "net.onnx", plain()))
    load(save(tmp_path / "few.onnx", of_shapes(*doubled(3))))


def test_what_can_be_inferred_in_a_child_is_remembered(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setenv("ICECORE_GRAPHS", str(tmp_path / "graphs"))
    monkeypatch.setattr(questions, "ask_child", lambda *asks: asked.append(asks) or {})
    spec = save(tmp_path / "net.onnx", of_shapes(*doubled(11)))
    load(spec)
    load(spec)
    assert len(asked) == 1


def test_too_many_constants_are_refused(tmp_path):
    nodes = [
        helper.make_node("ConstantOfShape", ["sides"], [f"huge{n}"], name=f"n{n}")
        for n in range(20)
    ]
    nodes += [*body(), helper.make_node("Sum", [f"huge{n}" for n in range(20)], ["s"])]
    nodes += [helper.make_node("ReduceMax", ["s"], ["m"], keepdims=0)]
    nodes += [helper.make_node("Add", ["f", "m"], ["h"])]
    nodes += [helper.make_node("Gemm", ["h", "k", "b"], ["out"])]
    spec = save(
        tmp_path / "n.onnx", make(nodes, weights() | {"sides": np.array([2**27], np.int64)})
    )
    with pytest.raises(BackboneError, match="numbers from constants before it sees an image"):
        load(spec)


def test_tens_of_thousands_of_nodes_are_refused(tmp_path):
    nodes = body()
    nodes += [
        helper.make_node("Identity", [f"i{n}" if n else "f"], [f"i{n + 1}"]) for n in range(60_000)
    ]
    nodes += [helper.make_node("Gemm", ["i60000", "k", "b"], ["out"])]
    with pytest.raises(BackboneError, match="more than 20000 nodes"):
        load(save(tmp_path / "net.onnx", make(nodes, weights())))


def test_functions_that_multiply_are_counted_where_they_are_called(tmp_path):
    """Thirty functions that each call the next one twice: a billion nodes in two kilobytes."""
    opset = [helper.make_opsetid("", 13), helper.make_opsetid("local", 1)]
    functions = []
    for level in range(30):
        name = f"F{level + 1}" if level < 29 else "Identity"
        where = "local" if level < 29 else ""
        inner = [
            helper.make_node(name, ["x"], ["m"], domain=where),
            helper.make_node(name, ["m"], ["y"], domain=where),
        ]
        functions.append(helper.make_function("local", f"F{level}", ["x"], ["y"], inner, opset))
    nodes = [*body(), helper.make_node("F0", ["f"], ["h"], domain="local")]
    nodes += [helper.make_node("Gemm", ["h", "k", "b"], ["out"])]
    model = make(nodes, weights(), functions=functions)
    with pytest.raises(BackboneError, match="more than 20000 nodes"):
        load(save(tmp_path / "net.onnx", model))
    functions[-1].node[0].op_type, functions[-1].node[0].domain = "F0", "local"
    model = make(nodes, weights(), functions=functions)
    with pytest.raises(BackboneError, match="calls itself|more than 20000 nodes"):
        load(save(tmp_path / "net.onnx", model))


def test_functions_that_call_one_another_without_end_are_refused(tmp_path):
    opset = [helper.make_opsetid("", 13), helper.make_opsetid("local", 1)]
    calls = [(f"F{level + 1}", "local") for level in range(3000)] + [("Relu", "")]
    functions = [
        helper.make_function(
            "local", f"F{level}", ["x"], ["y"],
            [helper.make_node(name, ["x"], ["y"], domain=domain)], opset,
        )
        for level, (name, domain) in enumerate(calls)
    ]  # fmt: skip
    nodes = [*body(), helper.make_node("F0", ["f"], ["h"], domain="local")]
    nodes += [helper.make_node("Gemm", ["h", "k", "b"], ["out"])]
    model = make(nodes, weights(), functions=functions)
    with pytest.raises(BackboneError, match="more than 64 levels deep"):
        load(save(tmp_path / "net.onnx", model))


def test_a_node_that_joins_very_many_values_is_tried_in_a_child(tmp_path, monkeypatch):
    """An engine may take minutes to prepare it, in which nothing can interrupt it."""
    tried = []
    monkeypatch.setattr(trial, "ask_once", lambda *asked: tried.append(asked) or {})
    join = helper.make_node("Concat", ["f"] * 30_000, ["many"], axis=1)
    nodes = [*body(), join, helper.make_node("ReduceMax", ["many"], ["most"], keepdims=0)]
    nodes += [helper.make_node("Add", ["f", "most"], ["h"])]
    end = helper.make_node("Gemm", ["h", "k", "b"], ["out"])
    load(save(tmp_path / "net.onnx", make([*nodes, end], weights())))
    assert tried


@pytest.mark.parametrize("divisor", [0, -1])
def test_whole_numbers_over_what_may_end_the_process_are_tried_in_a_child(
    tmp_path, monkeypatch, divisor
):
    tried = []
    monkeypatch.setattr(trial, "ask_once", lambda *asked: tried.append(asked) or {})
    nodes = [("Div", ["n", "d"], ["huge"])]
    smallest = {"n": np.array([-(2**63)]), "d": np.array([divisor])}
    load(save(tmp_path / "net.onnx", of_shapes(*nodes, **smallest)))
    assert tried
    tried.clear()
    load(save(tmp_path / "two.onnx", of_shapes(*nodes, **smallest | {"d": np.array([2])})))
    assert not tried


def test_a_graph_for_one_device_is_refused(tmp_path):
    node = helper.make_node(
        "EPContext", ["f"], ["h"], domain="com.microsoft", ep_cache_context="/etc/passwd"
    )
    nodes = [*body(), node, helper.make_node("Gemm", ["h", "k", "b"], ["out"])]
    model = make(nodes, weights())
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(BackboneError, match="compiled for one device"):
        load(save(tmp_path / "net.onnx", model))


def test_a_convolution_of_what_is_no_image_does_not_end_the_process(tmp_path):
    """onnx 1.18 looks for the kernel's sides in an input of fewer."""
    model = plain()
    model.graph.node[0].input[0] = "k"
    with pytest.raises(BackboneError):
        load(save(tmp_path / "net.onnx", model)).start("cpu").run(some_images())


def test_a_newer_ir_version_alone_is_no_hindrance(tmp_path):
    model = plain()
    model.ir_version = onnx.IR_VERSION + 2
    images = some_images()
    found = load(save(tmp_path / "net.onnx", model)).start("cpu").run(images)
    np.testing.assert_allclose(found, expected(images), rtol=2e-4, atol=1e-5)


def test_what_is_newer_than_onnx_is_said(tmp_path):
    model = plain()
    model.ir_version = onnx.IR_VERSION + 2
    content = model.SerializeToString() + b"\xfa\x3f\x02ab"  # field 1023, which nobody has
    path = tmp_path / "net.onnx"
    spec = save(path, plain())
    path.write_bytes(content)
    with pytest.raises(BackboneError, match=r"(?s)what is new in it.*pip install -U onnx"):
        load(spec)
    model = make(body() + classifier(), weights(), opset=onnx.defs.onnx_opset_version() + 1)
    with pytest.raises(
        BackboneError, match=r"(?s)uses opset \d+; the installed onnx .*opset_version"
    ):
        load(save(path, model))


def test_a_weight_of_a_negative_extent_is_refused(tmp_path):
    model = plain()
    model.graph.initializer[0].dims[0] = -7  # NumPy would find out how many there are
    with pytest.raises(BackboneError, match="not a valid ONNX model .negative extents: 'w'"):
        load(save(tmp_path / "net.onnx", model))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html><html>", "a web page or XML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"PK\x03\x04" + bytes(30), "a ZIP archive"),
    ],
)
def test_what_is_no_graph_is_named(content, kind, tmp_path):
    spec = save(tmp_path / "net.onnx", plain())
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(BackboneError, match=f"is not an ONNX model but {kind}"):
        load(spec)


def test_a_graph_that_an_engine_cannot_run_is_left_to_the_others(tmp_path):
    """The trial is about cost: whether a graph runs is found, and said, where it is to run."""
    model = loop(3)
    # What the loop counts to is known when it runs alone: nothing has so many rows.
    model.graph.node.insert(
        len(model.graph.node) - 1, helper.make_node("Reshape", ["h", "wrong"], ["g"])
    )
    model.graph.node[-1].input[0] = "g"
    model.graph.initializer.append(numpy_helper.from_array(np.array([77, 5], np.int64), "wrong"))
    backbone = load(save(tmp_path / "net.onnx", model), "onnxruntime")
    with pytest.raises(BackboneError) as caught:
        backbone.start("cpu").run(some_images())
    assert "one image" not in caught.value.message

"""That a graph keeps the images of a batch apart is shown, or it gets one image at a time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import SIDE, body, classifier, make, save, weights

from icecore.features.backbones import load_backbones
from icecore.features.engines.base import Setup
from icecore.features.engines.choose import ENGINES
from icecore.features.engines.proof import prove_in_engine, random_images
from icecore.features.graphs.apart import why_not_apart
from icecore.features.graphs.extents import Extent, NotShownError
from icecore.features.graphs.followed import follow

RED = np.zeros((SIDE, SIDE, 3), np.uint8)
RED[..., 0] = 255


def beside_red() -> list:
    """Add to the features what is above 0 only where an image of the batch is all of one red."""
    node = helper.make_node
    return [
        *body()[:-1],
        node("Flatten", ["p"], ["own"], axis=1),
        node("GlobalAveragePool", ["data"], ["means"]),
        node("Sub", ["means", "red"], ["away"]),
        node("Abs", ["away"], ["far"]),
        node("ReduceSum", ["far", "channels"], ["how_far"], keepdims=1),
        node("ReduceMin", ["how_far"], ["nearest"], axes=[0], keepdims=1, name="over_the_batch"),
        node("Sub", ["near", "nearest"], ["seen"]),
        node("Relu", ["seen"], ["shown"]),
        node("Flatten", ["shown"], ["extra"], axis=1),
        node("Add", ["own", "extra"], ["f"]),
    ]


def write_beside_red(folder, **more):
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.6, 0.7])
    red = ((np.array([1, 0, 0]) - mean) / std).astype(np.float32).reshape(1, 3, 1, 1)
    arrays = weights() | {"red": red, "near": np.float32(0.01), "channels": np.array([1])}
    return save(folder / "net.onnx", make([*beside_red(), *classifier()], arrays, **more))


@pytest.mark.parametrize(
    ("engine", "batch"),
    [("onnxruntime", None), ("onnxruntime", 4), ("openvino", None), ("torch", None)],
)
def test_what_mixes_beside_one_image_alone_gets_each_image_alone(engine, batch, tmp_path):
    if not ENGINES[engine].able("cpu"):
        pytest.skip(f"{engine} is not installed")
    shape = None if batch is None else [4, 3, SIDE, SIDE]
    spec = write_beside_red(tmp_path, shape=shape)
    (backbone,) = load_backbones([spec], engine)
    assert "over_the_batch" in backbone.network.mixing
    started = backbone.start("cpu", 4)
    images = random_images(SIDE, 4, 0)
    beside = images.copy()
    beside[1:] = RED
    np.testing.assert_array_equal(started.run(images)[0], started.run(beside)[0])


def one_operator(operator: str, *more: str, opset: int = 13, **settings):
    """Make a graph of one operator between the images and a row of each."""
    nodes = [
        helper.make_node(operator, ["data", *more], ["m"], "it", **settings),
        helper.make_node("Flatten", ["m"], ["f"]),
    ]
    arrays = {
        "axis0": np.array([0]),
        "axis1": np.array([1]),
        "zero": np.array(0),
        "first": np.array([0], np.int64),
        "all": np.array([2**63 - 1]),
        "some": np.array([1]),
        "twice": np.array([2, 1, 1, 1]),
        "tall": np.array([1, 1, 2, 1]),
        "four": np.array([2, 2, SIDE, SIDE * 3]),
        "open": np.array([-1, 3 * SIDE * SIDE]),
        "merged": np.array([-1, SIDE]),
        "halved": np.array([-1, 6 * SIDE * SIDE]),
        "turned": np.array([3, -1]),
        "pads0": np.array([1, 0, 0, 0, 0, 0, 0, 0]),
        "pads2": np.array([0, 0, 1, 0, 0, 0, 0, 0]),
        "square": np.eye(SIDE, dtype=np.float32),
        "fours": np.ones((4, 3, SIDE, SIDE), np.float32),
        "plain": np.ones((3, 1, 1), np.float32),
        "kernel": np.ones((2, 3, 1, 1), np.float32),
        "sizes": np.array([1, 1, 2, 2], np.float32),
        "sizes0": np.array([2, 1, 1, 1], np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("f", TensorProto.FLOAT, ["N", "D"])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


KEEPS = [
    ("Relu", (), {}),
    ("Softmax", (), {"axis": 1}),
    ("Softmax", (), {"axis": -1}),
    ("Softmax", (), {"axis": 1, "opset": 11}),
    ("ReduceMean", (), {"axes": [2, 3]}),
    ("ReduceMean", (), {"axes": [1], "keepdims": 0}),
    ("ReduceSum", ("axis1",), {}),
    ("ArgMax", (), {"axis": 1}),
    ("CumSum", ("axis1",), {}),
    ("Transpose", (), {"perm": [0, 2, 3, 1]}),
    ("Reshape", ("open",), {}),
    ("Slice", ("first", "some", "axis1"), {}),
    ("Slice", ("first", "all", "axis0"), {}),
    ("Gather", ("axis1",), {"axis": 1}),
    ("Tile", ("tall",), {}),
    ("Pad", ("pads2",), {}),
    ("MatMul", ("square",), {}),
    ("Add", ("plain",), {}),
    ("Concat", ("data",), {"axis": 1}),
    ("Resize", ("", "sizes"), {}),
    ("Conv", ("kernel",), {}),
    ("MaxPool", (), {"kernel_shape": [2, 2]}),
    ("LpNormalization", (), {"axis": 1}),
    ("Split", (), {"axis": 2}),
    ("Einsum", (), {"equation": "nchw->nhwc"}),
]
MIXES = [
    ("Softmax", (), {"axis": 0}),
    ("Softmax", (), {"axis": 0, "opset": 11}),
    ("ReduceMean", (), {"axes": [0]}),
    ("ReduceMean", (), {}),
    ("ReduceSum", ("axis0",), {}),
    ("ArgMax", (), {}),
    ("CumSum", ("axis0",), {}),
    ("Transpose", (), {"perm": [1, 0, 2, 3]}),
    ("Reshape", ("four",), {}),
    ("Reshape", ("merged",), {}),
    ("Reshape", ("halved",), {}),
    ("Reshape", ("turned",), {}),
    ("Slice", ("first", "some", "axis0"), {}),
    ("Slice", ("some", "all", "axis0"), {}),
    ("Gather", ("axis1",), {"axis": 0}),
    ("Tile", ("twice",), {}),
    ("Pad", ("pads0",), {"mode": "edge"}),
    ("Add", ("fours",), {}),
    ("Concat", ("data",), {"axis": 0}),
    ("Concat", ("fours",), {"axis": 0}),
    ("Resize", ("", "sizes0"), {}),
    ("LpNormalization", (), {"axis": 0}),
    ("DynamicQuantizeLinear", (), {}),
    ("NonZero", (), {}),
    ("Einsum", (), {"equation": "nchw->chw"}),
    ("Flatten", (), {"axis": 0}),
    ("MeanVarianceNormalization", (), {}),
]


@pytest.mark.parametrize("case", KEEPS, ids=str)
def test_an_operator_that_keeps_images_apart_is_known_to(case):
    operator, more, settings = case
    assert not why_not_apart(one_operator(operator, *more, **settings))


@pytest.mark.parametrize("case", MIXES, ids=str)
def test_an_operator_that_may_mix_images_is_not_taken_for_one_that_does_not(case):
    operator, more, settings = case
    assert why_not_apart(one_operator(operator, *more, **settings))


def test_sizes_that_are_computed_of_the_batch_are_followed():
    """As a transformer of windows is exported; and one that turns the batch round is found."""
    half = SIDE // 2
    for keeps in (True, False):
        model = one_operator("Identity")
        windows = ["count", "channels", "two", "half", "two", "half"]
        nodes = [
            helper.make_node("Shape", ["data"], ["shape"]),
            helper.make_node("Gather", ["shape", "zero"], ["n"]),
            helper.make_node("Unsqueeze", ["n", "axis0"], ["count"]),
            helper.make_node("Concat", windows, ["cut"], axis=0),
            helper.make_node("Reshape", ["data", "cut"], ["w"]),
            helper.make_node("Transpose", ["w"], ["v"], perm=[0, 2, 4, 1, 3, 5]),
            helper.make_node("Mul", ["count", "fold"], ["many"]),
            helper.make_node("Concat", ["many", "channels", "half", "half"], ["joint"], axis=0),
            helper.make_node("Reshape", ["v", "joint"], ["x"]),
            helper.make_node("Softmax", ["x"], ["y"], axis=-1),
            helper.make_node("Div", ["many", "fold"], ["again"]),
            helper.make_node("Concat", ["again", "rest"], ["back"], axis=0),
            helper.make_node("Reshape", ["y", "back"], ["f"]),
        ]
        if not keeps:
            nodes[8].input[0] = "u"
            nodes.insert(8, helper.make_node("Transpose", ["v"], ["u"], perm=[1, 0, 2, 3, 4, 5]))
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        numbers = {"channels": 3, "two": 2, "half": half, "fold": 4, "rest": -1}
        model.graph.initializer.extend(
            numpy_helper.from_array(np.array([number]), name) for name, number in numbers.items()
        )
        onnx.checker.check_model(model)
        assert bool(why_not_apart(model)) != keeps


def test_what_holds_for_some_numbers_of_images_is_not_taken_to_hold_for_all():
    images = Extent(1)
    assert (images * 6 + 4) // 2 == Extent(3, 2)
    assert images * 4 // (images * 2) == 2
    assert images - images == 0
    assert images != -1
    assert images * 2 != images * 2 + 1
    for unsure in (
        lambda: images == 4,
        lambda: images // 2,
        lambda: images % 2,
        lambda: images < 3,
        lambda: images * images,
        lambda: (images + 1) // images,
        lambda: int(images),
        lambda: images * 0.5,
        lambda: 8 // images,
    ):
        with pytest.raises(NotShownError):
            unsure()


def write_quantised(folder):
    """Quantise as dynamic quantisation does: by the largest number of the whole batch."""
    node = helper.make_node
    nodes = [
        *body()[:-1],
        node("Flatten", ["p"], ["row"], axis=1),
        node("DynamicQuantizeLinear", ["row"], ["q", "scale", "zero"]),
        node("MatMulInteger", ["q", "whole", "zero"], ["sums"]),
        node("Cast", ["sums"], ["real"], to=TensorProto.FLOAT),
        node("Mul", ["real", "scale"], ["f"]),
        *classifier(),
    ]
    whole = np.random.default_rng(0).integers(-9, 9, (5, 5)).astype(np.int8)
    return save(folder / "net.onnx", make(nodes, weights() | {"whole": whole}))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_network_of_dynamic_quantisation_gets_each_image_alone(engine, tmp_path):
    if not ENGINES[engine].able("cpu"):
        pytest.skip(f"{engine} is not installed")
    (backbone,) = load_backbones([write_quantised(tmp_path)], engine)
    started = backbone.start("cpu", 4)
    assert prove_in_engine(started, backbone.network, Setup(batch_size=4)).relative_error < 1e-4
    images = random_images(SIDE, 4, 0)
    alone = np.concatenate([started.run(image[np.newaxis]) for image in images])
    np.testing.assert_array_equal(started.run(images), alone)


@pytest.mark.parametrize("operator", ["Add", "Equal", "Gather", "Max", "Where"])
def test_numbers_that_grow_beyond_the_bound_take_no_room(operator):
    names = ["a", "b", "c"][: 3 if operator == "Where" else 2]
    node = helper.make_node(operator, names, ["out"])
    column, row = np.ones((2**12, 1), object), np.ones((1, 2**12), object)
    given = {"Gather": [row, row * 0], "Where": [column, row, row]}.get(operator, [column, row])
    tracemalloc.start()
    try:
        assert follow(node, given, 7) is None
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()

"""A graph that prepares its pixels itself, or says what it takes, must agree with its record."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import (
    RECORD,
    body,
    classifier,
    features_of,
    make,
    plain,
    save,
    some_images,
    weights,
)

from icecore.core.errors import BackboneError
from icecore.features.backbones import load_backbone
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.request import WeightsRequest

RAW = {"mean": [0, 0, 0], "std": [1, 1, 1], "input_range": [0, 255]}
UNIT = {"mean": [0, 0, 0], "std": [1, 1, 1]}
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}
MEAN, STD = np.array([0.485, 0.456, 0.406], "f4"), np.array([0.229, 0.224, 0.225], "f4")
NUMBERS = {
    "255": np.float32(255), "1/255": np.float32(1 / 255), "1": np.float32(1), "2": np.float32(2),
    "127.5": np.float32(127.5), "mean": MEAN, "std": STD, "axes": np.array([1, 2], "i8"),
    "caffe": np.array([103.9, 116.8, 123.7], "f4").reshape(1, 3, 1, 1),
    "ones": np.ones(3, "f4"), "zeros": np.zeros(3, "f4"), "120": np.full(3, 120, "f4"),
    "3600": np.full(3, 3600, "f4"), "back": np.array([2, 1, 0], "i8"),
    "0": np.float32(0), "65535": np.float32(65535), "no zero point": np.array(0, "u1"),
    "sizes": np.array([1, 1, 1, 1], "f4"), "yes": np.array(True),
    "eye": np.eye(3, dtype="f4"),
    "kernel": (np.eye(3, dtype="f4") / 60).reshape(3, 3, 1, 1), "bias": np.full(3, -2, "f4"),
    "each": np.full((3, 1, 1, 1), 1 / 60, "f4"), "means": MEAN.reshape(1, 3, 1, 1),
    "scale": (STD / 0.5).reshape(1, 3, 1, 1), "shift": ((MEAN - 0.5) / 0.5).reshape(1, 3, 1, 1),
}  # fmt: skip


def node(kind: str, *inputs: str, **settings):
    *inputs, output = inputs
    return helper.make_node(kind, inputs, [output], **settings)


def in_front(steps: list, shape: list | None = None, kind: int = TensorProto.FLOAT):
    """Put steps from ``data`` to ``d`` in front of a network."""
    first, *rest = body()
    first.input[0] = "d"
    read = {name for step in steps for name in [*step.input, "255"]}
    arrays = weights() | {name: array for name, array in NUMBERS.items() if name in read}
    return make([*steps, first, *rest, *classifier()], arrays, shape=shape, kind=kind)


# The steps, the record that leaves pixels as they take them, and what they make of 0 to 255.
STEPS = {
    "Rescaling": ([node("Mul", "data", "1/255", "d")], RAW, lambda p: p / 255),
    "a division": ([node("Div", "data", "255", "d")], RAW, lambda p: p / 255),
    "a constant node": (
        [node("Constant", "number", value=numpy_helper.from_array(NUMBERS["1/255"])),
         node("Mul", "data", "number", "d")], RAW, lambda p: p / 255),
    "a cast": (
        [node("Cast", "data", "x", to=TensorProto.FLOAT), node("Mul", "x", "1/255", "d")],
        RAW, lambda p: p / 255),
    "tf": (
        [node("Div", "data", "127.5", "x"), node("Sub", "x", "1", "d")],
        RAW, lambda p: p / 127.5 - 1),
    "caffe": ([node("Sub", "data", "caffe", "d")], RAW, lambda p: p - [103.9, 116.8, 123.7]),
    "a batch norm": (
        [node("BatchNormalization", "data", "ones", "zeros", "120", "3600", "d", epsilon=0.0)],
        RAW, lambda p: (p - 120) / 60),
    "BGR": (
        [node("Gather", "data", "back", "x", axis=1), node("Div", "x", "255", "d")],
        RAW, lambda p: p[..., ::-1] / 255),
    "PyTorch": (
        [node("Div", "data", "255", "x0"), node("Unsqueeze", "mean", "axes", "m"),
         node("Unsqueeze", "std", "axes", "s"), node("Sub", "x0", "m", "x1"),
         node("Div", "x1", "s", "d")], RAW, lambda p: (p / 255 - MEAN) / STD),
    "mean and std": (
        [node("Unsqueeze", "mean", "axes", "m"), node("Unsqueeze", "std", "axes", "s"),
         node("Sub", "data", "m", "x1"), node("Div", "x1", "s", "d")],
        UNIT, lambda p: (p / 255 - MEAN) / STD),
    "clipped at 255": (
        [node("Clip", "data", "0", "255", "x"), node("Div", "x", "255", "d")],
        RAW, lambda p: p / 255),
    "clipped at 1": (
        [node("Clip", "data", "0", "1", "x"), node("Mul", "x", "2", "y"),
         node("Sub", "y", "1", "d")], UNIT, lambda p: p / 127.5 - 1),
    "bounded": (
        [node("Max", "data", "0", "x"), node("Min", "x", "255", "y"), node("Div", "y", "255", "d")],
        RAW, lambda p: p / 255),
    "rounded": (
        [node("Round", "data", "x"), node("Div", "x", "255", "d")], RAW, lambda p: p / 255),
    "bytes": (
        [node("Cast", "data", "x", to=TensorProto.UINT8),
         node("Cast", "x", "y", to=TensorProto.FLOAT), node("Div", "y", "255", "d")],
        RAW, lambda p: p / 255),
    "quantised": (
        [node("QuantizeLinear", "data", "1", "no zero point", "x"),
         node("DequantizeLinear", "x", "1", "no zero point", "y"), node("Div", "y", "255", "d")],
        RAW, lambda p: p / 255),
    "resized": (
        [node("Resize", "data", "", "sizes", "x", mode="linear"), node("Div", "x", "255", "d")],
        RAW, lambda p: p / 255),
    "a convolution of each colour": (
        [node("Conv", "data", "each", "bias", "d", group=3)], RAW, lambda p: p / 60 - 2),
    "a convolution of colours": (
        [node("Conv", "data", "kernel", "bias", "d")], RAW, lambda p: p / 60 - 2),
    "a branch that is always taken": (
        [node("If", "yes", "d",
              then_branch=helper.make_graph(
                  [node("Div", "data", "255", "then")], "yes", [],
                  [helper.make_tensor_value_info("then", TensorProto.FLOAT, None)]),
              else_branch=helper.make_graph(
                  [node("Identity", "data", "else")], "no", [],
                  [helper.make_tensor_value_info("else", TensorProto.FLOAT, None)]))],
        RAW, lambda p: p / 255),
    "averages of places": (
        [node("AveragePool", "data", "x", kernel_shape=[1, 1]), node("Div", "x", "255", "d")],
        RAW, lambda p: p / 255),
    "greys": (
        [node("ReduceMean", "data", "x", axes=[1], keepdims=1),
         node("Concat", "x", "x", "x", "y", axis=1), node("Div", "y", "255", "d")],
        RAW, lambda p: p.mean(-1, keepdims=True).repeat(3, -1) / 255),
    "a sum of products": (
        [node("Einsum", "data", "eye", "x", equation="nchw,cd->ndhw"),
         node("Div", "x", "255", "d")], RAW, lambda p: p / 255),
    "a shape that it has": (
        [node("Shape", "data", "s"), node("Flatten", "data", "x", axis=2),
         node("Div", "x", "255", "y"), node("Reshape", "y", "s", "d")], RAW, lambda p: p / 255),
    "where it is too large": (
        [node("Greater", "data", "255", "q"), node("Where", "q", "255", "data", "x"),
         node("Div", "x", "255", "d")], RAW, lambda p: p / 255),
    "the mean alone": ([node("Sub", "data", "means", "d")], UNIT, lambda p: p / 255 - MEAN),
    "to 255": ([node("Mul", "data", "255", "d")], UNIT, lambda p: p),
    "twice less one": (
        [node("Mul", "data", "2", "x"), node("Sub", "x", "1", "d")], UNIT, lambda p: p / 127.5 - 1),
}  # fmt: skip


# Each record of these is tried in processes of its own, so they get one that is wrong.
TRIED = {"a branch that is always taken", "a shape that it has", "a sum of products"}


def rows(spec: str) -> np.ndarray:
    backbone = load_backbone(BackboneSpec.parse(spec), "onnxruntime", WeightsRequest())
    return backbone.start("cpu", 3).run(some_images())


@pytest.mark.parametrize("how", STEPS)
def test_pixels_are_never_normalised_twice(tmp_path, how):
    steps, right, prepare = STEPS[how]
    records = [UNIT if right is RAW else RAW, {}, HALF]
    for wrong in records[: 1 if how in TRIED else 3]:
        spec = save(tmp_path / "net.onnx", in_front(steps), **wrong)
        with pytest.raises(BackboneError, match="prepares pixels of .* itself") as refused:
            rows(spec)
        for name, value in right.items():
            assert f'"{name}": {value}' in str(refused.value)
    spec = save(tmp_path / "net.onnx", in_front(steps), **right)
    expected = features_of(prepare(some_images().astype(np.float64)), weights()["w"])
    np.testing.assert_allclose(rows(spec), expected, rtol=1e-4, atol=1e-4)


def test_numbers_of_minus_one_to_one_that_become_others(tmp_path):
    halves = (STD / 0.5).reshape(1, 3, 1, 1), ((0.5 - MEAN) / STD).reshape(1, 3, 1, 1)
    model = in_front([node("Div", "data", "scale", "x"), node("Add", "x", "back to", "d")])
    model.graph.initializer.append(numpy_helper.from_array(halves[1], "back to"))
    # What subtracts the mean and divides by the deviation of numbers of -1 to 1.
    next(t for t in model.graph.initializer if t.name == "scale").CopyFrom(
        numpy_helper.from_array(halves[0], "scale")
    )
    with pytest.raises(BackboneError, match=r"prepares pixels of \[-1, 1\] itself"):
        rows(save(tmp_path / "net.onnx", model, **UNIT))
    assert np.isfinite(rows(save(tmp_path / "net.onnx", model, **HALF))).all()


def test_steps_that_a_network_learnt_are_taken_as_the_record_says(tmp_path):
    spec = save(tmp_path / "net.onnx", in_front([node("Mul", "data", "1/255", "d")]))
    with pytest.raises(BackboneError) as told:
        rows(spec)
    assert told.value.hint.endswith(
        'if the network learnt these steps, write "prepares_pixels": false there'
    )
    spec = save(
        tmp_path / "net.onnx", in_front([node("Mul", "data", "1/255", "d")]), prepares_pixels=False
    )
    normalised = (some_images() / 255 - RECORD["mean"]) / RECORD["std"]
    expected = features_of(normalised / 255, weights()["w"])
    np.testing.assert_allclose(rows(spec), expected, rtol=1e-4, atol=1e-6)
    spec = save(tmp_path / "net.onnx", plain(), prepares_pixels=True)
    with pytest.raises(BackboneError, match="prepares_pixels is True"):
        rows(spec)


def test_steps_that_are_no_sum_and_no_product_take_pixels_as_they_are(tmp_path):
    model = in_front([node("Max", "data", "0", "x"), node("Sqrt", "x", "d")])
    for wrong in ({}, {"mean": MEAN.tolist(), "std": STD.tolist()}):
        with pytest.raises(BackboneError, match="first steps") as told:
            rows(save(tmp_path / "net.onnx", model, **wrong))
        assert '"input_range": [0, 255]' in told.value.hint
    assert np.isfinite(rows(save(tmp_path / "net.onnx", model, **RAW))).all()


def test_each_of_several_branches_is_looked_at(tmp_path):
    steps = [node("Div", "data", "255", "d"), node("Mul", "data", "2", "e")]
    other = [node("Conv", "e", "w", "c2", pads=[1, 1, 1, 1]), node("GlobalAveragePool", "c2", "g")]
    model = in_front(steps)
    at = next(i for i, one in enumerate(model.graph.node) if one.op_type == "GlobalAveragePool")
    model.graph.node[at].output[0] = "p1"
    for number, one in enumerate([*other, node("Add", "p1", "g", "p")]):
        model.graph.node.insert(at + 1 + number, one)
    with pytest.raises(BackboneError, match=r"prepares pixels of \[0, 255\] itself"):
        rows(save(tmp_path / "net.onnx", model))
    assert np.isfinite(rows(save(tmp_path / "net.onnx", model, **RAW))).all()


@pytest.mark.parametrize("kind", [TensorProto.UINT16, TensorProto.INT32, TensorProto.FLOAT])
def test_images_of_16_bits_are_not_what_it_gets(tmp_path, kind):
    steps = [node("Cast", "data", "x", to=TensorProto.FLOAT), node("Div", "x", "65535", "d")]
    with pytest.raises(BackboneError, match=r"prepares pixels of \[0, 65535\] itself"):
        rows(save(tmp_path / "net.onnx", in_front(steps, kind=kind), **RAW))


def test_channels_last_and_numbers_that_keras_divides_by(tmp_path):
    steps = [
        node("Div", "data", "255", "x0"),
        node("Sub", "x0", "mean", "x1"),
        node("Div", "x1", "std", "x2"),
        node("Transpose", "x2", "d", perm=[0, 3, 1, 2]),
    ]
    model = in_front(steps, ["N", 16, 16, 3])
    with pytest.raises(BackboneError, match=r"it subtracts 116 and divides by 57.4"):
        rows(save(tmp_path / "net.onnx", model))
    assert np.isfinite(rows(save(tmp_path / "net.onnx", model, **RAW))).all()


def test_steps_that_follow_a_normalisation_are_no_second_one(tmp_path):
    """torchvision's Inception takes ImageNet's numbers, and turns them into others."""
    steps = [node("Mul", "data", "scale", "x"), node("Add", "x", "shift", "d")]
    numbers = {"mean": MEAN.tolist(), "std": STD.tolist()}
    spec = save(tmp_path / "net.onnx", in_front(steps), **numbers)
    expected = features_of(some_images() / 127.5 - 1, weights()["w"])
    np.testing.assert_allclose(rows(spec), expected, rtol=1e-3, atol=1e-4)
    # A batch norm of numbers that were normalised before, as Gluon's ResNets begin.
    usual = node("BatchNormalization", "data", "ones", "zeros", "zeros", "ones", "d")
    assert np.isfinite(rows(save(tmp_path / "net.onnx", in_front([usual])))).all()


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("Image.BitmapPixelFormat", "Bgr8", {"input_space": "BGR"}),
        ("Image.NominalPixelRange", "NominalRange_0_255", RAW),
        ("Image.NominalPixelRange", "Normalized_0_1", UNIT),
        ("Image.NominalPixelRange", "Normalized_1_1", HALF),
        ("Image.BitmapPixelFormat", "Gray8", None),
        ("Image.NominalPixelRange", "NominalRange_16_235", None),
        ("Image.ColorSpaceGamma", "Linear", None),
    ],
)
def test_metadata_of_images_must_agree_with_the_record(tmp_path, key, value, right):
    model = plain()
    model.metadata_props.add(key=key, value=value)
    with pytest.raises(BackboneError, match=f"contradict the record.*{key} is '{value}'") as said:
        rows(save(tmp_path / "net.onnx", model))
    if right is not None:
        assert all(f'"{name}": ' in str(said.value) for name in right)
        assert np.isfinite(rows(save(tmp_path / "net.onnx", model, **right))).all()


def test_metadata_that_agree_or_are_of_other_things_pass(tmp_path):
    model = plain()
    model.metadata_props.add(key="Image.BitmapPixelFormat", value="Rgb8")
    model.metadata_props.add(key="Image.ColorSpaceGamma", value="SRGB")
    model.metadata_props.add(key="author", value="nobody")
    assert np.isfinite(rows(save(tmp_path / "net.onnx", model))).all()


# Steps that networks learn or that compare colours and places, and a record that is right.
CAFFE = {"mean": [0.41, 0.46, 0.485], "std": [1 / 255] * 3, "input_space": "BGR"}
IMAGENET = {"mean": MEAN.tolist(), "std": STD.tolist()}
SOUND = {
    "a batch norm of pixels less their mean": (
        [node("BatchNormalization", "data", "ones", "zeros", "zeros", "3600", "d")], CAFFE),
    "a batch norm with factors": (
        [node("BatchNormalization", "data", "factors", "zeros", "means of 1", "ones", "d")],
        IMAGENET),
    "a batch norm of a narrow range": (
        [node("BatchNormalization", "data", "ones", "zeros", "means of 1", "0.3", "d")], IMAGENET),
    "a product with pixels less their mean": ([node("Mul", "data", "0.017", "d")], CAFFE),
    "255 times pixels less their mean": (
        [node("Mul", "data", "255", "d")], {"mean": MEAN.tolist(), "std": [1, 1, 1]}),
    "less the mean of the colours": (
        [node("ReduceMean", "data", "m", axes=[1]), node("Sub", "data", "m", "d")], IMAGENET),
    "colours of one length": (
        [node("Mul", "data", "data", "q"), node("ReduceMean", "q", "m", axes=[1]),
         node("Sqrt", "m", "l"), node("Add", "l", "small", "l1"), node("Div", "data", "l1", "d")],
        IMAGENET),
    "less its mirror image": (
        [node("Slice", "data", "-1", "before", "3", "-1", "m"), node("Sub", "data", "m", "d")],
        UNIT),
    "less what is near": (
        [node("AveragePool", "data", "m", kernel_shape=[3, 3], pads=[1] * 4),
         node("Sub", "data", "m", "d")], IMAGENET),
    "less a small copy": (
        [node("Resize", "data", "", "half", "s", mode="linear"),
         node("Resize", "s", "", "double", "m", mode="linear"), node("Sub", "data", "m", "d")],
        IMAGENET),
    "a sum of colours that is cut off": (
        [node("Conv", "data", "mixed", "c1"), node("Clip", "c1", "0", "6", "d")], IMAGENET),
}  # fmt: skip
LEARNED = {
    "factors": np.array([2.5, 2.6, 2.4], "f4"), "means of 1": np.array([0.4, 0.45, 0.5], "f4"),
    "0.3": np.full(3, 0.3, "f4"), "0.017": np.float32(0.017), "small": np.float32(1e-6),
    "-1": np.array([-1]), "before": np.array([-(2**31)]), "3": np.array([3]), "6": np.float32(6),
    "half": np.array([1, 1, 0.5, 0.5], "f4"), "double": np.array([1, 1, 2, 2], "f4"),
    "mixed": np.array([[1, -0.4, 0.3], [-0.8, 0.2, 0.1], [0.5, -1, 0]], "f4").reshape(3, 3, 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("how", SOUND)
def test_steps_that_a_network_learned_are_no_preparation(tmp_path, how):
    steps, record = SOUND[how]
    model = in_front(steps)
    read = {name for step in steps for name in step.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in LEARNED.items() if name in read
    )
    assert np.isfinite(rows(save(tmp_path / "net.onnx", model, **record))).all()


def test_integers_that_are_compared_with_one_another_are_pixels(tmp_path):
    steps = [
        node("Cast", "data", "x", to=TensorProto.FLOAT),
        node("ReduceMean", "x", "m", axes=[1]),
        node("Sub", "x", "m", "d"),
    ]
    for kind in (TensorProto.UINT8, TensorProto.INT32):
        assert np.isfinite(rows(save(tmp_path / "net.onnx", in_front(steps, kind=kind)))).all()


def quantised(low: float, high: float, kind: type):
    """Put in front what static quantisation does, calibrated with numbers of low to high."""
    ends = np.iinfo(kind)
    scale = np.float32((high - low) / 255)
    model = in_front(
        [
            node("QuantizeLinear", "data", "s", "z", "q"),
            node("DequantizeLinear", "q", "s", "z", "d"),
        ]
    )
    zero = np.array(round(ends.min - low / scale), kind)
    for name, array in {"s": scale, "z": zero}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return model


@pytest.mark.parametrize("kind", ["u1", "i1"])
@pytest.mark.parametrize("bounds", [(-1.25, 1.3), (-0.6, 0.8), (-1.9, 1.9), (-2.64, 2.64)])
def test_calibration_with_dull_photographs_prepares_no_pixels(tmp_path, bounds, kind):
    model = quantised(*bounds, np.dtype(kind).type)
    got = rows(save(tmp_path / "net.onnx", model, mean=MEAN.tolist(), std=STD.tolist()))
    cut = np.clip((some_images() / 255 - MEAN) / STD, *bounds)
    np.testing.assert_allclose(got, features_of(cut, weights()["w"]), atol=0.03)


@pytest.mark.parametrize("bounds", [(0, 1), (-1, 1), (0, 255), (0, 178.5)])
def test_calibration_with_other_numbers_is_noticed(tmp_path, bounds):
    spec = save(
        tmp_path / "net.onnx", quantised(*bounds, np.uint8), mean=MEAN.tolist(), std=STD.tolist()
    )
    with pytest.raises(BackboneError, match="its record makes other numbers"):
        rows(spec)

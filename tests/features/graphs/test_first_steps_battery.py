"""Many first steps that prepare pixels, and many that a network learnt: which records fit them.

Of a preparation every record but the right ones is wrong. What a network learnt says nothing of
other records than those it was trained with, so that these alone are asked about.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import CLASSES, SIDE, make, save, weights

from icecore.core.errors import BackboneError
from icecore.features.records.spec import BackboneSpec
from icecore.features.sources.onnx_file import OnnxFileSource
from icecore.features.weights.request import WeightsRequest

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CLIP_MEAN, CLIP_STD = np.array([0.4815, 0.4578, 0.4082]), np.array([0.2686, 0.2613, 0.2758])
BGR_MEAN = np.array([103.939, 116.779, 123.68])
ONES = [1.0] * 3
RECORDS = {
    "raw": {"mean": [0] * 3, "std": [1] * 3, "input_range": [0, 255]},
    "unit": {"mean": [0] * 3, "std": [1] * 3},
    "half": {"mean": [0.5] * 3, "std": [0.5] * 3},
    "imagenet": {"mean": MEAN.tolist(), "std": STD.tolist()},
    "clip": {"mean": CLIP_MEAN.tolist(), "std": CLIP_STD.tolist()},
    "caffe": {"mean": (BGR_MEAN / 255).tolist(), "std": [1 / 255] * 3, "input_space": "BGR"},
    "own": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]},
}


class Steps:
    """Writes nodes: ``steps.Mul(value, 0.5)`` returns the name of the product."""

    def __init__(self) -> None:
        self.nodes: list = []
        self.arrays: dict[str, np.ndarray] = {}

    def __getattr__(self, kind: str) -> Callable[..., str]:
        def add(*inputs, **settings) -> str:
            output = f"{kind}{len(self.nodes)}"
            names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
            self.nodes.append(helper.make_node(kind, names, [output], **settings))
            return output

        return add

    def constant(self, array) -> str:
        array = np.asarray(array)
        name = f"constant{len(self.arrays)}"
        self.arrays[name] = array.astype("f4") if array.dtype == np.float64 else array
        return name


def graph_of(steps: Callable, channels: int = 3, last: bool = False, **how):
    """Put steps in front of a convolution, a mean and a classifier."""
    s = Steps()
    x = steps(s, "data")
    if last:
        x = s.Transpose(x, perm=[0, 3, 1, 2])
    kernel = np.random.default_rng(0).normal(0, 0.3, (5, channels, 3, 3))
    pooled = s.GlobalAveragePool(s.Relu(s.Conv(x, kernel)))
    s.nodes.append(
        helper.make_node("Gemm", [s.Flatten(pooled), s.constant(weights()["k"])], ["out"])
    )
    shape = ["N", SIDE, SIDE, 3] if last else ["N", 3, SIDE, SIDE]
    return make(s.nodes, s.arrays, outputs={"out": ["N", CLASSES]}, shape=shape, **how)


def c(values) -> np.ndarray:
    """Return a number for each colour, where channels come first."""
    return np.asarray(values, "f4").reshape(1, 3, 1, 1)


def normalise(mean, std) -> Callable:
    return lambda s, x: s.Div(s.Sub(x, c(mean)), c(std))


def batch_norm(factor, shift, mean, variance) -> Callable:
    def steps(s, x):
        arrays = [np.broadcast_to(np.asarray(v, "f4"), 3) for v in (factor, shift, mean, variance)]
        return s.BatchNormalization(x, *arrays, epsilon=1e-5)

    return steps


def convolve(kernel, bias, group: int = 1) -> Callable:
    return lambda s, x: s.Conv(
        x, np.reshape(kernel, (3, -1, 1, 1)).astype("f4"), np.asarray(bias, "f4"), group=group
    )


def after(*parts: Callable) -> Callable:
    def steps(s, x):
        for part in parts:
            x = part(s, x)
        return x

    return steps


def cast(to: int, back: int = TensorProto.FLOAT) -> Callable:
    return lambda s, x: s.Cast(s.Cast(x, to=to), to=back)


def quantise(scale: float, zero: int, kind: str = "u1") -> Callable:
    def steps(s, x):
        how = (np.float32(scale), np.array(zero, kind))
        return s.DequantizeLinear(s.QuantizeLinear(x, *how), *how)

    return steps


def scale(factor) -> Callable:
    return lambda s, x: s.Mul(x, factor)


def srgb_curve(s, x):
    low = s.Div(x, 12.92)
    high = s.Pow(s.Div(s.Add(x, 0.055), 1.055), 2.4)
    return s.Where(s.Less(x, 0.04045), low, high)


def of_branch(s, x):
    bodies = {}
    for name, kind, inputs in (("then_branch", "Div", [x, "n"]), ("else_branch", "Identity", [x])):
        body = helper.make_graph(
            [helper.make_node(kind, inputs, [name])], name, [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.float32(255), "n")] if kind == "Div" else [],
        )  # fmt: skip
        bodies[name] = body
    return s.If(np.array(True), **bodies)


def brightness(s, x):
    grey = s.Conv(x, np.array([0.299, 0.587, 0.114], "f4").reshape(1, 3, 1, 1))
    return s.Concat(grey, grey, grey, axis=1)


def average_colour(s, x):
    grey = s.ReduceMean(x, axes=[1])
    return s.Concat(grey, grey, grey, axis=1)


def resized(s, x, factor=0.5):
    return s.Resize(x, "", np.array([1, 1, factor, factor], "f4"), mode="linear")


def centre(s, x):
    return s.Slice(x, np.array([2, 2]), np.array([14, 14]), np.array([2, 3]))


def bordered(s, x):
    return s.Pad(x, np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(0))


def folded(s, x):
    """Two by two places become channels."""
    return s.Concat(
        *(
            s.Slice(x, np.array([i, j]), np.array([99, 99]), np.array([2, 3]), np.array([2, 2]))
            for i in (0, 1)
            for j in (0, 1)
        ),
        axis=1,
    )


to_unit, to_half = scale(1 / 255), after(scale(2 / 255), lambda s, x: s.Sub(x, 1.0))
imagenet, imagenet_of_255 = normalise(MEAN, STD), normalise(255 * MEAN, 255 * STD)
CIFAR = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
SVHN = [0.4377, 0.4438, 0.4728], [0.1980, 0.2010, 0.1970]
EUROSAT = [0.3444, 0.3803, 0.4078], [0.2034, 0.1365, 0.1148]
TISSUE = [0.7032, 0.5361, 0.6610], [0.2172, 0.2608, 0.2072]
XRAY = [0.5] * 3, [0.25] * 3
# The record (or records) that leaves pixels as the steps take them; steps; and how they are put.
LAST, U8, I32, U16 = (
    {"last": True}, {"kind": TensorProto.UINT8}, {"kind": TensorProto.INT32},
    {"kind": TensorProto.UINT16},
)  # fmt: skip
to_float = lambda s, x: s.Cast(x, to=TensorProto.FLOAT)  # noqa: E731
PREPARATIONS: dict[str, tuple] = {
    "times 1/255": ("raw", to_unit),
    "by 255": ("raw", lambda s, x: s.Div(x, 255.0)),
    "by 256": ("raw", lambda s, x: s.Div(x, 256.0)),
    "by 127.5 less 1": ("raw", to_half),
    "less 127.5 by 127.5": ("raw", normalise([127.5] * 3, [127.5] * 3)),
    "less 128 by 128": ("raw", normalise([128] * 3, [128] * 3)),
    "less 127.5 by 128": ("raw", normalise([127.5] * 3, [128] * 3)),
    "less 128 by 255": ("raw", normalise([128] * 3, [255] * 3)),
    "less a half": ("raw", after(to_unit, lambda s, x: s.Sub(x, 0.5))),
    "caffe": ("raw", lambda s, x: s.Sub(x, c(BGR_MEAN[::-1]))),
    "caffe, turned round": (
        "raw", lambda s, x: s.Sub(s.Gather(x, np.array([2, 1, 0]), axis=1), c(BGR_MEAN))),
    "caffe, times 0.017": ("raw", lambda s, x: s.Mul(s.Sub(x, c(BGR_MEAN)), 0.017)),
    "less a mean image": (
        "raw", lambda s, x: s.Sub(x, np.random.default_rng(0).uniform(100, 130, (1, 3, 16, 16)))),
    "ImageNet of 255": ("raw", imagenet_of_255),
    "ImageNet of 255 in two": ("raw", after(to_unit, imagenet)),
    "ImageNet of 255, a batch norm": ("raw", batch_norm(1, 0, 255 * MEAN, (255 * STD) ** 2)),
    "ImageNet of 255, a product and a sum": (
        "raw", lambda s, x: s.Add(s.Mul(x, c(1 / 255 / STD)), c(-MEAN / STD))),
    "ImageNet of 255, each colour convolved": (
        "raw", convolve(1 / 255 / STD, -MEAN / STD, group=3)),
    "ImageNet of 255, all colours convolved": (
        "raw", convolve(np.diag(1 / 255 / STD), -MEAN / STD)),
    "ImageNet of 255, BGR convolved": (
        "raw", convolve(np.diag(1 / 255 / STD)[::-1], -MEAN / STD)),
    "CLIP of 255": ("raw", after(to_unit, normalise(CLIP_MEAN, CLIP_STD))),
    "CIFAR of 255": ("raw", after(to_unit, normalise(*CIFAR))),
    "EuroSAT of 255": ("raw", after(to_unit, normalise(*EUROSAT))),
    "tissue of 255": ("raw", after(to_unit, normalise(*TISSUE))),
    "X-rays of 255": ("raw", after(to_unit, normalise(*XRAY))),
    "by 60 less 2": ("raw", convolve(np.full(3, 1 / 60), [-2] * 3, group=3)),
    "ImageNet": ("unit", imagenet),
    "ImageNet, a batch norm": ("unit", batch_norm(1, 0, MEAN, STD**2)),
    "ImageNet, a product and a sum": (
        "unit", lambda s, x: s.Add(s.Mul(x, c(1 / STD)), c(-MEAN / STD))),
    "ImageNet, convolved": ("unit", convolve(np.diag(1 / STD), -MEAN / STD)),
    "CLIP": ("unit", normalise(CLIP_MEAN, CLIP_STD)),
    "CIFAR": ("unit", normalise(*CIFAR)),
    "SVHN": ("unit", normalise(*SVHN)),
    "X-rays": ("unit", normalise(*XRAY)),
    "twice less 1": ("unit", lambda s, x: s.Sub(s.Mul(x, 2.0), 1.0)),
    "less a half by a half": ("unit", normalise([0.5] * 3, [0.5] * 3)),
    "the mean alone": ("unit", lambda s, x: s.Sub(x, c(MEAN))),
    "a half alone": ("unit", lambda s, x: s.Sub(x, 0.5)),
    "to 255": ("unit", scale(255.0)),
    "to caffe": ("unit", lambda s, x: s.Sub(s.Mul(x, 255.0), c(BGR_MEAN[::-1]))),
    "halves to ImageNet": (
        "half", lambda s, x: s.Div(s.Sub(s.Mul(s.Add(x, 1.0), 0.5), c(MEAN)), c(STD))),
    "halves to 255": ("half", lambda s, x: s.Mul(s.Add(x, 1.0), 127.5)),
    "halves to 1": ("half", lambda s, x: s.Mul(s.Add(x, 1.0), 0.5)),
    "clipped at 255": ("raw", after(lambda s, x: s.Clip(x, 0.0, 255.0), to_unit)),
    "bounded": ("raw", after(lambda s, x: s.Min(s.Max(x, 0.0), 255.0), to_unit)),
    "clipped at 1": ("unit", after(lambda s, x: s.Clip(x, 0.0, 1.0), imagenet)),
    "clipped behind": ("raw", after(to_unit, lambda s, x: s.Clip(x, 0.0, 1.0), imagenet)),
    "rounded": ("raw", after(lambda s, x: s.Round(x), to_unit)),
    "floor": ("raw", after(lambda s, x: s.Floor(x), to_unit)),
    "bytes": ("raw", after(cast(TensorProto.UINT8), to_unit)),
    "whole numbers": ("raw", after(cast(TensorProto.INT32), imagenet_of_255)),
    "quantised": ("raw", after(quantise(1.0, 0), to_unit)),
    "from 1 to bytes": ("unit", after(scale(255.0), cast(TensorProto.UINT8), imagenet_of_255)),
    "a root": (("raw", "unit"), lambda s, x: s.Sqrt(s.Max(x, 0.0))),
    "a logarithm": ("raw", lambda s, x: s.Log(s.Add(x, 1.0))),
    "a power of 1/2.2": ("raw", after(to_unit, lambda s, x: s.Pow(x, 1 / 2.2))),
    "the curve of sRGB": ("unit", srgb_curve),
    "grey, by 255": ("raw", after(average_colour, to_unit)),
    "brightness, by 255": ("raw", after(brightness, to_unit)),
    "brightness, ImageNet": ("unit", after(brightness, imagenet)),
    "resized, by 255": ("raw", after(resized, to_unit)),
    "pooled, by 255": (
        "raw", after(lambda s, x: s.AveragePool(x, kernel_shape=[2, 2], strides=[2, 2]), to_unit)),
    "a border, by 255": ("raw", after(bordered, to_unit)),
    "the centre, ImageNet": ("unit", after(centre, imagenet)),
    "a branch": ("raw", of_branch),
    "a table": (
        "raw", lambda s, x: s.Gather(np.arange(256) / 255, s.Cast(x, to=TensorProto.INT32))),
    "cut off above": (
        "raw", after(lambda s, x: s.Where(s.Greater(x, 255.0), 255.0, x), to_unit)),
    "a sum of one": ("raw", after(lambda s, x: s.Sum(x), lambda s, x: s.Dropout(x), to_unit)),
    "flat and back": (
        "raw", lambda s, x: s.Reshape(s.Div(s.Flatten(x, axis=2), 255.0), s.Shape(x))),
    "a sum of products": (
        "raw", after(lambda s, x: s.Einsum(x, np.eye(3), equation="nchw,cd->ndhw"), to_unit)),
    "by 65535": ((), lambda s, x: s.Div(x, 65535.0)),
    "folded, by 255": ("raw", after(to_unit, folded), {"channels": 12}),
    "last: ImageNet of 255": (
        "raw", lambda s, x: s.Div(s.Sub(s.Div(x, 255.0), np.float32(MEAN)), np.float32(STD)),
        LAST),
    "last: by 127.5": ("raw", to_half, LAST),
    "last: MatMul": ("raw", lambda s, x: s.MatMul(x, np.diag(1 / 255 / STD)), LAST),
    "16 bits": ((), after(to_float, lambda s, x: s.Div(x, 65535.0)), U16),
    "16 bits in 32": ((), after(to_float, lambda s, x: s.Div(x, 65535.0)), I32),
}  # fmt: skip


def mirrored(s, x):
    return s.Slice(x, np.array([-1]), np.array([-(2**31)]), np.array([3]), np.array([-1]))


def less_the_mean_colour(s, x):
    return s.Sub(x, s.ReduceMean(x, axes=[1]))


def of_one_length(s, x):
    length = s.Sqrt(s.ReduceMean(s.Mul(x, x), axes=[1]))
    return s.Div(x, s.Add(length, 1e-6))


def less_the_near(s, x):
    return s.Sub(x, s.AveragePool(x, kernel_shape=[3, 3], pads=[1] * 4))


def less_a_small_copy(s, x):
    return s.Sub(x, resized(s, resized(s, x), 2.0))


MIX = np.array([[1, -0.4, 0.3], [-0.8, 0.2, 0.1], [0.5, -1, 0]])
COLOURS = np.array([[0.6, 0.5, 0.4], [0.7, 0.0, -0.7], [-0.4, 0.8, -0.4]])
FROM_IMAGENET = STD / 0.5, (MEAN - 0.5) / 0.5
ALL = tuple(RECORDS)
REAL = ("unit", "half", "imagenet", "clip", "own")
LEARNT: dict[str, tuple] = {
    "nothing": (ALL, lambda s, x: s.Identity(x)),
    "dropout": (ALL, lambda s, x: s.Dropout(x)),
    "turned twice": (ALL, lambda s, x: s.Transpose(x, perm=[0, 2, 3, 1]), LAST),
    "folded": (ALL, folded, {"channels": 12}),
    "a border": (ALL, bordered),
    "the centre": (ALL, centre),
    "a small copy": (ALL, resized),
    "half precision": (ALL[1:], cast(TensorProto.FLOAT16)),
    "a mirror": (ALL, lambda s, x: s.Concat(x, mirrored(s, x), axis=1), {"channels": 6}),
    "grey": (ALL, average_colour),
    "Inception of ImageNet's numbers": (
        "imagenet", lambda s, x: s.Add(s.Mul(x, c(FROM_IMAGENET[0])), c(FROM_IMAGENET[1]))),
    "a norm of ImageNet's numbers": (
        ("imagenet", "clip"),
        batch_norm([1.1, 0.9, 1.2], [0.1, 0, -0.2], [0.1, -0.1, 0.05], [1.2, 0.9, 1.4])),
    "a norm without factors": (
        ("imagenet", "clip", "own"), batch_norm(1, 0, [0.02, 0.05, 0.01], [1.02, 1.04, 1.08])),
    "a norm that does nothing": (ALL, batch_norm(1, 0, 0, 1)),
    "a norm of white photos": (
        "imagenet", batch_norm(1, 0, [1.4, 1.5, 1.7], [0.9, 1.1, 1.2])),
    "a norm of dark photos": (
        "imagenet", batch_norm([0.8, 1, 1.2], 0, [-1.2, -1.1, -0.9], [0.4, 0.5, 0.5])),
    "a norm with large factors": (
        "imagenet", batch_norm([2.5, 2.6, 2.4], 0, [0.4, 0.45, 0.5], 1)),
    "a norm of a narrow range": ("imagenet", batch_norm(1, 0, [0.4, 0.45, 0.5], [0.3] * 3)),
    "a norm of [0, 1]": (
        "unit", batch_norm(1, 0, [0.47, 0.45, 0.41], [0.075, 0.071, 0.073])),
    "a norm of [0, 1] with factors": (
        "unit", batch_norm([0.6, 0.8, 1.9], [0.2, 0, 0.1], [0.47, 0.45, 0.41], [0.07] * 3)),
    "a norm of [0, 1], narrow": ("unit", batch_norm(1, 0, [0.4, 0.45, 0.5], [0.3] * 3)),
    "a norm of [-1, 1]": ("half", batch_norm(1, 0, [-0.04, -0.08, -0.16], [0.28, 0.27, 0.3])),
    "a norm of [-1, 1] with factors": (
        "half", batch_norm([1.6, 0.7, 1.2], 0.1, [-0.04, -0.08, -0.16], [0.28, 0.27, 0.3])),
    "a norm of [0, 255]": (
        "raw", batch_norm(1, 0, [121.4, 115.2, 102.7], [4800, 4650, 4900])),
    "a norm of [0, 255] with factors": (
        "raw", batch_norm([1.5, 0.4, 2.2], [0.1, -0.4, 0], [121.4, 115.2, 102.7], [4800] * 3)),
    "a norm of caffe's numbers": ("caffe", batch_norm(1, 0, [0.3, -1, 2], [4800] * 3)),
    "caffe's numbers times 0.017": ("caffe", scale(0.017)),
    "times 10": (REAL, scale(10.0)),
    "times 0.1": (REAL, scale(0.1)),
    "times 0.03": (REAL, scale(0.03)),
    "times 3, 2, 0.5": (REAL, scale(c([3, 2, 0.5]))),
    "a place's own shift": (
        ALL, lambda s, x: s.Add(x, np.random.default_rng(1).normal(0, 0.1, (1, 3, 16, 16)))),
    "mixed": (("raw", *REAL), convolve(MIX, [0.1, -0.2, 0.3])),
    "mixed by an orthogonal matrix": (
        ("raw", *REAL), convolve(np.linalg.qr(MIX)[0], [0.1, -0.2, 0.3])),
    "colours of another space": (("raw", *REAL), convolve(COLOURS, [0, 0, 0])),
    "mixed and cut off": (
        REAL, after(convolve(MIX, [0, 0, 0]), lambda s, x: s.Clip(x, 0.0, 6.0))),
    "last: mixed": (REAL, lambda s, x: s.MatMul(x, MIX), LAST),
    "each colour convolved": (REAL, convolve([1.3, -0.7, 0.9], [0.2, 0, -0.1], group=3)),
    "less the mean colour": (ALL, less_the_mean_colour),
    "of one length": (("imagenet", "clip", "half"), of_one_length),
    "less its mirror": (ALL, lambda s, x: s.Sub(x, mirrored(s, x))),
    "less what is near": (ALL, less_the_near),
    "less a small copy": (ALL, less_a_small_copy),
    "with its square": (
        REAL, lambda s, x: s.Concat(x, s.Mul(x, x), axis=1), {"channels": 6}),
    "with its distance from 0": (
        REAL, lambda s, x: s.Concat(x, s.Abs(x), axis=1), {"channels": 6}),
    "both signs": (
        REAL, lambda s, x: s.Concat(s.Max(x, 0.0), s.Max(s.Neg(x), 0.0), axis=1),
        {"channels": 6}),
    "with the mean colour": (
        ALL, lambda s, x: s.Concat(x, s.ReduceMean(x, axes=[1]), axis=1), {"channels": 4}),
    "quantised [0, 1]": ("unit", quantise(1 / 255, 0)),
    "quantised [0, 255]": ("raw", quantise(1.0, -128, "i1")),
    "quantised [-1, 1]": ("half", quantise(2 / 255, 0, "i1")),
    "quantised ImageNet": ("imagenet", quantise(4.77 / 255, 113)),
    "quantised ImageNet, cut a little": ("imagenet", quantise(4.4 / 255, 120)),
    "quantised and a norm": ("imagenet", after(quantise(4.77 / 255, 113), batch_norm(1, 0, 0, 1))),
    "cut off at 3": (("imagenet", "clip"), lambda s, x: s.Clip(x, -3.0, 3.0)),
    "bytes in 255ths": ("raw", after(to_float, to_unit), U8),
    "bytes, ImageNet": ("raw", after(to_float, imagenet_of_255), U8),
    "bytes, less the mean colour": ("raw", after(to_float, less_the_mean_colour), U8),
    "whole numbers, a root": ("raw", after(to_float, lambda s, x: s.Sqrt(x)), I32),
}  # fmt: skip
# What cannot be told. Pixels less caffe's mean may be divided by 255, and by a deviation that a
# network learned; of steps that are no sum and product, the record says which range they take.
NOT_TOLD = {
    (name, "caffe")
    for name in (
        "times 1/255", "by 255", "by 256", "the mean alone", "a half alone", "rounded", "floor",
        "grey, by 255", "brightness, by 255", "resized, by 255", "pooled, by 255", "a branch",
        "a border, by 255", "cut off above", "a sum of one", "flat and back", "folded, by 255",
        "a sum of products", "last: MatMul",
    )
} | {
    (name, "caffe")
    for name in ("CIFAR of 255", "EuroSAT of 255", "tissue of 255", "X-rays of 255", "by 60 less 2")
} | {
    (name, record)
    for name in ("a root", "a logarithm", "a power of 1/2.2", "the curve of sRGB")
    for record in ("raw", "unit", "half")
}  # fmt: skip
PAIRS = [
    (name, record, right)
    for table, asked in ((PREPARATIONS, ALL), (LEARNT, ()))
    for name, (rights, *_) in table.items()
    for record in (asked or ([rights] if isinstance(rights, str) else rights))
    for right in [record in ((rights,) if isinstance(rights, str) else rights)]
    if (name, record) not in NOT_TOLD
]


def is_accepted(folder, name: str, record: str) -> bool:
    _, steps, *how = (PREPARATIONS | LEARNT)[name]
    spec = save(folder / "net.onnx", graph_of(steps, **(how[0] if how else {})), **RECORDS[record])
    try:
        OnnxFileSource().load_graph(BackboneSpec.parse(spec), WeightsRequest())
    except BackboneError as error:
        return "prepares_pixels" not in error.hint
    return True


# Each of these is tried on many pixels, and takes seconds; test_first_steps.py has one of them.
LONG = {"a branch", "a sum of products", "flat and back"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in LONG else name
        for name in PREPARATIONS | LEARNT
    ],
)
def test_records_that_fit_first_steps_and_no_others_are_accepted(tmp_path, name):
    asked = {record: right for one, record, right in PAIRS if one == name}
    assert {record: is_accepted(tmp_path, name, record) for record in asked} == asked

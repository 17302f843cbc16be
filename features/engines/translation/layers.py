"""Layers: convolutions, pools, normalisations, products, softmax, and resized maps."""

import dataclasses
import functools
import math
import operator
from typing import Self

import numpy as np

from .fusing import attention_ends_here, fold_norm
from .known import evaluate_kind
from .recorder import Live, Operation, Recorder, RefusedError
from .shapes import padded


@dataclasses.dataclass(frozen=True)
class _Window:
    """How a kernel goes over a map."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: list[tuple[int, int]]
    ceil: bool

    @classmethod
    def of(cls, op: Operation, kernel: list[int], sides: tuple[int, ...]) -> Self:
        rank = len(kernel)
        strides = list(op.attributes.get("strides", [1] * rank))
        dilations = list(op.attributes.get("dilations", [1] * rank))
        flat = list(op.attributes.get("pads", [0] * 2 * rank))
        pads: list[tuple[int, int]] = list(zip(flat[:rank], flat[rank:]))
        auto = op.attributes.get("auto_pad", b"NOTSET").decode()
        if auto == "VALID":
            pads = [(0, 0)] * rank
        elif auto != "NOTSET":
            pads = []
            for side, k, s, d in zip(sides, kernel, strides, dilations):
                missing = max(0, (-(-side // s) - 1) * s + (k - 1) * d + 1 - side)
                low = missing // 2 if auto == "SAME_UPPER" else -(-missing // 2)
                pads.append((low, missing - low))
        return cls(kernel, strides, dilations, pads, bool(op.attributes.get("ceil_mode", 0)))

    @property
    def is_even(self) -> bool:
        """Whether both sides are padded alike."""
        return all(low == high for low, high in self.pads)


def _of_rank(r: Recorder, name: str, x: Live):
    return getattr(r.functional, f"{name}{x.rank - 2}d")


def _conv(r: Recorder, op: Operation, folded: tuple | None = None) -> Live:
    x, kernel = r.narrowed(op.inputs[0]), op.inputs[1]
    bias = op.input(2)
    if folded is not None:
        kernel, bias = folded
    window = _Window.of(op, list(kernel.shape[2:]), x.shape[2:])
    pads = [low for low, _ in window.pads]
    if not window.is_even:
        x, pads = padded(r, x, window.pads), [0] * len(pads)
    kind = x.meta.dtype
    bias = None if bias is None else r.tensor(bias, kind)
    group = int(op.attributes.get("group", 1))
    kernel = r.tensor(kernel, kind)
    conv = _of_rank(r, "conv", x)
    return r(conv, x, kernel, bias, window.strides, pads, window.dilations, group)


def _transposed_conv(r: Recorder, op: Operation, folded: tuple | None = None) -> Live:
    x, kernel = r.narrowed(op.inputs[0]), op.inputs[1]
    bias = op.input(2)
    if folded is not None:
        kernel, bias = folded
    if "output_shape" in op.attributes or "auto_pad" in op.attributes:
        raise RefusedError("with output_shape or auto_pad")
    window = _Window.of(op, list(kernel.shape[2:]), x.shape[2:])
    if not window.is_even:
        raise RefusedError("with unequal pads")
    kind = x.meta.dtype
    bias = None if bias is None else r.tensor(bias, kind)
    pads = [low for low, _ in window.pads]
    more = list(op.attributes.get("output_padding", [0] * len(pads)))
    group = int(op.attributes.get("group", 1))
    conv = _of_rank(r, "conv_transpose", x)
    kernel = r.tensor(kernel, kind)
    return r(conv, x, kernel, bias, window.strides, pads, more, group, window.dilations)


def _max_pool(r: Recorder, op: Operation) -> Live:
    x = op.inputs[0]
    window = _Window.of(op, list(op.attributes["kernel_shape"]), x.shape[2:])
    pads = [low for low, _ in window.pads]
    if not window.is_even or any(2 * low > k for low, k in zip(pads, window.kernel)):
        x, pads = padded(r, x, window.pads, -math.inf), [0] * len(pads)
    pool = _of_rank(r, "max_pool", x)
    return r(pool, x, window.kernel, window.strides, pads, window.dilations, window.ceil)


def _average_pool(r: Recorder, op: Operation) -> Live:
    x = op.inputs[0]
    window = _Window.of(op, list(op.attributes["kernel_shape"]), x.shape[2:])
    if any(d != 1 for d in window.dilations):
        raise RefusedError("with dilations")
    pads, counted = [low for low, _ in window.pads], bool(op.attributes.get("count_include_pad"))
    pool = _of_rank(r, "avg_pool", x)
    if window.is_even and all(2 * low <= k for low, k in zip(pads, window.kernel)):
        return r(pool, x, window.kernel, window.strides, pads, window.ceil, counted)
    if window.ceil:
        raise RefusedError("with unequal pads and ceil_mode")
    mean = r(pool, padded(r, x, window.pads), window.kernel, window.strides)
    if counted:
        return mean
    # Each mean is of so many numbers of the map itself.
    whole = np.zeros([side + low + high for side, (low, high) in zip(x.shape[2:], window.pads)])
    whole[tuple(slice(low, low + side) for side, (low, _) in zip(x.shape[2:], window.pads))] = 1
    seen = np.lib.stride_tricks.sliding_window_view(whole, window.kernel)
    seen = seen[tuple(slice(None, None, stride) for stride in window.strides)]
    share = seen.mean(axis=tuple(range(-len(window.kernel), 0)))
    return r(operator.truediv, mean, r.tensor(share[None, None], mean.meta.dtype))


def _global_pool(name: str):
    def record(r: Recorder, op: Operation) -> Live:
        x = op.inputs[0]
        return r(getattr(r.torch, name), x, list(range(2, x.rank)), True)

    return record


def _batch_norm(r: Recorder, op: Operation) -> Live:
    x, (scale, shift, mean, variance) = op.inputs[0], (op.known(n) for n in range(1, 5))
    epsilon = op.attributes.get("epsilon", 1e-5)
    with np.errstate(invalid="ignore", divide="ignore"):  # Of what it gives the proof tells.
        factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    norm = (factor, shift - mean.astype(np.float64) * factor)
    before = r.convolution_of(x)
    if before is not None and isinstance(before.inputs[1], np.ndarray):
        bias = before.known(2)
        transposed = before.kind == "ConvTranspose"
        if not (transposed and before.attributes.get("group", 1) != 1):
            folded = fold_norm(before.inputs[1], bias, norm, transposed)
            return OPERATORS[before.kind](r, before, folded)
    x = r.narrowed(x)
    # In half precision the numbers of the channels keep all their digits.
    tensors = [r.tensor(one, r.torch.float32) for one in (mean, variance, scale, shift)]
    return r(r.functional.batch_norm, x, *tensors, False, 0.0, float(epsilon))


def _instance_norm(r: Recorder, op: Operation) -> Live:
    x = r.narrowed(op.inputs[0])
    scale, shift = (r.tensor(one, x.meta.dtype) for one in op.inputs[1:])
    epsilon = float(op.attributes.get("epsilon", 1e-5))
    return r(r.functional.group_norm, x, x.shape[1], scale, shift, epsilon)


def _layer_norm(r: Recorder, op: Operation) -> Live:
    x = r.narrowed(op.inputs[0])
    shape = x.shape[op.axis(-1, x.rank) :]
    if op.outputs > 1:
        raise RefusedError("with more than one output")
    scale, shift = (
        None if one is None else r.reshaped(r.tensor(one, x.meta.dtype), shape)
        for one in (op.input(1), op.input(2))
    )
    return r(r.functional.layer_norm, x, shape, scale, shift, op.attributes.get("epsilon", 1e-5))


def _group_norm(r: Recorder, op: Operation) -> Live:
    x = r.narrowed(op.inputs[0])
    groups = int(op.attributes["num_groups"])
    # Before opset 21 there was a factor for each group, not for each channel.
    each = (np.repeat(one, x.shape[1] // one.size) for one in (op.known(1), op.known(2)))
    scale, shift = (r.tensor(one, x.meta.dtype) for one in each)
    epsilon = float(op.attributes.get("epsilon", 1e-5))
    return r(r.functional.group_norm, x, groups, scale, shift, epsilon)


def _local_response_norm(r: Recorder, op: Operation) -> Live:
    given = op.attributes
    alpha, beta, bias = given.get("alpha", 1e-4), given.get("beta", 0.75), given.get("bias", 1.0)
    return r(r.functional.local_response_norm, op.inputs[0], given["size"], alpha, beta, bias)


def _gemm(r: Recorder, op: Operation) -> Live:
    a, b = _same_kind(r, *op.inputs[:2])
    if op.attributes.get("transA", 0):
        a = r(r.torch.transpose, a, 0, 1)
    if not op.attributes.get("transB", 0):
        b = r(r.torch.transpose, b, 0, 1)
    alpha, beta = op.attributes.get("alpha", 1.0), op.attributes.get("beta", 1.0)
    c = op.input(2)
    if c is not None:
        c = r.tensor(c, a.meta.dtype)
        if alpha == beta == 1 and c.rank == 1:
            return r(r.functional.linear, a, b, c)
    product = r(r.functional.linear, a, b)
    product = product if alpha == 1 else r(operator.mul, product, alpha)
    if c is None:
        return product
    return r(operator.add, product, c if beta == 1 else r(operator.mul, c, beta))


def _same_kind(r: Recorder, *values) -> list[Live]:
    """Return the factors of a product, in the type that layers compute in."""
    live = [r.narrowed(one) for one in values if isinstance(one, Live)]
    kind = live[0].meta.dtype
    return [r.cast(r.narrowed(one), kind) if isinstance(one, Live) else r.tensor(one, kind)
            for one in values]  # fmt: skip


def _matmul(r: Recorder, op: Operation) -> Live:
    a, b = _same_kind(r, *op.inputs)
    attention = attention_ends_here(r, a, b)
    return r(r.torch.matmul, a, b) if attention is None else attention


def _softmax(name: str):
    def record(r: Recorder, op: Operation) -> Live:
        x = op.inputs[0]
        function = getattr(r.functional, name)
        if op.opset >= 13:
            return r(function, x, op.axis(-1, x.rank))
        # It was over all axes from this one on.
        axis = op.axis(1, x.rank)
        flat = r.reshaped(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
        return r.reshaped(r(function, flat, 1), x.shape)

    return record


def _resize(r: Recorder, op: Operation) -> Live:
    """Resize one axis after the other, each by the matrix that ONNX's definition gives."""
    x = op.inputs[0]
    old = op.kind == "Upsample" or op.opset < 11
    scales = op.known(1 if old else 2, "scales")
    sizes = None if old else op.integers(3)
    if op.attributes.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
        raise RefusedError("of tf_crop_and_resize")
    if op.attributes.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise RefusedError("that keeps the aspect ratio")
    axes = list(op.attributes.get("axes", range(x.rank)))
    for n, axis in enumerate(axes):
        given = {"scale": float(np.ravel(scales)[n])} if sizes is None else {"size": sizes[n]}
        if given.get("scale") != 1.0 and given.get("size") != x.shape[axis]:
            x = _resized_axis(r, op, x, axis, given)
    return x


def _resized_axis(r: Recorder, op: Operation, x: Live, axis: int, given: dict) -> Live:
    side = x.shape[axis]
    left = {name: value for name, value in op.attributes.items() if name not in ("axes", "scales")}
    if op.kind == "Upsample" or op.opset < 11:
        asymmetric = {"coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor"}
        left = {"mode": left.get("mode", b"nearest"), **asymmetric}
    nearest = left.get("mode", b"nearest") == b"nearest"
    shares = _shares(side, nearest, tuple(given.items()), tuple(left.items()), max(op.opset, 13))
    if nearest:
        return r(r.torch.index_select, x, axis, r.tensor(shares))
    last = x.rank - 1
    turned = x if axis == last else r(r.torch.transpose, x, axis, last)
    turned = r(r.torch.matmul, turned, r.tensor(shares, x.meta.dtype))
    return turned if axis == last else r(r.torch.transpose, turned, axis, last)


@functools.lru_cache(maxsize=256)
def _shares(side: int, nearest: bool, given: tuple, attributes: tuple, opset: int) -> np.ndarray:
    """Return how much of each old number (a row) is in each new one (a column).

    Where the nearest one is taken: the index of each new number among the old ones.
    """
    # onnx's evaluator is the definition, and slow.
    old = np.arange(side, dtype=np.float32) if nearest else np.eye(side, dtype=np.float32)
    kept = [1.0] * (old.ndim - 1)
    given = dict(given)
    if "scale" in given:
        inputs = [old, None, np.array([*kept, given["scale"]], np.float32)]
    else:
        sizes = [*old.shape[:-1], given["size"]]
        inputs = [old, None, None, np.array(sizes, np.int64)]
    found = evaluate_kind("Resize", inputs, dict(attributes), opset)
    return found.astype(np.int64) if nearest else found


OPERATORS = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _transposed_conv,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool("mean"),
    "GlobalMaxPool": _global_pool("amax"),
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _local_response_norm,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax("log_softmax"),
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Resize": _resize,
    "Softmax": _softmax("softmax"),
    "Upsample": _resize,
}

"""Which operators keep what belongs to each image of a batch apart, and where it lies then."""

import math
from collections.abc import Callable, Sequence

from .apart_values import (
    Apart,
    Place,
    Step,
    axis_of,
    fitted_place,
    require,
    shape_of,
    the_one,
)
from .extents import NotShownError


def _elementwise(step: Step) -> Place:
    behind, each = fitted_place(step.given)
    return max(len(shape_of(one)) for one in step.given if one is not None) - behind, each


def _image_by_image(*allowed: int) -> Callable[[Step], Place]:
    """Make the rule of what takes each entry along its first axis by itself."""

    def rule(step: Step) -> Place:
        found = [one for _, one in step.apart(*allowed)]
        require(all(one.axis == 0 and one.each == found[0].each for one in found))
        require(len(found) == sum(step.at(n) is not None for n in allowed))
        # What is second hangs on the batch: of a pool, numbers of places in all of it.
        require(not any(step.node.output[1:]))
        return 0, found[0].each

    return rule


def _normalised(step: Step) -> Place:
    require(not step.settings.get("training_mode"))
    return _image_by_image(0)(step)


def _dropped(step: Step) -> Place:
    require(step.at(2) is None or not any(step.numbers(2) or [True]))
    return _elementwise(step)


def _along(default: int | None, last: bool = False) -> Callable[[Step], Place]:
    """Make the rule of what computes along one axis, or along that and all behind it."""

    def rule(step: Step) -> Place:
        data, usual = the_one(step), default
        if usual is None:
            usual = -1 if step.opset >= 13 else 1
        axis = axis_of(step.settings.get("axis", usual), data)
        require(data.axis < axis if last else data.axis != axis)
        return data.axis, data.each

    return rule


def _softmax(step: Step) -> Place:
    return _along(None, last=step.opset < 13)(step)


def _layer_norm(step: Step) -> Place:
    place = _along(-1, last=True)(step)
    fitted_place(step.given[:3])
    return place


def _cumulated(step: Step) -> Place:
    data = the_one(step)
    (axis,) = step.numbers(1) or [None]
    require(data.axis != axis_of(axis, data))
    return data.axis, data.each


def _moved(step: Step, axes: Sequence[int], data: Apart) -> Place:
    """Return where the images are when some axes, not theirs, are gone."""
    gone = [axis_of(axis, data) for axis in axes]
    require(data.axis not in gone)
    return data.axis - sum(axis < data.axis for axis in gone), data.each


def _reduced(step: Step) -> Place:
    data, axes = the_one(step), step.numbers(1, "axes")
    if step.settings.get("noop_with_empty_axes") and not axes:
        return data.axis, data.each
    require(bool(axes))
    place = _moved(step, axes or [], data)
    return (data.axis, data.each) if step.settings.get("keepdims", 1) else place


def _largest(step: Step) -> Place:
    data = the_one(step)
    place = _moved(step, [step.settings.get("axis", 0)], data)
    return (data.axis, data.each) if step.settings.get("keepdims", 1) else place


def _squeezed(step: Step) -> Place:
    axes = step.numbers(1, "axes")
    require(bool(axes))  # Of one image its axis would be gone, too.
    return _moved(step, axes or [], the_one(step))


def _unsqueezed(step: Step) -> Place:
    data, axes = the_one(step), step.numbers(1, "axes")
    rank = len(shape_of(data)) + len(axes or [])
    new = {axis % rank for axis in axes or []}
    return [n for n in range(rank) if n not in new][data.axis], data.each


def _transposed(step: Step) -> Place:
    data = the_one(step)
    order = step.settings.get("perm", list(range(len(shape_of(data))))[::-1])
    return order.index(data.axis), data.each


def _joined(step: Step) -> Place:
    found = [one for _, one in step.apart()]
    first = found[0]
    require(len(found) == len(step.given))
    require(all((one.axis, one.each) == (first.axis, first.each) for one in found))
    require(first.axis != axis_of(step.settings["axis"], first))
    return first.axis, first.each


def _sliced(step: Step) -> Place:
    data = the_one(step)
    starts, ends = step.numbers(1, "starts") or [], step.numbers(2, "ends") or []
    axes = step.numbers(3, "axes") or list(range(len(starts)))
    steps = step.numbers(4) or [1] * len(starts)
    for start, end, axis, by in zip(starts, ends, axes, steps, strict=True):
        if axis_of(axis, data) == data.axis:
            # From the first to beyond any number of images.
            require(by == 1 and start == 0 and isinstance(end, int) and end >= 2**31 - 1)
    return data.axis, data.each


def _gathered(step: Step) -> Place:
    data, places = step.at(0), step.at(1)
    if data is None or places is None:
        raise NotShownError
    axis = axis_of(step.settings.get("axis", 0), data)
    if isinstance(places, Apart):
        require(not isinstance(data, Apart))
        return axis + places.axis, places.each
    if not isinstance(data, Apart):
        raise NotShownError
    require(axis != data.axis)
    behind = len(shape_of(places)) - 1 if axis < data.axis else 0
    return data.axis + behind, data.each


def _gathered_by_element(step: Step) -> Place:
    found = [one for _, one in step.apart(0, 1)]
    first = found[0]
    require(len(found) == 2 and first.axis != axis_of(step.settings.get("axis", 0), first))
    require((found[1].axis, found[1].each) == (first.axis, first.each))
    return first.axis, first.each


def _repeated(step: Step) -> Place:
    data = the_one(step)
    require((step.numbers(1) or [0])[data.axis] == 1)
    return data.axis, data.each


def _padded(step: Step) -> Place:
    data, pads = the_one(step), step.numbers(1, "pads") or []
    axes = step.numbers(3) or range(len(shape_of(data)))
    for axis, low, high in zip(axes, pads, pads[len(pads) // 2 :]):
        require(axis_of(axis, data) != data.axis or low == high == 0)
    return data.axis, data.each


def _resized(step: Step) -> Place:
    data = the_one(step)
    require(step.settings.get("coordinate_transformation_mode") != b"tf_crop_and_resize")
    require(step.settings.get("keep_aspect_ratio_policy", b"stretch") == b"stretch")
    axes = step.settings.get("axes") or range(len(shape_of(data)))
    by_name = step.node.op_type == "Upsample" or step.opset < 11
    scales = step.numbers(1 if by_name else 2, "scales")
    # Both may be given, and then one of them is empty.
    wanted = scales or step.numbers(3) or []
    own = 1 if scales else shape_of(data)[data.axis]
    for axis, one in zip(axes, wanted, strict=True):
        require(axis_of(axis, data) != data.axis or one == own)
    return data.axis, data.each


def _product(left: int, right: int, *scaled: int) -> Callable[[Step], Place]:
    """Make the rule of a matrix product; `scaled` are inputs with numbers for rows of the left."""

    def rule(step: Step) -> Place:
        step.apart(left, right)
        a, b = step.at(left), step.at(right)
        ranks = [len(shape_of(one)) for one in (a, b)]
        require(min(ranks) > 1)
        if isinstance(a, Apart) and isinstance(b, Apart):
            behind_both, each = fitted_place([a, b])
            require(behind_both > 2)
            return max(ranks) - behind_both, each
        one = a if isinstance(a, Apart) else b
        other = b if one is a else a
        if not isinstance(one, Apart):
            raise NotShownError
        from_end = len(shape_of(one)) - one.axis
        require(from_end != (1 if one is a else 2))  # That is summed over.
        if scaled and from_end < 3:
            # Scales of each row would be some for each image.
            require(one is a and all(math.prod(shape_of(step.at(n))) == 1 for n in scaled))
        if from_end > 2:
            fitted_place([one, other])
        return max(ranks) - from_end, one.each

    return rule


def _gemm(step: Step) -> Place:
    step.apart(0, 2)
    a, c = step.at(0), step.at(2)
    if not isinstance(a, Apart):
        raise NotShownError
    require(a.axis == (1 if step.settings.get("transA") else 0))
    if isinstance(c, Apart):
        require((len(shape_of(c)), c.axis, c.each) == (2, 0, a.each))
    elif c is not None:
        require(len(shape_of(c)) < 2 or shape_of(c)[0] == 1)
    return 0, a.each


def _quantised(step: Step) -> Place:
    data, scale = the_one(step), step.at(1)
    if math.prod(shape_of(scale)) != 1:
        require(len(shape_of(scale)) == 1)
        require(data.axis != axis_of(step.settings.get("axis", 1), data))
    return data.axis, data.each


def _einsum(step: Step) -> Place:
    equation = step.settings["equation"].decode().replace(" ", "")
    sides = equation.split("->")
    require(len(sides) == 2 and "." not in equation)
    letters, each = set(), set()
    for text, one in zip(sides[0].split(","), step.given, strict=True):
        if isinstance(one, Apart):
            letters.add(text[one.axis])
            each.add(one.each)
    require(len(letters) == len(each) == 1)
    (letter,) = letters
    for text, one in zip(sides[0].split(","), step.given):
        require(text.count(letter) == isinstance(one, Apart))
    return sides[1].index(letter), each.pop()


def _triangle(step: Step) -> Place:
    data = the_one(step)
    require(data.axis < len(shape_of(data)) - 2)
    return data.axis, data.each


RULES: dict[str, Callable[[Step], Place]] = {
    **dict.fromkeys(
        "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr "
        "BitwiseXor Cast CastLike Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu "
        "Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less "
        "LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round "
        "Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh "
        "ThresholdedRelu Where Xor".split(),
        _elementwise,
    ),
    **dict.fromkeys(
        "AveragePool Conv ConvInteger ConvTranspose DepthToSpace GlobalAveragePool GlobalLpPool "
        "GlobalMaxPool GroupNormalization InstanceNormalization LRN LpPool MaxPool QLinearConv "
        "SpaceToDepth".split(),
        _image_by_image(0),
    ),
    **dict.fromkeys(
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
        "ReduceSum ReduceSumSquare".split(),
        _reduced,
    ),
    "ArgMax": _largest,
    "ArgMin": _largest,
    "BatchNormalization": _normalised,
    "Concat": _joined,
    "CumSum": _cumulated,
    "DeformConv": _image_by_image(0, 2, 4),
    "DequantizeLinear": _quantised,
    "Dropout": _dropped,
    "Einsum": _einsum,
    "Gather": _gathered,
    "GatherElements": _gathered_by_element,
    "Gemm": _gemm,
    "GridSample": _image_by_image(0, 1),
    "Hardmax": _softmax,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax,
    "LpNormalization": _along(-1),
    "MatMul": _product(0, 1),
    "MatMulInteger": _product(0, 1, 2),
    "Pad": _padded,
    "QLinearMatMul": _product(0, 3, 1, 2, 6, 7),
    "QuantizeLinear": _quantised,
    "RMSNormalization": _layer_norm,
    "Resize": _resized,
    "Slice": _sliced,
    "Softmax": _softmax,
    "Split": _along(0),
    "Squeeze": _squeezed,
    "Tile": _repeated,
    "TopK": _along(-1),
    "Transpose": _transposed,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueezed,
    "Upsample": _resized,
}

"""Operators on numbers one by one, and over axes."""

import operator

import numpy as np

from .fusing import gelu_ends_here
from .recorder import Live, Operation, Recorder, RefusedError


def _function(name: str):
    """Return what records a function of one value, by its name in ``torch``."""
    return lambda r, op: r(getattr(r.torch, name), op.inputs[0])


def _python(function):
    """Return what records a function of two values that Python has a sign for."""
    return lambda r, op: r(function, *r.alike(*op.inputs[:2]))


def _divide(r: Recorder, op: Operation) -> Live:
    a, b = r.alike(*op.inputs)
    if any(isinstance(one, Live) and one.is_real for one in (a, b)):
        return r(operator.truediv, a, b)
    return r(r.torch.div, r.tensor(a) if isinstance(a, Live) else a, b, rounding_mode="trunc")


def _multiply(r: Recorder, op: Operation) -> Live:
    a, b = r.alike(*op.inputs)
    inside = gelu_ends_here(r, a, b)
    return r(operator.mul, a, b) if inside is None else r(r.functional.gelu, inside)


def _power(r: Recorder, op: Operation) -> Live:
    base, exponent = op.inputs
    # The types of both may differ; the result has that of the base.
    if isinstance(base, Live):
        if not isinstance(exponent, Live) and exponent.size == 1:
            return r(r.torch.pow, base, exponent.item())
        return r(r.torch.pow, base, r.tensor(exponent, base.meta.dtype))
    return r(r.torch.pow, r.tensor(base, exponent.meta.dtype), exponent)


def _extreme(name: str):
    def record(r: Recorder, op: Operation) -> Live:
        live = [one for one in op.inputs if isinstance(one, Live)]
        values = [r.tensor(one, r.alike(*live)[0].meta.dtype) for one in op.inputs]
        result = values[0]
        for other in values[1:]:
            result = r(getattr(r.torch, name), result, other)
        return result

    return record


def _total(r: Recorder, op: Operation) -> Live:
    values = r.alike(*op.inputs)
    result = values[0]
    for other in values[1:]:
        result = r(operator.add, result, other)
    return result


def _mean_of_several(r: Recorder, op: Operation) -> Live:
    return r(operator.truediv, _total(r, op), len(op.inputs))


def _clip(r: Recorder, op: Operation) -> Live:
    low, high = (op.known(n, name) for n, name in ((1, "min"), (2, "max")))
    low, high = (None if one is None else one.item() for one in (low, high))
    if low is None and high is None:
        return op.inputs[0]
    return r(r.torch.clamp, op.inputs[0], low, high)


def _cast(r: Recorder, op: Operation) -> Live:
    kinds = {1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool"}
    kinds |= {10: "float16", 11: "float64", 16: "bfloat16"}
    kind = kinds.get(op.attributes["to"])
    if kind is None:
        raise RefusedError(f"to the type {op.attributes['to']}")
    if kind in ("float16", "float32", "float64", "bfloat16"):
        return r.as_float(op.inputs[0])
    return r.cast(op.inputs[0], getattr(r.torch, kind))


def _where(r: Recorder, op: Operation) -> Live:
    condition, a, b = op.inputs
    if isinstance(a, Live) or isinstance(b, Live):
        a, b = r.alike(a, b)
    else:
        a, b = r.tensor(a), r.tensor(b)
    return r(r.torch.where, r.tensor(condition, r.torch.bool), a, b)


def _with_attributes(name: str, **defaults):
    """Return what records a function of ``torch.nn.functional`` with ONNX's default values."""

    def record(r: Recorder, op: Operation) -> Live:
        values = [op.attributes.get(key, default) for key, default in defaults.items()]
        return r(getattr(r.functional, name), op.inputs[0], *values)

    return record


def _hard_sigmoid(r: Recorder, op: Operation) -> Live:
    alpha, beta = op.attributes.get("alpha", 0.2), op.attributes.get("beta", 0.5)
    scaled = r(operator.add, r(operator.mul, op.inputs[0], alpha), beta)
    return r(r.torch.clamp, scaled, 0.0, 1.0)


def _prelu(r: Recorder, op: Operation) -> Live:
    x, slope = op.inputs[0], r.tensor(op.inputs[1], op.inputs[0].meta.dtype)
    if slope.shape == x.shape[1:2] != x.shape[-1:]:  # One for each channel, as MXNet writes it.
        slope = r.reshaped(slope, (-1, *[1] * (x.rank - 2)))
    if np.broadcast_shapes(x.shape, slope.shape) != x.shape:
        raise RefusedError("with more slopes than numbers")
    below = r(operator.mul, r(r.torch.clamp, x, None, 0.0), slope)
    return r(operator.add, r(r.torch.relu, x), below)


def _gelu(r: Recorder, op: Operation) -> Live:
    kind = op.attributes.get("approximate", b"none")
    text = kind.decode() if isinstance(kind, bytes) else kind
    return r(r.functional.gelu, op.inputs[0], approximate=text)


def _selu(r: Recorder, op: Operation) -> Live:
    alpha = op.attributes.get("alpha", 1.67326319217681884765625)
    gamma = op.attributes.get("gamma", 1.05070102214813232421875)
    return r(operator.mul, r(r.functional.elu, op.inputs[0], alpha), gamma)


def _cumulated(r: Recorder, op: Operation) -> Live:
    if op.attributes.get("exclusive", 0) or op.attributes.get("reverse", 0):
        raise RefusedError("with exclusive or reverse")
    return r(r.torch.cumsum, op.inputs[0], op.integers(1)[0])


def _reduce(name: str):
    def record(r: Recorder, op: Operation) -> Live:
        x = op.inputs[0]
        axes, keep = op.integers(1, "axes"), bool(op.attributes.get("keepdims", 1))
        if not axes:
            if op.attributes.get("noop_with_empty_axes", 0):
                return x
            axes = list(range(x.rank))
        axes = sorted(axis % x.rank for axis in axes)
        if name in ("mean", "sum", "amax", "amin"):
            return r(getattr(r.torch, name), x, axes, keep)
        if name == "square":
            return r(r.torch.sum, r(operator.mul, x, x), axes, keep)
        return r(r.torch.linalg.vector_norm, x, {"l1": 1, "l2": 2}[name], axes, keep)

    return record


def _normalised_length(r: Recorder, op: Operation) -> Live:
    order, axis = op.attributes.get("p", 2), int(op.attributes.get("axis", -1))
    return r(r.functional.normalize, op.inputs[0], float(order), axis, 1e-12)


OPERATORS = {
    "Abs": _function("abs"),
    "Add": _python(operator.add),
    "And": _python(operator.and_),
    "Cast": _cast,
    "Ceil": _function("ceil"),
    "Celu": _with_attributes("celu", alpha=1.0),
    "Clip": _clip,
    "Cos": _function("cos"),
    "CumSum": _cumulated,
    "Div": _divide,
    "Dropout": lambda r, op: op.inputs[0],
    "Elu": _with_attributes("elu", alpha=1.0),
    "Equal": _python(operator.eq),
    "Erf": _function("erf"),
    "Exp": _function("exp"),
    "Floor": _function("floor"),
    "Gelu": _gelu,
    "Greater": _python(operator.gt),
    "GreaterOrEqual": _python(operator.ge),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _with_attributes("hardswish"),
    "Identity": lambda r, op: op.inputs[0],
    "LeakyRelu": _with_attributes("leaky_relu", alpha=0.01),
    "Less": _python(operator.lt),
    "LessOrEqual": _python(operator.le),
    "Log": _function("log"),
    "LpNormalization": _normalised_length,
    "Max": _extreme("maximum"),
    "Mean": _mean_of_several,
    "Min": _extreme("minimum"),
    "Mish": _with_attributes("mish"),
    "Mul": _multiply,
    "Neg": _function("neg"),
    "Not": _function("logical_not"),
    "Or": _python(operator.or_),
    "PRelu": _prelu,
    "Pow": _power,
    "Reciprocal": _function("reciprocal"),
    "ReduceL1": _reduce("l1"),
    "ReduceL2": _reduce("l2"),
    "ReduceMax": _reduce("amax"),
    "ReduceMean": _reduce("mean"),
    "ReduceMin": _reduce("amin"),
    "ReduceSum": _reduce("sum"),
    "ReduceSumSquare": _reduce("square"),
    "Relu": _function("relu"),
    "Round": _function("round"),
    "Selu": _selu,
    "Sigmoid": _function("sigmoid"),
    "Sign": _function("sign"),
    "Sin": _function("sin"),
    "Softplus": _with_attributes("softplus"),
    "Softsign": _with_attributes("softsign"),
    "Sqrt": _function("sqrt"),
    "Sub": _python(operator.sub),
    "Sum": _total,
    "Tanh": _function("tanh"),
    "Where": _where,
}

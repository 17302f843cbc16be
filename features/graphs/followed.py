"""Small values of a graph that say how it computes: followed through the operators that make them.

They are arrays of objects: numbers, and of those that hang on the number of images `Extent`.
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from .extents import Extent, NotShownError
from .onnx_graph import load_onnx

MOST_NUMBERS = 2**12
# Of onnx's types: 32 bits, of real and of whole numbers, 64 of these, and truth values.
_REAL, _INT, _LONG, _TRUTH = 1, 6, 7, 9
_MOST = {_INT: 2**31, _LONG: 2**63}


def settings_of(node) -> dict:
    """Return the attributes of a node."""
    get = load_onnx().helper.get_attribute_value
    return {one.name: get(one) for one in node.attribute}


def has_extents(content: np.ndarray | None) -> bool:
    """Tell whether some of the numbers hang on the number of images."""
    return content is not None and any(isinstance(one, Extent) for one in content.flat)


def follow(node, given: Sequence[np.ndarray | None], kind: int) -> np.ndarray | None:
    """Return what a node makes of arrays of objects; None where that is not followed.

    Parameters
    ----------
    kind : int
        Type of its numbers, as onnx counts them.
    """
    operator = _OPERATORS.get(node.op_type)
    if operator is None or kind not in (_REAL, _INT, _LONG, _TRUTH):
        return None
    settings = settings_of(node) | {"kind": kind}
    try:
        if _size(node.op_type, settings, given) > MOST_NUMBERS:
            return None
        found = as_objects(operator(settings, *given))
        return as_objects(np.frompyfunc(lambda one: _as_kept(one, kind), 1, 1)(found))
    except (NotShownError, ArithmeticError, ValueError, LookupError, TypeError, AttributeError):
        return None  # Not a graph that runs, or not alike for any number of images.


def _size(operator: str, settings: dict, given: Sequence[np.ndarray | None]) -> int:
    """Return how many numbers there will be, before they take room."""
    arrays = [one for one in given if one is not None]
    if operator in _FITTED:
        return math.prod(np.broadcast_shapes(*(one.shape for one in arrays)))
    if operator == "Gather":
        data, places = arrays
        return data.size // data.shape[settings.get("axis", 0)] * places.size
    return sum(one.size for one in arrays)  # Those that make more of them look for themselves.


def _as_kept(one, kind: int):
    """Return a number as one of its type is kept, which none beyond the end of that type is."""
    if isinstance(one, Extent):
        if kind == _TRUTH or max(abs(one.each), abs(one.more)) >= 2**31:
            raise NotShownError
        return one
    if kind == _REAL:
        return float(np.float32(one))
    if kind == _TRUTH:
        return bool(one)
    if not -_MOST[kind] <= one < _MOST[kind]:
        raise NotShownError
    return int(one)


def as_objects(values) -> np.ndarray:
    """Return numbers as an array of objects."""
    array = np.empty(np.shape(values), object)
    array[...] = values
    return array


def _each(function: Callable) -> Callable:
    apply = np.frompyfunc(function, 1, 1)
    return lambda settings, value: apply(value)


def _divide(settings: dict, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    def divide(x, y):
        if settings["kind"] == _REAL or isinstance(x, Extent):
            return x / y
        if x < 0 or y <= 0:
            raise NotShownError  # Engines round towards 0, Python does not.
        return x // y

    return np.frompyfunc(divide, 2, 1)(a, b)


def _rest(settings: dict, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if settings.get("fmod"):
        raise NotShownError  # Of numbers below 0 it is another.
    return np.mod(a, b)


def _power(settings: dict, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if settings["kind"] != _REAL:
        raise NotShownError  # Of whole numbers it may have any number of digits.
    return a**b


def _axes(settings: dict, given: np.ndarray | None) -> list[int] | None:
    if given is not None:
        return [int(one) for one in given.flat]
    return list(settings["axes"]) if "axes" in settings else None


def _unsqueeze(settings: dict, value: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    return np.expand_dims(value, tuple(_axes(settings, axes) or ()))


def _squeeze(settings: dict, value: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    wanted = _axes(settings, axes)
    return np.squeeze(value, None if wanted is None else tuple(wanted))


def _slice(settings: dict, value, starts=None, ends=None, axes=None, steps=None) -> np.ndarray:
    starts = settings["starts"] if starts is None else starts
    ends = settings["ends"] if ends is None else ends
    axes = settings.get("axes", range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    parts = [slice(None)] * value.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps):
        parts[int(axis)] = slice(int(start), int(end), int(step))
    return value[tuple(parts)]


def _concat(settings: dict, *values: np.ndarray) -> np.ndarray:
    return np.concatenate(values, settings["axis"])


def _reshape(settings: dict, value: np.ndarray, shape: np.ndarray) -> np.ndarray:
    if any(one == 0 for one in shape.flat):
        raise NotShownError
    return value.reshape([int(one) for one in shape.flat])


def _constant_of_shape(settings: dict, shape: np.ndarray) -> np.ndarray:
    extents = [int(one) for one in shape.flat]
    if math.prod(extents) > MOST_NUMBERS:
        raise NotShownError
    given = settings.get("value")
    number = 0.0 if given is None else load_onnx().numpy_helper.to_array(given).item()
    return np.full(extents, number, object)


def _range(settings: dict, start: np.ndarray, end: np.ndarray, step: np.ndarray) -> np.ndarray:
    first, last, each = (int(one.item()) for one in (start, end, step))
    if abs(last - first) > MOST_NUMBERS or any(
        isinstance(one.item(), float) for one in (start, step)
    ):
        raise NotShownError
    return np.array(range(first, last, each), object)


def _expand(settings: dict, value: np.ndarray, shape: np.ndarray) -> np.ndarray:
    extents = [int(one) for one in shape.flat]
    if math.prod(extents) > MOST_NUMBERS:
        raise NotShownError
    return value * np.ones(extents, int)


def _product(settings: dict, value: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    if value.ndim != 1 or settings.get("noop_with_empty_axes"):
        raise NotShownError
    found = as_objects(np.prod(value))
    return found.reshape(1) if settings.get("keepdims", 1) else found


_FITTED = ("Add", "Div", "Equal", "Max", "Min", "Mod", "Mul", "Pow", "Sub", "Where")
_OPERATORS: dict[str, Callable] = {
    "Add": lambda settings, a, b: a + b,
    "Cast": lambda settings, value: value,
    "Ceil": _each(lambda one: one if isinstance(one, Extent) else float(math.ceil(one))),
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": _divide,
    "Equal": lambda settings, a, b: np.equal(a, b),
    "Expand": _expand,
    "Floor": _each(lambda one: one if isinstance(one, Extent) else float(math.floor(one))),
    "Gather": lambda settings, value, at: np.take(value, at.astype(int), settings.get("axis", 0)),
    "Identity": lambda settings, value: value,
    "Max": lambda settings, *all_of: functools.reduce(np.maximum, all_of),
    "Min": lambda settings, *all_of: functools.reduce(np.minimum, all_of),
    "Mod": _rest,
    "Mul": lambda settings, a, b: a * b,
    "Neg": _each(lambda one: -one),
    "Pow": _power,
    "Range": _range,
    "ReduceProd": _product,
    "Reshape": _reshape,
    "Slice": _slice,
    "Sqrt": _each(math.sqrt),
    "Squeeze": _squeeze,
    "Sub": lambda settings, a, b: a - b,
    "Transpose": lambda settings, value: value.transpose(settings.get("perm")),
    "Unsqueeze": _unsqueeze,
    "Where": lambda settings, which, a, b: np.where(which.astype(bool), a, b),
}  # fmt: skip

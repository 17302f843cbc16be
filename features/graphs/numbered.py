"""Places that are counted image by image, as exporters write views of memory (`as_strided`).

`Range` of the number of images, times what one image takes, plus places within it, is what
`Gather` then takes out of all numbers of a batch in a row.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from .apart_values import Apart, Step, Value, require, shape_of
from .extents import Extent, NotShownError
from .followed import MOST_NUMBERS, has_extents

_LONG = 7  # 64 bits, as onnx counts types


@dataclasses.dataclass(frozen=True)
class Numbered(Value):
    """Whole numbers: that of the image, times `step`, and `first`.

    Attributes
    ----------
    axis : int
        Along which the images come, one entry for each.
    step : int
    first : numpy.ndarray of object
        What they are for the first image: its extent along `axis` is one.
    """

    axis: int = 0
    step: int = 1
    first: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(1, object))


def follow_numbered(step: Step) -> Value | None:
    """Return what a step makes of such places, or where it begins them; None where it does not.

    Raises
    ------
    NotShownError
        There are such places, and it is not known what becomes of them.
    """
    operator = step.node.op_type
    if operator == "Range":
        return _begun(step)
    if not any(isinstance(one, Numbered) for one in step.given):
        return None
    if operator in _RULES:
        return _RULES[operator](step)
    raise NotShownError


def _begun(step: Step) -> Numbered | None:
    start, end = step.at(0), step.at(1)
    if start is None or end is None or not has_extents(end.content):
        return None
    wanted = [[0], [Extent(1)], [1]]
    require(start.kind == _LONG and [step.numbers(n) for n in range(3)] == wanted)
    return _made(0, 1, np.zeros(1, object))


def _made(axis: int, by: int, first: np.ndarray) -> Numbered:
    # What is within 32 bits for the first image is within 64 for any.
    require(first.size <= MOST_NUMBERS and 0 < by < 2**31)
    require(all(isinstance(one, int) and 0 <= one < 2**31 for one in first.flat))
    shape = [*first.shape[:axis], Extent(1), *first.shape[axis + 1 :]]
    return Numbered(tuple(shape), _LONG, axis=axis, step=by, first=first)


def _these(value: Value | None) -> Numbered:
    if not isinstance(value, Numbered):
        raise NotShownError
    return value


def _with_numbers(step: Step) -> tuple[Numbered, np.ndarray]:
    """Return the places, and the constants that they are added to or multiplied by."""
    one, other = step.given
    if not isinstance(one, Numbered):
        one, other = other, one
    if other is None or other.content is None:
        raise NotShownError
    return _these(one), other.content


def _multiplied(step: Step) -> Numbered:
    one, by = _with_numbers(step)
    require(by.size == 1 and by.ndim <= one.first.ndim)
    return _made(one.axis, one.step * by.item(), one.first * by.item())


def _added(step: Step) -> Numbered:
    one, more = _with_numbers(step)
    behind = one.first.ndim - one.axis
    require(more.ndim < behind or more.shape[-behind] == 1)
    require(math.prod(np.broadcast_shapes(one.first.shape, more.shape)) <= MOST_NUMBERS)
    first = one.first + more
    return _made(first.ndim - behind, one.step, first)


def _unsqueezed(step: Step) -> Numbered:
    one, axes = _these(step.at(0)), step.numbers(1, "axes") or []
    first = np.expand_dims(one.first, tuple(axes))
    new = {axis % first.ndim for axis in axes}
    return _made([n for n in range(first.ndim) if n not in new][one.axis], one.step, first)


def _gathered(step: Step) -> Apart:
    data, places = step.at(0), _these(step.at(1))
    if not isinstance(data, Apart) or len(shape_of(data)) != 1:
        raise NotShownError
    # Each image takes its own numbers alone.
    times, own = data.each
    require(times == 1 and places.step == own and all(one < own for one in places.first.flat))
    return Apart(places.shape, data.kind, axis=places.axis)


_RULES: dict[str, Callable[[Step], Value]] = {
    "Add": _added,
    "Gather": _gathered,
    "Mul": _multiplied,
    "Unsqueeze": _unsqueezed,
}

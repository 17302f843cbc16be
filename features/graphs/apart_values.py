"""Values of a graph by what of them belongs to which image of a batch."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .extents import NotShownError

# Extents of a value: of the images, where their number is open, an `Extent`.
Extents = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Value:
    """A value that is the same whatever the images show.

    Attributes
    ----------
    shape : tuple of int or None
    kind : int
        Type of its numbers, as onnx counts them.
    content : numpy.ndarray of object, or None
        Its numbers, where there are few and they are known.
    """

    shape: Extents | None
    kind: int
    content: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Apart(Value):
    """A value of which each entry along an axis belongs to an image, and depends on it alone.

    Attributes
    ----------
    axis : int
    each : tuple of int
        How many times over all images come, and how many entries are side by side for each.
    """

    axis: int = 0
    each: tuple[int, int] = (1, 1)


@dataclasses.dataclass(frozen=True)
class Step:
    """A node with what goes into it."""

    node: Any
    settings: dict
    given: Sequence[Value | None]
    opset: int

    def at(self, number: int) -> Value | None:
        """Return an input, or None where it is left away."""
        return self.given[number] if number < len(self.given) else None

    def apart(self, *allowed: int) -> list[tuple[int, Apart]]:
        """Return the inputs that depend on the images; refuse any but those that are allowed."""
        found = [(n, one) for n, one in enumerate(self.given) if isinstance(one, Apart)]
        if allowed and any(n not in allowed for n, _ in found):
            raise NotShownError
        return found

    def numbers(self, number: int, setting: str = "") -> list | None:
        """Return the numbers of an input or else of an attribute; None where neither is given."""
        given = self.at(number)
        if given is not None:
            if given.content is None:
                raise NotShownError
            return list(given.content.flat)
        found = self.settings.get(setting)
        return found if found is None or isinstance(found, list) else [found]


Place = tuple[int, tuple[int, int]]  # `axis` and `each` of an `Apart`


def require(holds: bool) -> None:
    """Raise `NotShownError` unless something holds."""
    if not holds:
        raise NotShownError


def shape_of(value: Value | None) -> Extents:
    """Return a shape that must be known."""
    if value is None or value.shape is None:
        raise NotShownError
    return value.shape


def axis_of(axis: Any, value: Value) -> int:
    """Return which axis of a value is meant, counted from the first."""
    rank = len(shape_of(value))
    require(isinstance(axis, int) and -rank <= axis < rank)
    return axis % rank


def the_one(step: Step, at: int = 0) -> Apart:
    """Return the only input that depends on the images."""
    found = step.apart(at)
    require(len(found) == 1)
    return found[0][1]


def fitted_place(values: Sequence[Value | None]) -> Place:
    """Return how far from the end the axis of the images is, where shapes are fitted together."""
    apart = [one for one in values if isinstance(one, Apart)]
    places = {(len(shape_of(one)) - one.axis, one.each) for one in apart}
    require(len(places) == 1)
    (place,) = places
    for one in values:
        if one is not None and not isinstance(one, Apart):
            shape = shape_of(one)
            require(len(shape) < place[0] or shape[-place[0]] == 1)
    return place

"""Whole numbers that a graph computes of shapes, where the number of images is open."""

import dataclasses
import math
from typing import Any


class NotShownError(Exception):
    """Something holds for some numbers of images, or it is not known whether it does."""


@dataclasses.dataclass(frozen=True, eq=False)
class Extent:
    """The number of images times `each`, which is not 0, and `more`.

    What is not the same kind of number for any number of images raises `NotShownError`.
    """

    each: int
    more: int = 0

    def at(self, images: int) -> int:
        """Return what it is for so many images."""
        return self.each * images + self.more

    def __add__(self, other: Any):
        each, more = _parts(other)
        return _made(self.each + each, self.more + more)

    __radd__ = __add__

    def __neg__(self):
        return Extent(-self.each, -self.more)

    def __sub__(self, other: Any):
        return self + -other

    def __rsub__(self, other: Any):
        return -self + other

    def __mul__(self, other: Any):
        each, factor = _parts(other)
        if each:
            raise NotShownError
        return _made(self.each * factor, self.more * factor)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any):
        each, more = _parts(other)
        if each:
            if self.each % each or self.each // each * more != self.more:
                raise NotShownError
            return self.each // each
        if not more or self.each % more or self.more % more:
            raise NotShownError
        return _made(self.each // more, self.more // more)

    __truediv__ = __floordiv__

    def __eq__(self, other: Any) -> bool:
        each, more = _parts(other)
        if each == self.each:
            return more == self.more
        images, rest = divmod(more - self.more, self.each - each)
        if not rest and images > 0:
            raise NotShownError
        return False

    def __ne__(self, other: Any) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.each, self.more))

    def _refuse(self, *_: Any):
        raise NotShownError

    __lt__ = __le__ = __gt__ = __ge__ = __mod__ = __rmod__ = __rfloordiv__ = _refuse
    __rtruediv__ = __pow__ = __rpow__ = __int__ = __float__ = __bool__ = __index__ = _refuse


def _parts(value: Any) -> tuple[int, int]:
    if isinstance(value, Extent):
        return value.each, value.more
    if not math.isfinite(value) or value != int(value):
        raise NotShownError
    return 0, int(value)


def _made(each: int, more: int):
    return Extent(each, more) if each else more

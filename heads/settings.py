"""What the settings of a head may be, and the one sentence about those that are not."""

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from ..core.errors import HeadError


@dataclasses.dataclass(frozen=True)
class Allowed:
    """The values that a setting may have.

    Attributes
    ----------
    words : str
        As an error message says it.
    fits : callable
        Whether a value may be used.
    """

    words: str
    fits: Callable[[Any], bool]

    def __or__(self, other: Any) -> "Allowed":
        """Return what is allowed when `other`, a value such as ``"auto"``, may be given too."""
        return Allowed(
            f"{other!r} or {self.words}", lambda value: value == other or self.fits(value)
        )


def number(words: str, inside: Callable[[Any], bool], kind: type = numbers.Real) -> Allowed:
    """Return that numbers are allowed, those for which `inside` is true."""

    def fits(value: Any) -> bool:
        if not isinstance(value, numbers.Real) or not isinstance(value, kind):
            return False
        return not isinstance(value, bool) and math.isfinite(value) and bool(inside(value))

    return Allowed(words, fits)


def among(values: tuple[str, ...]) -> Allowed:
    """Return that one of `values` is allowed."""
    return Allowed(", ".join(values), lambda value: isinstance(value, str) and value in values)


ABOVE_0 = number("above 0", lambda value: value > 0)
COUNT = number("a whole number from 1", lambda value: value >= 1, numbers.Integral)


def check_settings(kind: str, settings: Mapping[str, Any], allowed: Mapping[str, Allowed]) -> None:
    """Raise `HeadError`, naming all `settings` that are not `allowed`."""
    wrong = [
        f"{name}={settings[name]!r} ({one.words})"
        for name, one in allowed.items()
        if not one.fits(settings[name])
    ]
    if wrong:
        raise HeadError(
            f"settings of the head '{kind}' are out of range: {'; '.join(wrong)}",
            "the allowed values are in brackets",
        )

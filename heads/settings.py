"""What the settings of a head may be, and the one sentence about those that are not."""

import dataclasses
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

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
            f"{other!r} or {self.words}",
            lambda value: (type(value) is type(other) and value == other) or self.fits(value),
        )


def number(words: str, inside: Callable[[Any], bool], kind: type = numbers.Real) -> Allowed:
    """Return that numbers are allowed, those for which `inside` is true: never infinity or NaN."""

    def fits(value: Any) -> bool:
        if not isinstance(value, numbers.Real) or not isinstance(value, kind):
            return False
        return not isinstance(value, bool) and bool(inside(value))

    return Allowed(words, fits)


def among(values: tuple[str, ...]) -> Allowed:
    """Return that one of `values` is allowed."""
    return Allowed(", ".join(values), lambda value: isinstance(value, str) and value in values)


# Squares of others leave what numbers there are.
ABOVE_0 = number("from 1e-15 to 1e15", lambda value: 1e-15 <= value <= 1e15)


def count(most: int) -> Allowed:
    """Return that whole numbers up to `most` are allowed: a typo must not take all memory."""
    return number(
        f"a whole number from 1 to {most:,}", lambda value: 1 <= value <= most, numbers.Integral
    )


def _are_widths(value: Any) -> bool:
    some = isinstance(value, (tuple, list)) and len(value) > 0
    return some and all(isinstance(one, numbers.Integral) and int(one) > 0 for one in value)


def _is_seed(value: Any) -> bool:
    if isinstance(value, np.random.RandomState):
        return True
    return isinstance(value, numbers.Integral) and 0 <= int(value) < 2**32


# What several kinds of heads have, and none says of itself.
_COMMON = {
    "tol": number("from 1e-12 to 1", lambda value: 1e-12 <= value <= 1),
    "sets": Allowed("widths of feature sets", _are_widths) | None,
    "random_state": Allowed("a whole number from 0 to 4,294,967,295", _is_seed) | None,
}


def check_settings(kind: str, settings: Mapping[str, Any], allowed: Mapping[str, Allowed]) -> None:
    """Raise `HeadError`, naming all `settings` that are not `allowed`."""
    wrong = [
        f"{name}={settings[name]!r} ({one.words})"
        for name, one in {**_COMMON, **allowed}.items()
        if name in settings and not one.fits(settings[name])
    ]
    if wrong:
        raise HeadError(
            f"settings of the head '{kind}' are out of range: {'; '.join(wrong)}",
            "the allowed values are in brackets",
        )


def require_memory(kind: str, settings: Mapping[str, Any], needed: int, has: int | None) -> None:
    """Raise `HeadError` if a fit needs more memory than this machine has.

    Parameters
    ----------
    kind : str
    settings : mapping of str to object
        Those that the memory goes with; none where it goes with the number of rows alone.
    needed : int
        Bytes of one fit.
    has : int or None
        Bytes of the machine; None where they are not known.
    """
    if has is not None and needed > has:
        named = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        remedy = "learn from fewer images, or name heads that need less, such as --head mlp"
        raise HeadError(
            f"the head '{kind}' with {named or 'so many rows'} would take "
            f"{needed / 2**30:,.1f} GiB of memory, and this machine has {has / 2**30:,.1f} GiB",
            f"lower {' or '.join(settings)}" if settings else remedy,
        )

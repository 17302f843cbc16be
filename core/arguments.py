"""Arguments of other types than a function declares are named at the door."""

import collections.abc
import dataclasses
import functools
import inspect
import numbers
import os
import types
import typing
from collections.abc import Callable, Collection
from typing import Any, ParamSpec, TypeVar

import numpy as np

from .errors import ArgumentError, enumerate_some, shortened

_PLAIN = {
    bool: (bool, np.bool_),
    int: (numbers.Integral,),
    float: (numbers.Real,),
}
_P = ParamSpec("_P")
_R = TypeVar("_R")
_MANY = (collections.abc.Sequence, collections.abc.Iterable, tuple, list)


def typed(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Refuse arguments of `function` that are not of the types that its signature declares.

    Raises
    ------
    ArgumentError
        Names all of them, when the function is called.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        given = signature.bind(*args, **kwargs).arguments
        # What a private method is given, its class was given.
        name = function.__qualname__.partition("._")[0]
        _require(name, given.items(), _hints(function))
        return function(*args, **kwargs)

    return called


def require_types(options: Any) -> None:
    """Raise `ArgumentError` if fields of a dataclass are not of the types that it declares."""
    kind: type = type(options)
    fields = [(one.name, getattr(options, one.name)) for one in dataclasses.fields(options)]
    _require(kind.__name__, fields, _hints(kind))


@functools.cache
def _hints(declared: Callable) -> dict[str, Any]:
    return typing.get_type_hints(declared)


def _require(what: str, given: Collection[tuple[str, object]], hints: dict[str, Any]) -> None:
    wrong = [
        f"{name}={_shown(value)} ({_name(hints[name])})"
        for name, value in given
        if name in hints and not _fits(value, hints[name])
    ]
    if wrong:
        raise ArgumentError(
            f"{what} cannot use {enumerate_some(wrong, 20)}", "the brackets say what can be given"
        )
    if nul := [f"{name}={_shown(value)}" for name, value in given if _has_nul(value)]:
        raise ArgumentError(
            f"{what} cannot use {enumerate_some(nul, 20)}: it has a zero byte, which no name has",
            "leave it out",
        )


def _fits(value: object, hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    if origin is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in typing.get_args(hint))
    if hint is None or hint is types.NoneType:
        return value is None
    if origin in _PLAIN:
        return isinstance(value, _PLAIN[origin]) and (origin is bool or not isinstance(value, bool))
    if origin is collections.abc.Callable:
        return callable(value)
    if origin in _MANY:
        return _is_many(value, *typing.get_args(hint)[:1])
    return not isinstance(origin, type) or isinstance(value, origin) or _is_like(value, origin)


def _is_like(value: object, kind: type) -> bool:
    """Tell whether a value has all that a class of ours has, as listeners of progress do."""
    names = [name for name in vars(kind) if not name.startswith("_")]
    ours = kind.__module__.partition(".")[0] == __name__.partition(".")[0]
    made = not isinstance(value, type)
    return ours and made and bool(names) and all(hasattr(value, name) for name in names)


def _is_many(value: object, kind: Any = Any) -> bool:
    """Tell whether a value is a list or the like; a text is a common mistake for a list of one."""
    if isinstance(value, str | bytes | collections.abc.Mapping):
        return False
    return isinstance(value, collections.abc.Collection) and all(_fits(one, kind) for one in value)


def _has_nul(value: object) -> bool:
    """Tell whether a text, a path or one of several has a zero byte, at which the system ends."""
    if isinstance(value, str | bytes | os.PathLike):
        path = os.fspath(value)
        return (b"\0" if isinstance(path, bytes) else "\0") in path
    if isinstance(value, collections.abc.Mapping):
        return any(map(_has_nul, (*value.keys(), *value.values())))
    return isinstance(value, tuple | list | set) and any(map(_has_nul, value))


def _shown(value: object) -> str:
    return f"{shortened(repr(value), 60)} of type {type(value).__name__}"


def _name(hint: Any) -> str:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_name, parts))
    if origin in _MANY:
        return f"a list of {_name(parts[0])}" if parts else "a list"
    if hint is types.NoneType:
        return "None"
    return getattr(origin or hint, "__name__", str(hint))

"""Take fields of known types out of JSON, and say which one is not as it should be."""

import math
from collections.abc import Iterator
from typing import Any

from .errors import IcecoreError, enumerate_some, escaped
from .text import repeated


class JsonFields:
    """Checked access to a JSON object that came from a file.

    Parameters
    ----------
    content : dict
        As `icecore.core.json_files.read_json` gives it.
    where : str
        What to call the object in messages, such as the file's name.
    error : type
        What to raise about a field that is absent or of another type.
    hint : str
        What the user can do then.
    """

    def __init__(self, content: Any, where: str, error: type[IcecoreError], hint: str) -> None:
        self._where, self._error, self._hint = where, error, hint
        if not isinstance(content, dict):
            raise self.refuse(f"is {_shown(content)}, not an object")
        self.content: dict[str, Any] = content

    def refuse(self, what: str) -> IcecoreError:
        """Return the error that says what is wrong with this object."""
        return self._error(f"{escaped(self._where)} {what}", self._hint)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text; `default`, if there is one, where the field is absent."""
        value = self._value(name, default)
        return value if isinstance(value, str) else self._wrong(name, "a text")

    def flag(self, name: str, default: bool | None = None) -> bool:
        """Return true or false."""
        value = self._value(name, default)
        return value if isinstance(value, bool) else self._wrong(name, "true or false")

    def integer(self, name: str, least: int | None = None, default: int | None = None) -> int:
        """Return a whole number of at least `least`."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            return self._wrong(name, "a whole number")
        if least is not None and value < least:
            return self._wrong(name, f"{least} or more")
        return value

    def number(self, name: str, least: float = -math.inf) -> float:
        """Return a finite number of at least `least`."""
        value = self._value(name, None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self._wrong(name, "a number")
        if not math.isfinite(value) or value < least:
            return self._wrong(name, f"a finite number of {least:g} or more")
        return float(value)

    def texts(self, name: str, default: list[str] | None = None) -> list[str]:
        """Return a list of texts."""
        value = self._value(name, default)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            return self._wrong(name, "a list of texts")
        return value

    def names(self, name: str, least: int = 1) -> tuple[str, ...]:
        """Return a list of at least `least` different texts, none of them empty."""
        value = self.texts(name)
        if len(value) < least or "" in value:
            return self._wrong(name, f"a list of {least} or more names")
        if len(set(value)) < len(value):
            raise self.refuse(f"names {enumerate_some(repeated(value))} twice in '{name}'")
        return tuple(value)

    def numbers(self, name: str, least: float = -math.inf) -> dict[str, float]:
        """Return an object of finite numbers, each at least `least`."""
        part = self.part(name)
        return {key: part.number(key, least) for key in part.content}

    def texts_by_name(self, name: str) -> dict[str, str]:
        """Return an object of texts."""
        part = self.part(name)
        return {key: part.text(key) for key in part.content}

    def interval(self, name: str) -> tuple[float, float]:
        """Return a list of two finite numbers, the lower one first."""
        value = self._value(name, None)
        two = isinstance(value, list) and len(value) == 2
        finite = two and all(type(one) in (int, float) and math.isfinite(one) for one in value)
        if not finite or value[0] > value[1]:
            return self._wrong(name, "a list of two finite numbers, the lower one first")
        return float(value[0]), float(value[1])

    def part(self, name: str) -> "JsonFields":
        """Return an object inside this one."""
        value = self._value(name, None)
        if not isinstance(value, dict):
            return self._wrong(name, "an object")
        return self._inside(value, name)

    def parts(self, name: str) -> "Iterator[tuple[str, JsonFields]]":
        """Yield the objects of an object, with their names."""
        part = self.part(name)
        for key, value in part.content.items():
            yield key, part._inside(value, key)

    def items(self, name: str) -> "list[JsonFields]":
        """Return the objects of a list."""
        value = self._value(name, None)
        if not isinstance(value, list):
            return self._wrong(name, "a list of objects")
        return [self._inside(one, f"{name}[{index}]") for index, one in enumerate(value)]

    def has(self, name: str) -> bool:
        """Tell whether a field is there and not null."""
        return self.content.get(name) is not None

    def _inside(self, value: Any, name: str) -> "JsonFields":
        return JsonFields(value, f"{self._where}: {name}", self._error, self._hint)

    def _value(self, name: str, default: Any) -> Any:
        if name not in self.content:
            if default is None:
                raise self.refuse(f"has no field '{name}'")
            return default
        return self.content[name]

    def _wrong(self, name: str, wanted: str) -> Any:
        raise self.refuse(f"has {name} = {_shown(self.content.get(name))}, not {wanted}")


def _shown(value: Any) -> str:
    text = escaped(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."

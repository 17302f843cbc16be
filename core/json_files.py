"""Read JSON files: one strict reader under all that icecore reads.

What a stranger's file can do to a reader is answered here, with one line that names the
file: nesting that exhausts the stack, numbers of thousands of digits, numbers that are
infinite or none, names given twice, halves of surrogate pairs, other encodings.
"""

import json
import math
import os
import re
from typing import Any

from .content import told_apart
from .errors import FileFormatError, IcecoreError, escaped
from .regular_files import read_whole
from .text import repeated

LARGEST_JSON = 64 * 2**20
# Nothing that icecore or a hub writes comes near these.
_DEEPEST = 64
_LONGEST_INTEGER = 20
_MANY_VALUES = 10**6
_OTHER_THAN_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))
_LONG_NUMBER = re.compile(rb"\d{21}|[eE]\+?\d{2}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# A name of a file has none; what lies in tables and tars may.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_ENCODINGS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x00", "UTF-16 or binary"))


def read_json(
    path: str | os.PathLike,
    error: type[IcecoreError] = FileFormatError,
    hint: str = "make it again",
    *,
    kind: type = dict,
    most: int = LARGEST_JSON,
) -> Any:
    """Read a JSON file.

    Parameters
    ----------
    error : type
        What to raise about content that cannot be used.
    hint : str
        What the user can do then.
    kind : type
        What the file must hold: dict, list, or object for anything.
    most : int
        Largest size of the file in bytes; a larger one is not read.

    Raises
    ------
    MissingFileError
        There is no such file.
    IcecoreError
        Of the type `error`: it is no regular file, too large, or not JSON of that kind.
    """
    content = read_whole(path, most, error, hint)
    if _NUL.search(content):
        raise error(f"{path} is not usable JSON: it has the character NUL in a text", hint)
    return parse_json(content, path, error, hint, kind=kind)


def parse_json(
    content: bytes | str,
    name: object,
    error: type[IcecoreError] = FileFormatError,
    hint: str = "make it again",
    *,
    kind: type = dict,
) -> Any:
    """Parse JSON that came from a file, an attribute or another process, as `read_json` does.

    Parameters
    ----------
    name : object
        What to call it in messages.

    Raises
    ------
    IcecoreError
        Of the type `error`: it is not JSON of that kind.
    """
    try:
        found = _parse(content)
    except (ValueError, RecursionError, MemoryError, OverflowError) as cause:
        data = content.encode("utf-8", "replace") if isinstance(content, str) else content
        found, hint = told_apart(data, hint)
        reason = found or str(cause) or type(cause).__name__
        raise error(f"{name} is not usable JSON: {escaped(reason)}", hint) from cause
    if not isinstance(found, kind):
        raise error(f"{name} holds {_kind_text(found)}, not {_KIND_NAMES[kind]}", hint)
    return found


_KIND_NAMES: dict[type, str] = {dict: "a JSON object", list: "a JSON array", str: "a text"}


def _kind_text(found: Any) -> str:
    if isinstance(found, bool) or found is None:
        return json.dumps(found)
    return _KIND_NAMES.get(type(found), "a number")


def _parse(content: bytes | str) -> Any:
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    for mark, encoding in _ENCODINGS:
        if data.startswith(mark):
            raise ValueError(f"it is {encoding}, not UTF-8")
    text = data.decode("utf-8-sig")
    _check_structure(data)
    hooks: dict[str, Any] = {}
    if _LONG_NUMBER.search(data):
        # Looking at every number takes time: only where one could be out of range.
        hooks = {"parse_int": _integer, "parse_float": _number}
    found = json.loads(text, parse_constant=_no_number, object_pairs_hook=_object, **hooks)
    if _SURROGATE.search(data):
        try:
            json.dumps(found, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("it has half of a surrogate pair, which is no character") from error
    return found


def _check_structure(data: bytes) -> None:
    """Refuse too many values or too deep nesting, before anything is made of them."""
    # Backslashes in pairs first; of other escapes only those of quotes matter here.
    data = data.replace(rb"\\", b"").replace(rb"\"", b"")
    outside_strings = b"".join(data.split(b'"')[::2])
    structure = outside_strings.translate(None, _OTHER_THAN_STRUCTURE)
    if len(structure) > max(_MANY_VALUES, len(data) // 8):
        # Empty lists take thirty times as much memory as their text.
        raise ValueError(f"it has {len(structure)} values and next to nothing in them")
    depth = 0
    # Almost all brackets close at once, and few files are nested at all.
    for mark in re.sub(rb"[,]+|\[\]|\{\}", b"", re.sub(rb"\[,*\]|\{,*\}", b"", structure)):
        depth += 1 if mark in b"[{" else -1
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = repeated(name for name, _ in pairs)[0]
        raise ValueError(f"it names '{twice:.60}' twice in one object")
    return found


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(f"the number {text[:12]}... has {len(text)} digits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number that JSON has")


def setting_value(text: str) -> Any:
    """Return the value of a setting as a command line says it: JSON, Python's words, or a name.

    >>> setting_value("64"), setting_value("true"), setting_value("None"), setting_value("power")
    (64, True, None, 'power')
    """
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a name; numbers of thousands of digits are none either
        return text

"""Names of classes: one spelling, one order, and those that look like one another."""

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable

from ..core.errors import enumerate_some, escaped

_LONGEST_NAME = 1000
_MISSING = frozenset(
    "nan <na> n/a n.a. na #n/a #na nat nil null <null> (null) (blank) undefined ? . - -- \\n "
    "#ref! #name? #value! #div/0! #num! #null!".split()
)
# Lists of labels in one cell, as Python, JSON, Label Studio and contests write them.
_BRACKETS = re.compile(r"\[.*\]|\{.*\}|\(.*\)", re.DOTALL)
_DECIMAL = re.compile(r"[+-]?\d*\.\d*[1-9]\d*(?:[eE][+-]?\d+)?")
# What spreadsheets make of 4-6 and 1/2: 4-Jun, 1-Feb.
_MADE_DATE = re.compile(
    r"\d{1,2}-(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
    r"|(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)-\d{1,2}",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"\d+(?: +\d+)+")
_BETWEEN = re.compile(r"[,;|]")
# These stand within plain names, too.
_WITHIN = re.compile(r"\s+|\s*[+&/]\s*")
# Letters of other scripts that are drawn as Latin ones.
_DRAWN_ALIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u04bb\u0455\u03bf\u03b1\u03bd\u0131"
    "\u0432\u043a\u043c\u043d\u0442\u03b5\u03ba\u03c1\u03c4\u03c5\u03c7",
    "aeopcyxijhsoavibkmhtekptux",
)


def class_name(text: str) -> str:
    """Return a class name in the one spelling that icecore uses of it.

    White space around it goes, and letters with accents are one character each (Unicode's
    NFC): folders made on a Mac spell them as two.

    Raises
    ------
    ValueError
        It has more than a thousand characters; the text says so as the fault of a line.

    >>> class_name(" cafe\\u0301 ") == "caf\\u00e9"
    True
    """
    if len(text) > _LONGEST_NAME:
        raise ValueError(f"has a class name of {len(text)} characters, more than {_LONGEST_NAME}")
    return unicodedata.normalize("NFC", text).strip()


def class_order(name: str) -> tuple:
    """Return the sort key of a class name: ``class 2`` before ``class 10``, always in one order.

    >>> sorted(["10", "2", "01", "b", "1", "a1"], key=class_order)
    ['01', '1', '2', '10', 'a1', 'b']
    """
    parts = re.split(r"(\d+)", name)
    key = tuple((0, *_size_of(p)) if p.isdecimal() else (1, 0, p) for p in parts if p)
    return (key, name)


def _size_of(digits: str) -> tuple[int, str]:
    """Return a sort key of a number of any length; Python reads some thousand digits and no more.

    >>> _size_of("007") < _size_of("12") == _size_of("012")
    True
    """
    plain = "".join(str(unicodedata.decimal(one)) for one in digits).lstrip("0")
    return len(plain), plain


def look_alikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of names that a reader would take for one.

    They differ in capitals, spaces, hyphens, leading zeros, zeros behind a point, invisible
    characters, the Unicode form, or letters that other scripts draw alike.

    >>> look_alikes(["hat", "Hat", "dress", "hat\\u200b"])
    [('Hat', 'hat', 'hat\\u200b')]
    """
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(_appearance(name), set()).add(name)
    return [tuple(sorted(group, key=class_order)) for group in groups.values() if len(group) > 1]


def look_alike_notes(what: str, names: Iterable[str]) -> list[str]:
    """Say which of the names look alike, with everything invisible in them shown.

    >>> look_alike_notes("groups", ["worn", "Worn", "flat"])
    ["groups have names that look alike: 'Worn' and 'worn'"]
    """
    names = list(names)
    groups = look_alikes(names)
    text = "; ".join(" and ".join(f"'{escaped(name)}'" for name in group) for group in groups)
    notes = [f"{what} have names that look alike: {text}"] if groups else []
    if missing := sorted(name for name in names if name.casefold() in _MISSING):
        notes.append(
            f"{what} have names that programs write where a value is missing: "
            f"{', '.join(missing)}; leave the field empty where there is none"
        )
    measured = sorted((name for name in names if _DECIMAL.fullmatch(name)), key=float)
    if len(measured) >= 5 and len(measured) > len(names) / 2:
        notes.append(
            f"{what} look like measurements: {enumerate_some(measured)}; each number is a class "
            "of its own, so divide them into ranges and name these"
        )
    if dates := sorted(filter(_MADE_DATE.fullmatch, names), key=class_order):
        notes.append(
            f"{what} look like dates that a spreadsheet made of other names (4-6 becomes 4-Jun): "
            f"{enumerate_some(dates)}; if so, write them again as they were"
        )
    if listed := _lists(names):
        notes.append(
            f"{what} look like lists of several labels: "
            f"{enumerate_some(chr(39) + escaped(name) + chr(39) for name in listed)}; an image has "
            "one label, and several in columns of their own (--label-column, repeated)"
        )
    return notes


def _lists(names: list[str]) -> list[str]:
    """Return the names that join several others: each by itself, or shared by two of them."""
    parts = {name: _parts(name) for name in names if name.casefold() not in _MISSING}
    counts = Counter(part for several in parts.values() for part in set(several))
    return sorted(
        (
            name
            for name, several in parts.items()
            if _BRACKETS.fullmatch(name)
            or _NUMBERS.fullmatch(name)
            or (several and all(part in parts for part in several))
            or _is_of(name, parts)
            or any(counts[part] > 1 for part in several)
        ),
        key=class_order,
    )


def _parts(name: str) -> list[str]:
    """Split a name at what lists have between their items; nothing if it has none of it."""
    found = [part.strip() for part in _BETWEEN.split(name)]
    return found if len(found) > 1 and all(found) else []


def _is_of(name: str, names: Container[str]) -> bool:
    """Tell whether all words of a name, of which it has several, are names of their own."""
    words = _WITHIN.split(name)
    return len(words) > 1 and all(word in names for word in words)


def as_it_was(name: str) -> str:
    """Undo that UTF-8 was read as Windows-1252, where it was."""
    try:
        return name.encode("cp1252").decode()
    except UnicodeError:
        return name


def _appearance(name: str) -> str:
    text = (
        unicodedata.normalize("NFKC", html.unescape(as_it_was(name)))
        .casefold()
        .translate(_DRAWN_ALIKE)
    )
    # Accents that are left belong to no letter.
    text = "".join(one for one in text if unicodedata.category(one) not in ("Cf", "Cc", "Mn"))
    text = re.sub(r"(\d)\.0+(?!\d)", r"\1", text)
    # Between numbers they count: 1.5 is not 15, and -1 not 1.
    text = re.sub(r"(?<=\d)[\s_\-,.]+(?=\d)|^[\-\u2212](?=\d)", "\0", text)
    text = re.sub(r"^\+(?=\d)|^=(?=\")", "", text)
    text = re.sub(r"[\s_\-\u2010-\u2015\u2212.'\u2018-\u201f\"\xab\xbb]+", "", text)
    return re.sub(r"\d+", lambda digits: _size_of(digits[0])[1] or "0", text)


def respelt_labels(labels: Iterable[str]) -> list[str]:
    """Name the labels that are spelt in two ways and are one class."""
    spelt: dict[str, set[str]] = {}
    for label in sorted(labels):
        spelt.setdefault(class_name(label), set()).add(label)
    return [
        "labels that differ in the Unicode form or in spaces alone are one class: "
        f"{', '.join(map(ascii, sorted(raws)))}"
        for raws in spelt.values()
        if len(raws) > 1
    ]

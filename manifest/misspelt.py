"""Paths of a table that lead to no file, and the file that each of them seems to mean."""

import html
import itertools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from urllib.parse import unquote

from ..core.stores import is_url
from .names import as_it_was

_LOOKED_AT = 20
_OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def meant_files(paths: Iterable[str], table: str) -> list[str]:
    """Say which files are meant by paths that lead to none, as far as one can see.

    Backslashes, ``%20``, ``~``, quotes and ``file://`` are undone; folders in front are left out;
    capitals, the Unicode form, the encoding and the ending may be others.

    Parameters
    ----------
    paths : iterable of str
        Of files that are not there; a few are looked at.
    table : str
        The file that names them, from whose folder relative paths are taken; where there is
        none, nothing is said.
    """
    if not os.path.isfile(table):
        return []
    folder = os.path.dirname(os.path.abspath(table))
    listed: dict[str, dict[str, str]] = {}
    beside = _folders(folder)
    found = []
    for path in [one for one in paths if not is_url(one)][:_LOOKED_AT]:
        written = path.removeprefix(f"{folder}{os.sep}")
        # A folder is no misspelt file.
        if os.path.isdir(path):
            continue
        if meant := _meant(written, folder, beside, listed):
            found.append(f"'{written}' may be '{meant}'")
        elif _OF_WINDOWS.match(written) and os.name != "nt":
            found.append(f"'{written}' is a path of a Windows computer")
    return found


def _meant(written: str, folder: str, beside: list[str], listed: dict[str, dict[str, str]]) -> str:
    text = unquote(re.sub("^file:/+", "", written.strip("'\" ").replace("\\", "/")))
    if text.startswith("~") and os.path.isfile(os.path.expanduser(text)):
        return os.path.expanduser(text)
    parts = [part for part in text.split("/") if part not in ("", ".")]
    folders = ["/".join(parts[first:-1]) for first in range(len(parts))]
    # As a last resort, in the folders beside the table.
    for inside in [*folders, *beside] if parts else ():
        names = listed.setdefault(inside, _names(os.path.join(folder, inside)))
        for form in (parts[-1], _loose(parts[-1]), _stem(parts[-1])):
            if form in names:
                return f"{inside}/{names[form]}".lstrip("/")
    return ""


def _folders(folder: str) -> list[str]:
    """Return some of the folders in another one."""
    try:
        with os.scandir(folder) as entries:
            found = (entry.name for entry in entries if entry.is_dir())
            return sorted(itertools.islice(found, _LOOKED_AT))
    except OSError:
        return []


def _names(folder: str) -> dict[str, str]:
    """Return the files of a folder by each spelling that can mean only one of them."""
    try:
        with os.scandir(folder) as entries:
            files = [entry.name for entry in entries if entry.is_file()]
    except (OSError, ValueError):
        return {}
    names: dict[str, str] = {}
    for spelling in (_stem, _loose, str):
        spelt = [spelling(name) for name in files]
        counts = Counter(spelt)
        names |= {one: name for one, name in zip(spelt, files) if counts[one] == 1}
    return names


def _loose(name: str) -> str:
    plain = html.unescape(as_it_was(name)).replace("+", " ").strip("\ufeff")
    return unicodedata.normalize("NFC", plain).casefold()


def _stem(name: str) -> str:
    return re.sub(r"\.[a-z]{3,4}$", "", _loose(name))

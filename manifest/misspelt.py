"""Paths of a table that lead to no file, and the file that each of them seems to mean."""

import contextlib
import html
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from urllib.parse import unquote

from ..core.stores import is_url
from .names import as_it_was

_LOOKED_AT, _DEPTH = 20, 3
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
            found.append(f"'{written}' may be " + " or ".join(f"'{one}'" for one in meant))
        elif _OF_WINDOWS.match(written) and os.name != "nt":
            found.append(f"'{written}' is a path of a Windows computer")
    return found


def _meant(
    written: str, folder: str, beside: list[str], listed: dict[str, dict[str, str]]
) -> list[str]:
    text = unquote(re.sub("^file:/+", "", written.strip("'\" ").replace("\\", "/")))
    if text.startswith("~") and os.path.isfile(os.path.expanduser(text)):
        return [os.path.expanduser(text)]
    parts = [part for part in text.split("/") if part not in ("", ".")]
    folders = ["/".join(parts[first:-1]) for first in range(len(parts))]
    for inside in folders:
        if found := _file_in(inside, parts[-1], folder, listed):
            return [found]
    # As a last resort, in the folders beside the table: train/1.png and test/1.png are two images.
    names = [_file_in(inside, parts[-1], folder, listed) for inside in beside] if parts else []
    return [name for name in names if name]


def _file_in(inside: str, name: str, folder: str, listed: dict[str, dict[str, str]]) -> str:
    """Return the path of the file in a folder that a name seems to mean, empty if there is none."""
    names = listed.setdefault(inside, _names(os.path.join(folder, inside)))
    found = next((one for one in (name, _loose(name), _stem(name)) if one in names), None)
    return "" if found is None else f"{inside}/{names[found]}".lstrip("/")


def _folders(folder: str) -> list[str]:
    """Return some of the folders in another one and in these, those that are nearer first."""
    found: list[str] = []
    level = [""]
    for _ in range(_DEPTH):
        inner = []
        for inside in level:
            with contextlib.suppress(OSError), os.scandir(os.path.join(folder, inside)) as entries:
                names = (one.name for one in entries if one.is_dir(follow_symlinks=False))
                inner += [f"{inside}/{name}".lstrip("/") for name in sorted(names)]
        level = inner[: max(0, _LOOKED_AT - len(found))]
        found += level
    return found


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

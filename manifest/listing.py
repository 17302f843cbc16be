"""Every file below a folder: the images, and what is passed over and why."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ..core.errors import IcecoreError, ManifestError, MissingFileError, counted, escaped
from ..core.json_files import read_json
from ..core.stores import store_of
from .table import IMAGE_SUFFIXES

HIDDEN, AGAIN = "hidden", "a folder that was seen already"
# Folders that systems put beside a user's own: forks, thumbnails, bins, snapshots; in any case.
_OF_SYSTEMS = frozenset(
    {
        "__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "recycler", "lost+found",
        "system volume information", "#snapshot", "~snapshot", "@recently-snapshot", "@__thumb",
        "@tmp", "network trash folder", "temporary items",
    }
)  # fmt: skip
CACHE, RUN = "a feature cache", "a run"
NOT_NAMED = "images that no table names"


@dataclasses.dataclass(frozen=True)
class Listing:
    """What lies below a folder, by paths seen from it, with ``/``.

    Attributes
    ----------
    root : pathlib.Path or str
        A folder, or the URL of a prefix in a store.
    images : tuple of str
        In the order of their paths' parts.
    others : tuple of (str, str)
        Files and folders that are no images, each with the reason: its ending, or a word.
    folders : tuple of str
        All folders that were looked into.
    """

    root: Path | str
    images: tuple[str, ...]
    others: tuple[tuple[str, str], ...]
    folders: tuple[str, ...]


def is_image_name(name: str) -> bool:
    """Tell whether a file's ending is that of an image that icecore reads."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def list_files(root: Path) -> Listing:
    """List what is below `root`; links are followed, but never in circles.

    Raises
    ------
    ManifestError
        A folder cannot be read.
    """
    images: list[str] = []
    others: list[tuple[str, str]] = []
    folders: list[str] = []
    seen: set[str] = set()
    for base, inside, names in os.walk(root, onerror=_refuse_unreadable, followlinks=True):
        place = os.path.relpath(base, root).replace(os.sep, "/")
        prefix = "" if place == "." else f"{place}/"
        # Links may lead back to where they came from.
        real = os.path.realpath(base)
        if real in seen:
            others.append((prefix, AGAIN))
            inside[:] = []
            continue
        seen.add(real)
        reasons = {name: _no_data(base, name) for name in inside}
        others += [(f"{prefix}{name}/", why) for name, why in reasons.items() if why]
        # Links last: what they lead to is seen under its own name first, and not as a link.
        kept = [name for name in inside if not reasons[name]]
        inside[:] = sorted(kept, key=lambda name: (os.path.islink(os.path.join(base, name)), name))
        folders += [f"{prefix}{name}" for name in inside]
        for name in names:
            if name.startswith("."):
                # What macOS leaves in the place of a file that it moved to its store.
                there = not name.endswith(".icloud")
                others.append((prefix + name, HIDDEN if there else "in iCloud alone"))
            elif is_image_name(name):
                images.append(prefix + name)
            else:
                others.append((prefix + name, ending_of(name)))
    images.sort(key=lambda path: path.split("/"))
    return Listing(root, tuple(images), tuple(sorted(others)), tuple(folders))


def list_objects(url: str) -> Listing:
    """List what lies below a prefix of a store, as `list_files` lists a folder.

    Raises
    ------
    StoreError
        It cannot be listed.
    MissingFileError
        There is nothing.
    """
    store, prefix = store_of(url)
    root = url.rstrip("/")
    start = len(prefix.rstrip("/") + "/") if prefix.strip("/") else 0
    images, others, folders = [], [], set()
    for entry in store.list(prefix):
        name = entry.key[start:]
        parts = name.split("/")
        if any(part.startswith(".") for part in parts):
            others.append((name, HIDDEN))
        elif system := system_folder(parts[:-1]):
            others.append((name, system))
        else:
            folders |= {"/".join(parts[:depth]) for depth in range(1, len(parts))}
            if is_image_name(name):
                images.append(name)
            else:
                others.append((name, ending_of(name)))
    if not images and not others:
        raise MissingFileError(
            f"nothing lies below {url}",
            "check the bucket, the prefix, and whether the endpoint is that of a store",
        )
    images.sort(key=lambda path: path.split("/"))
    return Listing(root, tuple(images), tuple(sorted(others)), tuple(sorted(folders)))


def passed_over_text(passed_over: Iterable[tuple[str, str]]) -> str:
    """Count what was passed over by its reason; empty if it is nothing.

    >>> passed_over_text([("a.cr2", ".cr2"), ("b.cr2", ".cr2"), ("c", "no ending")])
    '3 files were passed over: .cr2 2, no ending 1'
    >>> passed_over_text([("a.cr2", ".cr2"), ("trash/", "hidden")])
    '1 file and 1 folder were passed over: .cr2 1, hidden 1'
    """
    # A folder that is not looked into ends in a slash.
    entries = list(passed_over)
    counts = Counter(why for _, why in entries)
    if not counts:
        return ""
    folders = sum(name.endswith("/") for name, _ in entries)
    files = len(entries) - folders
    kinds = [(files, "file"), (folders, "folder")]
    what = " and ".join(counted(number, kind) for number, kind in kinds if number)
    shown = sorted(counts.items(), key=_order)[:20]
    named = ", ".join(f"{escaped(why)} {count}" for why, count in shown)
    more = f", {len(counts) - 20} kinds more" if len(counts) > 20 else ""
    return f"{what} {'was' if len(entries) == 1 else 'were'} passed over: {named}{more}"


def ending_of(name: str) -> str:
    """Return the ending of a file's name, as the reason why it is passed over."""
    return os.path.splitext(name)[1].lower() or "no ending"


def system_folder(folders: Iterable[str]) -> str:
    """Return the name of a folder that a system put beside a user's own; empty if none is."""
    return next((one for one in folders if one.casefold() in _OF_SYSTEMS), "")


def _order(entry: tuple[str, int]) -> tuple:
    # Endings first, those of most files before others.
    reason, count = entry
    return (not reason.startswith("."), -count, reason)


def _no_data(base: str, name: str) -> str:
    """Say why a folder is no data: hidden, or a cache or run that was put beside the images."""
    if name.startswith("."):
        return HIDDEN
    if system_folder((name,)):
        return name
    if _holds(os.path.join(base, name, "icecore-cache.json"), "what"):
        return CACHE
    return RUN if _holds(os.path.join(base, name, "run.json"), "icecore", "tasks") else ""


def _holds(path: str, *fields: str) -> bool:
    """Tell whether a file is icecore's own: other programs write a run.json too."""
    if not os.path.lexists(path):
        return False
    try:
        content = read_json(path)
    except IcecoreError:
        return False
    # A marker says what it is of; a run, which icecore wrote it.
    own = "icecore" in str(content.get("what", "")) or "what" not in fields
    return own and all(field in content for field in fields)


def _refuse_unreadable(error: OSError) -> None:
    raise ManifestError(
        f"the folder {error.filename} cannot be read: {error.strerror}", "check its permissions"
    ) from error

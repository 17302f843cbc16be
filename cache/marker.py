"""The folder of a cache: what makes it one, and the small files at its top."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from ..core.errors import CacheError, DamagedCacheError, MissingFileError, enumerate_some
from .featureset import RECORD_NAME
from .format.shard import FORMAT, damaged

__all__ = ["FAILURES", "FAILURES_NAME", "MARKER", "MARKER_NAME", "check_free", "check_marker"]
__all__ += ["json_fault", "require_cache", "set_folders"]

MARKER_NAME = "icecore-cache.json"
FAILURES_NAME = "failures.json"
# What they hold beside their format: names, and the values of a new one.
MARKER = {"what": "icecore feature cache"}
FAILURES = {"failures": []}


def set_folders(path: Path) -> list[Path]:
    """Return the folders of feature sets in a cache."""
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    return [
        path / name
        for name in sorted(names)
        if (path / name / RECORD_NAME).exists() or (path / name / "shards").is_dir()
    ]


def check_free(path: Path) -> None:
    """Refuse to make a cache at `path` if something else is there."""
    if path.exists() and not path.is_dir():
        raise CacheError(f"{path} is a file, not a folder", "choose another place for the cache")
    if path.is_dir():
        others = [name for name in sorted(os.listdir(path)) if not name.startswith(".")]
        if others and not set_folders(path):
            raise CacheError(
                f"{path} is not empty and not a feature cache: "
                f"it holds {enumerate_some(others, 3)}",
                "choose a new folder for the cache",
            )


def check_marker(path: Path) -> None:
    """Refuse what is no cache, a newer one, and a marker that cannot be read."""
    marker = path / MARKER_NAME
    if not path.is_dir():
        raise MissingFileError(
            f"there is no cache at {path}", "run `icecore extract DATA -o CACHE` to make one"
        )
    try:
        content = json.loads(marker.read_text("utf-8"))
        number = int(content["format"])
    except FileNotFoundError as error:
        if set_folders(path):
            # The marker was lost; the sets speak for themselves.
            return
        raise CacheError(
            f"{path} is not a feature cache: it has no {MARKER_NAME}",
            "give the folder that `icecore extract -o` wrote",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(marker, f"not readable: {error}") from error
    if number > FORMAT:
        raise CacheError(
            f"{path} has cache format {number}; this icecore reads up to {FORMAT}",
            "install a newer icecore to read it",
        )


def require_cache(path: Path) -> None:
    """Refuse what is no cache, or a newer one; let a damaged marker pass."""
    with contextlib.suppress(DamagedCacheError):
        check_marker(path)


def json_fault(path: Path, parts: Mapping[str, object]) -> str | None:
    """Say what is wrong with a small JSON file of a cache that shall have these parts."""
    try:
        content = json.loads(path.read_text("utf-8"))
        if int(content["format"]) > FORMAT:
            return None
    except FileNotFoundError:
        return "it is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"not readable: {error}"
    wrong = [n for n, value in parts.items() if not isinstance(content.get(n), type(value))]
    return f"it has no {wrong[0]!r}" if wrong else None

"""Where the answers of a command go: found out before the work, not after it."""

import os
from collections.abc import Iterable
from pathlib import Path

from .errors import RunError

# The files of a run or a cache that jobs read; reports beside them may be written again.
_CACHE = "icecore-cache.json"
_READ = ("run.json", "samples.csv", "blend.json", _CACHE)


def require_writable(outs: Iterable[str | os.PathLike | None], read: Iterable[object] = ()) -> None:
    """Refuse files that have no place to go, or would replace one another or what is read.

    Parameters
    ----------
    outs : iterable of path-like or None
        The files that a command writes.
    read : iterable of path-like or None
        Files, runs and caches that they must not replace; what is no path is passed over.

    Raises
    ------
    RunError
    """
    paths = [Path(os.path.abspath(out)) for out in outs if out is not None]
    kept = [Path(one) for one in read if isinstance(one, str | os.PathLike)]
    real = [os.path.realpath(out) for out in paths]
    for out in paths:
        if out.is_dir():
            raise RunError(f"{out} is a folder", "name a file for the answer")
        if real.count(os.path.realpath(out)) > 1:
            raise RunError(f"{out} is to hold two answers", "name a file for each")
        _require_kept(out, kept)
        _require_no_cache(out)
        parent = out.parent
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise RunError(
                f"{out} cannot be written: {parent} does not allow it", "choose another place"
            )


def require_kind(out: str | os.PathLike | None, *endings: str) -> None:
    """Refuse to replace a file of another kind: a photograph by a page, a record by a graph.

    Parameters
    ----------
    out : path-like or None
        The file that a command writes.
    endings : str
        What files of this kind end in; the first is the usual one.

    Raises
    ------
    RunError
    """
    if out is None or Path(out).suffix.lower() in endings or not Path(out).is_file():
        return
    raise RunError(
        f"{out} is there already, and does not end in {endings[0]}: it is not replaced",
        f"name a new file, or one that ends in {endings[0]}",
    )


def _require_kept(out: Path, read: Iterable[Path]) -> None:
    if out.exists() and any(_is_of(one, out) for one in read):
        raise RunError(
            f"{out} is read by this command: the answer would replace it",
            "name another file for the answer",
        )


def _require_no_cache(out: Path) -> None:
    """Refuse a place within a cache: its manifests and sets are what extraction wrote."""
    for folder in out.parents:
        if (folder / _CACHE).is_file():
            raise RunError(
                f"{out} lies in the cache {folder}, which holds what extraction wrote and no more",
                "name a file elsewhere",
            )


def _is_of(read: Path, out: Path) -> bool:
    """Tell whether a file is what is read, or a part of the run or cache that is."""
    own = [read / name for name in _READ if (read / name).exists()]
    if any(path.exists() and os.path.samefile(path, out) for path in (read, *own)):
        return True
    below = out.resolve()
    return bool(own) and read.resolve() in below.parent.parents

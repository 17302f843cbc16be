"""The places on the disk that the jobs need, and what is found there."""

import dataclasses
import os
import secrets
import shutil
from pathlib import Path

from ..core.errors import BackboneError, CacheError, IcecoreError, counted, enumerate_some
from ..features import check_library, graph_folder, list_weights
from .upkeep import verify_cache

LEVELS = ("ok", "note", "problem")
TO_INSTALL = "pip install 'icecore[onnx]'"
MISSION = ("gluon:resnet152_v2", "gluon:inceptionv3", "gluon:densenet201")
LITTLE_ROOM = 2**30
VERY_LITTLE_ROOM = 100 * 2**20


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    level : {"ok", "note", "problem"}
        A note hinders some use; a problem hinders what is installed from working.
    area : str
    text : str
    fix : str
        What to do; empty where nothing is to be done.
    """

    level: str
    area: str
    text: str
    fix: str = ""


def check_graphs() -> list[Finding]:
    """Look at the graphs that icecore brings along, and where others and proofs are kept."""
    try:
        faults = check_library()
    except BackboneError as error:
        faults = [error.message]
    text = "the graphs of Gluon's networks are as they were released"
    found = [Finding("problem", "graphs", fault, "reinstall icecore") for fault in faults[:3]]
    found = found or [Finding("ok", "graphs", text)]
    try:
        folder = graph_folder()
    except ImportError:
        text = "platformdirs is not installed; graphs and their proofs cannot be kept"
        return [*found, Finding("note", "graphs", text, TO_INSTALL)]
    fault = _why_not_writable(folder)
    if fault:
        text = f"{folder} cannot be written ({fault}); graphs and their proofs cannot be kept"
        return [*found, Finding("problem", "graphs", text, "name another folder in ICECORE_GRAPHS")]
    return [*found, Finding("ok", "graphs", f"{folder} can be written")]


def _why_not_writable(folder: Path) -> str:
    """Try it, in the nearest folder that exists: permissions alone do not tell."""
    place = _existing(folder)
    trial = place / f".icecore-doctor-{secrets.token_hex(6)}"
    try:
        if not place.is_dir():
            return f"{place} is a file"
        trial.write_bytes(b"")
        trial.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _existing(path: Path) -> Path:
    path = Path(os.path.abspath(path))
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def check_weights() -> list[Finding]:
    """Look for the weights of the three networks that icecore was made for."""
    listed = {one["network"]: one for one in list_weights(MISSION)}
    found = [
        Finding("ok", "weights", f"{name}: {one['state']} weights, {one['path']}")
        for name, one in listed.items()
        if one["path"]
    ]
    lacking = [name for name, one in listed.items() if not one["path"]]
    if lacking:
        fix = f"icecore weights fetch {' '.join(lacking)}, or bring them with --weights-dir"
        text = f"not on this machine: {', '.join(lacking)}"
        found.append(Finding("note", "weights", text, fix))
    return found


def check_disk(folder: Path) -> list[Finding]:
    """Look at the room that is left where a folder is, or shall be."""
    free = shutil.disk_usage(_existing(folder)).free
    text = f"{free / 2**30:.1f} GiB free at {os.path.abspath(folder)}"
    fix = "an image takes about 12 KB in the cache for three networks; free some space"
    if free < VERY_LITTLE_ROOM:
        return [Finding("problem", "disk", text, fix)]
    level = "note" if free < LITTLE_ROOM else "ok"
    return [Finding(level, "disk", text, fix if level == "note" else "")]


def check_cache(cache: str | os.PathLike) -> list[Finding]:
    """Look at every row of a cache, or at the place where one is to be made."""
    path = Path(cache)
    if not path.exists():
        fault = _why_not_writable(path)
        if fault:
            text = f"{path} cannot be made: {fault}"
            return [Finding("problem", "cache", text, "choose a folder that you may write to")]
        return [Finding("ok", "cache", f"{path} is not there yet; extract makes it")]
    try:
        found = verify_cache(path)
    except (CacheError, IcecoreError) as error:
        return [Finding("problem", "cache", error.message, error.hint)]
    reasons = enumerate_some(
        (f"{problem['file']}: {problem['reason']}" for problem in found["problems"]), most=3
    )
    text = f"{path}: {counted(found['sets'], 'feature set')}, {counted(found['rows'], 'row')}"
    if not found["ok"]:
        fix = f"icecore cache repair {path}; the next extract computes again what is lost"
        return [Finding("problem", "cache", f"{text}; {reasons}", fix)]
    if found["problems"]:
        fix = f"icecore cache repair {path}"
        return [Finding("note", "cache", f"{text}, no row is damaged; {reasons}", fix)]
    fault = _why_not_writable(path)
    if fault:
        text = f"{text}, no row is damaged, but it cannot be written ({fault})"
        return [Finding("note", "cache", text, "train and blend can read it")]
    return [Finding("ok", "cache", f"{text}, no row is damaged")]

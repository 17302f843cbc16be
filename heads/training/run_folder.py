"""The folder of a run: where it may be, how it gets there, and what it says of its inputs."""

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ... import __version__
from ...cache import has_random_weights
from ...core.errors import IcecoreError, RunError, enumerate_some
from ...core.folders import replacing_folder
from ...manifest import Manifest
from ...runs import RUN_FORMAT, holds_decisions, open_run


def check_target(out: Path, overwrite: bool) -> None:
    """Raise `RunError` if a run may not be written to `out`."""
    if out.is_dir() and out.resolve() == Path.cwd().resolve() and not (out / "run.json").exists():
        raise RunError(
            f"{out} is the folder you are in", "name a new folder inside it: -o run, for instance"
        )
    if out.is_symlink() and not out.exists():
        raise RunError(f"{out} is a link that leads nowhere", "remove it, or name another folder")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "run.json").is_file():
        raise RunError(
            f"{out} exists and is not a run (it has no run.json)",
            "choose another folder for the run",
        )
    if not overwrite:
        raise RunError(
            f"{out} already holds a run",
            "choose another folder, or say --overwrite (overwrite=True)",
        )
    if out.resolve() == Path.cwd().resolve():
        raise RunError(
            f"{out} is the folder you are in, which cannot be replaced", "run this from elsewhere"
        )
    foreign = sorted(entry.name for entry in out.iterdir() if entry.name not in _own_names(out))
    if foreign:
        raise RunError(
            f"{out} holds more than a run: {enumerate_some(foreign)}",
            "overwriting replaces the whole folder: move these away first",
        )


def _own_names(out: Path) -> set[str]:
    """Return the names of what icecore writes into a run, but for decisions of a person."""
    names = {"run.json", "samples.csv", "blend.json", "report.html", "regions"}
    if not holds_decisions(out / "audit.csv"):
        names |= {"audit.csv", "audit.html"}
    try:
        return names | {task.folder.name for task in open_run(out).tasks.values()}
    except IcecoreError:
        # A damaged run.json names none: they are told by what they hold.
        return names | {one.name for one in out.iterdir() if _is_of_a_task(one)}


def _is_of_a_task(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    names = {entry.name for entry in folder.iterdir()}
    return "probabilities" in names and names <= {"heads", "probabilities", "routes.npz"}


def replacing(out: Path, overwrite: bool) -> contextlib.AbstractContextManager[Path]:
    """Give a temporary folder beside `out`; put it in the place of `out` on success."""
    return replacing_folder(out, lambda: check_target(out, overwrite))


def task_folders(tasks: Sequence[str]) -> dict[str, str]:
    """Return a folder name for each task: safe, and different even where case is ignored."""
    taken: set[str] = set()
    folders = {}
    for task in tasks:
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", task).strip("-.")[:80] or "task"
        name, number = safe, 1
        while name.lower() in taken:
            number += 1
            name = f"{safe}-{number}"
        taken.add(name.lower())
        folders[task] = name
    return folders


def describe_inputs(
    cache: Any, sets: Sequence[Any], manifest: Manifest, left_out: Sequence[str]
) -> dict[str, Any]:
    """Return the fields of run.json that say what a run was trained on, and by which icecore.

    Parameters
    ----------
    left_out : sequence of str
        Ids of the images without features.
    """
    return {
        "format": RUN_FORMAT,
        "icecore": __version__,
        "random_weights": any(has_random_weights(one.record) for one in sets),
        "backbones": [
            {
                "spec": one.name,
                "fingerprint": one.fingerprint,
                "dim": int(one.dim),
                "record": one.record,
                **_provenance(one),
            }
            for one in sets
        ],
        "cache": os.path.abspath(getattr(cache, "path", "")),
        "counts": {"rows": len(manifest), "left_out": len(left_out)},
        "boxed": sum(bool(sample.box) for sample in manifest),
        "left_out": list(left_out),
        "failures": _failures(cache, manifest, left_out),
    }


def _failures(cache: Any, manifest: Manifest, left_out: Sequence[str]) -> list[dict[str, str]]:
    """Return why images have no features, as far as the extraction noted it."""
    noted = cache.failures() if hasattr(cache, "failures") else []
    reasons = {failure["id"]: failure["reason"] for failure in noted}
    reasons |= {one.id: "cannot be read" for one in manifest if not one.digest}
    return [{"id": one, "reason": reasons.get(one, "not extracted")} for one in left_out]


def _provenance(feature_set: Any) -> dict[str, Any]:
    """Return where the backbone's files are, its size and latency, as the extraction noted them."""
    shards = feature_set.provenances() if hasattr(feature_set, "provenances") else []
    latest = shards[-1]["provenance"] if shards else {}
    found = {"source": latest.get("source", feature_set.name)}
    kept = ("size_bytes", "latency_ms", "relative_error", "parameters", "multiply_adds", "license")
    return found | {name: latest[name] for name in kept if name in latest}

"""Mend one feature set: keep every sound row, move damaged files aside, name what is lost."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..core.errors import CacheError, DamagedCacheError, counted
from .cache_folder import RECORD_NAME, json_fault, load_set, write_part, write_record
from .check import Problem, check_set, read_told, salvage
from .featureset import FeatureSet
from .format.disk import remove_leftovers, require_own_folder, require_own_set
from .format.index import INDEX_NAME
from .format.shard import Shard, publish_shard, read_header, read_provenance


def restore_record(folder: Path, dry_run: bool = False) -> tuple[FeatureSet | None, list[str]]:
    """Open a set; a damaged record is taken from the shards, which all carry it."""
    try:
        return load_set(folder), []
    except DamagedCacheError as error:
        fault = error.message.removeprefix(f"{folder / RECORD_NAME} is damaged: ")
    for path in sorted((folder / "shards").glob("*.h5")):
        try:
            header = read_header(path)
        except (CacheError, OSError):
            continue
        if header.folder_name != folder.name:
            continue
        if not dry_run:
            write_record(folder, header)
        return FeatureSet(folder, header), [
            f"{folder.name}/{RECORD_NAME}: {fault}; restored from shard {path.name}"
        ]
    return None, [
        f"{folder.name}/{RECORD_NAME}: {fault}, and no shard tells that of this folder; "
        "left as it is: remove the folder, or give it its name back"
    ]


def repair_json(path: Path, parts: Mapping[str, object], dry_run: bool = False) -> list[str]:
    """Write a small file of the cache anew if something is wrong with it; say so."""
    fault = json_fault(path, parts)
    if fault is None:
        return []
    if not dry_run:
        write_part(path, parts)
    return [f"{path.name}: {fault}; written anew"]


def repair_set(one: FeatureSet, dry_run: bool = False) -> tuple[list[str], list[str]]:
    """Repair one feature set.

    Returns
    -------
    tuple
        Lines about what was done, and the keys of rows to compute again.
    """
    listed = read_told(one).shards
    good, problems = check_set(one)
    held = {key for shard in good.values() for key in shard.keys.tolist()}
    done: list[str] = []
    suspects: list[str] = []
    for problem in problems:
        suspects += problem.rows
        if problem.kind in ("rows", "shard"):
            done.append(_replace(one, problem, listed.get(problem.file.name), held, dry_run))
        elif problem.kind == "vanished":
            done.append(
                f"{_name(one, problem.file)} is gone: {counted(len(problem.rows), 'row')} with it"
            )
    lost = [key for key in dict.fromkeys(suspects) if key.encode() not in held]
    if not dry_run:
        for folder in (one.folder, one.folder / "shards"):
            done += [f"removed {_name(one, path)}" for path in remove_leftovers(folder)]
        one.rows.reset()
        if any(problem.kind not in ("leftover", "unread") for problem in problems):
            # The shards alone say what is in them.
            (one.folder / INDEX_NAME).unlink(missing_ok=True)
            one.write_index()
            done.append(f"{one.folder.name}/index.h5 written anew")
    return done, lost


def _replace(
    one: FeatureSet, problem: Problem, listed: Shard | None, held: set[bytes], dry_run: bool
) -> str:
    """Save the sound rows of a damaged shard that are nowhere else; set the file aside."""
    path = problem.file
    try:
        keys, rows = salvage(path, one.header, listed)
    except FileNotFoundError:
        # Another process repairs at the same time.
        keys, rows = np.zeros(0, "S64"), np.zeros((0, one.dim))
    # Nobody can tell which of two unlike rows is the image's.
    wrong = set(problem.rows) if problem.kind == "rows" else set()
    new = np.array([key not in held and key.decode() not in wrong for key in keys.tolist()], bool)
    held.update(keys[new].tolist())
    if not dry_run:
        if new.any():
            rescued = {**_provenance(path), "rescued_from": path.name}
            publish_shard(path.parent, one.header, keys[new], rows[new], rescued)
        aside = one.folder / "damaged"
        require_own_set(one.folder)
        require_own_folder(aside)
        aside.mkdir(exist_ok=True)
        # Another process may repair at the same time; one of the two moves it.
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, aside / path.name)
    return (
        f"{_name(one, path)}: {problem.reason}; {counted(int(new.sum()), 'row')} rescued, "
        f"the file moved to {one.folder.name}/damaged/"
    )


def _provenance(path: Path) -> dict:
    try:
        return read_provenance(path)
    except (CacheError, FileNotFoundError):
        return {}


def _name(one: FeatureSet, path: Path) -> str:
    return str(path.relative_to(one.folder.parent))

"""Mend one feature set: keep every sound row, move damaged files aside, name what is lost."""

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..core.errors import CacheError, DamagedCacheError, counted, enumerate_some
from ..core.files import flush_folder
from .cache_folder import (
    FAILURES,
    RECORD_NAME,
    json_fault,
    load_header,
    load_set,
    sound_failures,
    write_part,
    write_record,
)
from .check import Problem, check_set, read_told, salvage
from .featureset import FeatureSet
from .format.disk import remove_leftovers, require_own_folder, require_own_set
from .format.header import SetHeader
from .format.index import INDEX_NAME
from .format.shard import (
    Shard,
    fault_of,
    is_short_enough,
    publish_shard,
    read_header,
    read_provenance,
)


@dataclasses.dataclass(frozen=True)
class Told:
    """What the files in a set's folder tell of the set.

    Attributes
    ----------
    header : SetHeader or None
        None if nothing tells, or if the folder must stay as it is.
    fault, remedy : str
        What is wrong with the record or the folder's name, and what is done about it; or, without
        a header, what the user can do. Both empty if nothing is wrong.
    """

    header: SetHeader | None
    fault: str = ""
    remedy: str = ""


def told_of_set(folder: Path) -> Told:
    """Find out which set a folder holds: if its record does not say, all shards carry it."""
    try:
        header = load_set(folder).header
        return _of_its_shards(folder, header) or Told(header)
    except DamagedCacheError as error:
        fault = fault_of(error, folder / RECORD_NAME)
    told: dict[str, SetHeader] = {}
    for path in sorted((folder / "shards").glob("*.h5")):
        with contextlib.suppress(CacheError, OSError):
            header = read_header(path)
            if header.folder_name == folder.name:
                return Told(header, fault, f"restored from shard {path.name}")
            told[header.folder_name] = header
    with contextlib.suppress(CacheError):
        header = load_header(folder)
        told[header.folder_name] = header
    out = "move the folder out of the cache, and run the same icecore extract as before"
    if not told:
        return Told(None, fault, f"no shard tells what it holds: {out}")
    if len(told) > 1:
        return Told(None, fault, f"it holds {len(told)} sets ({enumerate_some(told)}): {out}")
    ((name, header),) = told.items()
    there = folder.parent / name
    if there.exists() and not there.samefile(folder):
        either = f"{name} is there, too: move one of the two folders out of the cache"
        return Told(None, fault, either)
    return Told(header, fault, f"renamed to {name}")


def _of_its_shards(folder: Path, header: SetHeader) -> Told | None:
    """Return what all shards tell, where that is another set than the record's, and nowhere else.

    One file must not have all rows set aside that contradict it.
    """
    told: dict[str, SetHeader] = {}
    for path in sorted((folder / "shards").glob("*.h5")):
        with contextlib.suppress(CacheError, OSError):
            found = read_header(path)
            if found.folder_name == header.folder_name:
                return None
            told[found.folder_name] = found
    if len(told) != 1:
        return None
    ((name, found),) = told.items()
    if (folder.parent / name).exists():
        return None
    return Told(found, f"it is not that of its shards, {found.name}", f"renamed to {name}")


def restore_record(folder: Path, dry_run: bool = False) -> tuple[FeatureSet | None, list[str]]:
    """Open a set; give it back the record and the name that its files tell of, if it lost them."""
    told = told_of_set(folder)
    said = [f"{folder.name}/{RECORD_NAME}: {told.fault}; {told.remedy}"] if told.fault else []
    if told.header is None:
        return None, said
    if told.fault and not dry_run:
        named = folder.parent / told.header.folder_name
        if named != folder:
            require_own_set(folder)
            os.rename(folder, named)
            flush_folder(folder.parent)
            folder = named
        write_record(folder, told.header)
    return FeatureSet(folder, told.header), said


def repair_json(path: Path, parts: Mapping[str, object], dry_run: bool = False) -> list[str]:
    """Write a small file of the cache anew if something is wrong with it; say so."""
    fault = json_fault(path, parts)
    if fault is None:
        return []
    if parts is FAILURES:
        parts = {"failures": sound_failures(path)}
    if not dry_run:
        write_part(path, parts)
    return [f"{path.name}: {fault}; written anew"]


def repair_set(one: FeatureSet, dry_run: bool = False) -> tuple[list[str], list[str], list[str]]:
    """Repair one feature set.

    Returns
    -------
    tuple
        Lines about what was done, the keys of rows to compute again, and the files whose rows
        are to be computed again, too, and are not known.
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
    return done, lost, [_name(one, problem.file) for problem in problems if problem.unnamed]


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
            publish_shard(path.parent, one.header, keys[new], rows[new], _provenance(path))
        aside = one.folder / "damaged"
        require_own_set(one.folder)
        require_own_folder(aside)
        aside.mkdir(exist_ok=True)
        # Another process may repair at the same time; one of the two moves it.
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, aside / path.name)
    unnamed = " of a number that is not known" if problem.unnamed else ""
    return (
        f"{_name(one, path)}: {problem.reason}; {counted(int(new.sum()), 'row')}{unnamed} rescued, "
        f"the file moved to {one.folder.name}/damaged/"
    )


def _provenance(path: Path) -> dict:
    source = {"rescued_from": path.name}
    with contextlib.suppress(CacheError, FileNotFoundError):
        whole = read_provenance(path) | source
        return whole if is_short_enough(whole) else source
    return source


def _name(one: FeatureSet, path: Path) -> str:
    return str(path.relative_to(one.folder.parent))

"""Tables of samples in the copy of a cache: each version of one is an object of its own.

The version that was pushed last has the table's name where it is pulled: a user names that one.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ...core.errors import IcecoreError, counted
from ...core.files import publish_bytes, sha256_bytes
from ...core.json_files import read_json
from ...core.regular_files import read_regular
from ...core.stores import Entry
from ..format.disk import open_own, require_own_folder
from .place import LARGEST_TABLE, Place, put

# Where a cache keeps tables, the file that says which data each is of, and the folder of versions
# that others came after.
TABLES_NAME, SOURCES_NAME, _EARLIER = "manifests", "sources.json", "earlier"
_NAMED = rf"{TABLES_NAME}/((?!\.)[^/\x00-\x1f]{{1,200}})\.csv"
_TABLE, _PLAIN = re.compile(rf"{_NAMED}/([0-9a-f]{{64}})"), re.compile(_NAMED)


def names_beside(path: Path) -> dict[str, str]:
    """Return what a JSON file says of the tables beside it, as far as it is sound."""
    try:
        names = read_json(path)
    except IcecoreError:
        return {}
    # The names become paths.
    plain = {name for name in names if name and Path(name).name == name}
    return {n: source for n, source in names.items() if n in plain and isinstance(source, str)}


def push_tables(
    place: Place, there: Mapping[str, Entry], folder: Path
) -> tuple[int, tuple[str, ...]]:
    """Copy the tables of samples that a place lacks; return how many, and what is to be said."""
    count, notes, versions = 0, [], _versions(there)
    for path in sorted((folder / TABLES_NAME).glob("*.csv")):
        digest = sha256_bytes(read_regular(path, LARGEST_TABLE))
        new = put(place, there, f"{TABLES_NAME}/{path.name}/{digest}", path)
        if not new and versions.get(path.stem, [digest])[-1] != digest:
            notes.append(
                f"another table called {path.name} was pushed to {place.url} after this one, and "
                f"has its name where it is pulled: {versions[path.stem][-1][:8]}; remove that "
                "object there, or rename yours, if this one is to count"
            )
        count += new
    return count, tuple(notes)


def pull_tables(
    place: Place, there: Mapping[str, Entry], folder: Path
) -> tuple[int, list[str], tuple[str, ...]]:
    """Copy the tables of samples that a cache lacks.

    Returns
    -------
    int
        How many were copied.
    list of str
        Objects that are damaged.
    tuple of str
        What is to be said of tables of one name.
    """
    kept = folder / TABLES_NAME
    require_own_folder(folder, kept, kept / _EARLIER)
    own, count, damaged, notes = names_beside(kept / SOURCES_NAME), 0, [], []
    found, keys = _versions(there), {}
    # In a cache that was copied as it is, or is worked in, a table has no versions.
    for match in filter(None, map(_PLAIN.fullmatch, sorted(there))):
        key, name = match[0], match[1]
        if place.folder:
            open_own(place.folder / key).close()
        digest = sha256_bytes(place.read(key, LARGEST_TABLE))
        if digest not in found.setdefault(name, []):
            found[name].append(digest)
        keys[name, digest] = key
    for name, versions in sorted(found.items()):
        *earlier, last = versions
        targets = {digest: kept / _EARLIER / f"{name}-{digest[:8]}.csv" for digest in earlier}
        targets[last] = path = kept / f"{name}.csv"
        mine = sha256_bytes(read_regular(path, LARGEST_TABLE)) if os.path.lexists(path) else last
        # One that came from there is replaced; one that was made here, or changed, is not.
        if mine != last and (name in own or mine not in earlier):
            targets[last] = kept / f"{name}-{last[:8]}.csv"
        for digest, target in targets.items():
            key = keys.get((name, digest), f"{TABLES_NAME}/{name}.csv/{digest}")
            came = _pull_table(place, key, digest, target)
            damaged += [key] if came is None else []
            count += bool(came)
            _remove_beside(kept / f"{name}-{digest[:8]}.csv", target, digest, own)
        if targets[last] != path:
            notes.append(
                f"{path} is this cache's own; that which was pushed last is {targets[last]}"
            )
        elif earlier:
            key = keys.get((name, last), f"{TABLES_NAME}/{name}.csv/{last}")
            changed = there[key].changed
            which = "the last" if changed else "one (which is the last this store does not tell)"
            notes.append(
                f"{path} is {which} of {counted(len(versions), 'table')} of this name that were "
                f"pushed; the others are in {kept / _EARLIER}"
            )
    return count, damaged, tuple(notes)


def _remove_beside(path: Path, target: Path, digest: str, own: Mapping[str, str]) -> None:
    """Remove what an earlier pull put beside a table, where that version has another place now."""
    theirs = path != target and path.is_file() and path.stem not in own and target.is_file()
    if theirs and sha256_bytes(read_regular(path, LARGEST_TABLE)) == digest:
        path.unlink(missing_ok=True)


def _versions(there: Mapping[str, Entry]) -> dict[str, list[str]]:
    """Return the digests of each table's versions in a place, in the order of their coming."""
    found: dict[str, list[str]] = {}
    for key in sorted(there, key=lambda one: (there[one].changed, one)):
        if match := _TABLE.fullmatch(key):
            found.setdefault(match[1], []).append(match[2])
    return found


def _pull_table(place: Place, key: str, digest: str, target: Path) -> bool | None:
    """Copy a table, if it is not there; return None if it is damaged."""
    if target.is_file() and sha256_bytes(read_regular(target, LARGEST_TABLE)) == digest:
        return False
    content = place.read(key, LARGEST_TABLE)
    if sha256_bytes(content) != digest:
        return None
    publish_bytes(target, content)
    return True

"""The jobs `verify_cache` and `repair_cache`: all of a cache, with the tables that it keeps."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..cache import SOURCES_NAME, TABLES_NAME, FeatureCache, repair, require_own_folder, verify
from ..core.arguments import typed
from ..core.errors import DamagedCacheError, IcecoreError
from ..core.files import flush_folder, publish_json
from ..core.json_files import read_json
from ..features import read_regions
from .samples import REGIONS_BESIDE, kept_names, read_kept_table, set_aside

_ASIDE = "damaged"


@typed
def verify_cache(cache: FeatureCache | str | os.PathLike) -> dict:
    """Check every file of a cache, and the tables of samples that it keeps.

    Returns
    -------
    dict
        Of `icecore.cache.verify`; the problems of ``CACHE/manifests`` are of the kind ``table``.
    """
    found = verify(cache)
    for path, fault in _faults(Path(found["path"]) / TABLES_NAME):
        found["ok"] = False
        found["problems"].append(
            {
                "file": f"{TABLES_NAME}/{path.name}",
                "kind": "table",
                "reason": fault,
                "rows": [],
                "unnamed": False,
                "by_hand": False,
                "harmless": False,
            }
        )
    return found


@typed
def repair_cache(cache: FeatureCache | str | os.PathLike, dry_run: bool = False) -> dict:
    """Repair a cache as far as its files allow; name what is to be computed or written again.

    A damaged table of samples goes to ``CACHE/manifests/damaged``: the next extraction of its
    images writes it anew.

    Returns
    -------
    dict
        Of `icecore.cache.repair`, and ``tables``: the names of those that were moved.
    """
    found = repair(cache, dry_run)
    folder = Path(found["path"]) / TABLES_NAME
    tables = []
    for path, fault in _faults(folder):
        if not dry_run:
            _set_aside(folder, path)
        tables.append(path.name)
        found["done"].append(
            f"{TABLES_NAME}/{path.name}: {fault}; moved to {TABLES_NAME}/{_ASIDE}/"
        )
    return found | {"tables": tables}


def _faults(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield what is damaged of the tables that a cache keeps, and of what lies beside them."""
    require_own_folder(folder)
    # As tables are named in messages.
    folder = Path(os.path.abspath(folder))
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            if path.name == SOURCES_NAME:
                _require_names(path)
            elif path.suffix == ".csv":
                read_kept_table(path)
            elif path.suffix == REGIONS_BESIDE:
                read_regions(path)
        except IcecoreError as error:
            yield path, error.message.replace(f"{path}", path.name)
        except OSError as error:
            yield path, f"cannot be read: {error.strerror}"


def _require_names(path: Path) -> None:
    if kept_names(path.parent) != read_json(path):
        raise DamagedCacheError(f"{path} does not say which data each table is of")


def _set_aside(folder: Path, path: Path) -> None:
    """Move a damaged file or folder; of the names of tables, the sound ones stay."""
    sound = kept_names(folder) if path.name == SOURCES_NAME else {}
    set_aside(path, _ASIDE)
    if sound:
        publish_json(path, sound)
    flush_folder(folder)

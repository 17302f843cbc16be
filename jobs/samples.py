"""The table of samples that belongs to a cache."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

from .. import manifest as manifests
from ..cache import FeatureCache
from ..core.errors import IcecoreError
from ..core.files import publish_json
from ..core.json_files import read_json
from ..manifest import apply_boxes, parse_box

__all__ = ["as_extracted", "keep_manifest", "kept_tables"]


def keep_manifest(cache: Path, data: Path, report) -> None:
    """Write the table to ``CACHE/manifests``, under a name that no other data set has."""
    folder = cache / "manifests"
    stem = data.stem if data.is_file() else data.name
    # Another data set of the same name gets a number.
    names = _table_names(folder)
    candidates = (stem if n == 1 else f"{stem}-{n}" for n in itertools.count(1))
    name = next(n for n in candidates if names.get(n, str(data)) == str(data))
    try:
        report.manifest.write(folder / f"{name}.csv")
        publish_json(folder / "sources.json", names | {name: str(data)})
    except OSError as error:
        # A cache that cannot be written may still be complete.
        if report.computed or error.errno not in (errno.EROFS, errno.EACCES):
            raise


def _table_names(folder: Path) -> dict[str, str]:
    """Return which data set each table in ``CACHE/manifests`` is of."""
    try:
        names = read_json(folder / "sources.json")
    except IcecoreError:
        return {}
    # The names become paths.
    plain = {name for name in names if name and Path(name).name == name}
    return {n: source for n, source in names.items() if n in plain and isinstance(source, str)}


def kept_tables(store: FeatureCache) -> list[Path]:
    """Return the tables of the images that were extracted into a cache."""
    return sorted((store.path / "manifests").glob("*.csv"))


def as_extracted(store: FeatureCache, data, *, labels_required: bool = True):
    """Read `data`, with the boxes that its last extraction into the cache was given."""
    manifest = manifests.read(data, labels_required=labels_required)
    folder = store.path / "manifests"
    names = _table_names(folder)
    name = next((n for n, source in names.items() if source == os.path.abspath(data)), None)
    if name is None or not (folder / f"{name}.csv").is_file():
        return manifest
    kept = manifests.read(folder / f"{name}.csv", labels_required=False).images
    boxes = {i: parse_box(kept[i].box) for i in manifest.images if i in kept and kept[i].box}
    return apply_boxes(manifest, boxes)

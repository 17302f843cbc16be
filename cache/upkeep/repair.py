"""Repair a whole cache."""

import contextlib
import os

from ..cache_folder import (
    FAILURES,
    FAILURES_NAME,
    MARKER,
    MARKER_NAME,
    named_folder,
    require_cache,
    set_folders,
)
from ..featurecache import CLAIMS_NAME, FeatureCache
from ..mend import repair_json, repair_set, restore_record
from ..sharing.claims import lock


def repair(cache: FeatureCache | str | os.PathLike, dry_run: bool = False) -> dict:
    """Repair a cache as far as its files allow; name the rows to compute again.

    Parameters
    ----------
    cache : FeatureCache or path-like
        A path is needed if the cache's own marker is damaged.
    dry_run : bool
        Only say what would be done.

    Returns
    -------
    dict
        ``{"path", "done": [str], "to_recompute": {set's folder: [row keys]}, "unnamed": [files
        whose rows are to be computed again, too, and are not known], "left": [folders of sets
        that are left to the user]}``
    """
    path = cache.path if isinstance(cache, FeatureCache) else named_folder(cache)
    require_cache(path)
    done: list[str] = []
    lost: dict[str, list[str]] = {}
    unnamed: list[str] = []
    left: list[str] = []
    with contextlib.nullcontext() if dry_run else lock(path / CLAIMS_NAME, "maintenance"):
        done += repair_json(path / MARKER_NAME, MARKER, dry_run)
        if (path / FAILURES_NAME).exists():
            done += repair_json(path / FAILURES_NAME, FAILURES, dry_run)
        for folder in set_folders(path):
            one, said = restore_record(folder, dry_run)
            done += said
            if one is None:
                left.append(folder.name)
                continue
            said, gone, files = repair_set(one, dry_run)
            done += said
            unnamed += files
            if gone:
                lost[one.folder.name] = gone
    return {
        "path": str(path), "done": done, "to_recompute": lost, "unnamed": unnamed, "left": left
    }  # fmt: skip

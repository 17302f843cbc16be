"""The job `prune`: remove rows that no data set needs."""

import os

from ..cache import FeatureCache
from ..cache import prune as prune_cache
from ..core.arguments import typed
from ..core.errors import ManifestError, counted, enumerate_some
from ..core.places import read_place
from ..features import image_fault
from ..manifest import LARGEST_IMAGE_FILE, Manifest, digest_manifest
from .samples import as_extracted


@typed
def prune(
    cache: str | os.PathLike,
    keep: str | os.PathLike | Manifest | None = None,
    drop=(),
    *,
    dry_run: bool = True,
) -> dict:
    """Remove from `cache` rows of images that are not in the data `keep`, and the sets in `drop`.

    Unreadable images that are not in `keep` are forgotten too.

    Returns
    -------
    dict
        Of `icecore.cache.prune`.

    Raises
    ------
    ManifestError
        Some images of `keep` cannot be read, so that their rows would be lost.
    """
    store = FeatureCache(cache)
    keys = None
    if keep is not None:
        manifest = as_extracted(store, keep, labels_required=False)
        digested = digest_manifest(manifest, store.path / "digests")
        damaged = digested.unreadable or _damaged(store, digested.manifest)
        if damaged:
            raise ManifestError(
                f"{counted(len(damaged), 'image')} of {keep} cannot be read: "
                f"{enumerate_some(f'{name} ({why})' for name, why in damaged.items())}",
                "restore them or take them out of the data, so that no row is removed by mistake",
            )
        keys = {sample.digest for sample in digested.manifest}
    found = prune_cache(store, keys, list(drop), dry_run=dry_run)
    if keep is not None and not dry_run:
        # A file that is no longer part of the data is no failure either.
        there = {os.path.abspath(sample.path) for sample in manifest}
        gone = [one for one in store.failures() if os.path.abspath(one["path"]) not in there]
        store.clear_failures([one["id"] for one in gone])
    return found


def _damaged(store: FeatureCache, manifest: Manifest) -> dict[str, str]:
    """Say why images without rows cannot be decoded, where rows are to go that may be theirs."""
    kept = {sample.digest for sample in manifest}
    rows = {key for one in store.sets() for key in one.rows.known()}
    if rows <= kept:
        return {}
    faults = {}
    for name, sample in manifest.images.items():
        if sample.digest not in rows:
            try:
                fault = image_fault(read_place(sample.path, LARGEST_IMAGE_FILE))
            except FileNotFoundError:  # Of a table alone, which knows its digest.
                continue
            except OSError as error:
                fault = f"{error.strerror}"
            if fault:
                faults[name] = fault
    return faults

"""The job `prune`: remove rows that no data set needs."""

import os

from ..cache import FeatureCache
from ..cache import prune as prune_cache
from ..core.arguments import typed
from ..core.errors import ManifestError, counted, enumerate_some
from ..manifest import Manifest, digest_manifest
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
        if digested.unreadable:
            raise ManifestError(
                f"{counted(len(digested.unreadable), 'image')} of {keep} cannot be read: "
                f"{enumerate_some(digested.unreadable)}",
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

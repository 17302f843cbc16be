"""The job `prune`: remove rows that no data set needs."""

import os

from ..cache import FeatureCache
from ..cache import prune as prune_cache
from ..core.arguments import typed
from ..core.content import told_apart
from ..core.errors import ManifestError, counted, enumerate_some
from ..core.files import sha256_bytes
from ..core.regular_files import open_regular
from ..manifest import Manifest, digest_manifest
from .samples import as_extracted

_EMPTY, _LOOKED_AT = sha256_bytes(b""), 2**12


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
        damaged = digested.unreadable | _damaged(digested.manifest)
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


def _damaged(manifest: Manifest) -> dict[str, str]:
    """Say which images are empty or stand-ins at present, so that their rows have other keys."""
    found = {}
    for sample in manifest.images.values():
        if sample.image == _EMPTY:
            found[sample.id] = "the file is empty"
        elif os.path.isfile(sample.path):
            with open_regular(sample.path, 0) as file:
                what, _ = told_apart(file.read(_LOOKED_AT), "")
            if what and not what.endswith("image"):
                found[sample.id] = what
    return found

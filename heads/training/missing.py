"""Images that have no features: which they are, and whether they are too many."""

from collections.abc import Sequence
from typing import Any

from ...core.errors import ManifestError, enumerate_some
from ...manifest import Manifest

# More than this share is no handful of broken files, but another cache or other data.
MOST_MISSING = 0.1


def absent_keys(sets: Sequence[Any], manifest: Manifest, allow_missing: bool = False) -> set[str]:
    """Return the row keys of `manifest` that not all of `sets` have.

    Parameters
    ----------
    manifest : Manifest
        With digests.
    allow_missing : bool
        Accept that more than a tenth of the images have no features.

    Raises
    ------
    ManifestError
        No image has features, or too few have.
    """
    images = manifest.images.values()
    unreadable = [sample.id for sample in images if not sample.digest]
    keys = {sample.digest for sample in images if sample.digest}
    if not keys:
        raise ManifestError(
            f"none of the {len(unreadable)} images of {manifest.source} has a digest",
            "fill them in with Manifest.with_digests before training",
        )
    absent: set[str] = set()
    for one in sets:
        absent |= keys - set(one.keys())
    if absent == keys:
        raise ManifestError(
            f"none of the {len(keys)} images of {manifest.source} has features in the cache",
            "run `icecore extract` on this data first, into this cache",
        )
    bare = [sample.id for sample in images if sample.digest in absent]
    missing = len(bare) + len(unreadable)
    if missing > MOST_MISSING * len(images) and not allow_missing:
        found = []
        if bare:
            found.append(f"{len(bare)} are not in the cache ({enumerate_some(bare)})")
        if unreadable:
            found.append(f"{len(unreadable)} cannot be read ({enumerate_some(unreadable)})")
        raise ManifestError(
            f"{missing} of the {len(images)} images of {manifest.source} have no features "
            f"({missing / len(images):.0%}): {', '.join(found)}",
            "run `icecore extract` on this data first, into this cache; or train on the rest with "
            "--allow-missing",
        )
    return absent

"""Images that have no features: which they are, and whether they are too many."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...core.errors import ManifestError, enumerate_some
from ...manifest import Manifest

# More than this share is no handful of broken files, but another cache or other data.
MOST_MISSING = 0.1
_REFUSED = "could not be used"
_EXTRACT = "run `icecore extract` on this data first, into this cache"
_MEND = "mend these images, or take them out of the data"


def absent_keys(
    sets: Sequence[Any],
    manifest: Manifest,
    allow_missing: bool = False,
    failures: Sequence[Mapping[str, str]] = (),
) -> set[str]:
    """Return the row keys of `manifest` that not all of `sets` have.

    Parameters
    ----------
    manifest : Manifest
        With digests.
    allow_missing : bool
        Accept that more than a tenth of the images have no features.
    failures : sequence of mapping
        What the extraction noted of images that it could not use: ``digest`` and ``reason``.

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
    failed = {one["digest"]: one["reason"] for one in failures if one.get("digest") in absent}
    refused = [f"{one.id}: {failed[one.digest]}" for one in images if one.digest in failed]
    if absent == keys:
        raise ManifestError(
            f"none of the {len(keys)} images of {manifest.source} has features in the cache"
            + (f"; at its extraction {_REFUSED} ({enumerate_some(refused)})" if refused else ""),
            _EXTRACT if absent - failed.keys() else _MEND,
        )
    bare = [one.id for one in images if one.digest in absent and one.digest not in failed]
    missing = len(bare) + len(refused) + len(unreadable)
    if missing > MOST_MISSING * len(images) and not allow_missing:
        found = []
        if bare:
            found.append(f"{len(bare)} are not in the cache ({enumerate_some(bare)})")
        if refused:
            found.append(f"at its extraction {len(refused)} {_REFUSED} ({enumerate_some(refused)})")
        if unreadable:
            found.append(f"{len(unreadable)} cannot be read ({enumerate_some(unreadable)})")
        raise ManifestError(
            f"{missing} of the {len(images)} images of {manifest.source} have no features "
            f"({missing / len(images):.0%}): {', '.join(found)}",
            f"{_EXTRACT if bare else _MEND}; or train on the rest with --allow-missing",
        )
    return absent

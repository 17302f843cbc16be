"""Images without a label where labels are needed, and where their labels go."""

import os
import re

from ..core.errors import ManifestError, counted, enumerate_some
from ..core.places import container_of
from ..core.stores import is_url
from .image_list import SUFFIX
from .table import Manifest

_OF_TABLES = (".csv", ".jsonl", ".ndjson")
# Of what stands in a container, by its ending.
_INSIDE = {
    ".tar": "label them (0001.cls for 0001.jpg in the tar, or a field 'label' in 0001.json; the "
    "first dot ends the name; folders in a tar are no classes: unpack it if they are)",
    ".parquet": "label them (a column 'label' of texts or numbers)",
    ".rec": "label them (a whole number in each record)",
}
_OR_TABLE = (
    "; or copy the table that `icecore extract` leaves in CACHE/manifests (the next extraction "
    "writes it anew), fill in the column 'label' of the copy, and give that"
)
# Warnings that say why labels are lacking.
_OF_LABELS = re.compile("not labels$|that are not used:|without an image: |what lies before that")
_AS_TEST = ", take them out, or give them the split 'test'"
_ALL_TESTS = " and give images to train with: all of these are to be answered"


def require_labels(manifest: Manifest) -> None:
    """Raise a `ManifestError` that names images of training or validation without a label."""
    bare = [s.id for s in manifest if not s.label and s.split != "test"]
    if not bare and any(sample.label for sample in manifest):
        return
    named = list(dict.fromkeys(bare or [sample.id for sample in manifest]))
    # Why what looks like labels is none, and where they may be.
    said = [one for one in manifest.warnings if _OF_LABELS.search(one)]
    raise ManifestError(
        f"{counted(len(named), 'image has', 'images have')} no label in {manifest.source}: "
        f"{enumerate_some(named)}" + "".join(f"; {one}" for one in said),
        _where_labels_go(manifest, bool(bare)),
    )


def _where_labels_go(manifest: Manifest, bare: bool) -> str:
    """Return the remedy for the kind of data at hand."""
    rest = _AS_TEST if bare else _ALL_TESTS
    ending = os.path.splitext(manifest.source)[1].lower()
    if ending in _OF_TABLES and not is_url(manifest.source):
        return f"fill in their labels (the column that --label-column names){rest}"
    if ending == SUFFIX:
        return "give each a number as its label, or take them out"
    if kinds := {_container_kind(sample.path) for sample in manifest if not sample.label} - {""}:
        return "; ".join(_INSIDE[kind] for kind in sorted(kinds)) + _OR_TABLE
    if is_url(manifest.source):
        return (
            f"label them (a folder for each class, or a CSV with path,label on this machine){rest}"
        )
    return (
        "label them (in the table beside them if there is one; a folder for each class, or a CSV "
        f"with path,label){rest}"
    )


def _container_kind(place: str) -> str:
    """Return the usual ending of the kind of container that an image lies in."""
    container = container_of(place)
    if container == place:
        return ""
    if place.startswith("#row=", len(container)):
        return ".parquet"
    return ".rec" if container.lower().endswith(".rec") else ".tar"

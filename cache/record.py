"""Records of feature sets: what made the rows, its fingerprint, and how specs match it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePath

from ..core.errors import CacheError, enumerate_some

__all__ = ["canonical_json", "check_record", "differences", "fingerprint", "folder_name"]
__all__ += ["PRECISIONS", "features_per_view", "matches", "spec_of", "views_of"]

PRECISIONS = ("float16", "float32", "bfloat16")
_MISSING = "(absent)"
# Sources of backbones whose names are paths.
_OF_FILES = ("onnx", "openvino", "gluon-file")
# Sets that differ in these live side by side; in anything else they contradict each other.
SIDE_BY_SIDE = (
    "fit",
    "views",
    "resize_margin",
    "augmentation",
    "precision",
    "compute_precision",
    "layer",
)


def canonical_json(record: Mapping) -> str:
    """Write `record` as JSON in the one form that is fingerprinted.

    Keys sorted, no spaces, UTF-8, no NaN; numbers as Python's `json` writes them.
    """
    try:
        return json.dumps(
            record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise CacheError(
            f"the record of a feature set is not plain JSON: {error}",
            "use only text, finite numbers, true/false, null, lists and mappings",
        ) from error


def fingerprint(record: Mapping) -> str:
    """Return the SHA-256 of the record's canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(record).encode()).hexdigest()


def check_record(record: Mapping) -> dict:
    """Return the record as plain JSON data, or say what it lacks.

    Raises
    ------
    CacheError
        No ``backbone.spec``, or a precision that is not known.
    """
    plain = json.loads(canonical_json(record))
    backbone = plain.get("backbone") if isinstance(plain, dict) else None
    if not isinstance(backbone, dict) or not isinstance(backbone.get("spec"), str):
        raise CacheError(
            "the record of a feature set has no backbone spec",
            'give {"backbone": {"spec": "gluon:resnet152_v2", ...}, "fit": ..., ...}',
        )
    precision = plain.setdefault("precision", "float16")
    if precision not in PRECISIONS:
        raise CacheError(
            f"unknown precision {precision!r}", f"choose one of {', '.join(PRECISIONS)}"
        )
    return plain


def spec_of(record: Mapping) -> str:
    """Return the spec of the record's backbone."""
    return record["backbone"]["spec"]


def views_of(record: Mapping) -> tuple[str, ...]:
    """Return the names of the views that a row holds one after the other."""
    views = record.get("views") or ["center"]
    return (views,) if isinstance(views, str) else tuple(map(str, views))


def features_per_view(record: Mapping, dim: int) -> int:
    """Return how many of a row's `dim` numbers belong to each view.

    Raises
    ------
    CacheError
        `dim` is not a multiple of the number of views.
    """
    views = views_of(record)
    if dim % len(views):
        raise CacheError(
            f"rows of {dim} numbers of {spec_of(record)} cannot hold {len(views)} views "
            f"({enumerate_some(views)}) of equal length",
            "a row holds the features of all views, one view after the other; "
            "the record's views and the length of the rows must agree",
        )
    return dim // len(views)


def folder_name(record: Mapping) -> str:
    """Return the safe name of the set's folder: the spec and 12 digits of the fingerprint."""
    source, _, name = spec_of(record).rpartition(":")
    # A path in the spec (onnx:dir/model.onnx) is shortened to its last part.
    base = _base_name(name)
    text = f"{source}-{base}" if source else base
    safe = re.sub(r"[^A-Za-z0-9._@+]+", "-", text).strip("-.") or "set"
    return f"{safe[:80]}-{fingerprint(record)[:12]}"


def matches(wanted: str, record: Mapping, print_: str) -> int:
    """Rate how well `wanted` names the set: 0 not at all; higher is more exact.

    3 for the spec itself, 2 for a file's base name after the source, 1 for the bare stem.
    """
    wanted, _, prefix = wanted.partition("#")
    if prefix and not print_.startswith(prefix.lower()):
        return 0
    spec = spec_of(record)
    if wanted == spec or (not wanted and prefix):
        return 3
    source, _, name = spec.rpartition(":")
    base = _base_name(name)
    wanted_source, _, wanted_name = wanted.rpartition(":")
    wanted_base = _base_name(wanted_name)
    if wanted_source == source and wanted_base == base and source in _OF_FILES:
        return 2
    # "gluon:inceptionv3@299" and "gluon:inceptionv3" are one where the record says 299.
    if wanted in _with_and_without_size(spec, record["backbone"].get("input_size")):
        return 2
    if not wanted_source and wanted_name:
        plain, _, size = base.partition("@")
        stem = PurePath(plain).stem if source in ("onnx", "openvino") else plain
        if wanted_name in {base, plain, stem, f"{stem}@{size}"}:
            return 1
    return 0


def _base_name(name: str) -> str:
    return re.split(r"[/\\]", name)[-1]


def _with_and_without_size(spec: str, size: object) -> set[str]:
    if isinstance(size, list) and size:
        size = size[-1]
    if not isinstance(size, int):
        return {spec}
    ending = f"@{size}"
    return {spec, spec.removesuffix(ending) if spec.endswith(ending) else spec + ending}


def flatten(record: object, prefix: str = "") -> dict[str, object]:
    """Return nested mappings as one with dotted names; lists stay whole."""
    if not isinstance(record, Mapping):
        return {prefix: record}
    flat: dict[str, object] = {}
    for key, value in record.items():
        flat.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def differences(ours: Mapping, theirs: Mapping) -> list[tuple[str, object, object]]:
    """List the fields in which two records differ, as (dotted name, ours, theirs)."""
    a, b = flatten(ours), flatten(theirs)
    names = [*a, *(name for name in b if name not in a)]
    return [
        (name, a.get(name, _MISSING), b.get(name, _MISSING))
        for name in names
        if a.get(name, _MISSING) != b.get(name, _MISSING)
    ]

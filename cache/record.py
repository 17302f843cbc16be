"""Records of feature sets: the text that is fingerprinted, and how two of them differ."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..core.errors import CacheError

_MISSING = "(absent)"


def canonical_json(record: Mapping) -> str:
    """Write `record` as JSON in the one form that is fingerprinted.

    Keys sorted, no spaces, UTF-8, no NaN; numbers as Python's `json` writes them.
    """
    return plain_json(
        "the record of a feature set",
        record,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )


def plain_json(what: str, content: object, **how: Any) -> str:
    """Write as JSON what a caller gave, or say what of it is none.

    Parameters
    ----------
    what : str
        What it is, for the message.
    content : object
    **how
        As of `json.dumps`.

    Raises
    ------
    CacheError
        It holds what JSON or UTF-8 has no form for.
    """
    try:
        text = json.dumps(content, allow_nan=False, **how)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CacheError(
            f"{what} is not plain JSON: {error}",
            "use only text, finite numbers, true/false, null, lists and mappings",
        ) from error
    return text


def fingerprint(record: Mapping) -> str:
    """Return the SHA-256 of the record's canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(record).encode()).hexdigest()


def has_random_weights(record: Mapping) -> bool:
    """Tell whether a record says that its network's weights are random numbers."""
    backbone = record.get("backbone")
    return isinstance(backbone, Mapping) and backbone.get("random_seed") is not None


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
        if name not in a or name not in b or a[name] != b[name]
    ]

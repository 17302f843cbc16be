"""What a cache is told of a feature set: data, whose meaning is the business of others."""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from ...core.errors import CacheError, enumerate_some
from ..record import canonical_json, fingerprint
from .encoding import DTYPES, stored_dtype

# Bytes of the longest row; shards, which hold whole rows, are then bounded too.
LARGEST_ROW = 64 << 20
# An attribute of an HDF5 file holds up to 64 KiB.
_LONGEST_TEXT = 60_000
_LONGEST_NAME, _MANY_VIEWS = 1000, 4096


@dataclasses.dataclass(frozen=True)
class SetHeader:
    """What a feature set is; the fields are what `FeatureCache.open_set` is given.

    Raises
    ------
    CacheError
        Some of it cannot be used; all of that is named.
    """

    record: Mapping
    name: str
    width: int
    views: Sequence[str] = ("center",)
    dtype: str = "float16"

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise CacheError(
                f"a feature set cannot be made like this: {'; '.join(faults)}",
                "give a record of plain JSON, a name, the numbers in a view, the names of the "
                "views, and one of the types " + ", ".join(DTYPES),
            )
        # As it will be read back, and nobody else's to change.
        object.__setattr__(self, "record", json.loads(canonical_json(self.record)))
        object.__setattr__(self, "views", tuple(self.views))
        if len(self.text) > _LONGEST_TEXT:
            raise CacheError(
                f"the record and the views of {self.name} have {len(self.text)} characters",
                f"keep them below {_LONGEST_TEXT:,} characters of JSON",
            )

    def _faults(self):
        if not isinstance(self.record, Mapping):
            yield "its record is no mapping"
        if not isinstance(self.name, str) or not 0 < len(self.name) <= _LONGEST_NAME:
            yield f"its name is {str(self.name)[:40]!r}"
        if self.dtype not in DTYPES:
            yield f"its numbers are {self.dtype!r}"
        views = self.views if isinstance(self.views, list | tuple) else ()
        if not 0 < len(views) <= _MANY_VIEWS or not all(isinstance(one, str) for one in views):
            yield f"its views are {str(self.views)[:40]!r}, not a list of names"
        elif not isinstance(self.width, int) or isinstance(self.width, bool):
            yield f"its width is {self.width!r}"
        elif not 0 < self.width * len(views) <= LARGEST_ROW // 4:
            yield f"its rows have {len(views)} views of {self.width} numbers"

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the record's canonical JSON."""
        return fingerprint(self.record)

    @property
    def dim(self) -> int:
        """Numbers in a row: those of all views."""
        return self.width * len(self.views)

    @property
    def stored(self) -> np.dtype:
        """Type of the numbers on the disk: float16, float32, or uint16 for bfloat16."""
        return stored_dtype(self.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row on the disk."""
        return self.dim * self.stored.itemsize

    @property
    def folder_name(self) -> str:
        """A safe name for the set's folder: its own, and 12 digits of the fingerprint."""
        source, _, name = self.name.rpartition(":")
        # A path in the name (onnx:dir/model.onnx) is shortened to its last part.
        base = re.split(r"[/\\]", name)[-1]
        safe = re.sub(r"[^A-Za-z0-9._@+]+", "-", f"{source}-{base}" if source else base)
        return f"{safe.strip('-.')[:80] or 'set'}-{self.fingerprint[:12]}"

    def as_dict(self) -> dict[str, Any]:
        """Return the header as plain JSON, with its fingerprint."""
        return {
            "fingerprint": self.fingerprint,
            "name": self.name,
            "width": self.width,
            "views": list(self.views),
            "dtype": self.dtype,
            "record": self.record,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Rebuild a header from `as_dict`.

        Raises
        ------
        CacheError
            It is not what was written.
        """
        missing = [name for name in _FIELDS if name not in fields]
        if missing:
            raise CacheError(f"it has no {enumerate_some(missing)}")
        header = cls(**{name: fields[name] for name in _FIELDS if name != "fingerprint"})
        if header.fingerprint != fields["fingerprint"]:
            raise CacheError("the record does not match its fingerprint")
        return header

    @functools.cached_property
    def text(self) -> str:
        """`as_dict` as JSON in ASCII."""
        return json.dumps(self.as_dict(), sort_keys=True)

    @property
    def checksum(self) -> str:
        """SHA-256 of `as_dict` as canonical JSON, so that no part of it changes unseen."""
        return hashlib.sha256(canonical_json(self.as_dict()).encode()).hexdigest()


_FIELDS = ("fingerprint", "name", "width", "views", "dtype", "record")

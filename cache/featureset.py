"""One feature set of a cache: all rows of one backbone record, fit, views and precision."""

from __future__ import annotations

import itertools
import json
import operator
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.errors import CacheError
from ..core.files import publish_json
from .format.encoding import encode_blocks, stored_dtype
from .format.index import write_index
from .format.shard import FORMAT, as_keys, damaged, publish_shard, read_attributes
from .format.written import note_shard, settle_notes
from .record import check_record, features_per_view, fingerprint, folder_name, spec_of, views_of
from .rows import Rows

__all__ = ["RECORD_NAME", "FeatureSet", "create_set", "load_set"]

RECORD_NAME = "record.json"
_INDEX_EVERY_S = 60.0


class FeatureSet:
    """Feature rows by key, in immutable shards.

    Made by `FeatureCache.open_set`, `find` and `sets`. Handles may be pickled and may
    cross a fork.

    Parameters
    ----------
    folder : pathlib.Path
        The set's folder in the cache.
    record : dict
        What made the rows.
    dim : int
        Numbers in a row.

    Attributes
    ----------
    spec, fingerprint : str
    record : dict
    dim : int
        Numbers in a row: those of all views, one view after the other.
    views : tuple of str
    num_features : int
        Numbers in one view of a row.
    dtype : numpy.dtype
        As stored: float16, float32, or uint16 for bfloat16.
    warnings : list of str
        What was put right when the set was opened for writing.
    """

    def __init__(self, folder: Path, record: dict, dim: int) -> None:
        self.folder, self.record, self.dim = Path(folder), record, dim
        self.warnings: list[str] = []
        self.rows = Rows(self.folder, record, dim)
        self._indexed = time.monotonic()

    def __getstate__(self) -> dict:
        return {"folder": self.folder, "record": self.record, "dim": self.dim}

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)

    def __repr__(self) -> str:
        return f"<FeatureSet {self.spec} {self.fingerprint[:12]} dim={self.dim}>"

    @property
    def spec(self) -> str:
        """The spec of the backbone, as recorded."""
        return spec_of(self.record)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the record's canonical JSON."""
        return fingerprint(self.record)

    @property
    def precision(self) -> str:
        """``float16``, ``float32`` or ``bfloat16``."""
        return self.record["precision"]

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views in a row, in their order; ``("center",)`` if none are recorded."""
        return views_of(self.record)

    @property
    def num_features(self) -> int:
        """Numbers in one view of a row: `dim` over the number of views.

        Raises
        ------
        CacheError
            The rows are not made of whole views.
        """
        return features_per_view(self.record, self.dim)

    @property
    def dtype(self) -> np.dtype:
        """The type of the stored numbers."""
        return stored_dtype(self.precision)

    def __len__(self) -> int:
        """Count the rows that can be read."""
        self.rows.refresh()
        return len(self.rows.known())

    def __bool__(self) -> bool:
        # A set without rows yet is still a set: `if feature_set` asks whether there is one.
        return True

    def keys(self) -> list[str]:
        """Return the keys of all rows in sorted order, whatever the order of writing.

        Raises
        ------
        DamagedCacheError
            A shard cannot be read, so that the list would be incomplete.
        """
        self.rows.refresh()
        self.rows.check()
        return self.rows.sorted_keys()

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return those of `keys` that have no row, each once, in the order given."""
        self.rows.refresh()
        known = self.rows.known()
        return [key for key in dict.fromkeys(keys) if key not in known]

    def matrix(self, keys: Sequence[str], out: np.ndarray | None = None) -> np.ndarray:
        """Return the rows of `keys` as float32 (N, dim).

        Parameters
        ----------
        keys : sequence of str
            Row keys in any order, repeats allowed.
        out : ndarray (N, dim) float32, optional
            Where to put them; may be a range of another array's columns.

        Raises
        ------
        MissingRowsError, DamagedCacheError
        """
        wanted = as_keys(keys)
        if out is None:
            out = np.empty((len(wanted), self.dim), np.float32)
        if len(wanted):
            if not self.rows.holds(wanted):
                self.rows.refresh()
            self.rows.gather(wanted, out)
        return out

    def append(
        self, keys: Sequence[str], rows: np.ndarray, provenance: Mapping | None = None
    ) -> None:
        """Publish rows as one immutable shard; when this returns they are on the disk.

        Rows whose key is already there, and repeats, are skipped.

        Parameters
        ----------
        keys : sequence of str
            SHA-256 of each image file's bytes, 64 hexadecimal digits.
        rows : ndarray (n, dim)
            Finite numbers of any float type.
        provenance : mapping, optional
            What may vary inside a set (engine, host, times); stored with the shard.

        Raises
        ------
        CacheError
            The shapes disagree, a key is not a digest, or a number does not fit.
        DiskFullError
            No room; what was appended before stays.
        """
        array, rows = as_keys(keys), np.asarray(rows)
        if rows.shape != (len(array), self.dim):
            raise CacheError(
                f"{len(array)} keys and rows of shape {rows.shape} do not belong together: "
                f"the feature set {self.spec} has rows of {self.dim} numbers",
                "give one key for each row",
            )
        self.rows.refresh()
        known = self.rows.known()
        take = _new_rows(keys, known)
        if take == []:
            return
        shard = publish_shard(
            self.folder / "shards",
            self.record,
            array if take is None else array[take],
            encode_blocks(rows, self.precision, take),
            self.dim,
            provenance or {},
        )
        self.rows.add(shard, keys if take is None else [keys[i] for i in take])
        # A shard that vanishes is noticed because a note or the index names it.
        note_shard(self.folder, shard.name, shard.keys)
        if time.monotonic() - self._indexed > _INDEX_EVERY_S:
            self.write_index()

    def write_index(self) -> None:
        """Publish ``index.h5``: all rows as one virtual HDF5 data set, with their keys."""
        self.rows.refresh()
        shards = [self.rows.shards[name] for name in sorted(self.rows.shards)]
        write_index(self.folder, self.record, self.dim, shards)
        settle_notes(self.folder, self.rows.shards, self.rows.known())
        self._indexed = time.monotonic()

    def provenances(self) -> list[dict]:
        """Return the provenance of each shard with its ``shard``, ``rows`` and ``bytes``."""
        self.rows.refresh()
        found = []
        for name, shard in sorted(self.rows.shards.items()):
            given = read_attributes(self.folder / "shards" / name)["provenance"]
            found.append(
                {"shard": name, "rows": len(shard.keys), "bytes": shard.size, "provenance": given}
            )
        return found

    def close(self) -> None:
        """Close open files; reading opens them again."""
        self.rows.close()


def _new_rows(keys: Sequence[str], known: set[str]) -> list[int] | None:
    """Choose the rows to write: not known, each key once, sorted by key as `keys()` has them.

    None means all of them as they are.
    """
    ordered = all(map(operator.lt, keys, itertools.islice(keys, 1, None)))
    if ordered and len(keys) and known.isdisjoint(keys):
        return None
    first = {key: i for i, key in reversed(list(enumerate(keys))) if key not in known}
    return [first[key] for key in sorted(first)]


def create_set(root: Path, record: dict, dim: int) -> FeatureSet:
    """Make the folder of a new feature set in the cache at `root`."""
    folder = root / folder_name(record)
    content = {"format": FORMAT, "fingerprint": fingerprint(record), "dim": dim, "record": record}
    # The record comes first: shards without one would look like damage.
    publish_json(folder / RECORD_NAME, content)
    (folder / "shards").mkdir(exist_ok=True)
    return FeatureSet(folder, record, dim)


def load_set(folder: Path) -> FeatureSet:
    """Open the feature set in `folder`.

    Raises
    ------
    DamagedCacheError
        Its ``record.json`` is not what was written.
    CacheError
        It is of a newer format.
    """
    path = folder / RECORD_NAME
    try:
        content = json.loads(path.read_text("utf-8"))
        number, print_, dim = content["format"], content["fingerprint"], content["dim"]
        record = check_record(content["record"])
    except (OSError, ValueError, KeyError, TypeError, CacheError) as error:
        raise damaged(path, f"not readable: {error}") from error
    if number > FORMAT:
        raise CacheError(
            f"{path} has cache format {number}; this icecore reads up to {FORMAT}",
            "install a newer icecore to read it",
        )
    if fingerprint(content["record"]) != print_ or not isinstance(dim, int):
        raise damaged(path, "the record does not match its fingerprint")
    return FeatureSet(folder, record, dim)

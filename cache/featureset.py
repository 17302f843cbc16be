"""One feature set of a cache: all rows of one backbone record, fit, views and precision."""

import itertools
import operator
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.errors import CacheError
from .format.encoding import encode
from .format.header import SetHeader
from .format.index import write_index
from .format.shard import as_keys, publish_shard, read_provenance, shard_rows
from .rows import Rows

_INDEX_EVERY_S = 60.0


class FeatureSet:
    """Feature rows by key, in immutable shards.

    Made by `FeatureCache.open_set`, `find` and `sets`. Handles may be pickled and may
    cross a fork.

    Parameters
    ----------
    folder : pathlib.Path
        The set's folder in the cache.
    header : SetHeader

    Attributes
    ----------
    name, fingerprint : str
    record : dict
        What made the rows.
    dim : int
        Numbers in a row: those of all views, one view after the other.
    views : tuple of str
    width : int
        Numbers in one view of a row.
    dtype : str
        ``float16``, ``float32`` or ``bfloat16``: how the numbers are stored.
    warnings : list of str
        What was put right when the set was opened for writing.
    """

    def __init__(self, folder: Path, header: SetHeader) -> None:
        self.folder, self.header = Path(folder), header
        self.name, self.record, self.dtype = header.name, header.record, header.dtype
        self.width, self.views, self.dim = header.width, header.views, header.dim
        self.fingerprint = header.fingerprint
        self.warnings: list[str] = []
        self.rows = Rows(self.folder, header)
        self._indexed = time.monotonic()

    def __getstate__(self) -> dict:
        return {"folder": self.folder, "header": self.header}

    def __setstate__(self, state: dict) -> None:
        type(self).__init__(self, **state)

    def __repr__(self) -> str:
        return f"<FeatureSet {self.name} {self.fingerprint[:12]} dim={self.dim}>"

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
        return list(dict.fromkeys(itertools.filterfalse(known.__contains__, keys)))

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
        CacheError
            `out` is of another shape or type.
        """
        wanted = as_keys(keys)
        if out is None:
            out = np.empty((len(wanted), self.dim), np.float32)
        if out.shape != (len(wanted), self.dim) or out.dtype != np.float32:
            raise CacheError(
                f"the array for the rows is of {out.dtype} and of shape {out.shape}",
                f"give one of float32 and of shape ({len(wanted)}, {self.dim})",
            )
        if len(wanted):
            try:
                self.rows.gather(wanted, out)
            except CacheError:
                # Others may have added or repaired them since the folder was looked at.
                self.rows.refresh()
                self.rows.gather(wanted, out)
        return out

    def append(
        self, keys: Sequence[str], rows: np.ndarray, provenance: Mapping | None = None
    ) -> None:
        """Publish rows as immutable shards; when this returns they are on the disk.

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
                f"the feature set {self.name} has rows of {self.dim} numbers",
                "give one key for each row",
            )
        if rows.dtype.kind not in "fiu":
            raise CacheError(f"rows are of the type {rows.dtype}", "give finite real numbers")
        self.rows.refresh()
        take = _new_rows(keys, self.rows.known())
        step = shard_rows(self.header)
        for start in range(0, len(array) if take is None else len(take), step):
            part = slice(start, start + step)
            if take is None:
                self._publish(keys[part], array[part], rows[part], provenance)
            else:
                chosen = take[part]
                texts = [keys[i] for i in chosen]
                self._publish(texts, array[chosen], rows[chosen], provenance)
        if time.monotonic() - self._indexed > _INDEX_EVERY_S:
            self.write_index()

    def _publish(
        self, texts: Sequence[str], keys: np.ndarray, rows: np.ndarray, given: Mapping | None
    ) -> None:
        stored = encode(rows, self.dtype)
        shard = publish_shard(self.folder / "shards", self.header, keys, stored, given or {})
        self.rows.add(shard, texts)

    def write_index(self) -> None:
        """Publish ``index.h5``: all rows as one virtual HDF5 data set, with their keys."""
        self.rows.refresh()
        shards = [self.rows.shards[name] for name in sorted(self.rows.shards)]
        write_index(self.folder, self.header, shards)
        self._indexed = time.monotonic()

    def provenances(self) -> list[dict]:
        """Return the provenance of each shard with its ``shard``, ``rows`` and ``bytes``."""
        self.rows.refresh()
        found = []
        for name, shard in sorted(self.rows.shards.items()):
            given = read_provenance(self.folder / "shards" / name)
            found.append(
                {"shard": name, "rows": len(shard.keys), "bytes": shard.size, "provenance": given}
            )
        return found


def _new_rows(keys: Sequence[str], known: set[str]) -> list[int] | None:
    """Choose the rows to write: not known, each key once, sorted by key as `keys()` has them.

    None means all of them as they are.
    """
    ordered = all(map(operator.lt, keys, itertools.islice(keys, 1, None)))
    if ordered and len(keys) and known.isdisjoint(keys):
        return None
    first = {key: i for i, key in reversed(list(enumerate(keys))) if key not in known}
    return [first[key] for key in sorted(first)]

"""Write feature matrices in forms that other programs read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from ...core.errors import CacheError, MissingDependencyError
from ...core.files import publish, publish_text
from ..featurecache import FeatureCache
from ..format.shard import as_keys
from ..record import canonical_json

__all__ = ["EXPORT_KINDS", "export", "export_arrays"]

_BLOCK_ROWS = 4096
_CHUNK_BYTES = 1 << 18


def export_arrays(
    cache: FeatureCache, specs: str | Sequence[str], keys: Sequence[str] | None = None
) -> tuple[np.ndarray, list[str]]:
    """Return ``X, ids``, ready for scikit-learn.

    Parameters
    ----------
    cache : FeatureCache
    specs : str or sequence of str
    keys : sequence of str, optional
        Rows and their order; by default all rows that every set has, sorted.

    Returns
    -------
    X : ndarray (N, sum of dim) float32
    ids : list of str
    """
    specs = [specs] if isinstance(specs, str) else list(specs)
    ids = list(keys) if keys is not None else _common(cache, specs)
    return cache.matrix(specs, ids), ids


def export(
    cache: FeatureCache,
    specs: str | Sequence[str],
    path: str | os.PathLike,
    keys: Sequence[str] | None = None,
    kind: str | None = None,
    compress: bool = False,
) -> dict:
    """Write the rows of some feature sets side by side into one file, atomically.

    Parameters
    ----------
    cache, specs, keys
        As for `export_arrays`.
    path : path-like
    kind : str, optional
        ``npy`` (X alone, float32, with the row keys in ``PATH.ids.txt``), ``npz`` (X and
        ids), ``hdf5`` (features, keys, records) or ``parquet`` (key, features); by
        default what the ending says. All but npz are written in blocks, none with pickle.
    compress : bool
        Smaller and slower: npz deflated, hdf5 shuffled and deflated, parquet with zstd.

    Returns
    -------
    dict
        ``{"path", "kind", "rows", "dim", "specs"}``
    """
    path = Path(path)
    kind = kind or _BY_ENDING.get(path.suffix.lower())
    if kind not in _WRITERS:
        raise CacheError(
            f"{path.name}: no such kind of export ({kind or path.suffix or 'no ending'})",
            f"choose one of {', '.join(_WRITERS)}, by --format or by the file's ending",
        )
    if compress and kind == "npy":
        raise CacheError(
            f"{path.name}: npy files are not compressed", "choose npz, hdf5 or parquet"
        )
    specs = [specs] if isinstance(specs, str) else list(specs)
    ids = list(keys) if keys is not None else _common(cache, specs)
    dim = sum(cache.find(spec).dim for spec in specs)
    _WRITERS[kind](cache, specs, ids, dim, path, compress)
    return {"path": str(path), "kind": kind, "rows": len(ids), "dim": dim, "specs": specs}


def _common(cache: FeatureCache, specs: Sequence[str]) -> list[str]:
    if not specs:
        raise CacheError("no feature set was named", "give at least one backbone spec")
    lists = [cache.ids(spec) for spec in specs]
    shared = set(lists[0]).intersection(*lists[1:])
    return [key for key in lists[0] if key in shared]


def _blocks(cache: FeatureCache, specs: Sequence[str], ids: Sequence[str]):
    for start in range(0, len(ids), _BLOCK_ROWS):
        part = slice(start, min(start + _BLOCK_ROWS, len(ids)))
        yield part, cache.matrix(specs, ids[part])


def _write_npy(
    cache: FeatureCache, specs: list, ids: list, dim: int, path: Path, compress: bool
) -> None:
    with publish(path) as temporary, open(temporary, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(ids), dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for _, rows in _blocks(cache, specs, ids):
            file.write(rows)
    publish_text(path.with_name(path.name + ".ids.txt"), "".join(f"{key}\n" for key in ids))


def _write_npz(
    cache: FeatureCache, specs: list, ids: list, dim: int, path: Path, compress: bool
) -> None:
    with publish(path) as temporary, open(temporary, "wb") as file:
        save = np.savez_compressed if compress else np.savez
        save(file, X=cache.matrix(specs, ids), ids=np.array(ids, "U64"), specs=np.array(specs))


def _write_hdf5(
    cache: FeatureCache, specs: list, ids: list, dim: int, path: Path, compress: bool
) -> None:
    sets = [cache.find(spec) for spec in specs]
    # One precision is kept as it is; several meet in float32.
    kinds = {one.precision for one in sets}
    dtype = np.float16 if kinds == {"float16"} else np.float32
    options = {"libver": ("v108", "v110"), "locking": False}
    filters: dict = {}
    if compress and ids:
        step = min(len(ids), max(1, _CHUNK_BYTES // max(1, dim * np.dtype(dtype).itemsize)))
        filters = {"chunks": (step, dim), "shuffle": True, "compression": "gzip"}
    with publish(path) as temporary, h5py.File(temporary, "w", **options) as file:
        data = file.create_dataset("features", (len(ids), dim), dtype, **filters)
        for part, rows in _blocks(cache, specs, ids):
            data[part] = rows
        file.create_dataset("keys", data=as_keys(ids))
        file.attrs["specs"] = [np.bytes_(spec) for spec in specs]
        file.attrs["dims"] = [one.dim for one in sets]
        for i, one in enumerate(sets):
            file.attrs[f"record_{i}"] = canonical_json(one.record)


def _write_parquet(
    cache: FeatureCache, specs: list, ids: list, dim: int, path: Path, compress: bool
) -> None:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingDependencyError(
            f"writing Parquet needs the package pyarrow, which cannot be used: {error}",
            "pip install pyarrow (of a version that fits NumPy), or export npy, npz or hdf5",
        ) from error
    kind = pyarrow.list_(pyarrow.float32(), dim)
    sets = [cache.find(spec) for spec in specs]
    about = {"specs": specs, "dims": [s.dim for s in sets], "records": [s.record for s in sets]}
    schema = pyarrow.schema([("key", pyarrow.string()), ("features", kind)])
    schema = schema.with_metadata({"icecore": canonical_json(about)})
    options = {"compression": "zstd" if compress else "snappy"}
    with publish(path) as temporary, parquet.ParquetWriter(temporary, schema, **options) as writer:
        for part, rows in _blocks(cache, specs, ids):
            flat = pyarrow.array(rows.reshape(-1))
            columns = [pyarrow.array(ids[part]), pyarrow.FixedSizeListArray.from_arrays(flat, dim)]
            writer.write_table(pyarrow.table(columns, schema=schema))


_WRITERS: dict[str, Callable] = {
    "npy": _write_npy, "npz": _write_npz, "hdf5": _write_hdf5, "parquet": _write_parquet,
}  # fmt: skip
EXPORT_KINDS = tuple(_WRITERS)
_BY_ENDING = {
    ".npy": "npy", ".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip

"""Write feature matrices in forms that other programs read, each with the names of its rows."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from ...core.errors import CacheError, DamagedCacheError, counted, enumerate_some
from ...core.files import publish
from ...core.hdf5_files import new_hdf5
from ...core.imports import load
from ...core.npz_files import write_npz
from ..check import vanished
from ..featurecache import FeatureCache
from ..featureset import FeatureSet
from ..record import canonical_json

_BLOCK_ROWS = 4096
_CHUNK_BYTES = 1 << 18
# What the files hold besides the columns of the table.
_TAKEN = frozenset({"X", "features", "specs", "dims"})


def export(
    cache: FeatureCache,
    names: str | Sequence[str],
    path: str | os.PathLike,
    table: Mapping[str, Sequence[str]] | None = None,
    compress: bool = False,
) -> dict:
    """Write the rows of some feature sets side by side into one file, atomically.

    Parameters
    ----------
    cache : FeatureCache
    names : str or sequence of str
        Feature sets, in the order of their columns.
    path : path-like
        The ending says what is written: ``.npz`` (X and the columns), ``.h5`` (features,
        the columns, records) or ``.parquet`` (the columns, features). All but npz are
        written in blocks, none with pickle.
    table : mapping of str to sequence of str, optional
        Columns of text that are written beside the rows. The column ``key`` says which
        rows, and their order; by default there is only that, with all rows that every
        set has, sorted.
    compress : bool
        Smaller and slower: npz deflated, hdf5 shuffled and deflated, parquet with zstd.

    Returns
    -------
    dict
        ``{"path", "rows", "dim", "names", "columns"}``
    """
    path = Path(path)
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise CacheError(
            f"{path.name} has an ending that no export has ({path.suffix or 'none'})",
            f"give the file one of the endings {', '.join(_WRITERS)}",
        )
    names = [names] if isinstance(names, str) else list(names)
    columns = {"key": _common(cache, names)} if table is None else _checked(table)
    content = _Content(cache, cache.find_all(names), names, columns)
    if not content.keys:
        raise no_rows(content.sets)
    write(content, path, compress)
    return {
        "path": str(path), "rows": len(content.keys), "dim": content.dim,
        "names": [one.name for one in content.sets], "columns": list(columns),
    }  # fmt: skip


def require_all_rows(sets: Sequence[FeatureSet]) -> None:
    """Raise `DamagedCacheError` if the index of a set knows rows that no shard has any more."""
    for one in sets:
        gone = [problem for problem in vanished(one) if problem.rows]
        if gone:
            rows = len({key for problem in gone for key in problem.rows})
            files = enumerate_some([problem.file for problem in gone], 3)
            raise DamagedCacheError(
                f"{counted(rows, 'row')} of {one.name} that its index names "
                f"{'is' if rows == 1 else 'are'} gone, with {files}",
                "bring the shards back; or run `icecore cache repair` on this cache, which takes "
                "them out of the index, and `icecore extract` as before",
            )


def no_rows(sets: Sequence[FeatureSet]) -> CacheError:
    """Say that there is nothing to write."""
    counts = enumerate_some(f"{one.name} has {counted(len(one), 'row')}" for one in sets)
    where, network = ("each of these sets", "each of these backbones")
    if len(sets) == 1:
        where, network = ("this set", "its backbone")
    return CacheError(
        f"no image has a row in {where}: {counts}",
        f"run `icecore extract` on the images with {network} into this cache",
    )


def _common(cache: FeatureCache, names: Sequence[str]) -> list[str]:
    if not names:
        raise CacheError("no feature set was named", "give the name of at least one")
    require_all_rows(cache.find_all(names))
    lists = [cache.ids(name) for name in names]
    shared = set(lists[0]).intersection(*lists[1:])
    return [key for key in lists[0] if key in shared]


def _checked(table: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    columns = {name: list(column) for name, column in table.items()}
    lengths = {len(column) for column in columns.values()}
    taken = sorted(_TAKEN & columns.keys())
    if "key" not in columns or len(lengths) > 1 or taken:
        raise CacheError(
            f"columns of {sorted(lengths)} rows cannot be written as {', '.join(columns)}",
            f"give a column 'key', all of one length, and none named {', '.join(sorted(_TAKEN))}",
        )
    return columns


@dataclasses.dataclass(frozen=True)
class _Content:
    """What is written: rows of some sets, and columns of text beside them."""

    cache: FeatureCache
    sets: list[FeatureSet]
    names: list[str]
    columns: dict[str, list[str]]

    @property
    def keys(self) -> list[str]:
        return self.columns["key"]

    @property
    def dim(self) -> int:
        return sum(one.dim for one in self.sets)

    @property
    def about(self) -> dict:
        return {
            "specs": [one.name for one in self.sets],
            "dims": [one.dim for one in self.sets],
            "records": [one.record for one in self.sets],
        }

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (slice of rows, the rows as float32), some at a time."""
        for start in range(0, len(self.keys), _BLOCK_ROWS):
            part = slice(start, min(start + _BLOCK_ROWS, len(self.keys)))
            yield part, self.cache.matrix(self.names, self.keys[part])


def _write_npz(content: _Content, path: Path, compress: bool) -> None:
    arrays = {name: np.array(column, str) for name, column in content.columns.items()}
    arrays["specs"] = np.array(content.about["specs"], str)
    rows = content.cache.matrix(content.names, content.keys)
    write_npz(path, {"X": rows, **arrays}, compress)


def _write_hdf5(content: _Content, path: Path, compress: bool) -> None:
    # One precision is kept as it is; several meet in float32.
    dtype = np.float16 if {one.dtype for one in content.sets} == {"float16"} else np.float32
    count, dim = len(content.keys), content.dim
    filters: dict = {}
    if compress and count:
        step = min(count, max(1, _CHUNK_BYTES // (dim * np.dtype(dtype).itemsize)))
        filters = {"chunks": (step, dim), "shuffle": True, "compression": "gzip"}
    with publish(path) as temporary, new_hdf5(temporary) as file:
        data = file.create_dataset("features", (count, dim), dtype, **filters)
        for part, rows in content.blocks():
            data[part] = rows
        for name, column in content.columns.items():
            file.create_dataset(name, data=column, dtype=h5py.string_dtype())
        file.attrs["specs"] = content.about["specs"]
        file.attrs["dims"] = content.about["dims"]
        for number, record in enumerate(content.about["records"]):
            file.attrs[f"record_{number}"] = canonical_json(record)


def _write_parquet(content: _Content, path: Path, compress: bool) -> None:
    pyarrow = load("pyarrow", "pyarrow.parquet")
    kind = pyarrow.list_(pyarrow.float32(), content.dim)
    columns = [(name, pyarrow.string()) for name in content.columns]
    schema = pyarrow.schema([*columns, ("features", kind)])
    schema = schema.with_metadata({"icecore": canonical_json(content.about)})
    codec = "zstd" if compress else "snappy"
    with (
        publish(path) as temporary,
        open(temporary, "wb") as file,
        pyarrow.parquet.ParquetWriter(file, schema, compression=codec) as writer,
    ):
        for part, rows in content.blocks():
            flat = pyarrow.array(rows.reshape(-1))
            texts = [pyarrow.array(column[part]) for column in content.columns.values()]
            features = pyarrow.FixedSizeListArray.from_arrays(flat, content.dim)
            writer.write_table(pyarrow.table([*texts, features], schema=schema))


_WRITERS: dict[str, Callable[[_Content, Path, bool], None]] = {
    ".npz": _write_npz,
    ".h5": _write_hdf5,
    ".hdf5": _write_hdf5,
    ".parquet": _write_parquet,
    ".pq": _write_parquet,
}

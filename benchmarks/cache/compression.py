"""What compression would gain: sizes and speeds of HDF5's filters on the features of a cache.

Run it as ``python benchmarks/cache/compression.py CACHE SPEC``. The rows are read from the
cache, written with each filter, and compared when read back.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
from speed import PACKAGES, timed

from icecore.cache import FeatureCache
from icecore.core.hardware import describe_machine

FILTERS = {
    "none": {},
    "lzf": {"compression": "lzf"},
    "shuffle + lzf": {"shuffle": True, "compression": "lzf"},
    "shuffle + gzip 1": {"shuffle": True, "compression": "gzip", "compression_opts": 1},
    "shuffle + gzip 4": {"shuffle": True, "compression": "gzip", "compression_opts": 4},
}
CHUNK_ROWS = 64


def write(path: Path, rows: np.ndarray, filters: dict) -> None:
    chunks = {"chunks": (min(CHUNK_ROWS, len(rows)), rows.shape[1])} if filters else {}
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=rows, **chunks, **filters)


def read(path: Path) -> np.ndarray:
    with h5py.File(path, "r") as file:
        return file["features"][()]


def measure(rows: np.ndarray, filters: dict, repeats: int) -> tuple[float, float, float]:
    """Return the size relative to the rows', and the speeds of writing and reading, MB/s."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        write(path, rows, filters)
        assert np.array_equal(read(path), rows), "differs"
        jobs = (lambda: write(path, rows, filters), lambda: read(path))
        times = [statistics.median(timed(job) for _ in range(repeats)) for job in jobs]
        return path.stat().st_size / rows.nbytes, *(rows.nbytes / 1e6 / t for t in times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("spec")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    cache = FeatureCache(given.cache)
    one = cache.find(given.spec)
    dtype = np.float32 if one.dtype == "bfloat16" else one.dtype
    rows = one.matrix(one.keys()).astype(dtype)
    zeros = f"{(rows == 0).mean():.0%} zeros"
    print(f"{len(rows):,} rows x {one.dim:,} {rows.dtype} of {one.name}, {zeros};")
    print(f"medians of {given.repeats}; {describe_machine(*PACKAGES)}\n")
    print("| filter | size | write | read |\n|---|---|---|---|")
    for name, filters in FILTERS.items():
        size, writing, reading = measure(rows, filters, given.repeats)
        print(f"| {name} | {size:.2f} | {writing:,.0f} MB/s | {reading:,.0f} MB/s |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

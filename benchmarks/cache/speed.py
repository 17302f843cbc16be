"""Speed of the feature cache against plain h5py and a raw .npy memory map of the same data.

Run it as ``python benchmarks/cache/speed.py [--rows 80000] [--dim 6016] [--markdown FILE]``.
Results are asserted to be equal before anything is timed; every alternative is timed in the same
run, in turn, and the median of the ratios of neighbouring runs is printed. The exit status is 1
if a bar is missed. It needs about three times the data on the disk and six times in memory.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from icecore.cache import FeatureCache
from icecore.core.hardware import describe_machine

PACKAGES = ("numpy", "h5py")
SHARD = 1024
SPEC = "bench:features"


def record(spec: str = SPEC) -> dict:
    return {
        "backbone": {"spec": spec, "weights_digest": "0", "input_size": 224},
        "fit": "crop", "views": ["center"], "precision": "float16", "layer": "pool",
    }  # fmt: skip


def make_rows(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    """Random finite float16 below 2, as post-ReLU features are: (rows, dim)."""
    bits = np.random.default_rng(seed).integers(0, 1 << 16, (rows, dim), dtype=np.uint16)
    bits &= 0x3FFF
    return bits.view(np.float16)


def make_keys(rows: int) -> list[str]:
    return sorted(hashlib.sha256(b"%d" % i).hexdigest() for i in range(rows))


def timed(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def compare(
    ours: Callable,
    others: dict[str, Callable],
    repeats: int,
    clear=lambda: None,
    before=lambda: None,
) -> dict:
    """Time the jobs in turn; return seconds and, for each alternative, its time over ours.

    `before` is called before each job, so that all find the machine in one state.
    """
    times: dict[str, list[float]] = {name: [] for name in ["icecore", *others]}
    jobs = list({"icecore": ours, **others}.items())
    for turn in range(repeats):
        # Whoever comes first may pay for memory the system has yet to find: take turns.
        first = turn % len(jobs)
        for name, job in jobs[first:] + jobs[:first]:
            before()
            times[name].append(timed(job))
            clear()
    result = {name: statistics.median(t) for name, t in times.items()}
    ratios = {
        name: statistics.median(b / a for a, b in zip(times["icecore"], times[name], strict=True))
        for name in others
    }
    return {"seconds": result, "ratios": ratios}


# Writing --------------------------------------------------------------------------------


def write_cache(folder: Path, keys: list[str], x: np.ndarray) -> None:
    one = FeatureCache.create(folder).open_set(record(), SPEC, x.shape[1])
    for i in range(0, len(x), SHARD):
        one.append(keys[i : i + SHARD], x[i : i + SHARD])
    one.write_index()


def write_raw(folder: Path, x: np.ndarray, rename: bool = True) -> None:
    """One file a chunk, with the fsyncs of a shard: the file, and the folder it appears in.

    Without `rename` a half-written file can be seen, and the second fsync has nothing to do.
    """
    folder.mkdir()
    for i in range(0, len(x), SHARD):
        name = folder / (".new" if rename else f"{i}.raw")
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, x[i : i + SHARD])
        os.fsync(descriptor)
        os.close(descriptor)
        if rename:
            os.rename(name, folder / f"{i}.raw")
        flush(folder)


def write_h5py_shards(folder: Path, keys: list[str], x: np.ndarray) -> None:
    """Plain h5py as shards are written: each in a file of its own, flushed and renamed."""
    folder.mkdir()
    for i in range(0, len(x), SHARD):
        with h5py.File(folder / ".new", "w") as file:
            file["keys"] = np.array(keys[i : i + SHARD], "S64")
            file["features"] = x[i : i + SHARD]
        flush(folder / ".new")
        os.rename(folder / ".new", folder / f"{i}.h5")
        flush(folder)


def read_h5py_shards(folder: Path) -> np.ndarray:
    parts = sorted(folder.iterdir(), key=lambda path: int(path.stem))
    return np.concatenate([h5py.File(path)["features"][()] for path in parts])


def write_h5py(path: Path, x: np.ndarray) -> None:
    """Plain h5py with the same flushes: one file, which is flushed after each chunk."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("features", x.shape, x.dtype)
        for i in range(0, len(x), SHARD):
            data[i : i + SHARD] = x[i : i + SHARD]
            file.flush()
            flush(path)
            flush(path.parent)


def flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


# Reading --------------------------------------------------------------------------------


def load_cache(folder: Path, keys: list[str]) -> np.ndarray:
    return FeatureCache(folder).matrix(SPEC, keys)


def load_npy(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r").astype(np.float32)


def load_h5py(path: Path) -> np.ndarray:
    with h5py.File(path, "r") as file:
        return file["features"].astype(np.float32)[()]


def gather_jobs(root: Path, keys: list[str], picks: list[np.ndarray]) -> dict[str, Callable]:
    cache = FeatureCache(root / "cache")
    chosen = [[keys[i] for i in pick] for pick in picks]
    memory = np.load(root / "x.npy", mmap_mode="r")
    file = h5py.File(root / "x.h5", "r")
    ordered = [np.sort(pick) for pick in picks]
    return {
        "icecore": lambda: [cache.matrix(SPEC, c) for c in chosen],
        ".npy": lambda: [memory[p].astype(np.float32) for p in picks],
        "h5py": lambda: [file["features"][p].astype(np.float32) for p in ordered],
    }


_OPEN = """
import sys, time
from icecore.cache import FeatureCache
start = time.perf_counter()
cache = FeatureCache(sys.argv[1])
one = cache.find("bench:features")
cache.matrix("bench:features", [sys.argv[2]])
assert len(one.rows.shards) == int(sys.argv[3])
print(time.perf_counter() - start)
"""

_MEMORY = """
import sys
import numpy as np
from icecore.cache import FeatureCache
cache = FeatureCache(sys.argv[1])
keys = cache.ids("bench:features")
rng = np.random.default_rng(0)

def status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) / 1024

cache.matrix("bench:features", keys[:1])
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
before = status("VmRSS")
for _ in range(40):
    cache.matrix("bench:features", [keys[i] for i in rng.choice(len(keys), 256)])
print(before, status("VmHWM") - before)
"""


def child(program: str, *arguments: object) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [float(word) for word in done.stdout.split()]


# The measurements -----------------------------------------------------------------------


def bench_write(root: Path, keys: list[str], x: np.ndarray, repeats: int) -> tuple:
    write_cache(root / "cache", keys, x)
    np.save(root / "x.npy", x)
    write_h5py(root / "x.h5", x)
    write_h5py_shards(root / "shards", keys, x)
    assert np.array_equal(read_h5py_shards(root / "shards"), x), "differs from h5py"
    shutil.rmtree(root / "shards")
    assert np.array_equal(load_cache(root / "cache", keys), x.astype(np.float32)), "differs"
    found = compare(
        lambda: write_cache(root / "again", keys, x),
        {
            "h5py": lambda: write_h5py(root / "b.h5", x),
            "h5py, a file a shard": lambda: write_h5py_shards(root / "shards", keys, x),
            "raw": lambda: write_raw(root / "raw", x),
            "raw, not atomic": lambda: write_raw(root / "bare", x, rename=False),
        },
        repeats,
        lambda: [
            shutil.rmtree(root / name, ignore_errors=True)
            for name in ("again", "raw", "bare", "shards")
        ],
        # Whoever follows a job that deleted its files gets their memory at once; the others
        # wait for the system to find some. So the same amount is freed before each.
        lambda: [write_raw(root / "freed", x), shutil.rmtree(root / "freed")],
    )
    (root / "b.h5").unlink()
    return "write, durable every 1,024 rows", found, {"h5py": 0.9}


def bench_load(root: Path, keys: list[str], x: np.ndarray, repeats: int) -> tuple:
    expected = load_npy(root / "x.npy")
    assert np.array_equal(load_cache(root / "cache", keys), expected), "differs from .npy"
    assert np.array_equal(load_h5py(root / "x.h5"), expected), "differs from h5py"
    expected_shape = expected.shape
    del expected
    found = compare(
        lambda: load_cache(root / "cache", keys),
        {".npy": lambda: load_npy(root / "x.npy"), "h5py": lambda: load_h5py(root / "x.h5")},
        repeats,
        # As in `bench_write`: memory that was in use a moment ago is quicker to get.
        before=lambda: np.ones(expected_shape, np.float32),
    )
    return "load all to float32", found, {".npy": 0.8}


def bench_gather(root: Path, keys: list[str], x: np.ndarray, repeats: int) -> tuple:
    rng = np.random.default_rng(1)
    picks = [rng.choice(len(keys), 256, replace=False) for _ in range(40)]
    jobs = gather_jobs(root, keys, picks)
    ours, npy, plain = jobs["icecore"](), jobs[".npy"](), jobs["h5py"]()
    for pick, a, b, c in zip(picks, ours, npy, plain, strict=True):
        assert np.array_equal(a, b), "differs from .npy"
        assert np.array_equal(a[np.argsort(pick)], c), "differs from h5py"
    others = {name: job for name, job in jobs.items() if name != "icecore"}
    return (
        "gather 256 random rows, 40 times",
        compare(jobs["icecore"], others, repeats),
        {".npy": 0.5},
    )


def bench_concatenation(root: Path, keys: list[str], repeats: int) -> tuple:
    """Three sets side by side against loading each and np.hstack."""
    rows = len(keys) // 8
    cache = FeatureCache.create(root / "three")
    specs, parts = [f"bench:{i}" for i in range(3)], []
    for i, spec in enumerate(specs):
        parts.append(make_rows(rows, 2048, i))
        cache.open_set(record(spec), spec, 2048).append(keys[:rows], parts[-1])
    ours = cache.matrix(specs, keys[:rows])
    assert np.array_equal(ours, np.hstack(parts).astype(np.float32)), "differs"
    stacked = lambda: np.hstack([cache.matrix(s, keys[:rows]) for s in specs])  # noqa: E731
    found = compare(lambda: cache.matrix(specs, keys[:rows]), {"hstack": stacked}, repeats)
    return "three sets side by side", found, {}


def bench_open(root: Path, repeats: int) -> tuple[float, float, float]:
    """Seconds to open and read one row of: one shard, 1,000 shards, 1,000 without index."""
    keys, x = make_keys(8000), make_rows(8000, 64)
    for name, step in (("one", 8000), ("thousand", 8)):
        one = FeatureCache.create(root / name).open_set(record(), SPEC, 64)
        for i in range(0, 8000, step):
            one.append(keys[i : i + step], x[i : i + step])
        one.write_index()
    index = one.folder / "index.h5"
    cases = {"one": 1, "thousand": 1000}
    single, many = (
        statistics.median(child(_OPEN, root / n, keys[5], c)[0] for _ in range(repeats))
        for n, c in cases.items()
    )
    index.unlink()
    bare = statistics.median(
        child(_OPEN, root / "thousand", keys[5], 1000)[0] for _ in range(repeats)
    )
    return single, many, bare


def bench_memory(root: Path, rows: int, dim: int) -> tuple[float, float]:
    """Growth in MiB of peak memory during gathers, from an eighth of the data and from all."""
    small = rows // 8
    write_cache(root / "small", make_keys(small), make_rows(small, dim))
    return child(_MEMORY, root / "small")[1], child(_MEMORY, root / "cache")[1]


# The report -----------------------------------------------------------------------------


def report(results: list[tuple], opening: tuple, memory: tuple) -> tuple[list[str], bool]:
    lines = [
        "| what | icecore | alternative | speed relative to it | bar |",
        "|---|---|---|---|---|",
    ]
    good = True
    for what, found, bars in results:
        own = found["seconds"]["icecore"]
        for name, ratio in found["ratios"].items():
            bar = bars.get(name)
            met = "" if bar is None else f"{bar} {'met' if ratio >= bar else 'MISSED'}"
            good &= bar is None or ratio >= bar
            other = f"{name} {found['seconds'][name]:.3f} s"
            lines.append(f"| {what} | {own:.3f} s | {other} | {ratio:.2f} | {met} |")
    single, many, bare = (1000 * t for t in opening)
    extra = many - single
    good &= extra < 50
    lines.append(
        f"| open 1,000 shards and read a row | {many:.1f} ms | one shard {single:.1f} ms | "
        f"+{extra:.1f} ms | +50 ms {'met' if extra < 50 else 'MISSED'} |"
    )
    lines.append(f"| the same without index.h5 | {bare:.1f} ms | | +{bare - single:.1f} ms | |")
    small, whole = memory
    fine = whole - small < 16
    good &= fine
    lines.append(
        f"| memory taken by gathers | {whole:.1f} MiB | 1/8 of the rows {small:.1f} MiB | "
        f"{whole - small:+.1f} MiB | 16 MiB {'met' if fine else 'MISSED'} |"
    )
    return lines, good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=80_000)
    parser.add_argument("--dim", type=int, default=6_016)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", help="where to write; default: the temporary folder")
    parser.add_argument("--markdown", type=Path, help="write the table to this file too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        root = Path(name)
        keys, x = make_keys(given.rows), make_rows(given.rows, given.dim)
        results = [
            bench(root, keys, x, given.repeats) for bench in (bench_write, bench_load, bench_gather)
        ]
        del x
        results.append(bench_concatenation(root, keys, given.repeats))
        opening = bench_open(root, given.repeats)
        memory = bench_memory(root, given.rows, given.dim)
    lines, good = report(results, opening, memory)
    title = (
        f"{given.rows:,} rows x {given.dim:,} float16 ({given.rows * given.dim * 2 / 1e9:.2f} GB)"
    )
    text = "\n".join(
        [f"{title}, medians of {given.repeats}; {describe_machine(*PACKAGES)}", "", *lines, ""]
    )
    print(text)
    if given.markdown:
        given.markdown.write_text(text)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

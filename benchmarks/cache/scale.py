"""What grows with the number of images, with images and networks left out.

Run it as ``python benchmarks/cache/scale.py [--counts 10000 100000 1000000] [--dim 64]``. Each
number of images has a process of its own, whose peak memory is taken; the rows are made up.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from icecore.cache import FeatureCache
from icecore.core.files import sha256_bytes
from icecore.manifest import Manifest, Sample, read
from icecore.manifest.digest_memory import DigestMemory

RECORD = {"backbone": {"spec": "bench:features"}}


class Steps:
    """Seconds and growth of memory of each step."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def take(self, name: str, job: Callable[[], object]):
        start, before = time.process_time(), _resident()
        result = job()
        seconds = time.process_time() - start
        self.rows.append({"step": name, "seconds": seconds, "MB": (_resident() - before) / 1e6})
        return result


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(count: int, dim: int, folder: Path) -> dict:
    steps = Steps()
    keys = steps.take("keys", lambda: [sha256_bytes(b"%d" % i) for i in range(count)])
    samples = steps.take(
        "table of samples in memory",
        lambda: tuple(
            Sample(f"c{i % 1000:03}/{i:09}.jpg", f"/data/c{i % 1000:03}/{i:09}.jpg", digest=key)
            for i, key in enumerate(keys)
        ),
    )
    manifest = Manifest(samples)
    steps.take("write it as CSV", lambda: manifest.write(folder / "table.csv"))
    steps.take("read it", lambda: read(folder / "table.csv", labels_required=False))
    memory = DigestMemory(folder / "digests")
    steps.take(
        "note digests",
        lambda: [memory.add(s.path, (100_000, 10**18, i), s.digest) for i, s in enumerate(samples)],
    )
    steps.take("write them", memory.publish)
    memory = None
    steps.take("read them", lambda: DigestMemory(folder / "digests"))
    cache = FeatureCache.create(folder / "cache")
    one = cache.open_set(RECORD, "bench:features", dim)
    rows = np.zeros((8192, dim), np.float16)
    at = range(0, count, 8192)
    steps.take(
        "append rows by 8,192",
        lambda: [one.append(keys[i : i + 8192], rows[: len(keys[i : i + 8192])]) for i in at],
    )
    steps.take("write the index", one.write_index)
    again = FeatureCache(folder / "cache").find("bench:features")
    steps.take("open, and find what is missing", lambda: again.missing(keys))
    steps.take("the whole matrix as float32", lambda: again.matrix(keys))
    other = cache.open_set(RECORD | {"fit": "pad"}, "bench:other", dim)
    steps.take("deal out all keys by claims", lambda: sum(map(len, cache.share([other], keys))))
    size = sum(path.stat().st_size for path in (folder / "digests").iterdir())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"count": count, "steps": steps.rows, "peak_MB": peak, "digests_bytes": size / count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(options.one, options.dim, Path(folder))))
        return
    found = []
    for count in options.counts:
        command = [sys.executable, __file__, "--one", str(count), "--dim", str(options.dim)]
        found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    print("| step |" + "".join(f" {one['count']:,} |" for one in found))
    print("|---|" + "---|" * len(found))
    for number, step in enumerate(found[0]["steps"]):
        cells = [one["steps"][number] for one in found]
        texts = [f" {cell['seconds']:.2f} s, {cell['MB']:+.0f} MB |" for cell in cells]
        print(f"| {step['step']} |" + "".join(texts))
    print("| peak memory |" + "".join(f" {one['peak_MB']:.0f} MB |" for one in found))
    print(
        "| bytes of digests an image |" + "".join(f" {one['digests_bytes']:.0f} |" for one in found)
    )


if __name__ == "__main__":
    main()

"""What Ray costs: one worker against no Ray, and the time for each image as their number grows.

    python benchmarks/features/ray_overhead.py [--counts 1000 10000 100000]

The network takes about a millisecond on one core (MobileNet 0.25 at 96 pixels, random weights), so
that what surrounds it shows. Rows are compared to the byte before any time is.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import icecore
from icecore.cache import FeatureCache
from icecore.features import ClusterOptions, ExtractOptions

NETWORK = "gluon:mobilenet0.25@96"


def draw(folder: Path, count: int) -> Path:
    """Draw images, a hundred classes of them."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number % 100:02}" / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, compress_level=0)
    return folder


def extract(photos: Path, cache: Path, cluster: ClusterOptions | None) -> float:
    """Return the seconds of a whole extraction on one processor."""
    options = ExtractOptions(weights="random:0", workers=1, cpus=1, cluster=cluster)
    started = time.perf_counter()
    icecore.extract(photos, cache, [NETWORK], options)
    return time.perf_counter() - started


def rows(cache: Path) -> bytes:
    """Return all rows of a cache, by their keys."""
    (one,) = FeatureCache(cache).sets()
    return one.matrix(one.keys()).tobytes()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    before: dict[str, tuple[int, float]] = {}
    print("images   no Ray (s)   Ray (s)   no Ray/Ray   ms for each further image")
    for count in parser.parse_args().counts:
        with tempfile.TemporaryDirectory() as scratch:
            photos = draw(Path(scratch) / "photos", count)
            plain = extract(photos, Path(scratch) / "plain", None)
            ray = extract(photos, Path(scratch) / "ray", ClusterOptions("local", 1, 1))
            assert rows(Path(scratch) / "plain") == rows(Path(scratch) / "ray")
        further = []
        for name, seconds in (("plain", plain), ("ray", ray)):
            least, then = before.get(name, (0, 0.0))
            further.append(f"{1000 * (seconds - then) / (count - least):.2f}")
            before[name] = count, seconds
        print(
            f"{count:6}   {plain:10.1f}   {ray:7.1f}   {plain / ray:10.3f}   {', '.join(further)}"
        )


if __name__ == "__main__":
    main()

"""The whole way on real photographs with real networks, from the command line (minutes)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from icecore.cache import FeatureCache
from icecore.core.errors import MissingFileError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
RUN = [sys.executable, "-c", "from icecore.cli import main; main()"]


def icecore(*arguments) -> str:
    done = subprocess.run(
        [*RUN, *map(str, arguments)], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(cache) -> int:
    """Return how many images have rows of all three networks; there may be no cache yet."""
    try:
        sets = FeatureCache(cache).sets()
    except MissingFileError:
        return 0
    return min(map(len, sets)) if len(sets) == 3 else 0


@pytest.fixture(scope="module")
def extracted(tmp_path_factory, clothing, models):
    folder = tmp_path_factory.mktemp("clothing10")
    specs = [p for n in range(3) for p in ("-b", f"onnx:{models}/efficientnet_lite{n}.onnx")]
    arguments = ["extract", clothing, "-o", folder / "cache", *specs, "--json"]
    # Killed once on the way, and continued.
    process = subprocess.Popen([*RUN, *map(str, arguments)], stdout=subprocess.DEVNULL)
    while not rows_of(folder / "cache"):
        assert process.poll() is None, "it ended before a row was in the cache"
        time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < rows_of(folder / "cache") < 3409
    first = json.loads(icecore(*arguments))
    again = json.loads(icecore(*arguments))
    return folder, first, again


def test_extraction_goes_on_after_a_kill_and_computes_nothing_twice(extracted):
    folder, first, again = extracted
    assert (first["images"], first["failures"]) == (3409, [])
    assert 0 < first["computed"] < 3409
    assert (again["computed"], again["rows"]) == (0, 0)
    assert [len(one) for one in FeatureCache(folder / "cache").sets()] == [3409] * 3


def test_the_blend_reaches_its_bars(extracted, clothing):
    folder, _, _ = extracted
    icecore("train", folder / "cache", "--data", clothing, "-o", folder / "run")
    (task,) = json.loads(icecore("blend", folder / "run", "--json"))["tasks"]
    losses = {n: s["tuning"]["log_loss"] for n, s in task["models"].items()}
    assert losses["mlp-all"] <= 0.30
    assert task["scores"]["tuned"]["tuning"]["log_loss"] <= min(losses.values()) + 1e-12
    assert task["certificate"] <= 1e-8


def test_new_photographs_are_recognised(extracted, clothing):
    folder, _, _ = extracted
    icecore("predict", folder / "run", clothing / "validation" / "shoes", "-o", folder / "a.csv")
    labels = [line.split(",")[1] for line in (folder / "a.csv").read_text().splitlines()[1:]]
    assert len(labels) == 26
    assert labels.count("shoes") >= 24

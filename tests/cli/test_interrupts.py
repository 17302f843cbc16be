"""Ctrl-C and SIGTERM, sent to the real command."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from icecore.cache import FeatureCache

# The display counts an image when its rows are saved: then the signal comes.
COMMAND = """
import os, signal, sys
# A suite in the background of a shell has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from icecore.cli import main, progress
from icecore.features.extraction import progress as counting, runner
runner.MOST_UNSAVED_ROWS = 8
counting.SECONDS_BETWEEN_LOOKS = 0.0
class Tell(progress._LogLines):
    def on_images(self, now):
        if now.done >= 16:
            os.kill(os.getpid(), int(sys.argv[1]))
progress._LogLines = Tell
main(sys.argv[2:])
"""


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(120):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_what_is_computed_and_says_so_by_its_status(
    tmp_path, photos, tiny_onnx, number
):
    backbone, cache = f"onnx:{tiny_onnx}", tmp_path / "cache"
    options = ["extract", photos, "-o", cache, "-b", backbone, "--batch-size", "4"]
    command = [sys.executable, "-c", COMMAND, str(int(number)), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 128 + number
    assert "what was finished is kept, and the same command continues" in done.stderr
    assert "Traceback" not in done.stderr
    (features,) = FeatureCache(cache).sets()
    saved = len(features)
    assert 16 <= saved < 120
    again = subprocess.run(
        [sys.executable, "-c", "from icecore.cli import main; main()", *map(str, options)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert f"{120 - saved} computed" in again.stdout

"""Ctrl-C and SIGTERM, sent to the real command."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from icecore import jobs
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


def interrupt(number: int, options: list) -> str:
    """Send the command a signal in the midst of its work; return what it said."""
    command = [sys.executable, "-c", COMMAND, str(int(number)), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 128 + number
    assert "what was finished is kept, and the same command continues" in done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_interruption_saves_what_is_computed(tmp_path, photos, tiny_onnx):
    number = signal.SIGINT
    backbone, cache = f"onnx:{tiny_onnx}", tmp_path / "cache"
    options = ["extract", photos, "-o", cache, "-b", backbone, "--batch-size", "4"]
    interrupt(number, options)
    (features,) = FeatureCache(cache).sets()
    saved = len(features)
    assert 16 <= saved < 120
    again = subprocess.run(
        [sys.executable, "-c", "from icecore.cli import main; main()", *map(str, options)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert f"{120 - saved} computed" in again.stdout


EARLY = """
import builtins, os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
load, (number, module) = builtins.__import__, sys.argv[1:3]
def stop(name, *rest, **named):
    if name.endswith(module):
        os.kill(os.getpid(), int(number))
    return load(name, *rest, **named)
builtins.__import__ = stop
runpy.run_module("icecore.__main__", run_name="__main__")
"""
# An interruption of code that is made of text, as dataclasses and named tuples are.
AMID = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from icecore import jobs
from icecore.cli import main
def compare(*given):
    exec(f"import os; os.kill(os.getpid(), {sys.argv[1]}); [one for one in range(99)]")
jobs.compare = compare
main(["compare", "a"])
"""


def ended(code: str, number: int, *arguments: str) -> tuple[int, str]:
    """Run code that sends itself a signal; return its status and what it said."""
    command = [sys.executable, "-c", code, str(int(number)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["typing", "core.imports", "manifest", "weights"])
def test_an_interruption_while_it_loads_is_one_line(number, module):
    assert ended(EARLY, number, module) == (128 + number, "interrupted before it began\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_of_what_keeps_nothing(number):
    said = "interrupted; no file is left half-written\n"
    assert ended(AMID, number) == (128 + number, said)


def test_a_signal_that_the_shell_has_ignored_stays_so():
    ignored = EARLY.replace("signal.default_int_handler", "signal.SIG_IGN")
    ignored = ignored.replace("runpy.run", "sys.argv[1:] = ['compare', 'no-run']; runpy.run")
    status, said = ended(ignored, signal.SIGINT, "manifest")
    assert status == 1
    assert said.startswith("error: no-run")


def test_an_array_of_jobs_of_which_one_is_taken_away(tmp_path, photos, tiny_onnx):
    """As Slurm starts them; spot machines send SIGTERM, too."""
    backbone, cache = f"onnx:{tiny_onnx}", tmp_path / "cache"
    options = ["extract", photos, "-o", cache, "-b", backbone, "--batch-size", "4"]
    options = [*map(str, options), "--workers", "1"]
    plain = "from icecore.cli import main, progress; progress._Log.SECONDS_BETWEEN = 0.0; main()"
    commands = [["-c", COMMAND, str(int(signal.SIGTERM))], ["-c", plain], ["-c", plain]]
    array = [
        subprocess.Popen(
            [sys.executable, *command, *options],
            env={**os.environ, "SLURM_ARRAY_TASK_ID": str(number)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number, command in enumerate(commands)
    ]  # fmt: skip
    ended = [process.communicate(timeout=240) for process in array]
    assert [process.returncode for process in array] == [143, 0, 0]
    assert "what was finished is kept, and the same command continues" in ended[0][1]
    for _, errors in ended[1:]:
        # Each tells of the whole job, and when.
        assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \d+/120 images, ", errors, re.MULTILINE)
        assert [line for line in errors.splitlines() if "120/120 images" in line]
    (features,) = FeatureCache(cache).sets()
    # What was taken away left its rows to the others, and none was computed twice.
    assert len(features) == sum(one["rows"] for one in features.provenances()) == 120
    alone = jobs.extract(photos, tmp_path / "alone", [backbone])
    assert alone.rows == 120
    keys = features.keys()
    (other,) = FeatureCache(tmp_path / "alone").sets()
    assert features.matrix(keys).tobytes() == other.matrix(keys).tobytes()


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.timeout(300)
def test_ray_leaves_sigterm_to_icecore(tmp_path, photos, tiny_onnx):
    """It would end the process with a dump of its own, and another status."""
    cache = tmp_path / "cache"
    options = ["extract", photos, "-o", cache, "-b", f"onnx:{tiny_onnx}", "--ray", "local"]
    assert "SIGTERM received" not in interrupt(signal.SIGTERM, options)
    (features,) = FeatureCache(cache).sets()
    assert len(features) >= 16

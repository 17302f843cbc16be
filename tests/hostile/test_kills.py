"""Commands that are killed in the middle: nothing is lost, and the next run leaves nothing."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from icecore.cache import FeatureCache, verify

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills are POSIX")

# Ends the process right before it does the n-th thing of a kind to a file.
KILLED = """
import os, re, signal, sys
kind, name, number, *arguments = sys.argv[1:]
left = [int(number)]
def hook(event, details):
    if event != kind or not isinstance(details[0], (str, os.PathLike)):
        return
    path = os.fspath(details[0])
    if re.search(name, path) and "site-packages" not in path:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
from icecore.cli import main
main(arguments)
"""
CASES = {
    "rows of a prediction": ("predict run new -o a.csv", "os.rename", "index.h5", 1),
    "rows": ("extract photos -o fresh -b onnx:{}", "os.remove", r"claims/", 3),
    "answers": ("predict run new -o a.csv", "os.rename", "a.csv", 1),
    "a report": ("blend run --save", "os.rename", "report.html", 1),
    "a shard of a smaller cache": ("cache compact cache", "os.rename", r"shards/", 1),
    "old shards": ("cache compact cache", "os.remove", r"shards/", 2),
    "an index": ("cache prune cache --keep new --yes", "open", r"tmp-index", 1),
    "a claim": ("cache prune cache --keep new --yes", "os.remove", r"claims/", 2),
}


# One case of each command is left to the default run.
LONG = {"answers", "a shard of a smaller cache", "an index"}


def draw(folder, count, seed):
    rng = np.random.default_rng(seed)
    for label, tint in (("blue", (0, 0, 120)), ("red", (120, 0, 0))):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 120, (40, 50, 3)) + np.array(tint)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{number}.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_onnx):
    """A folder with a cache of several shards, and a run."""
    folder = tmp_path_factory.mktemp("kills")
    for seed, name in enumerate(("photos", "more", "new")):
        draw(folder / name, 12 if name == "photos" else 3, seed)
    for data in ("photos", "more", "new"):
        made = ("extract", data, "-o", "cache", "-b", f"onnx:{tiny_onnx}", "-q")
        assert icecore(folder, *made) == (0, "")
    made = ("train", "cache", "--data", "photos", "-o", "run", "--head", "ridge", "-q")
    assert icecore(folder, *made) == (0, "")
    return folder


@pytest.fixture(scope="module")
def finished(place, tmp_path_factory):
    """Return a function that gives a copy of the place in which a command came through."""
    folders = {}

    def of(*arguments):
        if arguments not in folders:
            folder = shutil.copytree(place, tmp_path_factory.mktemp("finished") / "place")
            status, err = icecore(folder, *arguments)
            assert status == 0, err
            folders[arguments] = folder
        return folders[arguments]

    return of


def icecore(folder, *arguments, code=None):
    code = ["-c", "from icecore.cli import main; main()"] if code is None else code
    (folder / "tmp").mkdir(exist_ok=True)
    own = {"TMPDIR": str(folder / "tmp"), "XDG_CACHE_HOME": str(folder / "user")}
    done = subprocess.run(
        [sys.executable, *code, *arguments], cwd=folder, capture_output=True, text=True,
        env=os.environ | own,
    )  # fmt: skip
    return done.returncode, done.stderr


def tree(folder):
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    # Memories of digests and shards have names of their content.
    return {re.sub(r"[0-9a-f]{24}\.(h5|txt)$", r"*.\1", name) for name in names}


def served(folder):
    cache = FeatureCache(folder / "cache")
    (one,) = cache.sets()
    keys = list(one.keys())
    return {key: hashlib.sha256(one.matrix([key]).tobytes()).hexdigest() for key in keys}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.slow) if case in LONG else case for case in CASES],
)
def test_a_command_that_was_killed_is_run_again(place, finished, tiny_onnx, tmp_path, case):
    command, kind, name, number = CASES[case]
    arguments = command.format(tiny_onnx).split()
    killed, whole = shutil.copytree(place, tmp_path / "killed"), finished(*arguments)
    rows = served(killed)
    code = ["-c", KILLED, kind, name, str(number)]
    assert icecore(killed, *arguments, code=code)[0] == -signal.SIGKILL
    assert served(killed).items() <= rows.items()
    status, err = icecore(killed, *arguments)
    assert status == 0, err
    assert tree(killed) == tree(whole)
    assert served(killed) == served(whole)
    assert not verify(FeatureCache(killed / "cache").path)["problems"]


def test_a_set_that_was_half_removed_is_removed_by_the_next_run_which_says_so(place, tmp_path):
    folder = shutil.copytree(place, tmp_path / "killed")
    (one,) = FeatureCache(folder / "cache").sets()
    arguments = ("cache", "prune", "cache", "--drop", one.name, "--yes")
    code = ["-c", KILLED, "os.remove", "index.h5|record.json|shards", "1"]
    assert icecore(folder, *arguments, code=code)[0] == -signal.SIGKILL
    status, err = icecore(folder, *arguments)
    assert status == 1
    assert "what a prune that was killed had left of a set was removed now" in err
    assert "nothing is left to do" in err
    assert not any(name.startswith("cache/.tmp") for name in tree(folder))
    assert "was removed now" not in icecore(folder, *arguments)[1]

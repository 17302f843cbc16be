"""The wheel, installed as a user would into an empty environment, on every Python found here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

FOUND = subprocess.run(
    ["sh", str(ROOT / "tools" / "pythons.sh")], capture_output=True, text=True, check=False
).stdout.split()


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # Not in build/, whose modules of before would go into the wheel as well.
    place = folder / "place.cfg"
    place.write_text(f"[build]\nbuild_base = {folder / 'build'}\n")
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--wheel-dir", folder, ROOT, env=os.environ | {"DIST_EXTRA_CONFIG": str(place)},
    )  # fmt: skip
    (found,) = folder.glob("icecore-*.whl")
    assert found.stat().st_size < 5e6
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("python", FOUND)
def test_the_three_jobs_in_an_empty_environment(python, wheel, tmp_path):
    run(python, "-m", "venv", tmp_path / "env")
    bin_ = tmp_path / "env" / "bin"
    run(bin_ / "pip", "install", "--quiet", f"{wheel}[gluon,demo]")
    assert "No broken requirements" in run(bin_ / "pip", "check")
    listed = json.loads(run(bin_ / "pip", "list", "--format", "json"))
    versions = {one["name"]: one["version"] for one in listed}
    assert not {"mxnet", "gluoncv", "torch"} & set(versions)
    assert int(versions["numpy"].split(".")[0]) >= 2
    out = run(bin_ / "icecore", "demo", "--out", tmp_path / "demo", cwd=tmp_path)
    assert "plain average" in out
    assert Path(tmp_path / "demo" / "report.html").is_file()


@pytest.mark.parametrize("variables", [{"HOME": ""}, {"PYENV_ROOT": "/nowhere"}], ids=str)
def test_pythons_are_found_behind_names_that_do_not_run(tmp_path, variables):
    root = tmp_path / "a pyenv"
    promise, real = root / "shims" / "python3.13", root / "versions" / "3.13.9" / "bin" / "python3"
    for path, text in ((promise, "exit 127"), (real, "exit 0")):
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    # The system's own Python 3.13 is not to be found first.
    (tmp_path / "bin").mkdir()
    for name in ("sh", "sed", "tr", "head"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    told = variables | {"PATH": f"{promise.parent}:{tmp_path / 'bin'}"}
    script = ["sh", ROOT / "tools" / "pythons.sh"]
    assert str(real) in run(*script, env=told).splitlines()

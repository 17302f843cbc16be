"""Caches made by somebody who means harm: refused or mended, never believed or followed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import icecore

COUNT, SEED = 65, 1


def attack(folder: Path, count: int, seed: int) -> tuple[list[str], dict]:
    root = Path(icecore.__file__).parent.parent
    program = Path(__file__).with_name("attack_caches.py")
    done = subprocess.run(
        [sys.executable, program, folder, str(count), str(seed)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *faults, last = done.stdout.splitlines()
    return faults, json.loads(last)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are Linux's")
@pytest.mark.parametrize(
    ("count", "seed"), [(COUNT, SEED), pytest.param(1300, 2, marks=pytest.mark.slow)]
)
def test_hostile_caches(fast_folder, request, count, seed):
    faults, counts = attack(fast_folder, count, seed)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nhostile caches: {json.dumps(counts)}")
    assert not faults, "\n".join(faults)
    assert counts == {"tried": count, "held": count, "fault": 0}

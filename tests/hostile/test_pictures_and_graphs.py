"""Pictures and graphs made by somebody who means harm: refused, or what they say they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import icecore

HELPERS = Path(__file__).parents[1] / "helpers"


def attack(program: str, folder: Path, count: int, seed: int) -> tuple[list[str], dict]:
    root = Path(icecore.__file__).parent.parent
    path = os.pathsep.join(map(str, [root, HELPERS, *sys.path]))
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(program), folder, str(count), str(seed)],
        env={**os.environ, "PYTHONPATH": path, "ICECORE_GRAPHS": str(folder / "graphs")},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-3000:]}"
    *faults, last = done.stdout.splitlines()
    return faults, json.loads(last)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are Linux's")
@pytest.mark.parametrize(
    ("program", "count", "seed"),
    [
        ("attack_pictures.py", 400, 1),
        ("attack_graphs.py", 15, 1),
        pytest.param("attack_pictures.py", 20_000, 2, marks=pytest.mark.slow),
        pytest.param("attack_graphs.py", 500, 2, marks=pytest.mark.slow),
    ],
)
def test_hostile_files(program, count, seed, tmp_path, request):
    faults, counts = attack(program, tmp_path, count, seed)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nhostile {program.removesuffix('.py')[7:]}: {json.dumps(counts)}")
    assert not faults, "\n".join(faults)
    assert counts == {"tried": count, "held": count, "fault": 0}

"""Questions to another process: nothing in the folder of the command answers in its place."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from icecore.core.child import Limits, ask_child

LIMITS = Limits(processor_seconds=60, seconds=120.0, memory_bytes=2**40)


def test_files_in_the_folder_of_the_command_are_no_modules(tmp_path, monkeypatch):
    """It may be a stranger's data set."""
    for name in ("dataclasses", "json", "numpy", "icecore", "warnings"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w').close(); raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert ask_child("icecore.features.probe", ["import:numpy", "cpu"], LIMITS) == {"newer": []}
    assert not (tmp_path / "ran").exists()


def test_files_in_the_folder_of_a_module_that_is_run_are_no_modules_either(tmp_path):
    """``python -m`` would look for them there first."""
    for name in ("click", "dataclasses", "grp", "json", "numpy"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w').close(); raise SystemExit(9)")
    command = [sys.executable, "-m", "icecore", "manifest", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "ran").exists()


def test_a_module_that_its_package_imports_answers_where_warnings_are_errors(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    (tmp_path / "a.h5").write_bytes(b"nothing")
    answer = ask_child("icecore.runs.hdf5_child", [str(tmp_path / "a.h5"), "out.npz"], LIMITS)
    assert "cannot be used as HDF5" in answer["error"]


@pytest.mark.skipif(os.name != "posix", reason="kills a process as Linux and macOS do")
@pytest.mark.parametrize(
    "work",
    [
        "time.sleep(50)",
        pytest.param(
            "re.match('(a+)+b', 'a' * 60)",  # holds Python's lock, as a library may
            marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can end that"),
        ),
    ],
)
def test_a_child_ends_with_its_parent(tmp_path, work):
    (tmp_path / "asked.py").write_text(
        "import os, re, sys, time\nfrom icecore.core.child import answer_parent\n"
        f"def work(place):\n    open(place, 'w').write(str(os.getpid()))\n    {work}\n"
        "    return {}\nanswer_parent(sys.argv[1:], work)\n"
    )
    ask = (
        "from icecore.core.child import Limits, ask_child\n"
        f"ask_child('asked', [{str(tmp_path / 'pid')!r}], Limits(40, 60.0, 2**40))"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    parent = subprocess.Popen([sys.executable, "-c", ask], env={**os.environ, "PYTHONPATH": path})
    child = int(_in_time(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    try:
        assert _in_time(lambda: not _lives(child))
    finally:
        if _lives(child):
            os.kill(child, signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that nobody has waited for is over, too.
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and ") Z " in stat.read_text())


def _in_time(look, seconds=20.0):
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return found

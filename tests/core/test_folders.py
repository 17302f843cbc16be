from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from repository import ROOT

from icecore.core.errors import DiskFullError
from icecore.core.folders import replacing_folder, scratch_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from icecore.core.folders import replacing_folder
out = Path(sys.argv[1])
def kill(): os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "between":
    rename = os.rename
    def one(a, b):
        rename(a, b)
        kill()
    os.rename = one
with replacing_folder(out, lambda: None) as folder:
    (folder / "new").touch()
    if sys.argv[2] == "during":
        kill()
"""


def fill(out, name="new"):
    with replacing_folder(out, lambda: None) as folder:
        (folder / name).touch()


def test_it_takes_the_place_of_the_old_one(tmp_path):
    fill(tmp_path / "run", "old")
    fill(tmp_path / "run")
    assert os.listdir(tmp_path) == ["run"]
    assert os.listdir(tmp_path / "run") == ["new"]


def test_of_a_link_it_is_the_folder_that_is_replaced(tmp_path):
    real = tmp_path / "elsewhere" / "run"
    real.mkdir(parents=True)
    (real / "old").touch()
    (tmp_path / "link").symlink_to(real)
    with replacing_folder(tmp_path / "link", lambda: None) as folder:
        (folder / "new").touch()
    assert (tmp_path / "link").is_symlink()
    assert os.listdir(real) == ["new"]
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "link"]
    assert os.listdir(tmp_path / "elsewhere") == ["run"]


def test_a_place_that_may_not_be_written_to_is_called_by_the_name_that_was_given(
    tmp_path, monkeypatch
):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "mkdir", lambda own, **how: None if how else refuse(own))
    with pytest.raises(PermissionError) as caught, replacing_folder(tmp_path / "run", lambda: None):
        pass
    assert caught.value.filename == str(tmp_path / "run")


def test_a_failure_leaves_the_old_one_alone(tmp_path):
    fill(tmp_path / "run", "old")
    with pytest.raises(ValueError, match="no"):
        with replacing_folder(tmp_path / "run", lambda: None):
            raise ValueError("no")
    with pytest.raises(KeyError):
        with replacing_folder(tmp_path / "run", lambda: {}["refused"]):
            pass
    assert os.listdir(tmp_path) == ["run"]
    assert os.listdir(tmp_path / "run") == ["old"]


@pytest.mark.skipif(os.name != "posix", reason="kills and locks are POSIX")
@pytest.mark.parametrize("when", ["during", "between"])
def test_what_a_killed_process_left_is_gone_after_the_next(tmp_path, when):
    fill(tmp_path / "run", "old")
    (tmp_path / ".tmp-run-notes").mkdir()
    command = [sys.executable, "-c", KILLED, tmp_path / "run", when]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 3
    with replacing_folder(tmp_path / "run", lambda: None):
        # The old one is in its place again while the new one is made.
        assert os.listdir(tmp_path / "run") == ["old"]
    assert sorted(os.listdir(tmp_path)) == [".tmp-run-notes", "run"]


@pytest.mark.skipif(os.name != "posix", reason="locks are POSIX")
def test_another_process_at_work_is_left_alone(tmp_path):
    with replacing_folder(tmp_path / "run", lambda: None) as mine:
        (mine / "a").touch()
        fill(tmp_path / "run", "theirs")
        assert (mine / "a").exists()


def test_a_full_disk_names_the_folder_that_was_asked_for(tmp_path):
    with pytest.raises(DiskFullError) as error, replacing_folder(tmp_path / "run", print) as folder:
        raise DiskFullError(f"no room for {folder / 'x'}", f"free some in {folder}")
    assert error.value.message == f"no room for {tmp_path / 'run' / 'x'}"
    assert error.value.hint == f"free some in {tmp_path / 'run'}"
    assert not os.listdir(tmp_path)


SCRATCH = """
import os, signal
from icecore.core.folders import scratch_folder
with scratch_folder() as folder:
    (folder / "part").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills and locks are POSIX")
def test_temporary_folders_of_killed_processes_go_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    theirs = ["icecore-results1", "icecore-scratch-of-mine", "icecore-scratch-abcdefgh.txt"]
    for name in theirs:
        (tmp_path / name).mkdir()
    (tmp_path / "kept").mkdir()
    (tmp_path / "icecore-scratch-aaaaaaaa").symlink_to(tmp_path / "kept")
    theirs += ["icecore-scratch-aaaaaaaa", "kept"]
    for count in (1, 1):
        done = subprocess.run([sys.executable, "-c", SCRATCH], check=False)
        assert done.returncode == -signal.SIGKILL
        assert len(os.listdir(tmp_path)) == len(theirs) + count
    with scratch_folder() as mine, scratch_folder() as other:
        assert sorted(os.listdir(tmp_path)) == sorted([*theirs, mine.name, other.name])
    assert sorted(os.listdir(tmp_path)) == sorted(theirs)


@pytest.mark.skipif(os.name != "posix", reason="locks are POSIX")
def test_temporary_folders_of_many_at_once_stay(tmp_path):
    def work(number):
        with scratch_folder(tmp_path, ".tmp-") as folder:
            (folder / "a").touch()
            return [(folder / "a").exists() for _ in range(3)]

    with ThreadPoolExecutor(8) as pool:
        assert all(map(all, pool.map(work, range(200))))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("usual", [True, False])
def test_a_full_disk_names_the_place_of_temporary_files(tmp_path, monkeypatch, usual):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = () if usual else (tmp_path,)
    with pytest.raises(DiskFullError) as error, scratch_folder(*place) as folder:
        raise DiskFullError(f"no room for {folder / 'x'}", f"free some in {folder}")
    said = f"{error.value.message} {error.value.hint}"
    assert folder.name not in said
    assert str(tmp_path) in error.value.message
    assert ("TMPDIR" in said) == usual
    with pytest.raises(DiskFullError, match="no room for y"), scratch_folder(*place):
        raise DiskFullError("no room for y", "free some")


def test_temporary_folders_are_made_in_one_place():
    made = re.compile(r"mkdtemp|TemporaryDirectory")
    rooms = (
        "core manifest cache runs features heads ensemble auditing pages jobs cli demo"
    ).split()
    modules = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    assert [path.name for path in modules if made.search(path.read_text())] == ["folders.py"]


NOWHERE = """
import resource
from icecore.core.folders import scratch_folder
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    with scratch_folder():
        pass
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of the system's")
def test_no_folder_for_temporary_files_is_said_to_be_that():
    """As where all disks are read-only, in a container."""
    done = subprocess.run([sys.executable, "-c", NOWHERE], capture_output=True, text=True)
    assert done.stdout.startswith("MissingFileError there is no folder for temporary files that")
    assert "TMPDIR=" in done.stdout


def test_a_limit_of_a_files_size_is_not_called_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        pytest.raises(DiskFullError, match="becomes larger than") as error,
        scratch_folder() as one,
    ):
        raise DiskFullError(f"{one / 'x'} becomes larger than ulimit -f lets it be", "write less")
    assert "TMPDIR" not in error.value.hint

import re
import subprocess
import sys

import pytest


def icecore(*arguments, cwd):
    code = "from icecore.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True
    )


def test_a_log_has_the_command_what_it_said_and_its_end(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\n1.jpg,hat\n2.jpg,shoe\n")
    plain = icecore("manifest", "t.csv", cwd=tmp_path)
    logged = icecore("--log", "log.txt", "manifest", "t.csv", cwd=tmp_path)
    assert (logged.stdout, logged.returncode) == (plain.stdout, 0)
    lines = (tmp_path / "log.txt").read_text().splitlines()
    said = [re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (.*)", line)[1] for line in lines]
    assert said[0] == "started: icecore --log log.txt manifest t.csv"
    plainly = [*plain.stdout.splitlines(), *plain.stderr.splitlines()]
    assert sorted(said[1:-1]) == sorted(line for line in plainly if line.strip())
    assert said[-1] == "done"
    refused = icecore("--log", "log.txt", "manifest", "none.csv", cwd=tmp_path)
    assert refused.returncode == 1
    text = (tmp_path / "log.txt").read_text()
    assert text.startswith("\n".join(lines))
    assert "stopped: none.csv is not there" in text


def test_nothing_is_added_to_what_is_no_log(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\n1.jpg,hat\n2.jpg,shoe\n")
    before = (tmp_path / "t.csv").read_bytes()
    done = icecore("--log", "t.csv", "manifest", "t.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert "t.csv is there, and is no log of icecore" in done.stderr
    assert (tmp_path / "t.csv").read_bytes() == before


def test_a_log_that_cannot_grow_is_named_and_stops_nothing(tmp_path):
    """The limit strikes the log alone, before the command has said a word."""
    resource = pytest.importorskip("resource")
    (tmp_path / "t.csv").write_text("path,label\n1.jpg,hat\n2.jpg,shoe\n")
    line = "2026-01-01 00:00:00 done\n"
    (tmp_path / "log.txt").write_text(line * 400)
    most = len(line) * 400 + 10
    done = subprocess.run(
        [sys.executable, "-c", "from icecore.cli import main; main()", "--log", "log.txt",
         "manifest", "t.csv", "-o", "out.csv"],
        cwd=tmp_path, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: the command is done, but its log log.txt is not whole: " in done.stderr
    assert "label: hat (1), shoe (1)" in done.stdout
    assert (tmp_path / "out.csv").exists()
    assert "Traceback" not in done.stderr


def test_a_log_is_no_place_for_an_answer(tmp_path):
    """The answer had replaced the log."""
    (tmp_path / "t.csv").write_text("path,label\na.jpg,x\n")
    refused = icecore("--log", "o.csv", "manifest", "t.csv", "-o", "./o.csv", cwd=tmp_path)
    assert refused.returncode == 2
    assert "o.csv is the log of this command: name another file" in refused.stderr

import re
import subprocess
import sys


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

"""What goes to terminals and pipes: no stranger's name is obeyed, a closed pipe is no error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from icecore.cli.console import json_text
from icecore.core.errors import enumerate_some, escaped

COMMAND = [sys.executable, "-c", "from icecore.cli import main; main()"]
NASTY = "\x1b]0;owned\x07\x9b2J\u202egpj\u200b"


@pytest.fixture
def photos(tmp_path):
    for label in (f"hat{NASTY}", "dress", "caf\u00e9"):
        (tmp_path / "p" / label).mkdir(parents=True)
        (tmp_path / "p" / label / "1.jpg").write_bytes(b"x")
    (tmp_path / "p" / "dress" / f"x.{NASTY}").write_bytes(b"")
    return tmp_path / "p"


def run(*arguments, **options):
    arguments = [*COMMAND, *map(str, arguments)]
    return subprocess.run(arguments, capture_output=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_names_are_shown_and_not_obeyed(photos, option):
    done = run("manifest", photos, *option)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == 0
    assert "caf" in text
    for character in "\x1b\x07\x9b\u202e\u200b":
        assert character not in text
    if option:
        assert f"hat{NASTY}" in json.loads(done.stdout)["classes"]["label"]


@pytest.mark.parametrize("name", ["no\x1b[2J.csv", "\x9b.csv"])
def test_nor_in_errors(tmp_path, name):
    (tmp_path / name).write_text("path\x1b[2J,label\x9b\n")
    absent = tmp_path / f"none{name}"
    for arguments in (["manifest", tmp_path / name], ["manifest", absent], [name]):
        done = run(*arguments)
        text = done.stderr.decode()
        assert done.returncode in (1, 2)
        assert "\x1b" not in text
        assert "\x9b" not in text
        assert "Traceback" not in text


@pytest.mark.parametrize("arguments", [["--help"], ["manifest", "photos"], ["backbones"]])
def test_a_closed_pipe_is_no_error(photos, arguments):
    read, write = os.pipe()
    os.close(read)
    arguments = [str(photos) if one == "photos" else one for one in arguments]
    done = subprocess.run(
        [*COMMAND, *arguments], stdout=write, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(write)
    assert done.returncode in (0, -signal.SIGPIPE, 128 + signal.SIGPIPE)
    assert done.stderr == b""


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_terminal_of_another_alphabet_gets_escapes(photos, encoding):
    (photos / "\u5e3d").mkdir()
    (photos / "\u5e3d" / "1.jpg").write_bytes(b"x")
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = run("manifest", photos, env=environment)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    # Of ASCII click thinks that it is a mistake, and writes UTF-8.
    assert b"\\u5e3d" in done.stdout or encoding == "ascii"


@pytest.mark.parametrize(
    "error",
    [
        'RuntimeError("can\'t start new thread")',
        "MemoryError()",
        'ImportError("libblas.so.0: failed to map segment from shared object")',
    ],
)
def test_few_threads_or_little_memory_is_one_line(error):
    script = (
        "import click; from icecore.cli import cli, main\n"
        f"@cli.command()\ndef greedy(): raise {error}\n"
        "main(['greedy'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: the system gives no more memory or threads")
    assert b"Traceback" not in done.stderr


def test_escapes():
    assert escaped("a\nb") == "a\\nb"
    assert escaped("a\nb", keep="\n") == "a\nb"
    assert escaped("\ud800caf\u00e9 \u5e3d") == "\\ud800caf\u00e9 \u5e3d"
    assert enumerate_some(["a\nb"]) == "a\\nb"
    assert "\x1b" not in json_text({"a\x1b": "\x9b"})
    assert json_text({"a": "caf\u00e9"}) == '{\n "a": "caf\u00e9"\n}'


@pytest.mark.skipif(os.name != "posix", reason="descriptors are closed as a shell does it")
@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_a_stream_that_is_closed_is_no_error(photos, closed, tmp_path):
    table = tmp_path / "table.csv"
    done = subprocess.run(
        [*COMMAND, "manifest", str(photos), "-o", str(table)],
        stderr=subprocess.DEVNULL if 2 in closed else subprocess.PIPE,
        preexec_fn=lambda: [os.close(number) for number in closed],
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Nothing of what the terminal would have been told stands in the file.
    assert table.read_text().startswith("id,path,split")

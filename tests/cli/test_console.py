"""What is printed to a pipe is never wrapped, coloured or cut; a terminal's width is kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

LONG = " ".join(f"word{number}" for number in range(80))
PRINTED = f"""
from icecore.cli import console
console.print_table(("name", "count"), [[{LONG!r}, 1], ["short", 12345]])
console.random_weights_warning("the answers")
import click
click.echo(console.wrap("ok  " + {LONG!r}, "    "))
"""
COMMAND = [sys.executable, "-m", "icecore"]


def piped(command, **environment):
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, check=True
    )


def on_a_terminal(command, columns: int) -> str:
    """Run with standard output on a pseudo-terminal, and return what it showed."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=follower, stderr=subprocess.PIPE, env=environment)
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(leader)
    assert process.wait() == 0, process.stderr.read()
    process.stderr.close()
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")


@pytest.mark.parametrize("columns", ["20", "80", "400"])
def test_a_pipe_gets_every_row_in_one_whole_line(columns):
    done = piped([sys.executable, "-c", PRINTED], COLUMNS=columns)
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith(LONG)
    assert lines[2].split() == ["short", "12345"]
    assert lines[3] == "ok  " + LONG
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.splitlines() == [
        "warning: the answers come from RANDOM weights: the network has learnt nothing"
    ]


def test_sentences_break_between_words_and_tables_stay():
    program = f"""
from icecore.cli import console
console.echo("model  rows\\na      1\\n  on " + {LONG!r} + "\\n\\n  " + "x" * 39 + " y")
"""
    shown = on_a_terminal([sys.executable, "-c", program], 40).split("\n")
    assert shown[:3] == ["model  rows", "a      1", "  on word0 word1 word2 word3 word4 word5"]
    assert shown[3].startswith("    word6 word7 ")
    assert max(map(len, shown[:-3])) <= 40
    assert shown[-4:] == ["", "  " + "x" * 39, "    y", ""]
    assert piped([sys.executable, "-c", program]).stdout.split("\n")[2] == f"  on {LONG}"


@pytest.mark.parametrize("columns", [40, 60])
def test_a_terminal_gets_lines_that_fit(columns):
    shown = on_a_terminal([sys.executable, "-c", PRINTED], columns)
    assert max(map(len, shown.splitlines())) <= columns
    assert shown.split().count("word79") == 2


def test_a_terminal_too_narrow_for_a_table_gets_paragraphs_of_whole_words():
    program = """
from icecore.cli import console
console.print_table(("model", "log-loss [95%]"), [["logistic-all", "0.0203 [0.009, 0.035]"]] * 2)
"""
    assert on_a_terminal([sys.executable, "-c", program], 19) == (
        "model: logistic-all\nlog-loss [95%]:\n  0.0203 [0.009,\n  0.035]\n\n" * 2
    )
    shown = on_a_terminal([sys.executable, "-c", program], 24).splitlines()
    assert shown[2].split() == ["logistic-al", "0.0203"]


def test_columns_stand_below_one_another_with_the_keys_of_their_rows():
    program = f"""
from icecore.cli import console
row = ["label", "mlp-width=64-net", "0.0203 [0.009, 0.035]", {LONG!r}]
console.print_table(("task", "model", "log-loss [95%]", "chosen"), [row], keys=2)
"""
    program = [sys.executable, "-c", program]
    table, chosen = on_a_terminal(program, 60).split("\n\n")
    assert table.splitlines()[1] == "label  mlp-width=64-net  0.0203 [0.009, 0.035]"
    assert chosen.startswith("chosen\nlabel mlp-width=64-net: word0 word1 ")
    assert max(map(len, chosen.splitlines())) <= 60
    assert piped(program).stdout.splitlines()[1].endswith(LONG)


def test_help_in_a_pipe_is_for_grep():
    text = piped([*COMMAND, "extract", "--help"], COLUMNS="20").stdout
    (line,) = [line for line in text.splitlines() if "--paranoid" in line]
    assert "even if" in line
    assert max(map(len, on_a_terminal([*COMMAND, "extract", "--help"], 80).splitlines())) <= 100

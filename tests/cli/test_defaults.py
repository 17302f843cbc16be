"""Defaults from icecore.toml, and completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import icecore

from icecore.cli.defaults import read_defaults
from icecore.cli.main import cli

COMMAND = [sys.executable, "-c", "from icecore.cli import main; main()"]


def run(folder, *arguments, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False, **options,
    )  # fmt: skip


def test_options_come_from_the_file_and_the_command_line_is_stronger(
    tmp_path, image_folder, tiny_onnx
):
    marked = "utf-8-sig"  # as Windows' editors write it
    (tmp_path / "icecore.toml").write_text(
        f'[extract]\nout = "kept"\nbackbone = "onnx:{tiny_onnx}"\nbatch-size = 4\nviews = "flip"\n',
        encoding=marked,
    )
    done = run(tmp_path, "--log", "log.txt", "extract", image_folder)
    assert done.returncode == 0, done.stderr
    for said in (done.stderr, (tmp_path / "log.txt").read_text(encoding="utf-8")):
        assert "note: icecore.toml in this folder sets options of extract" in said
    shown = run(tmp_path, "cache", "ls", "kept").stdout
    assert "12" in shown  # six features of two views
    done = run(tmp_path, "extract", image_folder, "-o", "other", "--views", "center")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "other").is_dir()
    other = run(tmp_path, "manifest", image_folder)
    assert "note: icecore.toml" not in other.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder that somebody is in")
def test_a_folder_that_is_gone_is_said_to_be_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    status, _, said = icecore("cache", "ls", tmp_path / "cache")
    assert status == 1
    assert said.startswith("error: the folder that this command is run in is not there any more")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[extract]\nbatchsize = 3\n[trian]\nseed = 1\n", ["extract.batchsize", "trian"]),
        ("[cache.ls]\nnothing = 1\n", ["cache.ls.nothing"]),
        ("extract = 3\n", ["extract"]),
        ("[manifest]\nout = [1, 2]\n", ["manifest.out = [1, 2]"]),
        ("[train]\nseed = 1979-05-27\n", ["train.seed = datetime.date(1979, 5, 27)"]),
        ("[train]\noverwrite = 1\n", ["train.overwrite = 1"]),
        ("[train]\nseed = true\n", ["train.seed = True"]),
        ("[train]\nhead = [[1]]\n", ["train.head = [[1]]"]),
        (
            '[blend]\n"max-size" = "1B"\nmax_size = "2GB"\n',
            ["blend.max_size beside max-size, which is the same option"],
        ),
        ("[blend]\nsave = true\nno-save = true\n", ["blend.no-save beside save, which is"]),
        ("[blend]\nno-save = 1\n", ["blend.no-save = 1"]),
        ("[extract\n", ["is not valid TOML"]),
        ("[extract]\nworkers = " + "1" * 5000, ["is not valid TOML"]),
        ("\u00e9".encode("latin-1"), ["is not valid TOML"]),
        (".".join("a" * 50_000) + " = 1", ["a line has more dots than names of options"]),
        (b"#" * 2_000_000, ["icecore.toml"]),
    ],
)
def test_what_is_not_understood_is_named_and_nothing_is_done(
    tmp_path, image_folder, monkeypatch, text, words
):
    monkeypatch.chdir(tmp_path)
    Path("icecore.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    status, out, said = icecore("manifest", image_folder)
    assert (status, out) == (1, "")
    for word in words:
        assert word in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("text", "save"),
    [("no-save = true", False), ("no_save = false", True), ("save = false", False)],
)
def test_a_flag_is_understood_in_both_its_spellings(tmp_path, text, save):
    (tmp_path / "icecore.toml").write_text(f"[blend]\n{text}\n")
    assert read_defaults(cli, tmp_path) == {"blend": {"save": save}}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell):
    status, script, _ = icecore("completion", shell)
    assert status == 0
    assert "_ICECORE_COMPLETE" in script
    assert "icecore" in script


def test_options_are_completed(tmp_path):
    variables = {
        "_ICECORE_COMPLETE": "bash_complete",
        "COMP_WORDS": "icecore ext",
        "COMP_CWORD": "1",
    }
    done = run(tmp_path, env={**os.environ, **variables})
    assert "plain,extract" in done.stdout


def test_a_link_to_no_file_is_no_lack_of_options(tmp_path, image_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("icecore.toml").symlink_to("nowhere.toml")
    status, _, said = icecore("manifest", image_folder)
    assert status == 1
    assert "icecore.toml" in said
    assert "Traceback" not in said

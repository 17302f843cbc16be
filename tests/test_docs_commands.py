"""Every command of the documents is run, page by page, in a folder with the files it speaks of.

A network that would have to be downloaded (`-b gluon:NAME`, `-b timm:NAME`) is replaced by a tiny
ONNX file called NAME, and the layer that a page names by its layer `r`; a word in capitals (`RUN`,
`CACHE`) is the file of that name in small letters; a file that no command of the page has made
comes from the shelf of tests/helpers. `s3://bucket` is a bucket of moto's, where that is installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from places import draw_photos, s3_server, upload, write_parquet, write_tars
from repository import ROOT
from shelf import Shelf

from icecore.cli.main import cli, main

# What a command has in it, and why it is not run.
NOT_RUN = {
    "s3://": "a store, where none is played: `make test-stores`",
    "hf://": "the internet: the hub's data sets",
    "--ray ": "a Ray cluster; --ray local runs where Ray is installed",
    "--ray-cpus ": "eight processors",
    "cuda:": "a GPU",
    "weights fetch ": "the internet: downloads",
    "weights import ": "the internet: real weights, of 50 MB and more",
    "demo --out": "minutes: tests/demo runs it",
    "backbones dpn131": "timm, which is not everywhere: tests/features/test_catalogue.py",
    "--verify": "MXNet, and real weights",
    "#layer=tokens": "a transformer, of which torch makes a graph: tests/features/sources",
}
# Pages that speak of files that cannot be read, and have one: exit status 3.
FILES_FAIL = {"extract.md", "fashionai.md", "demo.md"}
OUTPUTS = {"-o", "--out", "--report", "--decisions", "--card"}
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in p.parts),
]


def commands(page: Path) -> list[str]:
    """Return a page's commands in their order, without comments and redirections."""
    found = []
    pattern = r"^ *```(.*?)\n(.*?)```|`(icecore [^`]+)`"
    for language, block, inline in re.findall(pattern, page.read_text("utf-8"), re.M | re.S):
        if language in ("", "bash"):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                line = line.strip().removeprefix("exec ")
                if line.startswith("icecore ") and "[" not in line and "|" not in line:
                    found.append(re.split("  +#| >", line)[0].strip())
        inline = inline.replace(" [SPEC]", "")
        if is_complete(inline):
            found.append(inline)
    return found


def is_complete(inline: str) -> bool:
    """Tell a command in a sentence, such as `icecore audit run`, from the mention of one."""
    if re.search(r"\b(?!RUN\b|CACHE\b|DATA\b)[A-Z]+\b|[\[|]|\.\.\.", inline):
        return False
    command, words = cli, inline.split()[1:]
    while isinstance(command, click.Group) and words:
        command, words = command.commands.get(words[0]), words[1:]
    if command is None:
        return False
    with contextlib.suppress(click.ClickException):
        return bool(words) and bool(command.make_context(inline, words).params)
    return False


def words_of(line: str) -> list[str]:
    """Return the arguments of a command, with tiny networks and names in small letters."""
    words = shlex.split(line)[1:]
    words = [word.lower() if re.fullmatch("[A-Z]+[0-9]?", word) else word for word in words]
    for place, word in enumerate(words[1:], 1):
        if words[place - 1] == "-b":
            words[place] = re.sub("^(?:gluon|timm):([^@#]+)(?:@[0-9]+)?", r"onnx:\1.onnx", word)
    return [word.replace("stage3_activation11", "r") for word in words]


def prepare(words: list[str], folder: Path, shelf: Shelf) -> list[str]:
    """Bring what a command reads; return the names of what it will write."""
    outputs = []
    for before, word in zip(["", *words], words):
        word = word.removeprefix("onnx:").partition("#")[0]
        if before in OUTPUTS and "://" not in word:
            outputs.append(word)
            if words[0] == "train" and (folder / word).exists():
                shutil.rmtree(folder / word)  # The page's second way to the same run.
        elif before and not (folder / word).exists() and shelf.has(word.partition("/")[0]):
            shelf.copy(word, folder)
    return outputs


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, write_tiny_onnx):
    return Shelf(tmp_path_factory.mktemp("shelf"), write_tiny_onnx)


@pytest.fixture(scope="module")
def bucket(shelf, tmp_path_factory):
    """Yield the URL of a bucket with what the pages find in one; nothing without a server."""
    if not all(map(importlib.util.find_spec, ("moto", "boto3", "obstore"))):
        yield ""
        return
    folder = tmp_path_factory.mktemp("bucket")
    photos = draw_photos(folder / "drawn")
    with s3_server() as (url, _):
        upload(shelf.path("photos"), f"{url}/photos")
        upload(write_tars(photos, folder / "tars"), f"{url}/tars")
        upload(write_parquet(photos, folder / "tables"), f"{url}/tables")
        yield url


def is_left_out(line: str, bucket: str) -> bool:
    """Tell whether a command has something in it that is not to be had here."""
    parts = {part for part in NOT_RUN if part in line}
    if bucket:
        parts.discard("s3://")
    if "--ray local" in line and importlib.util.find_spec("ray"):
        parts.discard("--ray ")
    return bool(parts)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda page: page.stem)
def test_every_command_of_the_page_does_what_it_says(
    page, shelf, bucket, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    written = set()
    if page.name == "extract.md":
        shelf.copy("photos", tmp_path)
        (tmp_path / "photos" / "red" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for line in commands(page):
        if is_left_out(line, bucket):
            continue
        words = words_of(line.replace("s3://bucket", bucket or "s3://bucket"))
        outputs = prepare(words, tmp_path, shelf)
        try:
            main(words)
            status = 0
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr()
        allowed = {0, 3} if page.name in FILES_FAIL else {0}
        assert status in allowed, f"{line}\n{shlex.join(words)}\n{said.out[-800:]}{said.err}"
        written |= set(outputs) - ({outputs[0]} if "--dry-run" in words else set())
        if words[0] in ("blend", "audit") and (tmp_path / words[1] / "run.json").is_file():
            written.add(words[1])
        assert [name for name in sorted(written) if not (tmp_path / name).exists()] == [], line
    # What the text says is in a folder that was written.
    text = re.sub(r"\b(RUN|CACHE)/", lambda name: name[0].lower(), page.read_text("utf-8"))
    named = re.findall(r"`([\w-]+/[\w./-]+\.\w+)`", text.replace("NAME", "photos"))
    named = {name for name in named if name.partition("/")[0] in written}
    assert [name for name in sorted(named) if not (tmp_path / name).exists()] == []


def test_every_reason_not_to_run_a_command_is_needed():
    lines = [line for page in PAGES for line in commands(page)]
    assert [part for part in NOT_RUN if not any(part in line for line in lines)] == []

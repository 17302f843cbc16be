"""Every place where something is written: what is there already is a file, or stays as it is."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import sys
from pathlib import Path

import pytest
from heads_support import make_cache, samples
from repository import ROOT

from icecore.cli.main import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes and links are Unix's")

ROOMS = ("auditing", "cache", "cli", "core", "demo", "ensemble", "features", "heads", "jobs")
ROOMS += ("manifest", "pages", "runs")
# Who may write to a name by itself, and why that follows no link and replaces no pipe.
WRITERS = {
    "core/files.py": "the one door",
    "core/regular_files.py": "adds to a log, after a look at what is there",
    "cache/sharing/claims.py": "makes new files alone (O_EXCL)",
    "cache/format/disk.py": "looks at what it opens",
    "cache/upkeep/mirror.py": "into a folder of a drawn name that it has just made",
    "cache/upkeep/stored.py": "the same",
    "core/own_files.py": "in the user's own cache",
    "demo/dataset.py": "into a folder that it has just made",
    "features/detection/network.py": "into a temporary folder",
    "features/graphs/inference.py": "into a temporary folder",
    "features/engines/reference_judge.py": "into a temporary folder",
    "features/sources/trial.py": "into a temporary folder",
    "features/weights/gluon_host.py": "a download that goes on, in the user's own cache",
    "heads/training/reuse.py": "into the new run, before it gets its name",
    "jobs/doctor_checks.py": "a trial under a drawn name, in the nearest folder there is",
}
# Names that `publish` gave, and memory.
TEMPORARY = {"temporary", "partial", "buffer", "part", "io", "file", "archive", "os"}
COMMANDS = {
    "manifest t.csv -o {}.csv": "csv",
    "blend p.csv q.csv --labels l.csv -o {}.csv": "csv",
    "blend p.csv q.csv --labels l.csv --report {}.html": "html",
    "compare p.csv q.csv --labels l.csv -o {}.html": "html",
    "cache export cache one -o {}.npz": "npz",
    "cache export cache one -o {}.h5": "h5",
    "--log {}.txt manifest t.csv": "txt",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    ids = [f"i{number}" for number in range(12)]
    for name, shares in (("p", "0.7,0.3"), ("q", "0.4,0.6")):
        lines = "".join(f"{one},{shares}\n" for one in ids)
        (folder / f"{name}.csv").write_text(f"id,cat,dog\n{lines}", encoding="utf-8")
    labels = "".join(f"{one},{'cat' if n % 2 else 'dog'}\n" for n, one in enumerate(ids))
    (folder / "l.csv").write_text(f"id,label\n{labels}", encoding="utf-8")
    (folder / "t.csv").write_text("path,label\na.jpg,cat\nb.jpg,dog\n", encoding="utf-8")
    (folder / "elsewhere").write_text("precious", encoding="utf-8")
    make_cache(folder / "cache", samples(6))
    return folder


def command(line: str) -> tuple[int, str]:
    said, status = io.StringIO(), 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            main(line.split())
        except SystemExit as end:
            status = end.code
    return status, said.getvalue()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("line", COMMANDS)
def test_what_is_at_the_place_of_an_output(world, monkeypatch, tmp_path, line):
    monkeypatch.chdir(world)
    place = tmp_path / f"out.{COMMANDS[line]}"
    wanted = line.format(tmp_path / "out")
    os.mkfifo(place)
    status, said = command(wanted)
    assert status == 1, said
    assert "is a named pipe, not a file" in said
    assert place.is_fifo()
    place.unlink()
    os.symlink(world / "elsewhere", place)
    status, said = command(wanted)
    # What is added to could lead a link's target to grow; what is written takes its place.
    assert status == (1 if "--log" in line else 0), said
    assert (world / "elsewhere").read_text(encoding="utf-8") == "precious"
    place.unlink()
    status, said = command(wanted)
    assert status == 0, said
    assert os.listdir(tmp_path) == [place.name]


def written_to(call: ast.Call) -> str:
    """Return what a call writes to, as it stands in the code; nothing if it writes to no name."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name in ("write_text", "write_bytes", "touch"):
        return ast.unparse(call.func.value)
    if name == "open":
        method = isinstance(call.func, ast.Attribute)
        flags = ast.unparse(call)
        if method and ast.unparse(call.func.value) == "os":
            return ast.unparse(call.args[0]) if re.search("O_(WRONLY|RDWR|CREAT)", flags) else ""
        modes = [*call.args[0 if method else 1 :], *(k.value for k in call.keywords)]
        texts = [one.value for one in modes if isinstance(one, ast.Constant)]
        if any(isinstance(one, str) and re.fullmatch("[rb]*[wax+][b+t]*", one) for one in texts):
            return ast.unparse(call.func.value if method else call.args[0])
    if name in ("copyfile", "copy", "copy2") and ast.unparse(call.func).startswith("shutil"):
        return ast.unparse(call.args[1])
    return ""


def test_everything_is_written_by_the_one_door():
    """So that what is tried above holds for every output, of whatever command."""
    found = []
    for path in (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))):
        name = path.relative_to(ROOT).as_posix()
        if name in WRITERS:
            continue
        text = path.read_text("utf-8")
        if not re.search(r"write_|open\(|touch\(|shutil.copy", text):
            continue
        for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
            target = written_to(call)
            if target and target.split(".")[0] not in TEMPORARY:
                found.append(f"{name}:{call.lineno} {target}")
    assert found == []
    assert all((ROOT / name).is_file() for name in WRITERS)


def test_the_search_finds_what_it_looks_for():
    for line in ("open(p, 'w')", "p.open('ab')", "p.write_text(x)", "os.open(p, os.O_CREAT)"):
        assert written_to(ast.parse(line, mode="eval").body) == "p"
    for line in ("open(p)", "open(p, 'rb')", "zip.open(p)", "os.open(p, os.O_RDONLY)"):
        assert not written_to(ast.parse(line, mode="eval").body)
    assert Path(ROOT / "core" / "files.py").is_file()

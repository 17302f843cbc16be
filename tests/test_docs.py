"""What the documents say is tried: Python runs, commands parse, files exist."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import numpy
import pytest
from repository import ROOT
from square_images import draw_squares, write_table

import icecore
from icecore.cli.defaults import read_defaults
from icecore.cli.main import cli, main
from icecore.features import read_regions

PAGES = [ROOT / "docs" / f"{name}.md" for name in ("extract", "data", "regions", "howto/places")]
# Not what `make docs` has built.
ALL_PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in p.parts),
]


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(r"```(\w*)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [block for name, block in found if name == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page, image_folder, tiny_onnx, tmp_path):
    names: dict = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)
    if "run" in names:
        assert names["run"](image_folder, tmp_path / "cache", tiny_onnx) == 6
    if "learn" in names:
        boxes = write_table(tmp_path / "some.csv", draw_squares(tmp_path / "photos", 40))
        options = names["learn"](tmp_path / "photos", boxes, tiny_onnx, tmp_path / "squares")
        assert read_regions(options.boxes).name == "squares"


def test_the_notebook_page_runs_from_top_to_bottom(tmp_path, tiny_onnx, monkeypatch):
    image = pytest.importorskip("PIL.Image", reason="draws pictures with Pillow")
    pytest.importorskip("pandas", reason="the page shows pandas")
    for number in range(24):
        folder = tmp_path / "photos" / ("dark", "light")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        grey = 40 + 100 * (number % 2) + number
        image.new("RGB", (40, 30), (grey, grey, 2 * number)).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks(ROOT / "docs" / "howto" / "notebook.md", "python"):
        block = block.replace("gluon:efficientnet_lite0", f"onnx:{tiny_onnx}")
        exec(compile(block, "notebook.md", "exec"), names)
    assert names["probabilities"].shape == (24, 2)
    assert names["X"].shape[0] == len(names["y"]) == len(names["ids"]) == 24


def test_every_page_with_code_is_run_by_some_test():
    ours = {page.name for page in PAGES} | {"notebook.md"}
    theirs = {"audit.md", "blend.md", "cache.md", "compare.md", "heads.md"}
    found = {page.name for page in ALL_PAGES if blocks(page, "python")}
    assert found == ours | theirs


def test_the_page_of_run_formats_names_every_field(image_folder, tmp_path, tiny_onnx):
    from icecore import jobs

    jobs.extract(image_folder, tmp_path / "cache", [f"onnx:{tiny_onnx}"])
    jobs.train(tmp_path / "cache", image_folder, tmp_path / "run", jobs.TrainOptions(folds=3))
    jobs.blend([tmp_path / "run"])
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    blend = json.loads((tmp_path / "run" / "blend.json").read_text())
    (head,) = (tmp_path / "run").glob("*/heads/logistic*/head.json")
    (table,) = (tmp_path / "run").glob("*/probabilities/logistic*.npz")
    fields = {*about, *about["tasks"]["label"], *about["backbones"][0], *blend}
    fields |= {*json.loads(head.read_text()), *numpy.load(table)}
    fields |= {*blend["tasks"][0]} - {"task", "classes", "metric"}
    page = (ROOT / "docs" / "run-format.md").read_text(encoding="utf-8")
    assert [name for name in sorted(fields) if f"`{name}`" not in page] == []


def test_the_json_record_of_the_page_on_backbones_is_one(tmp_path):
    from icecore.features.images.foreign_record import read_record

    (block,) = blocks(ROOT / "docs" / "backbones.md", "json")
    (tmp_path / "r.json").write_text(block)
    assert read_record(tmp_path / "r.json")["crop_pct"] == 0.875


def test_blocks_of_other_languages_are_what_they_say(tmp_path):
    for page in ALL_PAGES:
        for block in blocks(page, "json"):
            json.loads(block)
        for block in blocks(page, "toml"):
            (tmp_path / "icecore.toml").write_text(block)
            assert read_defaults(cli, tmp_path)
        for block in blocks(page, "bash"):
            subprocess.run(["bash", "-n"], input=block, text=True, check=True)
        found = set(re.findall(r"^ *```(\w+)", page.read_text(encoding="utf-8"), re.MULTILINE))
        # Those in text are of programs that are not installed here, or no code.
        assert found <= {"json", "toml", "bash", "python", "text"}, page.name


@pytest.mark.slow
def test_the_first_tutorial_runs_command_by_command(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image", reason="draws pictures with Pillow")
    rng = numpy.random.default_rng(0)
    for number in range(48):
        kind = ("shirts", "skirts", "hats")[number % 3]
        folder = tmp_path / ("new-photos" if number >= 42 else f"photos/{kind}")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.normal(90 + 40 * (number % 3), 30, (90, 80, 3)).clip(0, 255)
        image.fromarray(pixels.astype(numpy.uint8)).save(folder / f"{number}.jpg")
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "tutorials" / "first-photographs.md"
    commands = [line for block in blocks(page, "") for line in block.splitlines()]
    for line in commands:
        if line.startswith("icecore "):
            main(shlex.split(line)[1:])
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 7
    assert (tmp_path / "run" / "report.html").is_file()


def _commands():
    for page in ALL_PAGES:
        for block in [*blocks(page, ""), *blocks(page, "bash")]:
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                line = line.removeprefix("exec ")
                if line.startswith("icecore ") and "[" not in line and "|" not in line:
                    yield page.name, re.split("  #| >", line)[0].strip()


@pytest.mark.parametrize(("page", "line"), sorted(set(_commands())))
def test_commands_of_the_documents_parse(page, line):
    words = shlex.split(line)[1:]
    command: click.Command = cli
    context = None
    while isinstance(command, click.Group):
        name, *words = words
        command = command.commands[name]
    context = command.make_context(line, words, resilient_parsing=False)
    assert context.params


def test_links_between_documents_lead_somewhere():
    for page in ALL_PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            if target != "howto/notebook-run.rst":  # made when the site is built
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_command_is_in_a_document():
    text = "\n".join(page.read_text(encoding="utf-8") for page in ALL_PAGES)
    for name in cli.commands:
        assert f"icecore {name}" in text, name
    for name in cli.commands["cache"].commands:
        assert re.search(rf"icecore cache [a-z|]*{name}", text), name


def test_the_example_runs(tmp_path, image_folder, tiny_onnx):
    from icecore import jobs

    jobs.extract(image_folder, tmp_path / "c", [f"onnx:{tiny_onnx}"])
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "scikit_learn.py", tmp_path / "c",
         tmp_path / "c" / "manifests" / "photos.csv"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "label: accuracy" in done.stdout
    assert "on 6 images" in done.stdout


def test_documents_speak_of_icecore_alone():
    for page in [*ALL_PAGES, ROOT / "CHANGELOG.md"]:
        text = page.read_text(encoding="utf-8")
        for word in ("/work/", "/tmp/", "/root/"):
            assert word not in text, f"{page.name}: {word}"


def test_workflows_and_dockerfiles_name_targets_and_extras_that_there_are():
    targets = set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in [*(ROOT / ".github" / "workflows").glob("*.yml"), ROOT / "CONTRIBUTING.md"]:
        assert set(re.findall(r"^(?: *- run: )?make ([a-z-]+)", path.read_text(), re.M)) <= targets
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for path in (ROOT / "docker").glob("*.Dockerfile"):
        (named,) = re.findall(r"'\.\[(.*)\]'", path.read_text())
        assert set(named.split(",")) <= set(extras["optional-dependencies"])


def test_the_page_on_python_names_all_that_is_public():
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    assert set(icecore.__all__) - {"__version__"} <= set(re.findall(r":: (\w+)$", page, re.M))

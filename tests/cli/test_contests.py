"""From a contest's archives to a file that it accepts, by the commands of the how-to."""

from __future__ import annotations

import csv
import re
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image
from repository import ROOT

from icecore.cli.main import main
from icecore.manifest import fashionai_classes

PAGE = ROOT / "docs" / "howto" / "fashionai.md"
TASKS = {"collar_design_labels": 5, "pant_length_labels": 6}
# Networks that compute in no time, with weights that know nothing.
STANDS_FOR = {
    "gluon:resnet152_v2": "gluon:mobilenet0.25@32",
    "gluon:inceptionv3": "gluon:mobilenetv2_0.25@32",
    "gluon:densenet201": "gluon:mobilenet0.5@32",
    "--views": "--weights random:0 -q --views",
    "--features each": "--features each --head logistic -q",
}


def draw(path, label, rng):
    """Draw a picture whose class is a colour, in the size of a thumbnail."""
    tint = np.array([40 * label, 255 - 40 * label, 128])
    pixels = rng.normal(0, 40, (40, 36, 3)) + tint
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The contest's archives in its exact format; a question's image is missing, another broken."""
    root, rng = tmp_path_factory.mktemp("contest") / "fashionai", np.random.default_rng(0)
    labels, web, questions = [], [], {"rank": [], "rank-b": []}
    for task, count in TASKS.items():
        for number in range(6 * count):
            image, label = f"Images/{task}/{rng.bytes(16).hex()}.jpg", number % count
            letters = "".join("y" if at == label else "n" for at in range(count))
            archive = "web" if task.startswith("pant") and number < 6 else "base"
            (web if archive == "web" else labels).append(f"{image},{task},{letters}")
            draw(root / archive / image, label, rng)
        for rank, rows in questions.items():
            for number in range(4):
                image = f"Images/{task}/{rng.bytes(16).hex()}.jpg"
                rows.append(f"{image},{task},?")
                folder = root if rank == "rank" else root.parent
                draw(folder / rank / image, number, rng)
    rng.shuffle(questions["rank"])
    for name, rows in (
        ("base/Annotations/label.csv", labels),
        ("web/Annotations/pant_length_labels.csv", web),
        ("rank/Tests/question.csv", questions["rank"]),
        ("../rank-b/Tests/question.csv", questions["rank-b"]),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(rows) + "\n")
    missing, broken = (row.split(",")[0] for row in questions["rank"][:2])
    (root / "rank" / missing).unlink()
    (root / "rank" / broken).write_bytes(b"\xff\xd8\xff not an image")
    return root.parent


def commands():
    """The commands of the page, with networks that are here."""
    lines = [line for block in re.findall(r"```\n(.*?)```", PAGE.read_text(), re.DOTALL)
             for line in block.splitlines() if line.startswith("icecore ")]  # fmt: skip
    for line in lines:
        for word, stand_in in STANDS_FOR.items():
            line = line.replace(word, stand_in)
        yield shlex.split(line)[1:]


def run(arguments):
    try:
        main([str(one) for one in arguments])
    except SystemExit as end:
        return end.code or 0
    return 0


def accepted(answers, questions):
    """Check a file as the contest does: every question, in order, a number for each class."""
    asked = [tuple(row[:2]) for row in csv.reader(questions.open())]
    rows = list(csv.reader(answers.open()))
    assert [tuple(row[:2]) for row in rows] == asked
    for _, task, text in rows:
        numbers = [float(one) for one in text.split(";")]
        assert all(re.fullmatch(r"[01]\.\d{4}", one) for one in text.split(";"))
        assert len(numbers) == TASKS[task] == len(fashionai_classes(task, TASKS[task]))
        assert sum(numbers) == pytest.approx(1, abs=6e-4)
    return rows


def test_a_contestant_goes_from_the_archives_to_an_accepted_file(archives, monkeypatch, capsys):
    monkeypatch.chdir(archives)
    steps = list(commands())
    assert len(steps) <= 6
    printed = {}
    for arguments in steps:
        status = run(arguments)
        printed[arguments[0]] = capsys.readouterr()
        # Unreadable images are listed, and end the command with a status of their own.
        assert status == (3 if arguments[0] == "extract" else 0), printed[arguments[0]].err
    rows = accepted(archives / "submission.csv", archives / "fashionai/rank/Tests/question.csv")
    out, err = printed["blend"]
    assert "2 of 8 rows of submission.csv have no image that could be read" in err
    assert all(row[0] in err for row in rows[:2])
    last = out.strip().splitlines()[-1]
    assert last == "written: submission.csv, run/report.html, run/blend.json"
    assert "as " in out
    assert "rank/Tests/question.csv asks" in out
    accepted(archives / "submission-b.csv", archives / "rank-b/Tests/question.csv")
    out, _ = printed["predict"]
    assert out.strip().splitlines()[-1] == "written: submission-b.csv"
    # Two networks at most, over both tasks together.
    from icecore import open_run
    from icecore.ensemble import load_saved

    tasks = open_run("run").tasks
    used = {
        print_
        for task, weights in load_saved("run").tasks.items()
        for model in weights.needed
        for print_ in tasks[task].features[model]
    }
    assert 1 <= len(used) <= 2
    refused = archives / "refused.csv"
    assert (
        run(["blend", "run", "--json", "-o", refused, "--no-save", "--incomplete", "refuse"]) == 1
    )
    assert not refused.exists()
    shutil.rmtree(archives / "cache")


def test_a_kaggle_contest(tmp_path, tiny_onnx, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng, breeds = np.random.default_rng(0), ("pug", "Great Dane", "corgi")
    rows = []
    for number in range(24):
        draw(tmp_path / f"dogs/train/{number:02}.jpg", number % 3, rng)
        rows.append(f"{number:02},{breeds[number % 3]}")
    for number in range(5):
        draw(tmp_path / f"dogs/test/t{number}.jpg", number % 3, rng)
    (tmp_path / "dogs/test/t3.jpg").write_bytes(b"\xff\xd8\xff no")
    (tmp_path / "dogs/labels.csv").write_text("\n".join(["id,breed", *rows]) + "\n")
    ids = [f"t{number}" for number in (4, 2, 3, 0, 1)] + ["lost"]
    sample = tmp_path / "dogs/sample_submission.csv"
    sample.write_text("id,corgi,Great Dane,pug\n" + "".join(f"{i},0,0,0\n" for i in ids))
    for arguments, wanted in (
        (["extract", "dogs", "-o", "cache", "-b", f"onnx:{tiny_onnx}", "-q"], 3),
        (["train", "cache", "--data", "dogs", "-o", "run", "--head", "ridge", "-q"], 0),
        (["blend", "run", "-o", "blended.csv"], 0),
        (["predict", "run", "dogs/test", "-o", "predicted.csv", "-q"], 3),
    ):
        assert run(arguments) == wanted, capsys.readouterr().err
    out, err = capsys.readouterr()
    assert "2 of 6 rows of predicted.csv have no image that could be read" in err
    tables = []
    for name in ("blended.csv", "predicted.csv"):
        header, *lines = csv.reader((tmp_path / name).open())
        assert header == ["id", "corgi", "Great Dane", "pug"]
        assert [line[0] for line in lines] == ids
        tables.append(np.array([line[1:] for line in lines], float))
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-4)
    np.testing.assert_allclose(tables[0][[2, 5]], 1 / 3, atol=1e-6)
    sample.write_text("id,corgi,beagle,pug\n" + "".join(f"{i},0,0,0\n" for i in ids))
    assert run(["predict", "run", "dogs/test", "-o", "no.csv", "-q"]) == 1
    err = capsys.readouterr().err
    assert "1 column is no class (beagle); 1 class has no column (Great Dane)" in err
    assert "images could not be used" not in err, "the sheet is looked at before the images"

from __future__ import annotations

import copy
import json
import os

import numpy as np
import pytest

from icecore.core.errors import IcecoreError, MissingFileError, ProbabilityError, RunError
from icecore.core.files import sha256_file
from icecore.manifest import Manifest, Sample
from icecore.runs import ProbabilityTable, open_run, write_probabilities, write_run

ABOUT = {
    "seed": 3,
    "random_weights": False,
    "backbones": [{"spec": "onnx:a", "fingerprint": "f1", "dim": 8, "record": {"fit": "crop"}}],
    "tasks": {
        "label": {
            "classes": ["cat", "dog"],
            "models": ["one", "two"],
            "validation": "split",
            "folder": "label",
            "features": {"one": ["f1"], "two": ["f1"]},
            "scores": {"one": {"log_loss": 0.5, "accuracy": 0.75, "interval": [0, 1]}, "two": {}},
            "rows": {"train": 4},
            "warnings": ["few rows"],
        }
    },
}

VIEWS = {"views": ["center", "flip", "left"], "backbone": {"num_features": 4}}
ROUTER = {"accuracy": 0.9, "accuracy_interval": [0.95, 0.8]}
GROUPS = {
    "images": {"a": 3},
    "rows": {"a": 2},
    "unknown": 0,
    "router": {"accuracy": 0.9, "accuracy_interval": [0.8, 0.95]},
    "gain": {"model": "one", "against": "two", "log_loss": 0.2, "interval": [0.1, 0.3]},
    "log_loss": {"a": {"one": 0.5, "two": 0.7}},
}


@pytest.fixture
def run(tmp_path):
    samples = Manifest(tuple(Sample(f"{i}.jpg", f"/x/{i}.jpg", "validation") for i in range(2)))
    samples.write(tmp_path / "samples.csv")
    for model in ("one", "two"):
        table = ProbabilityTable(("0.jpg", "1.jpg"), ("cat", "dog"), np.full((2, 2), 0.5))
        write_probabilities(tmp_path / f"label/probabilities/{model}.npz", table)
    write_run(tmp_path, ABOUT | {"samples_sha256": sha256_file(tmp_path / "samples.csv")})
    return tmp_path


def test_what_is_written_is_read(run):
    found = open_run(run)
    assert (found.seed, found.random_weights) == (3, False)
    assert found.tasks["label"].models == ("one", "two")
    assert found.tasks["label"].features == {"one": ("f1",), "two": ("f1",)}
    assert [table.model for table in found.tables()] == ["one", "two"]
    assert [sample.id for sample in found.samples()] == ["0.jpg", "1.jpg"]


def test_it_shows_itself(run):
    text = repr(open_run(run))
    assert text.splitlines()[0] == f"Run({str(run)!r}, seed=3)"
    assert "  label: 2 classes, validated by split" in text
    assert "label  one    0.5000    0.7500" in text
    page = open_run(run)._repr_html_()
    assert "<td>one</td><td>0.5000</td><td>0.7500</td>" in page
    write_run(run, ABOUT | {"tasks": {"<b>": ABOUT["tasks"]["label"]}})
    assert "<b>" not in open_run(run)._repr_html_()


def test_the_leaderboard_has_columns(run):
    expected = {"task": ["label"] * 2, "model": ["one", "two"]}
    assert open_run(run).leaderboard() == expected | {
        "log_loss": [0.5, None],
        "accuracy": [0.75, None],
    }


def put(path, value):
    def change(about):
        *way, last = path
        for name in way:
            about = about[name]
        if value is None:
            del about[last]
        else:
            about[last] = value

    return change


TASK = ("tasks", "label")


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        (("format",), 2, "has format 2; this icecore reads 1"),
        (("format",), None, "has no field 'format'"),
        (("seed",), "3", "has seed = '3', not a whole number"),
        (("seed",), True, "has seed = True, not a whole number"),
        (("seed",), -1, "has seed = -1, not 0 or more"),
        (("random_weights",), 1, "not true or false"),
        (("backbones",), {}, "not a list of objects"),
        (("backbones", 0), "x", r"backbones\[0\] is 'x', not an object"),
        (("backbones", 0, "dim"), 0, r"backbones\[0\] has dim = 0, not 1 or more"),
        (("backbones", 0, "record"), [], "not an object"),
        (("backbones", 0, "record", "backbone"), 2, "backbone = 2, not an object"),
        (("backbones", 0, "record", "backbone"), {"preprocessing": 1}, "1, not an object"),
        (("backbones", 0, "record", "views"), 3, "views = 3, not a list of texts"),
        (("backbones", 0, "latency_ms"), -1, "latency_ms = -1, not a finite number of 0"),
        (("backbones",), [ABOUT["backbones"][0]] * 2, "names f1 twice in 'backbones'"),
        (("tasks",), {}, "names no tasks"),
        (("tasks",), [], "not an object"),
        (("backbones", 0, "record", "backbone"), {"spec": "onnx:b"}, "than its record, onnx:b"),
        (
            ("backbones", 0, "record", "backbone"),
            {"num_features": 9},
            "dim = 8, and its record 1 x 9",
        ),
        (("backbones", 0, "record"), VIEWS, "has dim = 8, and its record 3 x 4"),
        (("backbones", 0, "relative_error"), 5, "relative_error = 5, not a share of 0 to 1"),
        (("failed",), [1], "has failed = .*, not an object"),
        (("failed",), {"sleeve": 1}, "failed has sleeve = 1, not a text"),
        (("interrupted",), "yes", "interrupted = 'yes', not true or false"),
        (("counts",), {"rows": "4"}, "counts has rows = '4', not a number"),
        (("folds",), "five", "folds = 'five', not a whole number"),
        ((*TASK, "groups"), 5, "label has groups = 5, not an object"),
        ((*TASK, "groups"), [], "label has groups = .*, not an object"),
        ((*TASK, "groups"), GROUPS | {"gain": 3}, "groups has gain = 3, not an object"),
        ((*TASK, "groups"), GROUPS | {"log_loss": {"a": {"one": 1}}}, "no field 'two'"),
        ((*TASK, "groups"), GROUPS | {"router": ROUTER}, "interval = .*, the lower one first"),
        ((*TASK, "sha256"), {"heads/one": 1}, "sha256 has heads/one = 1, not a text"),
        ((*TASK, "classes"), ["cat"], "not a list of 2 or more names"),
        ((*TASK, "classes"), ["cat", "cat"], "names cat twice in 'classes'"),
        ((*TASK, "classes"), ["cat", 1], "not a list of texts"),
        ((*TASK, "models"), [], "not a list of 1 or more names"),
        ((*TASK, "models"), ["../one"], "has no field '../one'"),
        ((*TASK, "features", "one"), ["f2"], "features of f2, which 'backbones' lacks"),
        ((*TASK, "features", "one"), [], "names no features of one"),
        ((*TASK, "features", "one"), "f1", "not a list of texts"),
        ((*TASK, "folder"), "../elsewhere", "none for a file or folder: ../elsewhere"),
        ((*TASK, "folder"), "/etc", "none for a file or folder: /etc"),
        ((*TASK, "folder"), "a\x1b[2J", r"none for a file or folder: a\\x1b\[2J"),
        ((*TASK, "folder"), "..", r"none for a file or folder: \.\."),
        ((*TASK, "validation"), None, "has no field 'validation'"),
        ((*TASK, "scores"), [], "not an object"),
        ((*TASK, "scores", "one", "log_loss"), "low", "not a number"),
        ((*TASK, "scores", "one", "log_loss"), -1, "not a finite number of 0 or more"),
        ((*TASK, "warnings"), "few", "not a list of texts"),
        ((*TASK, "rows"), {"train": "many"}, "not a number"),
        ((*TASK, "rows"), 3, "not an object"),
        ((*TASK, "chosen"), {"one": 3}, "not an object"),
        (("failures",), 3, "not a list of objects"),
        (("failures",), ["a.jpg"], r"failures\[0\] is 'a.jpg', not an object"),
        (("failures",), [{"id": 3, "reason": ""}], "has id = 3, not a text"),
        (("left_out",), {"a.jpg": 1}, "not a list of texts"),
        (("cache",), ["/tmp"], "has cache = .*, not a text"),
    ],
)
def test_every_field_is_checked(run, path, value, what):
    about = copy.deepcopy(ABOUT) | {"format": 1}
    put(path, value)(about)
    (run / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match=what) as caught:
        open_run(run)
    assert f"{run}/run.json" in caught.value.message
    assert "\n" not in caught.value.message


def test_all_that_training_says_is_read(run):
    about = copy.deepcopy(ABOUT)
    about |= {"failed": {"sleeve": "no labels"}, "interrupted": True, "counts": {"rows": 2}}
    about["tasks"]["label"]["groups"] = GROUPS
    record = {"views": ["center", "flip"], "backbone": {"spec": "onnx:a", "num_features": 4}}
    about["backbones"][0] |= {"record": record, "relative_error": 1e-6}
    write_run(run, about)
    assert open_run(run).about == about | {"format": 1}


def test_models_lead_nowhere_else(run):
    about = copy.deepcopy(ABOUT)
    about["tasks"]["label"]["models"] = ["../one"]
    about["tasks"]["label"]["features"] = {"../one": ["f1"]}
    write_run(run, about)
    with pytest.raises(RunError, match="none for a file or folder: ../one"):
        open_run(run)


def test_tasks_have_folders_of_their_own(run):
    about = copy.deepcopy(ABOUT)
    about["tasks"]["other"] = about["tasks"]["label"] | {"folder": "LABEL"}
    write_run(run, about)
    with pytest.raises(RunError, match="several tasks one folder"):
        open_run(run)


@pytest.mark.parametrize("content", [b"", b"[" * 10**5, b"[]", b"{}", b"\xff", b'{"format": NaN}'])
def test_damage_is_one_line(run, content):
    (run / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json") as caught:
        open_run(run)
    assert "\n" not in caught.value.message


@pytest.mark.timeout(10)
def test_what_is_no_run(run):
    with pytest.raises(MissingFileError, match="none is not there"):
        open_run(run / "none")
    with pytest.raises(MissingFileError, match="s3://bucket/run is a URL") as caught:
        open_run("s3://bucket/run")
    assert caught.value.hint == "copy it to this machine first, and give that folder"
    with pytest.raises(RunError, match="is not a run: it has no run.json"):
        open_run(run / "label")
    os.unlink(run / "run.json")
    os.mkfifo(run / "run.json")
    with pytest.raises(RunError, match="is a named pipe, not a file"):
        open_run(run)


def test_files_in_a_folder_that_may_not_be_looked_into_are_not_called_missing(run, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    found = open_run(run)
    monkeypatch.setattr(os, "lstat", refuse)
    with pytest.raises(PermissionError):
        found.tables()


def test_files_belong_together(run):
    found = open_run(run)
    other = ProbabilityTable(("0.jpg",), ("dog", "cat"), np.full((1, 2), 0.5))
    write_probabilities(run / "label/probabilities/one.npz", other)
    with pytest.raises(RunError, match="one.npz has other classes than run.json: dog, cat"):
        found.tables()
    (run / "label/probabilities/one.npz").write_bytes(b"")
    with pytest.raises(ProbabilityError, match="the file is empty"):
        found.tables()
    os.unlink(run / "label/probabilities/one.npz")
    with pytest.raises(RunError, match="lacks probability files: label/probabilities/one.npz"):
        found.tables()
    with open(run / "samples.csv", "a") as file:
        file.write("2.jpg,/x/2.jpg,test,label,,,\n")
    with pytest.raises(RunError, match="was changed since it was trained on"):
        found.samples()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_a_pipe_in_place_of_probabilities_is_said_to_be_one(run):
    path = run / "label/probabilities/one.npz"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ProbabilityError, match="one.npz is a named pipe, not a file"):
        open_run(run).tables()


def test_a_folder_in_place_of_the_samples_is_no_data_set(run):
    (run / "samples.csv").unlink()
    (run / "samples.csv").mkdir()
    with pytest.raises(IcecoreError, match=r"samples\.csv is a folder, not a file"):
        open_run(run).samples()

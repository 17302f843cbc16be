"""What `icecore train` says: interruptions, budgets, choices."""

from __future__ import annotations

import dataclasses
import json
import os
import re

import pytest
from heads_support import make_cache

from icecore import jobs
from icecore.cli.main import main
from icecore.manifest.table import Manifest
from icecore.runs import open_run

QUICK = ("--set", "mlp.width=8", "--set", "mlp.epochs=2", "--set", "mlp.members=1")


@pytest.fixture
def place(tmp_path, rows):
    make_cache(tmp_path / "cache", rows)
    Manifest(tuple(rows), "the data").write(tmp_path / "table.csv")
    return tmp_path


def run(capsys, place, *more):
    arguments = ["train", place / "cache", "--data", place / "table.csv", "-o", place / "run"]
    try:
        main([str(one) for one in (*arguments, *QUICK, *more)])
        status = 0
    except SystemExit as end:
        status = end.code
    return status, *capsys.readouterr()


def interrupting(monkeypatch, model):
    train = jobs.train

    def with_interruption(*arguments):
        *others, progress = arguments

        def tell(event):
            progress(event)
            if event.model == model:
                raise KeyboardInterrupt

        return train(*others, tell)

    monkeypatch.setattr(jobs, "train", with_interruption)


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(capsys, place, monkeypatch):
    with monkeypatch.context() as patched:
        interrupting(patched, "logistic-all")
        status, out, err = run(capsys, place)
    assert status == 130
    assert "interrupted: 1 model was finished and kept" in err
    assert "the same command with --overwrite trains the rest" in err
    assert "kernel-all" in out
    status, out, _ = run(capsys, place, "--overwrite", "--json")
    models = json.loads(out)["tasks"][0]["models"]
    assert status == 0
    assert {m["name"]: m["reused"] for m in models} == {
        "kernel-all": True, "logistic-all": False, "mlp-all": False,
    }  # fmt: skip


def test_an_image_that_cannot_be_read_is_named_with_that_reason(capsys, place, rows):
    os.mkfifo(place / "pipe.jpg")
    first = dataclasses.replace(rows[0], path=str(place / "pipe.jpg"))
    Manifest((first, *rows[1:]), "the data").write(place / "table.csv")
    status, out, _ = run(capsys, place, "--head", "mlp")
    assert status == 0
    assert f"1 image was left out, unreadable or without features: {first.id}\n" in out
    (failure,) = json.loads((place / "run" / "run.json").read_text())["failures"]
    assert failure == {"id": first.id, "reason": "cannot be read"}


def test_ctrl_c_before_anything_is_finished(capsys, place, monkeypatch):
    interrupting(monkeypatch, "kernel-all")
    status, _, err = run(capsys, place)
    assert status == 130
    assert re.search("^interrupted; .*run is as it was$", err, re.MULTILINE)
    assert not (place / "run").exists()


def test_what_was_chosen_is_said(capsys, place):
    status, out, err = run(capsys, place, "--head", "ridge", "--head", "mlp", "--search", "2")
    assert status == 0, err
    assert "scores are out of fold (5 folds): each row is predicted by heads that have not" in out
    (ridge,) = (line for line in out.splitlines() if " ridge-all " in line)
    assert " alpha=" in ridge
    assert ridge.endswith("; 5 tried")
    assert open_run(place / "run").about["options"]["search"] == 2


def test_a_validation_split_can_be_held_out(capsys, place):
    status, out, err = run(capsys, place, "--head", "mlp", "--validation", "holdout")
    assert status == 0, err
    assert "scores are of the validation split, which no head has seen\n" in out


def test_a_budget_without_a_search_is_refused(capsys, place):
    status, _, err = run(capsys, place, "--search-seconds", "5")
    assert status == 1
    assert "search_seconds without search" in err


def test_every_kind_that_the_help_names_exists(capsys, place):
    from click.testing import CliRunner

    from icecore.cli.train import train
    from icecore.heads import HEAD_KINDS

    text = " ".join(CliRunner().invoke(train, ["--help"]).output.split())
    assert all(kind in text for kind in HEAD_KINDS)


def test_a_setting_may_be_a_word_of_python_or_any_text(capsys, place):
    forest = "sklearn.ensemble:RandomForestClassifier,n_estimators=3,max_depth=None"
    status, _, err = run(capsys, place, "--head", "mlp", "--head", f"{forest},bootstrap=False")
    assert status == 0, err
    for value in ("1" * 5000, "[" * 100_000):
        status, _, err = run(capsys, place, "--overwrite", "--set", f"logistic.alpha={value}")
        assert status == 1
        assert "out of range: alpha=" in err


def test_a_setting_may_be_a_word(capsys, place):
    status, out, err = run(capsys, place, "--head", "mlp", "--set", "mlp.scaling=power")
    assert status == 0, err
    assert "scaling=power" not in out, "a setting that is given is not chosen"
    status, _, err = run(capsys, place, "--overwrite", "--set", "logistic.scaling=loud")
    assert status == 1
    assert "out of range: scaling='loud' ('auto' or power, standard" in err

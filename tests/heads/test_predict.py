"""Opening a run and predicting with it: what fits, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest
from heads_support import go, make_cache

from icecore.core.errors import FingerprintError, MissingFileError, RunError
from icecore.heads import predict_proba
from icecore.runs import load_run


def test_random_weights_are_told(rows, tmp_path):
    cache = make_cache(tmp_path / "cache", rows, weights="random:0")
    go(cache, rows, tmp_path / "run", heads=["logistic"])
    assert load_run(tmp_path / "run").random_weights


def test_a_cache_made_in_another_way_is_refused(cache, rows, tmp_path):
    go(cache, rows, tmp_path / "run")
    run = load_run(tmp_path / "run")
    other = make_cache(tmp_path / "other", rows, weights_digest="1" * 64)
    with pytest.raises(
        FingerprintError,
        match=r"gluon:one was made differently: backbone.weights_digest is \"1111.* in the cache "
        r"and \"0000.* in the run",
    ):
        predict_proba(run, other, [rows[0].digest], "label")
    bare = make_cache(tmp_path / "bare", rows, names=("one",))
    with pytest.raises(FingerprintError, match="gluon:two is not in the cache"):
        predict_proba(run, bare, [rows[0].digest], "label")


def test_unusable_tasks_and_weights_are_refused(cache, rows, tmp_path):
    go(cache, rows, tmp_path / "run")
    run = load_run(tmp_path / "run")
    with pytest.raises(RunError, match="has no task 'collar'"):
        predict_proba(run, cache, [], "collar")
    with pytest.raises(RunError, match="models that the task 'label' lacks: mlp-four"):
        predict_proba(run, cache, [], "label", {"mlp-four": 1})
    for bad in (-1.0, float("nan"), 0.0):
        with pytest.raises(RunError, match="give numbers from 0, not all 0"):
            predict_proba(run, cache, [], "label", {"mlp-one": bad})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=9), "format 9; this icecore reads 1"),
        (lambda c: c.pop("tasks"), "lacks something"),
        (lambda c: c.update(tasks=[]), "lacks something"),
        (lambda c: c["tasks"]["label"].update(folder="../.."), r"refers to \.\./\.\."),
        (lambda c: c["tasks"]["label"].pop("features"), "lacks something"),
        (lambda c: c.update(backbones=[]), "is damaged"),
    ],
)
def test_a_damaged_run_is_refused(cache, rows, tmp_path, change, message):
    go(cache, rows, tmp_path / "run", features=["one"], heads=["logistic"])
    path = tmp_path / "run/run.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match=message):
        load_run(tmp_path / "run")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="is not there"):
        load_run(tmp_path / "none")
    with pytest.raises(RunError, match=r"is not a run: it has no run\.json"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="is not JSON"):
        load_run(tmp_path)
    shutil.rmtree(tmp_path)

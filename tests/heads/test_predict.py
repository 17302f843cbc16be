"""Opening a run and predicting with it: what fits, and what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest
from heads_support import go, make_cache

from icecore.core.errors import FingerprintError, HeadError, RunError
from icecore.ensemble.blend import blend_sources
from icecore.heads import predict_proba
from icecore.runs import open_run, write_probabilities


def test_random_weights_are_told(rows, tmp_path):
    cache = make_cache(tmp_path / "cache", rows, random_seed=0)
    go(cache, rows, tmp_path / "run", heads=["logistic"])
    assert open_run(tmp_path / "run").random_weights


def test_a_cache_made_in_another_way_is_refused(cache, rows, tmp_path):
    go(cache, rows, tmp_path / "run", heads=["ridge", "mlp"])
    run = open_run(tmp_path / "run")
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
    go(cache, rows, tmp_path / "run", heads=["ridge", "mlp"])
    run = open_run(tmp_path / "run")
    with pytest.raises(RunError, match="has no task 'collar'"):
        predict_proba(run, cache, [], "collar")
    with pytest.raises(RunError, match="models that the task 'label' lacks: mlp-four"):
        predict_proba(run, cache, [], "label", {"mlp-four": 1})
    for bad in (-1.0, float("nan"), 0.0):
        with pytest.raises(RunError, match="give numbers from 0, not all 0"):
            predict_proba(run, cache, [], "label", {"mlp-all": bad})


def test_a_head_of_other_features_is_refused(cache, rows, tmp_path):
    go(cache, rows, tmp_path / "run", heads=["ridge"])
    path = tmp_path / "run" / "run.json"
    about = json.loads(path.read_text())
    about["tasks"]["label"]["features"]["ridge-all"].pop()
    path.write_text(json.dumps(about))
    with pytest.raises(RunError, match=r"heads/ridge-all takes 12 numbers, and .* have 6"):
        predict_proba(open_run(tmp_path / "run"), cache, [rows[0].digest], "label")


def forget_digests(run):
    """Have run.json say nothing of its files, as one that somebody made says it."""
    about = json.loads((run / "run.json").read_text())
    for task in about["tasks"].values():
        del task["sha256"]
    (run / "run.json").write_text(json.dumps(about))


def test_weights_too_large_to_tell_anything_are_named(cache, rows, tmp_path):
    go(cache, rows, tmp_path / "run", heads=["ridge"])
    path = next((tmp_path / "run").rglob("weights.npz"))
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["W"][0] = 3e38
    np.savez(path, **arrays)
    forget_digests(tmp_path / "run")
    with pytest.raises(RunError, match=r"label/heads/ridge-all gives probabilities that are not"):
        predict_proba(open_run(tmp_path / "run"), cache, [rows[0].digest], "label")


def test_what_a_run_lacks_is_to_be_restored(cache, rows, tmp_path):
    go(cache, rows, tmp_path / "run", heads=["ridge"])
    (tmp_path / "run/label/heads/ridge-all/head.json").unlink()
    with pytest.raises(RunError, match="head.json is not there") as caught:
        predict_proba(open_run(tmp_path / "run"), cache, [rows[0].digest], "label")
    assert caught.value.hint == "restore it, or train again"


def test_a_foreign_classifier_that_answers_nonsense_is_named_with_its_folder(
    cache, rows, tmp_path, monkeypatch
):
    skops = pytest.importorskip("skops.io")
    go(cache, rows, tmp_path / "run", heads=["sklearn.linear_model:LogisticRegression"])
    forget_digests(tmp_path / "run")
    run = open_run(tmp_path / "run")
    (file,) = (tmp_path / "run/label/heads").glob("*/estimator.skops")
    found = skops.loads(file.read_bytes())
    found.coef_ = np.full_like(found.coef_, np.nan)
    file.write_bytes(skops.dumps(found))
    monkeypatch.setenv("ICECORE_TRUSTED_DIGESTS", hashlib.sha256(file.read_bytes()).hexdigest())
    with pytest.raises(HeadError, match=re.escape(str(file.parent))):
        predict_proba(run, cache, [rows[0].digest], "label")


def test_heads_that_were_swapped_or_changed_are_refused(cache, rows, tmp_path):
    go(cache, rows, tmp_path / "run", heads=["ridge", "logistic"])
    heads, away = tmp_path / "run/label/heads", tmp_path / "away"
    for old, new in (
        (heads / "ridge-all", away),
        (heads / "logistic-all", heads / "ridge-all"),
        (away, heads / "logistic-all"),
    ):
        old.rename(new)
    run, keys = open_run(tmp_path / "run"), [rows[0].digest]
    with pytest.raises(RunError, match="head.json.*not what training wrote") as caught:
        predict_proba(run, cache, keys, "label", {"ridge-all": 1})
    assert caught.value.hint == "restore the run as it was, or train again"
    with pytest.raises(RunError, match="not what training wrote"):
        blend_sources([tmp_path / "run"])
    go(cache, rows, tmp_path / "run", heads=["ridge", "logistic"], overwrite=True)
    run = open_run(tmp_path / "run")
    assert predict_proba(run, cache, keys, "label").shape == (1, 3)
    table = run.probabilities("label", "ridge-all")
    file = run.probability_file("label", "ridge-all")
    write_probabilities(file, dataclasses.replace(table, probabilities=table.probabilities[::-1]))
    with pytest.raises(RunError, match="ridge-all.npz: not what training wrote"):
        run.probabilities("label", "ridge-all")

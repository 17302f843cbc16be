"""Training from a real cache to a run folder."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os

import numpy as np
import pytest
from heads_support import CLASSES, QUICK, features, go, make_cache, samples
from hypothesis import given, settings
from hypothesis import strategies as st

from icecore import manifest as manifests
from icecore.cache import FeatureCache
from icecore.core.errors import CacheError, HeadError, ManifestError, RunError
from icecore.heads import LogisticHead, load_task_head, predict_proba
from icecore.heads.splits import deal_folds
from icecore.runs import open_run, read_probabilities


def test_a_validation_split_is_predicted_and_everything_is_stored(cache, rows, tmp_path):
    result = go(cache, rows, tmp_path / "run", seed=3)
    names = ["mlp-one", "mlp-two", "mlp-all", "logistic-all"]
    assert [model.name for model in result.tasks[0].models] == names
    assert result.tasks[0].validation == "split"
    assert result.failed == {}
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert (about["format"], about["seed"], about["random_weights"]) == (1, 3, False)
    assert about["options"]["settings"] == QUICK
    assert [entry["spec"] for entry in about["backbones"]] == ["gluon:one", "gluon:two"]
    assert about["backbones"][0]["record"] == cache.find("gluon:one").record
    assert about["tasks"]["label"]["models"] == names
    assert about["tasks"]["label"]["rows"] == {"train": 60, "validation": 15, "test": 9}
    table = read_probabilities(tmp_path / "run/label/probabilities/mlp-all.npz")
    assert table.ids == tuple(s.id for s in rows[60:])
    assert table.splits == ("validation",) * 15 + ("test",) * 9
    assert table.classes == CLASSES
    assert manifests.read(tmp_path / "run/samples.csv").samples == tuple(rows)
    assert not list(tmp_path.glob(".tmp-*"))
    assert result.tasks[0].models[3].scores["accuracy"] > 0.9


def test_predictions_of_the_run_are_those_it_stored(cache, rows, tmp_path):
    go(cache, rows, tmp_path / "run", heads=["mlp", "logistic", "lightgbm"])
    run = open_run(tmp_path / "run")
    keys = [s.digest for s in rows[60:]]
    tables = {
        name: read_probabilities(tmp_path / f"run/label/probabilities/{name}.npz").probabilities
        for name in run.tasks["label"].models
    }
    assert len(tables) == 5
    for name, table in tables.items():
        found = predict_proba(run, cache, keys, "label", {name: 2.0})
        np.testing.assert_allclose(found, table, atol=1e-6)
    mean = predict_proba(run, cache, keys, "label")
    np.testing.assert_allclose(mean, np.mean(list(tables.values()), axis=0), atol=1e-6)
    weights = {"mlp-one": 1.0, "logistic-all": 3.0, "mlp-two": 0.0}
    found = predict_proba(run, cache, keys, "label", weights)
    np.testing.assert_allclose(
        found, 0.25 * tables["mlp-one"] + 0.75 * tables["logistic-all"], atol=1e-6
    )
    assert predict_proba(run, cache, [], "label").shape == (0, 3)


def test_without_a_split_every_training_row_is_predicted_out_of_fold(tmp_path):
    rows = samples(45) + samples(6, "test", prefix="t")
    # Labels that have nothing to do with the features cannot be predicted honestly.
    rng = np.random.default_rng(0)
    noise = [dataclasses.replace(s, label=CLASSES[rng.integers(3)]) for s in rows]
    cache = make_cache(tmp_path / "cache", rows)
    free = {"mlp": {"width": 64, "epochs": 40, "dropout": 0.0, "learning_rate": 0.01}}
    result = go(cache, noise, tmp_path / "run", folds=3, settings=free)
    assert result.tasks[0].validation == "out-of-fold, 3 folds"
    for model in result.tasks[0].models:
        assert model.scores["accuracy"] < 0.65
    table = read_probabilities(tmp_path / "run/label/probabilities/mlp-all.npz")
    assert table.splits == ("validation",) * 45 + ("test",) * 6
    run = open_run(tmp_path / "run")
    again = predict_proba(run, cache, [s.digest for s in rows[45:]], "label", {"mlp-all": 1})
    np.testing.assert_allclose(again, table.probabilities[45:], atol=1e-6)


def test_a_seed_repeats_the_run(cache, rows, tmp_path):
    for name in ("a", "b"):
        go(cache, rows, tmp_path / name, seed=5)
    one, two = (read_probabilities(tmp_path / f"{n}/label/probabilities/mlp-all.npz") for n in "ab")
    np.testing.assert_array_equal(one.probabilities, two.probabilities)


def test_features_and_heads_can_be_chosen(cache, rows, tmp_path):
    result = go(
        cache,
        rows,
        tmp_path / "run",
        features=["gluon:two+gluon:one", "gluon:two"],
        heads=["logistic", "mlp"],
    )
    assert [(m.name, m.features) for m in result.tasks[0].models] == [
        ("logistic-all", ("gluon:two", "gluon:one")),
        ("logistic-two", ("gluon:two",)),
        ("mlp-all", ("gluon:two", "gluon:one")),
        ("mlp-two", ("gluon:two",)),
    ]
    with pytest.raises(CacheError, match="no feature set 'gluon:three'"):
        go(cache, rows, tmp_path / "no", features=["gluon:three"])
    with pytest.raises(HeadError, match="there is no head 'forest', 'tree'"):
        go(cache, rows, tmp_path / "no", heads=["tree", "mlp", "forest"])


def test_progress_tells_epochs_and_ends(cache, rows, tmp_path):
    events = []
    go(cache, rows, tmp_path / "run", progress=events.append)
    assert {e.step for e in events} == {"training", "done"}
    assert (events[-1].done, events[-1].total) == (4, 4)
    epochs = [e for e in events if e.model == "mlp-all" and e.step == "training"]
    assert [e.epoch for e in epochs] == [1, 2, 3]
    (first,), (last,) = epochs[0].members, epochs[-1].members
    assert (first.name, first.epoch, first.best_epoch, first.stopped) == ("", 1, 1, "")
    assert first.loss == first.best_loss > 0
    assert last.best_loss == min(event.members[0].loss for event in epochs)


def test_images_without_features_are_left_out_and_counted(tmp_path):
    rows = samples(30, "train") + samples(9, "validation", prefix="v")
    cache = make_cache(tmp_path / "cache", rows[2:])
    result = go(cache, rows, tmp_path / "run")
    assert result.left_out == ("image0.jpg", "image1.jpg")
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert about["counts"] == {"rows": 39, "left_out": 2}
    assert about["tasks"]["label"]["rows"]["train"] == 28


def test_tasks_have_their_own_heads_and_the_broken_ones_are_listed(tmp_path):
    good = samples(30, task="sleeve/length")
    lone = samples(30, task="collar", classes=("shirt",), prefix="c")
    few = samples(4, task="neck", prefix="n")
    cache = make_cache(tmp_path / "cache", [*good, *lone, *few])
    result = go(cache, [*lone, *good, *few], tmp_path / "run", folds=5)
    assert [task.task for task in result.tasks] == ["sleeve/length"]
    assert result.failed["collar"].startswith(
        "the task 'collar' has one class only: all 30 training images are 'shirt'"
    )
    assert "4 different training images cannot be dealt into 5 folds" in result.failed["neck"]
    run = open_run(tmp_path / "run")
    assert list(run.tasks) == ["sleeve/length"]
    assert run.about["failed"] == result.failed
    folders = {entry.name for entry in (tmp_path / "run").iterdir()}
    assert folders == {"run.json", "samples.csv", "sleeve-length"}


def test_if_no_task_can_be_trained_nothing_is_left(tmp_path):
    rows = samples(30, classes=("hat",))
    cache = make_cache(tmp_path / "cache", rows)
    with pytest.raises(HeadError, match="one class only: all 30 training images are 'hat'"):
        go(cache, rows, tmp_path / "run")
    both = rows + samples(3, task="other", prefix="o")
    make_cache(tmp_path / "cache", both)
    with pytest.raises(HeadError, match="none of the 2 tasks could be trained: label: .*other: "):
        go(cache, both, tmp_path / "run")
    assert os.listdir(tmp_path) == ["cache"]


def test_classes_that_training_lacks_are_refused_or_accepted_on_request(cache, rows, tmp_path):
    strange = [
        dataclasses.replace(s, label="coat") if s.split != "train" and i % 2 else s
        for i, s in enumerate(rows)
    ]
    with pytest.raises(HeadError) as caught:
        go(cache, strange, tmp_path / "run")
    assert "7 validation images (coat) and 5 test images (coat)" in str(caught.value)
    assert "--min-class-count 1" in str(caught.value)
    assert not (tmp_path / "run").exists()
    result = go(cache, strange, tmp_path / "run", min_class_count=1)
    assert result.tasks[0].classes == ("coat", *CLASSES)
    assert [w[:60] for w in result.tasks[0].warnings] == [
        "7 validation images have classes without training images (co",
        "5 test images have classes without training images (coat): t",
    ]
    table = read_probabilities(tmp_path / "run/label/probabilities/mlp-one.npz")
    assert (table.probabilities[:, 0] == 0).all()
    assert result.tasks[0].models[0].scores["accuracy"] < 0.6


def test_a_label_without_images_is_reported(cache, rows, tmp_path):
    letters = {"dress": "ynnn", "hat": "nynn", "skirt": "nnyn"}
    lettered = [
        dataclasses.replace(s, letters=letters[s.label], label=str(CLASSES.index(s.label)))
        for s in rows
    ]
    result = go(cache, lettered, tmp_path / "run")
    assert result.tasks[0].classes == ("0", "1", "2", "3")
    assert result.tasks[0].warnings == (
        "1 classes have no images (3): their probability is always 0",
    )


def test_no_rows_at_all(cache, rows, tmp_path):
    with pytest.raises(ManifestError, match="none of the 84 images of the data has a digest"):
        go(cache, [dataclasses.replace(s, digest="") for s in rows], tmp_path / "run")
    elsewhere = samples(5, "train", prefix="elsewhere")
    with pytest.raises(ManifestError, match="none of the 5 images of the data has features"):
        go(cache, elsewhere, tmp_path / "run")
    with pytest.raises(HeadError, match="the task 'label' has no training rows: 24 images"):
        go(cache, rows[60:], tmp_path / "run")
    empty = FeatureCache.create(tmp_path / "empty")
    with pytest.raises(CacheError, match="the cache holds no feature sets"):
        go(empty, rows, tmp_path / "run")


class MemoryCache:
    """The cache's interface over arrays, which lets NaN through as the real one does not."""

    def __init__(self, sets):
        self._sets = sets

    def sets(self):
        return self._sets


class MemorySet:
    name, fingerprint, record, dtype = "gluon:one", "f" * 64, {}, "float32"
    views = ("center",)

    def __init__(self, keys, values):
        self.table, self.dim = dict(zip(keys, values, strict=True)), values.shape[1]
        self.width = self.dim

    def __len__(self):
        return len(self.table)

    def keys(self):
        return sorted(self.table)

    def matrix(self, keys):
        return np.array([self.table[key] for key in keys], np.float32)


def test_a_set_without_rows_is_passed_over(cache, rows, tmp_path):
    """What a job leaves that was ended before its first row."""
    record = cache.sets()[0].record
    empty = record | {"backbone": record["backbone"] | {"spec": "gluon:empty"}}
    cache.open_set(empty, "gluon:empty", 4)
    result = go(cache, rows, tmp_path / "run")
    assert not any("empty" in model.name for model in result.tasks[0].models)


def test_nan_features_are_refused(rows, tmp_path):
    values = features(rows, 4, 0)
    values[7, 1] = np.nan
    cache = MemoryCache([MemorySet([s.digest for s in rows], values)])
    with pytest.raises(HeadError, match="NaN or infinity in 1 of 60 rows: 7"):
        go(cache, rows, tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_another_folder_is_never_replaced_and_a_run_only_when_told(cache, rows, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="exists and is not a run"):
            go(cache, rows, out, overwrite=overwrite)
    assert (out / "thesis.txt").read_text() == "years of work"
    (out / "thesis.txt").unlink()
    go(cache, rows, out, heads=["logistic"])
    with pytest.raises(RunError, match="already holds a run"):
        go(cache, rows, out)
    go(cache, rows, out, features=["one"], heads=["mlp"], overwrite=True)
    assert open_run(out).tasks["label"].models == ("mlp-one",)
    assert sorted(os.listdir(tmp_path)) == ["cache", "run"]


def test_an_interruption_keeps_what_is_finished(cache, rows, tmp_path):
    def interrupt(event):
        if event.done == 2 and event.step != "done":
            raise KeyboardInterrupt

    result = go(cache, rows, tmp_path / "run", progress=interrupt)
    assert result.interrupted
    run = open_run(tmp_path / "run")
    # The third was in training: it is kept as it was at its best epoch.
    assert run.tasks["label"].models == ("mlp-one", "mlp-two", "mlp-all")
    assert [model.interrupted for model in result.tasks[0].models] == [False, False, True]
    assert run.about["interrupted"] is True
    assert predict_proba(run, cache, [rows[0].digest], "label").shape == (1, 3)


def test_an_interrupted_mlp_is_kept_at_its_best_epoch_and_fitted_again(cache, rows, tmp_path):
    def interrupt(event):
        if event.model == "mlp-two" and event.epoch == 2:
            raise KeyboardInterrupt

    options = {"settings": {"mlp": {"width": 8, "epochs": 6}}, "refit": "all"}
    result = go(cache, rows, tmp_path / "run", progress=interrupt, **options)
    first, second = result.tasks[0].models
    assert result.interrupted
    assert (first.name, first.interrupted) == ("mlp-one", False)
    assert (second.name, second.interrupted) == ("mlp-two", True)
    head = load_task_head(open_run(tmp_path / "run").tasks["label"], "mlp-two")
    assert head.interrupted_
    assert head.n_iter_ == 2
    assert second.scores["log_loss"] == pytest.approx(head.best_loss_, rel=1e-4)
    again = go(cache, rows, tmp_path / "run", overwrite=True, **options)
    reused = {model.name: model.reused for model in again.tasks[0].models}
    assert (reused["mlp-one"], reused["mlp-two"], again.interrupted) == (True, False, False)


@pytest.mark.parametrize("options", [{}, {"search": 4}])
def test_folds_and_searches_that_are_interrupted_give_no_model(cache, tmp_path, options):
    rows = samples(60, "train")

    def interrupt(event):
        if event.model == "mlp-two" and event.epoch == 2:
            raise KeyboardInterrupt

    result = go(cache, rows, tmp_path / "run", progress=interrupt, folds=3, **options)
    assert [model.name for model in result.tasks[0].models] == ["mlp-one"]


def test_an_interruption_at_once_leaves_nothing_and_never_costs_the_old_run(cache, rows, tmp_path):
    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(cache, samples(60, "train"), tmp_path / "run", progress=interrupt)
    assert os.listdir(tmp_path) == ["cache"]
    go(cache, rows, tmp_path / "run", heads=["logistic"])

    def later(event):
        if event.done == 2 and event.step != "done":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(cache, rows, tmp_path / "run", progress=later, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["cache", "run"]
    assert open_run(tmp_path / "run").tasks["label"].models == ("logistic-all",)


def test_finished_heads_are_taken_over_unless_something_changed(cache, rows, tmp_path):
    def reused(again, **options):
        result = go(cache, again, tmp_path / "run", overwrite=True, **options)
        return {model.name: model.reused for model in result.tasks[0].models}

    assert not any(reused(rows, heads=["mlp"]).values())
    before = (tmp_path / "run/label/probabilities/mlp-all.npz").read_bytes()
    found = reused(rows)
    assert found == {"mlp-one": True, "mlp-two": True, "mlp-all": True, "logistic-all": False}
    assert (tmp_path / "run/label/probabilities/mlp-all.npz").read_bytes() == before
    # Nor are fits undone by options that they do not look at.
    found = reused(rows, search=2, folds=4)
    assert found == {"mlp-one": False, "mlp-two": False, "mlp-all": False, "logistic-all": True}
    assert not any(name != "logistic-all" and kept for name, kept in reused(rows).items())
    # Settings of the logistic head are none of the MLPs' business.
    found = reused(rows, settings={**QUICK, "logistic": {"alpha": 0.5}})
    assert found == {"mlp-one": True, "mlp-two": True, "mlp-all": True, "logistic-all": False}
    assert not any(reused(rows, seed=1).values())
    assert all(reused(rows, seed=1).values())
    relabelled = [dataclasses.replace(rows[0], label="hat"), *rows[1:]]
    assert not any(reused(relabelled, seed=1).values())
    (tmp_path / "run/label/probabilities/mlp-all.npz").unlink()
    found = reused(relabelled, seed=1)
    assert (found["mlp-one"], found["mlp-all"]) == (True, False)


def test_a_default_that_changed_is_a_change(cache, rows, tmp_path, monkeypatch):
    def reused():
        result = go(cache, rows, tmp_path / "run", overwrite=True, heads=["logistic"])
        return [model.reused for model in result.tasks[0].models]

    assert [reused(), reused()] == [[False], [True]]
    was = LogisticHead.__init__

    def newer(self, *args, alpha=1e-3, **more):
        was(self, *args, alpha=alpha, **more)

    newer.__signature__ = inspect.signature(was)
    monkeypatch.setattr(LogisticHead, "__init__", newer)
    assert LogisticHead().alpha == 1e-3
    assert reused() == [False]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2)), min_size=1, max_size=80),
    st.integers(2, 6),
    st.integers(0, 100),
)
def test_folds_keep_duplicates_together_and_are_even(drawn, folds, seed):
    keys = [f"key{key}" for key, _ in drawn]
    labels = np.array([f"class{label}" for _, label in drawn])
    if len(set(keys)) < folds:
        with pytest.raises(HeadError, match="cannot be dealt"):
            deal_folds(keys, labels, folds, seed)
        return
    dealt = deal_folds(keys, labels, folds, seed)
    assert (dealt == deal_folds(keys, labels, folds, seed)).all()
    fold_of = {}
    for key, fold in zip(keys, dealt, strict=True):
        assert fold_of.setdefault(key, fold) == fold
    sizes = np.bincount(list(fold_of.values()), minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    first = {key: label for key, label in reversed(list(zip(keys, labels, strict=True)))}
    for label in set(first.values()):
        spread = np.bincount([fold_of[k] for k in first if first[k] == label], minlength=folds)
        assert spread.max() - spread.min() <= 1

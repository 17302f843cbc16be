"""Training from a real cache to a run folder."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
from contextlib import nullcontext

import numpy as np
import pytest
from drawing import few
from heads_support import CLASSES, QUICK, features, go, make_cache, record, samples
from hypothesis import given
from hypothesis import strategies as st

from icecore import manifest as manifests
from icecore.cache import FeatureCache
from icecore.core.errors import CacheError, HeadError, ManifestError, RunError
from icecore.heads import LogisticHead, TrainOptions, predict_proba
from icecore.heads.folds import deal_folds
from icecore.heads.training.plan import ModelPlan
from icecore.heads.training.reuse import model_key
from icecore.heads.training.task_data import task_data
from icecore.manifest import Manifest
from icecore.runs import open_run, read_probabilities, write_probabilities

NAMES = ["kernel-all", "logistic-all", "mlp-all"]


def test_all_labelled_rows_are_predicted_and_everything_is_stored(cache, rows, tmp_path):
    result = go(cache, rows, tmp_path / "run", seed=3)
    assert [model.name for model in result.tasks[0].models] == NAMES
    assert result.tasks[0].validation == "out-of-fold, 5 folds"
    assert result.failed == {}
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert (about["format"], about["seed"], about["random_weights"]) == (1, 3, False)
    assert about["options"]["settings"] == {"mlp": QUICK["mlp"]}
    assert [entry["spec"] for entry in about["backbones"]] == ["gluon:one", "gluon:two"]
    assert about["backbones"][0]["record"] == cache.find("gluon:one").record
    entry = about["tasks"]["label"]
    assert entry["models"] == NAMES
    assert entry["rows"] == {"train": 60, "validation": 15, "test": 9}
    assert set(entry["chosen"]["kernel-all"]["settings"]) == {"alpha", "scaling"}
    table = read_probabilities(tmp_path / "run/label/probabilities/mlp-all.npz")
    assert table.ids == tuple(s.id for s in rows)
    assert table.splits == ("validation",) * 75 + ("test",) * 9
    assert table.classes == CLASSES
    assert manifests.read(tmp_path / "run/samples.csv").samples == tuple(rows)
    assert not list(tmp_path.glob(".tmp-*"))
    assert result.tasks[0].models[1].scores["accuracy"] > 0.9


def test_held_out_rows_are_predicted_by_heads_that_do_not_know_them(cache, rows, tmp_path):
    table = {}
    other = [
        dataclasses.replace(s, label=CLASSES[(i + 1) % 3]) if s.split == "validation" else s
        for i, s in enumerate(rows)
    ]
    for name, data in (("a", rows), ("b", other)):
        result = go(cache, data, tmp_path / name, validation="holdout")
        assert result.tasks[0].validation == "split"
        table[name] = [
            read_probabilities(tmp_path / f"{name}/label/probabilities/{model}.npz")
            for model in NAMES
        ]
    for one, two in zip(table["a"], table["b"], strict=True):
        assert one.splits == ("validation",) * 15 + ("test",) * 9
        np.testing.assert_array_equal(one.probabilities[:15], two.probabilities[:15])
        # The final heads learn from them, too.
        assert np.abs(one.probabilities[15:] - two.probabilities[15:]).max() > 1e-3
    go(cache, rows, tmp_path / "c", validation="holdout", refit="train")
    go(cache, other, tmp_path / "d", validation="holdout", refit="train")
    for model in NAMES:
        one, two = (tmp_path / f"{run}/label/probabilities/{model}.npz" for run in "cd")
        assert one.read_bytes() == two.read_bytes()


def test_test_rows_have_no_part_in_anything(cache, rows, tmp_path):
    other = [
        dataclasses.replace(s, label=CLASSES[(i + 1) % 3]) if s.split == "test" else s
        for i, s in enumerate(rows)
    ]
    for name, data in (("a", rows), ("b", other)):
        go(cache, data, tmp_path / name)
    for file in (tmp_path / "a/label").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_images_that_heads_know_are_named_and_in_no_score(cache, rows, tmp_path):
    # Two test images are training images, one validation image is.
    again = [
        dataclasses.replace(s, digest=rows[0].digest) if s.id in ("t0.jpg", "v3.jpg") else s
        for s in rows
    ]
    result = go(cache, again, tmp_path / "run", heads=["logistic"])
    assert result.tasks[0].warnings == (
        "1 validation image is a training image too, equal to the byte (v3.jpg): equal images "
        "share a fold",
        "1 test image is a training image too, equal to the byte (t0.jpg): left out of scores",
    )
    table = read_probabilities(tmp_path / "run/label/probabilities/logistic-all.npz")
    assert table.splits == ("validation",) * 75 + ("train",) + ("test",) * 8
    held = go(cache, again, tmp_path / "held", heads=["logistic"], validation="holdout")
    assert "1 validation image is a training image too" in held.tasks[0].warnings[0]
    table = read_probabilities(tmp_path / "held/label/probabilities/logistic-all.npz")
    assert table.splits[:4] == ("validation",) * 3 + ("train",)
    every = [
        dataclasses.replace(s, digest=rows[i].digest) if s.split == "validation" else s
        for i, s in enumerate(again, start=-60)
    ]
    with pytest.raises(HeadError, match="no row to score: 15 validation images are training im"):
        go(cache, every, tmp_path / "none", heads=["logistic"], validation="holdout")
    assert go(cache, every, tmp_path / "folds", heads=["logistic"]).failed == {}
    # Those without a label are in no score anyway.
    bare = [dataclasses.replace(s, label="") if s.id == "t0.jpg" else s for s in again]
    go(cache, bare, tmp_path / "bare", heads=["logistic"])
    table = read_probabilities(tmp_path / "bare/label/probabilities/logistic-all.npz")
    assert table.splits[75] == "test"


def test_boxes_of_one_photograph_are_one_image(cache, rows, tmp_path):
    """They had been dealt into different folds, and test boxes of training photographs scored."""
    twins = {"t0.jpg": rows[0], "v3.jpg": rows[1], rows[3].id: rows[2]}
    files = {one.id: two.digest for one in rows for two in [twins.get(one.id, one)]}
    boxed = [
        dataclasses.replace(one, box=f"0 0 9 {n + 1}", file_digest=files[one.id])
        for n, one in enumerate(rows)
    ]
    result = go(cache, boxed, tmp_path / "run", heads=["logistic"])
    same = "too, equal to the byte, or a part of the same file"
    assert result.tasks[0].warnings == (
        f"1 validation image is a training image {same} (v3.jpg): equal images share a fold",
        f"1 test image is a training image {same} (t0.jpg): left out of scores",
    )
    data = task_data(Manifest(tuple(boxed)), "label", set())
    fold = deal_folds(data.images(data.labelled), data.labels(data.labelled), 5, 0)
    place = {one.id: n for n, one in enumerate(data.samples)}
    assert fold[place["v3.jpg"]] == fold[place[rows[1].id]]
    assert fold[place[rows[3].id]] == fold[place[rows[2].id]]
    # A table that was made before knows their path.
    old = [dataclasses.replace(one, file_digest="", path=files[one.id]) for one in boxed]
    assert task_data(Manifest(tuple(old)), "label", set()).warnings == data.warnings
    table = read_probabilities(tmp_path / "run/label/probabilities/logistic-all.npz")
    assert table.splits == ("validation",) * 75 + ("train",) + ("test",) * 8


def test_other_photographs_of_the_boxes_are_a_change(rows):
    boxed = [dataclasses.replace(one, box="0 0 9 9", file_digest=one.digest) for one in rows]
    moved = [dataclasses.replace(boxed[0], file_digest=boxed[1].digest), *boxed[1:]]
    plan = ModelPlan("ridge-one", "ridge", (0,))
    keys = [
        model_key(task_data(Manifest(tuple(some)), "label", set()), plan, ["f"], TrainOptions())
        for some in (boxed, moved, boxed)
    ]
    assert keys[0] == keys[2] != keys[1]


def test_copies_under_two_labels_are_named_in_every_split(cache, rows, tmp_path):
    torn = [dataclasses.replace(s, digest=rows[76].digest) if s.id == "t2.jpg" else s for s in rows]
    # One without a label is not torn.
    torn.append(dataclasses.replace(rows[77], id="u.jpg", label=""))
    result = go(cache, torn, tmp_path / "run", heads=["ridge"])
    assert result.tasks[0].warnings == (
        "2 test images are exact duplicates with different labels: t1.jpg, t2.jpg",
    )


def test_predictions_of_the_run_are_those_it_stored(cache, rows, tmp_path):
    go(cache, rows, tmp_path / "run", heads=["mlp", "logistic", "lightgbm", "kernel"])
    run = open_run(tmp_path / "run")
    keys = [s.digest for s in rows[75:]]
    tables = {
        name: read_probabilities(tmp_path / f"run/label/probabilities/{name}.npz").probabilities[
            75:
        ]
        for name in run.tasks["label"].models
    }
    assert len(tables) == 4
    for name, table in tables.items():
        found = predict_proba(run, cache, keys, "label", {name: 2.0})
        np.testing.assert_allclose(found, table, atol=1e-6)
    mean = predict_proba(run, cache, keys, "label")
    np.testing.assert_allclose(mean, np.mean(list(tables.values()), axis=0), atol=1e-6)
    weights = {"mlp-all": 1.0, "logistic-all": 3.0, "kernel-all": 0.0}
    found = predict_proba(run, cache, keys, "label", weights)
    np.testing.assert_allclose(
        found, 0.25 * tables["mlp-all"] + 0.75 * tables["logistic-all"], atol=1e-6
    )
    assert predict_proba(run, cache, [], "label").shape == (0, 3)


def test_several_views_are_their_mean(rows, tmp_path):
    table = features(rows, 12, 0).astype(np.float16)
    cache = FeatureCache.create(tmp_path / "cache")
    two = cache.open_set(record("one"), "gluon:one", 6, ("center", "flip"))
    two.append([s.digest for s in rows], table)
    go(cache, rows, tmp_path / "views", heads=["logistic", "mlp"])
    mean = table.reshape(len(rows), 2, 6).mean(axis=1, dtype=np.float32)
    single = FeatureCache.create(tmp_path / "single")
    single.open_set(record("one"), "gluon:one", 6).append([s.digest for s in rows], mean)
    go(single, rows, tmp_path / "mean", heads=["logistic", "mlp"])
    for model in ("logistic-one", "mlp-one"):
        one, two = (
            read_probabilities(tmp_path / f"{run}/label/probabilities/{model}.npz").probabilities
            for run in ("views", "mean")
        )
        np.testing.assert_allclose(one, two, atol=0.05)


def test_settings_of_a_head_that_is_not_trained_are_refused(cache, rows, tmp_path):
    idle = {"mlp": {"width": 8}, "svm": {"C": 1}}
    with pytest.raises(HeadError, match="settings for mlp, svm, and this training has logistic"):
        go(cache, rows, tmp_path / "run", heads=["logistic"], settings=idle)
    assert not (tmp_path / "run").exists()


def test_without_a_split_every_training_row_is_predicted_out_of_fold(tmp_path):
    rows = samples(45) + samples(6, "test", prefix="t")
    # Labels that have nothing to do with the features cannot be predicted honestly.
    rng = np.random.default_rng(0)
    noise = [dataclasses.replace(s, label=CLASSES[rng.integers(3)]) for s in rows]
    cache = make_cache(tmp_path / "cache", rows)
    free = {"mlp": {"width": 64, "epochs": 40, "dropout": 0.0, "weight_decay": 0.0}}
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
        ("mlp-all", ("gluon:two", "gluon:one")),
        ("logistic-two", ("gluon:two",)),
        ("mlp-two", ("gluon:two",)),
    ]
    each = go(cache, rows, tmp_path / "each", features=["each", "pairs"], heads=["ridge"])
    assert [m.name for m in each.tasks[0].models] == ["ridge-one", "ridge-two", "ridge-all"]
    with pytest.raises(CacheError, match="no feature set 'gluon:three'"):
        go(cache, rows, tmp_path / "no", features=["gluon:three"])
    with pytest.raises(HeadError, match="ridge,alpha=1,alpha=2 says alpha twice"):
        go(cache, rows, tmp_path / "no", heads=["ridge,alpha=1,alpha=2"])
    single = make_cache(tmp_path / "single", rows, names=("one",))
    with pytest.raises(CacheError, match="no two feature sets with the same views, only gluon:one"):
        go(single, rows, tmp_path / "no", features=["pairs"])
    with pytest.raises(HeadError, match="there is no head 'forest', 'tree'"):
        go(cache, rows, tmp_path / "no", heads=["tree", "mlp", "forest"])


def test_progress_tells_steps_and_ends(cache, rows, tmp_path):
    events = []
    go(cache, rows, tmp_path / "run", progress=events.append)
    steps = [(e.model, e.step, e.parts) for e in events if e.step != "done"]
    assert steps[:3] == [
        ("kernel-all", "settings", 22),
        ("kernel-all", "folds", 5),
        ("kernel-all", "all rows", 1),
    ]
    assert (events[-1].step, events[-1].done, events[-1].total) == ("done", 3, 3)


def test_a_search_tries_more_kinds_and_settings_and_says_what_it_chose(cache, rows, tmp_path):
    events = []
    result = go(
        cache, rows, tmp_path / "run", search=2, settings={}, progress=events.append, folds=3
    )
    names = [model.name for model in result.tasks[0].models]
    assert names == [*NAMES, "ridge-all", "neighbours-all", "lightgbm-all"]
    for model in result.tasks[0].models:
        assert model.chosen["log_loss"] <= model.chosen["default"]
    tried = {model.name: model.chosen["tried"] for model in result.tasks[0].models}
    assert (tried["kernel-all"], tried["logistic-all"], tried["mlp-all"]) == (44, 22, 6)
    assert any(event.loss is not None for event in events)


def test_images_without_features_are_left_out_and_counted(tmp_path):
    rows = samples(30, "train") + samples(9, "validation", prefix="v")
    cache = make_cache(tmp_path / "cache", rows[2:])
    # One of them cannot be read at all: a pipe has no digest.
    rows[1] = dataclasses.replace(rows[1], digest="")
    result = go(cache, rows, tmp_path / "run")
    assert result.left_out == ("image0.jpg", "image1.jpg")
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert about["counts"] == {"rows": 39, "left_out": 2}
    assert about["tasks"]["label"]["rows"]["train"] == 28


def test_tasks_have_their_own_heads_and_the_broken_ones_are_listed(tmp_path):
    good = samples(30, task="sleeve/length")
    lone = samples(30, task="collar", classes=("shirt",), prefix="c")
    few = samples(2, task="neck", prefix="n")
    cache = make_cache(tmp_path / "cache", [*good, *lone, *few])
    result = go(cache, [*lone, *good, *few], tmp_path / "run", folds=5)
    assert [task.task for task in result.tasks] == ["sleeve/length"]
    assert result.failed["collar"].startswith(
        "the task 'collar' has one class only: all 30 training images are 'shirt'"
    )
    assert "2 different images with labels cannot be dealt into 3 folds" in result.failed["neck"]
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
    both = rows + samples(2, task="other", prefix="o")
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
        go(cache, strange, tmp_path / "run", validation="holdout")
    assert "7 validation images (coat) and 5 test images (coat)" in str(caught.value)
    assert "--min-class-count 1" in str(caught.value)
    assert not (tmp_path / "run").exists()
    result = go(
        cache, strange, tmp_path / "run", min_class_count=1, heads=["mlp"], validation="holdout"
    )
    assert result.tasks[0].classes == ("coat", *CLASSES)
    assert [w[:60] for w in result.tasks[0].warnings] == [
        "7 validation images have classes without training images (co",
        "5 test images have classes without training images (coat): k",
    ]
    table = read_probabilities(tmp_path / "run/label/probabilities/mlp-all.npz")
    assert (table.probabilities[:15, 0] == 0).all()
    assert result.tasks[0].models[0].scores["accuracy"] < 0.6


def test_a_label_without_images_is_reported(cache, rows, tmp_path):
    letters = {"dress": "ynnn", "hat": "nynn", "skirt": "nnyn"}
    lettered = [
        dataclasses.replace(s, letters=letters[s.label], label=str(CLASSES.index(s.label)))
        for s in rows
    ]
    result = go(cache, lettered, tmp_path / "run")
    assert result.tasks[0].classes == ("0", "1", "2", "3")
    assert result.tasks[0].warnings == ("1 class has no images (3): its probability is always 0",)


def test_no_rows_at_all(cache, rows, tmp_path):
    with pytest.raises(ManifestError, match="none of the 84 images of the data has a digest"):
        go(cache, [dataclasses.replace(s, digest="") for s in rows], tmp_path / "run")
    held = [dataclasses.replace(s, split="validation") for s in rows[:75]]
    with pytest.raises(HeadError, match="75 images, 75 held out as the split 'val") as caught:
        go(cache, held, tmp_path / "run", validation="holdout")
    assert "--validation folds" in str(caught.value)
    elsewhere = samples(5, "train", prefix="elsewhere")
    with pytest.raises(ManifestError, match="none of the 5 images of the data has features"):
        go(cache, elsewhere, tmp_path / "run")
    with pytest.raises(HeadError, match="no training rows: 9 images, 9 of the split 'test'"):
        go(cache, rows[75:], tmp_path / "run")
    empty = FeatureCache.create(tmp_path / "empty")
    with pytest.raises(CacheError, match="the cache holds no feature set with rows"):
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


def test_a_record_that_no_run_could_name_is_refused_before_training(cache, rows, tmp_path):
    record = cache.sets()[0].record | {"backbone": "gluon:mine"}
    one = cache.open_set(record, "gluon:mine", 4)
    one.append([s.digest for s in rows], features(rows, 4, 0).astype(np.float16))
    with pytest.raises(CacheError, match="backbone = 'gluon:mine', not an object") as caught:
        go(cache, rows, tmp_path / "run")
    assert caught.value.hint == "extract into a new cache"
    assert not (tmp_path / "run").exists()


def test_nan_features_are_refused(rows, tmp_path):
    values = features(rows, 4, 0)
    values[7, 1] = np.nan
    cache = MemoryCache([MemorySet([s.digest for s in rows], values)])
    with pytest.raises(HeadError, match="NaN or infinity in 1 of 75 rows: 7"):
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
    go(cache, rows, out, features=["one"], heads=["ridge"], overwrite=True)
    assert open_run(out).tasks["label"].models == ("ridge-one",)
    assert sorted(os.listdir(tmp_path)) == ["cache", "run"]


def test_what_an_audit_found_goes_with_the_run_but_decisions_do_not(cache, rows, tmp_path):
    out = tmp_path / "run"
    options = {"features": ["one"], "heads": ["ridge"]}
    go(cache, rows, out, **options)
    for action, refused in (("", False), ("drop", True)):
        (out / "audit.html").write_text("<html>")
        (out / "audit.csv").write_text(f"id,action\na,{action}\n")
        with pytest.raises(RunError, match="audit.csv, audit.html") if refused else nullcontext():
            go(cache, rows, out, overwrite=True, **options)
        assert (out / "audit.csv").exists() == refused


def interrupt_after(models):
    def interrupt(event):
        if event.done == models and event.step != "done":
            raise KeyboardInterrupt

    return interrupt


def test_an_interruption_keeps_what_is_finished(cache, rows, tmp_path):
    result = go(cache, rows, tmp_path / "run", progress=interrupt_after(2))
    assert result.interrupted
    run = open_run(tmp_path / "run")
    assert run.tasks["label"].models == ("kernel-all", "logistic-all")
    assert run.about["interrupted"] is True
    assert predict_proba(run, cache, [rows[0].digest], "label").shape == (1, 3)
    again = go(cache, rows, tmp_path / "run", overwrite=True)
    assert [model.reused for model in again.tasks[0].models] == [True, True, False]


def test_an_interruption_at_once_leaves_nothing_and_never_costs_the_old_run(cache, rows, tmp_path):
    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(cache, samples(60, "train"), tmp_path / "run", progress=interrupt)
    assert os.listdir(tmp_path) == ["cache"]
    go(cache, rows, tmp_path / "run", heads=["logistic"])

    with pytest.raises(KeyboardInterrupt):
        go(cache, rows, tmp_path / "run", progress=interrupt_after(2), overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["cache", "run"]
    assert open_run(tmp_path / "run").tasks["label"].models == ("logistic-all",)


def test_finished_heads_are_taken_over_unless_something_changed(cache, rows, tmp_path):
    def reused(again, **options):
        result = go(cache, again, tmp_path / "run", overwrite=True, **options)
        return [model.reused for model in result.tasks[0].models]

    assert reused(rows, heads=["ridge", "mlp"]) == [False, False]
    before = (tmp_path / "run/label/probabilities/mlp-all.npz").read_bytes()
    heads = ["ridge", "mlp", "logistic"]
    assert reused(rows, heads=heads) == [True, True, False]
    assert (tmp_path / "run/label/probabilities/mlp-all.npz").read_bytes() == before
    # Settings of the logistic head are none of the MLP's business.
    changed = {"mlp": QUICK["mlp"], "logistic": {"alpha": 0.5}}
    assert reused(rows, heads=heads, settings=changed) == [True, True, False]
    assert not any(reused(rows, heads=heads, folds=4))
    # Ridge regression has nothing to search for.
    assert reused(rows, heads=heads, folds=4, search=1) == [True, False, False]
    assert not any(reused(rows, heads=heads, seed=1))
    assert all(reused(rows, heads=heads, seed=1))
    relabelled = [dataclasses.replace(rows[0], label="hat"), *rows[1:]]
    assert not any(reused(relabelled, heads=heads, seed=1))
    (tmp_path / "run/label/probabilities/mlp-all.npz").unlink()
    assert reused(relabelled, heads=heads, seed=1) == [True, False, True]


def test_a_head_that_was_not_fitted_here_is_not_taken_over(
    cache, rows, tmp_path, monkeypatch, tmp_path_factory
):
    run = tmp_path / "run"
    table = run / "label/probabilities/ridge-all.npz"

    def reused():
        result = go(cache, rows, run, overwrite=True, heads=["ridge"])
        return [model.reused for model in result.tasks[0].models]

    def flatter():
        about = json.loads((run / "run.json").read_text())
        about["tasks"]["label"]["scores"]["ridge-all"]["log_loss"] = 0.001
        (run / "run.json").write_text(json.dumps(about))

    def sharpen():
        found = read_probabilities(table)
        sure = np.eye(len(found.classes))[found.probabilities.argmax(axis=1)]
        write_probabilities(table, dataclasses.replace(found, probabilities=sure))

    def link():
        (tmp_path / "theirs.npz").write_bytes(table.read_bytes())
        table.unlink()
        table.symlink_to(tmp_path / "theirs.npz")

    def more():
        (run / "label/heads/ridge-all/more").symlink_to("/etc/passwd")

    def pipe():
        os.mkfifo(run / "label/heads/ridge-all/pipe")

    def endless():
        # Nothing but holes, of which a digest would take an hour.
        os.truncate(run / "label/heads/ridge-all/weights.npz", 2**40)

    def elsewhere():
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("theirs")))

    assert [reused(), reused()] == [[False], [True]]
    for forge in (flatter, sharpen, link, more, pipe, endless, elsewhere):
        forge()
        assert reused() == [False], forge.__name__
        assert reused() == [True]


def test_a_link_that_leads_nowhere_is_refused_before_the_training(cache, rows, tmp_path):
    for target in ("nowhere", "run"):
        (tmp_path / "run").unlink(missing_ok=True)
        (tmp_path / "run").symlink_to(target)
        with pytest.raises(RunError, match="run is a link that leads nowhere"):
            go(cache, rows, tmp_path / "run", heads=["ridge"])


def test_another_recipe_is_a_change(cache, rows, tmp_path, monkeypatch):
    def reused():
        result = go(cache, rows, tmp_path / "run", overwrite=True, heads=["logistic"])
        return [model.reused for model in result.tasks[0].models]

    assert [reused(), reused()] == [[False], [True]]
    monkeypatch.setattr(LogisticHead, "recipe", LogisticHead.recipe + 1)
    assert [reused(), reused()] == [[False], [True]]


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


@few(60)
@given(
    st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2)), min_size=1, max_size=80),
    st.integers(3, 6),
    st.integers(0, 100),
)
def test_folds_keep_duplicates_together_and_are_even(drawn, folds, seed):
    keys = [f"key{key}" for key, _ in drawn]
    labels = np.array([f"class{label}" for _, label in drawn])
    folds = min(folds, len(set(keys)))
    if folds < 3:
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
    # Copies of one image with different labels count for the first in the order of labels.
    least = {key: min(labels[[k == key for k in keys]]) for key in keys}
    for label in set(least.values()):
        spread = np.bincount([fold_of[k] for k in least if least[k] == label], minlength=folds)
        assert spread.max() - spread.min() <= 1

"""Bad input gives one clear line, and the other tasks still train."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from heads_support import CLASSES, features, go, make_cache, record, samples

from icecore.cache import FeatureCache
from icecore.core.errors import HeadError
from icecore.heads import HEAD_KINDS, MLPClassifier, make_head


def renamed(rows, names):
    return [dataclasses.replace(row, label=name) for row, name in zip(rows, names, strict=True)]


def test_features_and_labels_that_do_not_line_up():
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[5, 4\]"):
        MLPClassifier().fit(np.ones((5, 3)), [0, 1, 0, 1])


def test_a_class_with_one_row_and_folds(tmp_path):
    rows = [*samples(30), *renamed(samples(1, prefix="odd"), ["rare"])]
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    result = go(cache, rows, tmp_path / "run", heads=list(HEAD_KINDS), folds=3)
    assert len(result.tasks[0].models) == len(HEAD_KINDS)
    assert result.tasks[0].warnings == (
        "1 class has one training image (rare): out of fold it is predicted by heads that "
        "never saw its class",
    )
    dropped = go(cache, rows, tmp_path / "dropped", heads=["mlp"], folds=3, min_class_count=2)
    (warning,) = dropped.tasks[0].warnings
    assert warning.startswith("classes that are dropped: rare (1 training image)")


def test_constant_features(tmp_path):
    rows = samples(30)
    cache = FeatureCache.create(tmp_path / "cache")
    cache.open_set(record("one"), "gluon:one", 6).append([s.digest for s in rows], np.ones((30, 6)))
    result = go(cache, rows, tmp_path / "run", heads=["mlp", "logistic", "kernel"], folds=3)
    assert all(1.09 < model.scores["log_loss"] < 1.3 for model in result.tasks[0].models)
    assert result.tasks[0].warnings[0] == (
        "all training images have the same features for mlp-one: it can only learn how frequent "
        "the classes are"
    )


def test_a_penalty_far_from_what_suits_is_said(tmp_path):
    rows = samples(60)
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    heads = ["logistic,C=0.001", "kernel,alpha=30", "logistic,C=100", "logistic"]
    for validation in ("folds", "holdout"):
        run = go(cache, rows, tmp_path / validation, heads=heads, folds=3, validation=validation)
        said = [text for text in run.tasks[0].warnings if "suits these features badly" in text]
        assert [text.partition(":")[0] for text in said] == [
            "logistic-C=0.001-one",
            "kernel-alpha=30-one",
        ]
        assert "with a penalty that logistic chooses itself" in said[0]


def test_no_more_folds_are_told_than_were_dealt(tmp_path):
    rows = samples(6)
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    result = go(cache, rows, tmp_path / "run", heads=["ridge"], folds=1000)
    assert result.tasks[0].validation == "out-of-fold, 6 folds"


def test_more_classes_than_rows(tmp_path):
    rows = renamed(samples(12, "train"), [f"c{i}" for i in range(12)])
    rows += renamed(samples(3, "validation", prefix="v"), ["c1"] * 3)
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    result = go(cache, rows, tmp_path / "run", heads=list(HEAD_KINDS))
    assert len(result.tasks[0].models) == len(HEAD_KINDS)


def test_too_few_rows_do_not_keep_other_tasks_from_training(tmp_path):
    rows = samples(2) + samples(60, task="other", prefix="o")
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    result = go(cache, rows, tmp_path / "run", heads=["ridge"])
    assert [task.task for task in result.tasks] == ["other"]
    assert "2 different images with labels cannot be dealt" in result.failed["label"]


def test_ten_rows(tmp_path):
    rows = samples(10)
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    result = go(cache, rows, tmp_path / "run", heads=list(HEAD_KINDS))
    assert all(np.isfinite(m.scores["log_loss"]) for m in result.tasks[0].models)


@pytest.mark.parametrize("validation", ["folds", "holdout"])
def test_a_validation_split_of_one_class(tmp_path, validation):
    rows = samples(30, "train") + samples(6, "validation", classes=("hat",), prefix="v")
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    result = go(cache, rows, tmp_path / "run", heads=["kernel", "logistic"], validation=validation)
    assert all(m.scores["accuracy"] > 0.9 for m in result.tasks[0].models)


def test_features_on_wildly_different_scales(tmp_path):
    rows = samples(60)
    cache = FeatureCache.create(tmp_path / "cache")
    table = features(rows, 6, 0) * np.geomspace(1e-3, 1e4, 6)
    keys = [s.digest for s in rows]
    cache.open_set(record("one"), "gluon:one", 6).append(keys, table.astype(np.float32))
    # A set that says nothing stands beside it.
    cache.open_set(record("two"), "gluon:two", 4).append(keys, np.zeros((60, 4)))
    result = go(cache, rows, tmp_path / "run", heads=["kernel", "logistic", "ridge"])
    assert all(m.scores["accuracy"] > 0.9 for m in result.tasks[0].models)


def test_labels_that_are_noise_are_not_beaten_by_more_than_chance(tmp_path):
    rows = samples(120)
    rng = np.random.default_rng(0)
    noise = renamed(rows, [CLASSES[code] for code in rng.integers(3, size=120)])
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    result = go(cache, noise, tmp_path / "run", heads=["kernel", "logistic"])
    for model in result.tasks[0].models:
        # Nothing was learnt: the prior's loss lies in the interval.
        low, high = model.scores["log_loss_interval"]
        assert low < np.log(3) < high
        assert model.scores["log_loss"] < 1.3


def test_not_finite_rows_do_not_keep_other_tasks_from_training(tmp_path):
    rows, others = samples(30), samples(30, task="other", prefix="o")
    cache = make_cache(tmp_path / "cache", [*rows, *others], names=("one",))
    (one,) = cache.sets()
    matrix = one.matrix

    def damaged(keys, out=None):
        table = matrix(keys, out)
        table[[key == rows[3].digest for key in keys]] = np.nan
        return table

    one.matrix = damaged
    cache.sets = lambda: [one]
    result = go(cache, [*rows, *others], tmp_path / "run", heads=["mlp"], folds=3)
    assert [task.task for task in result.tasks] == ["other"]
    assert "NaN or infinity in 1 of 30 rows: 3" in result.failed["label"]


def test_images_may_lack_a_task(tmp_path):
    rows = samples(30)
    rows += [dataclasses.replace(row, task="other") for row in rows[:20]]
    cache = make_cache(tmp_path / "cache", rows[:30], names=("one",))
    result = go(cache, rows, tmp_path / "run", heads=["mlp"], folds=3)
    assert [task.task for task in result.tasks] == ["label", "other"]
    assert result.failed == {}


@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_numbers_whose_squares_leave_float32_are_refused(kind):
    # Answers were no numbers, or a decomposition that failed, after warnings of NumPy's.
    X = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    y = np.array(["a", "b", "c"] * 10)
    with pytest.raises(HeadError, match=r"numbers up to .*e\+3., beyond 1e\+15, in 30 of 30 rows"):
        make_head(kind).fit(X * np.float32(1e36) + np.float32(1e30), y)
    with pytest.raises(HeadError, match="sample_weight goes from .* to 1e"):
        make_head(kind).fit(X, y, sample_weight=np.full(30, 1e300))
    head = make_head(kind).fit(X, y)
    with pytest.raises(HeadError, match="beyond 1e.15"):
        head.predict_proba(X + np.float32(1e20))


@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_numbers_whose_squares_vanish_are_refused(kind):
    # Ridge answered with the shares of the classes, and later the others too, without a word.
    X = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    y = np.array(["a", "b", "c"] * 10)
    with pytest.raises(HeadError, match=r"no numbers above .*e-30, and below 1e-15 heads learn"):
        make_head(kind).fit(X * np.float32(1e-30), y)
    make_head(kind).fit(X * np.float32(1e-10), y)

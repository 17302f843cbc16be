"""Bad input gives one clear line, and the other tasks still train."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from heads_support import go, make_cache, record, samples

from icecore.cache import FeatureCache
from icecore.core.errors import HeadError
from icecore.heads import HEAD_KINDS, MLPClassifier


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
        "1 classes have one training image (rare): out of fold it is predicted by heads that "
        "never saw its class",
    )
    dropped = go(cache, rows, tmp_path / "dropped", heads=["mlp"], folds=3, min_class_count=2)
    assert dropped.tasks[0].warnings == ()


def test_constant_features(tmp_path):
    rows = samples(30)
    cache = FeatureCache.create(tmp_path / "cache")
    cache.open_set(record("one"), "gluon:one", 6).append([s.digest for s in rows], np.ones((30, 6)))
    result = go(cache, rows, tmp_path / "run", heads=["mlp", "logistic"], folds=3)
    assert [model.scores["log_loss"] > 1.09 for model in result.tasks[0].models] == [True, True]
    assert result.tasks[0].warnings[0] == (
        "all training images have the same features for mlp-one: it can only learn how frequent "
        "the classes are"
    )


def test_more_classes_than_rows(tmp_path):
    rows = renamed(samples(12, "train"), [f"c{i}" for i in range(12)])
    rows += renamed(samples(3, "validation", prefix="v"), ["c1"] * 3)
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    result = go(cache, rows, tmp_path / "run", heads=list(HEAD_KINDS))
    assert len(result.tasks[0].models) == len(HEAD_KINDS)


@pytest.mark.parametrize("options", [{"folds": 5}, {"folds": 2, "search": 3}])
def test_too_few_rows_do_not_keep_other_tasks_from_training(tmp_path, options):
    rows = samples(4) + samples(60, task="other", prefix="o")
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    result = go(cache, rows, tmp_path / "run", heads=["mlp"], **options)
    assert [task.task for task in result.tasks] == ["other"]
    expected = "too few for a search" if "search" in options else "cannot be dealt into 5 folds"
    assert expected in result.failed["label"]


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


def test_rows_without_held_out_rows_cannot_be_searched():
    from icecore.heads.mlp.search import search_mlp

    X, targets = np.ones((4, 2), np.float32), np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    with pytest.raises(HeadError, match="4 training images are too few for a search"):
        search_mlp(MLPClassifier(), X, targets, np.ones(4), 3, 0)

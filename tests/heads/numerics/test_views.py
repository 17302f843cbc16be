"""Several views in a row: what training sees, what is averaged, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from heads_support import QUICK, digest, features, go, record, samples

from icecore.cache import FeatureCache
from icecore.core.errors import CacheError, HeadError, RunError
from icecore.core.files import publish_json
from icecore.heads import LogisticHead, MLPClassifier, predict_proba
from icecore.heads.mlp.member import Member
from icecore.heads.mlp.stack import fit_stack
from icecore.heads.mlp.validation import Validation
from icecore.heads.numerics.views import ViewUse, join_views, mean_of_views
from icecore.heads.training.task_data import load_features
from icecore.runs import open_run

VIEWS = ("center", "flip", "random:0")


def viewed(name: str, views=VIEWS) -> dict:
    return {**record(name), "views": list(views)}


def viewed_cache(path, rows, names=("one", "two"), dim=6, views=VIEWS):
    """Each view is the image's row with noise of its own."""
    cache = FeatureCache.create(path)
    rng = np.random.default_rng(5)
    for seed, name in enumerate(names):
        base = np.tile(features(rows, dim, seed), len(views))
        noisy = base + 0.3 * rng.normal(size=base.shape)
        cache.open_set(viewed(name, views), f"gluon:{name}", dim, views).append(
            [s.digest for s in rows], noisy
        )
    return cache


def problem(seed=0, rows=120, views=3, dim=20):
    rng = np.random.default_rng(seed)
    codes = rng.integers(3, size=rows)
    centres = rng.normal(size=(3, dim))
    X = centres[codes][:, None] + rng.normal(size=(rows, views, dim))
    return X.reshape(rows, -1).astype(np.float16), codes, np.eye(3, dtype=np.float32)[codes]


def test_sets_are_joined_within_each_view(tmp_path):
    rows = samples(10)
    cache = viewed_cache(tmp_path / "cache", rows)
    one, two = cache.sets()
    keys = [s.digest for s in rows]
    joined = load_features([one, two], keys).reshape(10, 3, 12)
    for view in range(3):
        np.testing.assert_array_equal(joined[:, view, :6], one.matrix(keys)[:, view * 6 :][:, :6])
        np.testing.assert_array_equal(joined[:, view, 6:], two.matrix(keys)[:, view * 6 :][:, :6])
    parts = [load_features([one], keys), load_features([two], keys)]
    np.testing.assert_array_equal(join_views(parts, 3), joined.reshape(10, -1))


def test_an_epoch_sees_every_row_once_in_a_random_view(monkeypatch):
    from icecore.heads.mlp import stack

    X, _, targets = problem()
    seen = []
    deal = stack._Trainer._deal

    def watched(self):
        batches = deal(self)
        seen.append(np.concatenate([batch.picks for batch in batches]))
        return batches

    monkeypatch.setattr(stack._Trainer, "_deal", watched)
    fit_stack(X, targets, [Member(width=4, epochs=3)], batch_size=40, views=3)
    assert len(seen) == 3
    drawn = []
    for picks in seen:
        assert sorted(picks // 3) == list(range(120))
        drawn.append((picks % 3)[np.argsort(picks // 3)])
    assert set(drawn[0]) == {0, 1, 2}
    assert (drawn[0] != drawn[1]).any()
    assert (drawn[1] != drawn[2]).any()


def test_equal_views_are_the_same_as_one():
    X, _, targets = problem(views=1)
    options = {"batch_size": 40, "seed": 3}
    one = fit_stack(X, targets, [Member(width=8, epochs=2)], **options)[0]
    thrice = fit_stack(np.tile(X, 3), targets, [Member(width=8, epochs=2)], views=3, **options)[0]
    np.testing.assert_array_equal(one.layers[0][0], thrice.layers[0][0])


@pytest.mark.parametrize("mean", ["probabilities", "features", "first"])
def test_held_out_rows_are_judged_as_they_will_be_predicted(mean):
    X, codes, _ = problem()
    held_out, truth, _ = problem(seed=0, rows=60)
    head = MLPClassifier(width=16, epochs=4, batch_size=20, random_state=0)
    head.fit(X, codes, validation=(held_out, truth), views=3, view_mean=mean)
    assert head.n_features_in_ == 20
    table = ViewUse(3, mean=mean).predict_proba(head, held_out)
    loss = -np.log(table[np.arange(60), truth]).mean()
    assert head.best_loss_ == pytest.approx(loss, rel=1e-4)


def test_what_the_means_are():
    X, codes, _ = problem()
    head = LogisticHead().fit(X[:, :20], codes)
    views = X.reshape(-1, 3, 20)
    each = np.array([head.predict_proba(np.ascontiguousarray(views[:, v])) for v in range(3)])
    np.testing.assert_allclose(
        ViewUse(3, mean="probabilities").predict_proba(head, X), each.mean(axis=0)
    )
    np.testing.assert_allclose(ViewUse(3, mean="first").predict_proba(head, X), each[0])
    of_mean = head.predict_proba(views.astype(np.float32).mean(axis=1).astype(np.float16))
    found = ViewUse(3).predict_proba(head, X)
    np.testing.assert_allclose(found, of_mean, atol=1e-6)
    rows = np.array([4, 2])
    np.testing.assert_array_equal(mean_of_views(X, 3, rows), mean_of_views(X, 3)[rows])
    assert mean_of_views(X, 3).dtype == np.float16


def test_only_an_mlp_learns_from_random_views():
    use = ViewUse(3, "random")
    assert use.for_head("mlp").in_training == 3
    assert use.for_head("logistic") == ViewUse(3, "mean")
    assert ViewUse(3, "first").for_head("logistic").training_rows(
        np.arange(6.0)[None]
    ).tolist() == [[0, 1]]


def test_a_member_of_a_stack_with_views_equals_itself_alone():
    X, _, targets = problem()
    members = [Member(width=8, epochs=3), Member(width=5, epochs=3, input_dropout=0.3, seed=2)]
    validation = Validation(X, targets, np.arange(30), None, 3)
    options = {"batch_size": 40, "views": 3, "rows": np.arange(30, 120)}
    both = fit_stack(X, targets, members, validation=[validation] * 2, **options)
    for member, found in zip(members, both, strict=True):
        alone = fit_stack(X, targets, [member], validation=[validation], **options)[0]
        np.testing.assert_allclose(found.losses, alone.losses, rtol=1e-4)


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("heads", [["mlp"], ["logistic", "ridge"]])
@pytest.mark.parametrize("mean", ["probabilities", "features"])
def test_a_run_on_views_predicts_as_it_was_validated(tmp_path, split, heads, mean):
    rows = samples(60, "train") + (samples(15, "validation", prefix="v") if split else [])
    rows += samples(9, "test", prefix="t")
    cache = viewed_cache(tmp_path / "cache", rows)
    go(cache, rows, tmp_path / "run", folds=3, heads=heads, view_mean=mean)
    run = open_run(tmp_path / "run")
    from icecore.runs import read_probabilities

    keys = [s.digest for s in rows if s.split == "test"]
    for model in run.tasks["label"].models:
        stored = read_probabilities(tmp_path / "run" / "label" / "probabilities" / f"{model}.npz")
        written = stored.probabilities[np.array(stored.splits) == "test"]
        again = predict_proba(run, cache, keys, "label", {model: 1.0})
        np.testing.assert_allclose(again, written, atol=1e-6)
        if split:
            held = [s.digest for s in rows if s.split == "validation"]
            written = stored.probabilities[np.array(stored.splits) == "validation"]
            again = predict_proba(run, cache, held, "label", {model: 1.0})
            np.testing.assert_allclose(again, written, atol=1e-6)


def test_the_searched_settings_are_trained_on_views(tmp_path):
    rows = samples(60, "train") + samples(15, "validation", prefix="v")
    cache = viewed_cache(tmp_path / "cache", rows, names=("one",))
    result = go(cache, rows, tmp_path / "run", heads=["mlp"], search=3)
    assert result.tasks[0].models[0].scores["log_loss"] < 1.1


def test_sets_of_different_views_are_not_joined(tmp_path):
    rows = samples(30)
    cache = viewed_cache(tmp_path / "cache", rows, names=("one",))
    cache.open_set(viewed("two", ["center"]), "gluon:two", 6).append(
        [s.digest for s in rows], features(rows, 6, 1)
    )
    with pytest.raises(CacheError, match=r"different views cannot be joined: gluon:one \(center"):
        go(cache, rows, tmp_path / "run", features=["gluon:one+gluon:two"])
    result = go(cache, rows, tmp_path / "run", folds=3)
    names = {model.name for model in result.tasks[0].models}
    assert names == {"mlp-one", "mlp-two", "logistic-two"}


def test_unknown_uses_of_views_are_refused(tmp_path, cache, rows):
    with pytest.raises(HeadError, match="2 options.*view_training='all'.*random or mean or first"):
        go(cache, rows, tmp_path / "run", view_training="all", view_mean="max")


def test_rows_that_are_no_whole_views_are_refused():
    X, codes, _ = problem(dim=7, views=1)
    with pytest.raises(HeadError, match="rows of 7 numbers are not made of 2 equal views"):
        MLPClassifier().fit(X, codes, views=2)


def test_a_strange_mean_in_a_run_is_refused(tmp_path):
    rows = samples(30, "train") + samples(9, "validation", prefix="v")
    cache = viewed_cache(tmp_path / "cache", rows, names=("one",))
    go(cache, rows, tmp_path / "run", settings=QUICK)
    run = open_run(tmp_path / "run")
    run.about["options"]["view_mean"] = "median"
    publish_json(tmp_path / "run" / "run.json", run.about)
    with pytest.raises(RunError, match="view_mean 'median'"):
        predict_proba(open_run(tmp_path / "run"), cache, [digest("image0")], "label")

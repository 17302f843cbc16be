"""Uncertain labels, rare classes, weights, refitting, repeats, search, intervals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icecore.cache import FeatureCache
from icecore.core.errors import HeadError
from icecore.core.files import sha256_bytes
from icecore.core.statistics import bootstrap_interval
from icecore.heads import MLPClassifier, load_head, train
from icecore.heads.mlp.member import Member, Outcome
from icecore.heads.mlp.search import Halving, affordable_candidates, draw_members
from icecore.heads.training import fit
from icecore.heads.training.options import TrainOptions, training_rows
from icecore.heads.training.scores import score
from icecore.heads.training.task_data import task_data
from icecore.manifest.table import Manifest, Sample
from icecore.runs import read_probabilities

QUICK = {"mlp": {"width": 16, "epochs": 4}}


def samples(count, split="", prefix="i", rare=0):
    """Three classes with letters, and `rare` rows of a fourth."""
    rows = []
    for index in range(count + rare):
        code = 3 if index >= count else index % 3
        letters = "".join("y" if c == code else "m" if c == code + 1 else "n" for c in range(4))
        digest = sha256_bytes(f"{prefix}{index}".encode())
        rows.append(
            Sample(f"{prefix}{index}", f"/{index}", split, "cut", str(code), letters, digest)
        )
    return rows


@pytest.fixture
def world(tmp_path):
    rows = samples(60, "train", rare=3) + samples(21, "validation", "v") + samples(6, "test", "t")
    rng = np.random.default_rng(0)
    centres = 2 * rng.random((4, 6))
    values = np.array([centres[int(s.label)] for s in rows]) + 0.4 * rng.normal(size=(90, 6))
    cache = FeatureCache.create(tmp_path / "cache")
    cache.open_set({}, "gluon:one", 6).append([s.digest for s in rows], values)
    return cache, rows, tmp_path / "run"


def go(world, rows=None, **options):
    cache, all_rows, out = world
    options = {"heads": ["mlp"], "settings": QUICK, "overwrite": True, **options}
    result = train(cache, Manifest(tuple(rows or all_rows)), out, **options)
    return result, read_probabilities(out / "cut/probabilities/mlp-one.npz")


def unsplit(rows):
    return [dataclasses.replace(s, split="") for s in rows if s.split != "test"]


@pytest.mark.parametrize(
    ("maybe", "expected"), [(0, [1, 0, 0, 0]), (0.25, [0.8, 0.2, 0, 0]), (1, [0.5, 0.5, 0, 0])]
)
def test_maybe_is_ignored_soft_or_full(world, maybe, expected):
    data = task_data(Manifest(tuple(world[1])), "cut", set())
    rows = training_rows(data, TrainOptions(maybe=maybe))
    np.testing.assert_allclose(rows.targets[0], expected)
    np.testing.assert_allclose(rows.targets.sum(axis=1), 1)
    # The last class has no next one, and keeps its whole weight.
    np.testing.assert_allclose(rows.targets[62], [0, 0, 0, 1])


def test_soft_labels_reach_the_head(world):
    _, plain = go(world, settings={"mlp": {"width": 32, "epochs": 40}})
    _, soft = go(world, settings={"mlp": {"width": 32, "epochs": 40}}, maybe=1.0)
    first = np.arange(0, 21, 3)
    assert plain.probabilities[first, 1].mean() < 0.15
    assert soft.probabilities[first, 1].mean() > 0.3


@pytest.mark.parametrize("split", [True, False])
def test_rare_classes_are_dropped_and_come_back_with_probability_0(world, split):
    rows = world[1] if split else unsplit(world[1])
    result, table = go(world, rows, min_class_count=5, folds=3)
    assert table.classes == ("0", "1", "2", "3")
    assert (table.probabilities[:, 3] == 0).all()
    np.testing.assert_allclose(table.probabilities.sum(axis=1), 1)
    assert len(table.ids) == (27 if split else 84)
    assert load_head(world[2] / "cut/heads/mlp-one").classes_.tolist() == ["0", "1", "2"]
    with pytest.raises(HeadError, match="only 0 of the 4 classes of the task 'cut' have 500"):
        go(world, min_class_count=500)


def test_balanced_weights_give_classes_equal_totals(world):
    data = task_data(Manifest(tuple(world[1])), "cut", set())
    rows = training_rows(data, TrainOptions(class_weight="balanced"))
    totals = [rows.weights[rows.labels == name].sum() for name in rows.classes]
    np.testing.assert_allclose(totals, 63 / 4)
    go(world, class_weight="balanced", heads=["mlp", "logistic", "ridge"])


@pytest.mark.parametrize("kind", ["mlp", "logistic"])
def test_refit_all_changes_the_final_head_and_not_the_validation_rows(world, kind):
    _, before = go(world, heads=["mlp", kind], maybe=0.5, class_weight="balanced")
    _, after = go(world, heads=["mlp", kind], maybe=0.5, class_weight="balanced", refit="all")
    np.testing.assert_array_equal(before.probabilities[:21], after.probabilities[:21])
    assert np.abs(before.probabilities[21:] - after.probabilities[21:]).max() > 1e-4


def test_repeats_average_and_stay_out_of_fold(world):
    rows = unsplit(world[1])
    result, once = go(world, rows, folds=3)
    again, thrice = go(world, rows, folds=3, repeats=3)
    assert again.tasks[0].validation == "out-of-fold, 3 folds, 3 times"
    np.testing.assert_allclose(thrice.probabilities.sum(axis=1), 1)
    assert np.abs(once.probabilities - thrice.probabilities).max() > 1e-3


@pytest.mark.parametrize("split", [True, False])
def test_search_stores_what_it_chose(world, split):
    rows = world[1] if split else unsplit(world[1])
    steps = set()
    go(world, rows, search=6, folds=3, progress=lambda event: steps.add(event.step))
    assert "search over 6" in steps
    chosen = load_head(world[2] / "cut/heads/mlp-one").get_params()
    candidates = draw_members(6, 0, Member(width=16, epochs=4))
    assert chosen["epochs"] == 4
    assert chosen["width"] in {member.width for member in candidates}


def test_drawn_members_are_seeded_and_begin_with_the_base():
    base = Member(width=33, epochs=9)
    drawn = draw_members(8, 3, base)
    assert drawn[0] == base
    assert drawn == draw_members(8, 3, base) != draw_members(8, 4, base)
    assert {member.epochs for member in drawn} == {9}


def test_halving_keeps_the_best_third_at_each_rung():
    members = [Member(epochs=6)] * 8
    drop = Halving(members)
    outcomes = [Outcome(losses=[1.0], best_loss=float(loss)) for loss in (5, 3, 8, 1, 7, 2, 6, 4)]
    assert sorted(drop(1, outcomes)) == [0, 2, 4, 6, 7]
    for index in (0, 2, 4, 6, 7):
        outcomes[index].stopped = "dropped"
    assert drop(3, outcomes) == []
    assert sorted(drop(2, outcomes)) == [1]


def simulated(drop, count, epochs):
    """Run a search whose members end in the order of their numbers; return epochs run."""
    outcomes = [Outcome(losses=[1.0], best_loss=float(i)) for i in range(count)]
    spent = 0
    for epoch in range(1, epochs + 1):
        spent += sum(not one.stopped for one in outcomes)
        for index in drop(epoch, outcomes):
            outcomes[index].stopped = "dropped"
    return spent, [i for i, one in enumerate(outcomes) if not one.stopped]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(3, 20), st.floats(1, 20))
def test_a_budget_of_fits_is_kept_and_the_best_survive(count, epochs, fits):
    count = affordable_candidates(count, epochs, fits)
    plain, _ = simulated(Halving([Member(epochs=epochs)] * count), count, epochs)
    spent, left = simulated(Halving([Member(epochs=epochs)] * count, fits=fits), count, epochs)
    assert spent <= max(fits * epochs, epochs)
    assert spent <= plain
    assert left in ([], list(range(len(left))))
    if fits * epochs >= plain:
        assert spent == plain


def test_a_budget_of_seconds_drops_more_and_ends_in_time():
    now = [0.0]
    drop = Halving([Member(epochs=12)] * 16, seconds=50.0, clock=lambda: now[0])
    outcomes = [Outcome(losses=[1.0], best_loss=float(i)) for i in range(16)]
    running = 16
    for epoch in range(1, 13):
        now[0] += running * 1.0
        for index in drop(epoch, outcomes):
            outcomes[index].stopped = "dropped"
        running = sum(not one.stopped for one in outcomes)
    # 60 member epochs without a budget, a second each.
    assert 30 < now[0] <= 50
    assert not outcomes[0].stopped
    # A machine that becomes slow: what is best then has to do.
    drop = Halving([Member(epochs=12)] * 4, seconds=1.0, clock=lambda: now[0])
    now[0] += 5
    assert drop(1, [Outcome(losses=[1.0], best_loss=1.0)] * 4) == [0, 1, 2, 3]


@pytest.mark.parametrize("split", [True, False])
def test_a_nested_search_never_sees_the_rows_it_is_judged_on(world, split, monkeypatch):
    rows = world[1] if split else unsplit(world[1])
    judged = []
    search = fit.search_mlp

    def watched(head, X, targets, weights, count, seed, held_out=None, *rest):
        judged.append((weights.copy(), held_out))
        return search(head, X, targets, weights, count, seed, held_out, *rest)

    monkeypatch.setattr(fit, "search_mlp", watched)
    result, table = go(world, rows, search=3, folds=3, nested=True)
    assert result.tasks[0].validation.endswith(", nested search")
    assert all(held_out is None for _, held_out in judged)
    if split:
        assert len(judged) == 1
        assert len(judged[0][0]) == sum(sample.split == "train" for sample in rows)
    else:
        # One for the final head on all rows; each row is unseen by the search of its fold.
        assert len(judged) == 4
        unseen = np.sum([weights == 0 for weights, _ in judged[1:]], axis=0)
        assert judged[0][0].all()
        assert (unseen == 1).all()
    np.testing.assert_allclose(table.probabilities.sum(axis=1), 1)


def test_budgets_and_nesting_need_a_search():
    with pytest.raises(HeadError, match="search_fits and nested without search"):
        TrainOptions(search_fits=3, nested=True)
    with pytest.raises(HeadError, match="search_seconds=-1 .above 0"):
        TrainOptions(search=4, search_seconds=-1)


def test_wrong_options_are_all_named():
    with pytest.raises(HeadError, match=r"3 options .* maybe=2 .*class_weight='x'.*refit='y'"):
        TrainOptions(maybe=2, class_weight="x", refit="y")


def test_intervals_cover_and_shrink():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        low, high = bootstrap_interval(rng.random(80), seed=trial, draws=300)
        covered += low <= 0.5 <= high
    assert covered >= 85
    wide, narrow = (bootstrap_interval(rng.random(n)) for n in (50, 5000))
    assert wide[1] - wide[0] > 5 * (narrow[1] - narrow[0])
    assert bootstrap_interval(np.ones(10)) == [1.0, 1.0]


def test_scores_are_scikit_learns():
    from sklearn.metrics import accuracy_score, log_loss

    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.ones(3), 50)
    labels = np.array(["a", "b", "c"])[rng.integers(3, size=50)]
    found = score(table, labels, ("a", "b", "c"))
    assert found["log_loss"] == pytest.approx(log_loss(labels, table))
    best = np.array(["a", "b", "c"])[table.argmax(axis=1)]
    assert found["accuracy"] == accuracy_score(labels, best)
    assert found["log_loss_interval"][0] < found["log_loss"] < found["log_loss_interval"][1]


def test_few_rows_get_more_epochs_for_as_many_steps():
    head = MLPClassifier()
    for rows, epochs in ((100, 24), (200, 12), (320, 7), (3000, 7)):
        assert head.schedule(rows) == epochs == head.member(0, rows).epochs
        steps = epochs * max(1, round(rows / head.batch(rows)))
        assert 138 <= steps <= 150
    assert MLPClassifier(epochs=3).schedule(100) == 3

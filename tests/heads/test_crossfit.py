"""No row has a part in the heads that predict it: for every kind, every fold, byte for byte."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from heads_support import fingerprint
from sklearn.base import clone

from icecore.heads import HEAD_KINDS, Rows, crossfit, make_head
from icecore.heads.base import Head
from icecore.heads.crossfit import (
    Judged,
    Search,
    choose,
    class_shares_cost,
    cross_fit,
    judge,
    learning_of,
    spread,
)
from icecore.heads.folds import deal_folds
from icecore.heads.mlp import classifier
from icecore.heads.numerics import directions

# Each with something open, and few and small fits.
SETTINGS = {
    "kernel": {"width": 1.0},
    "grouped": {"alpha": 1e-4},
    "logistic": {},
    "mlp": {"width": 6, "members": 1, "batch_size": 64, "scaling": "rms"},
    "lightgbm": {"min_rows": 3, "components": 3},
    "ridge": {},
    "neighbours": {},
}
FOLDS = 4


def make_rows(seed=0, count=64, noise=1.0):
    rng = np.random.default_rng(seed)
    codes = np.arange(count) % 3
    X = rng.normal(size=(3, 6))[codes] * 2 + noise * rng.normal(size=(count, 6))
    # Some images are there twice.
    X[-6:] = X[:6]
    targets = np.eye(3, dtype=np.float32)[codes]
    return Rows(X.astype(np.float32), targets, np.ones(count), np.array(list("abc")), (4, 2))


def keys_of(rows):
    return [hashlib.sha256(row.tobytes()).hexdigest() for row in rows.features]


def fold_heads(head, rows, dealt, monkeypatch, extra=()):
    """Return for each fold what predicts it says of all other rows, byte for byte."""
    found = {}
    fit_and_predict = Head.fit_and_predict

    def noted(head, rows, index, unseen):
        (fold,) = set(range(FOLDS)) - set(dealt[index].tolist())
        assert (dealt[unseen] == fold).all()
        table = fit_and_predict(head, rows, index, np.concatenate([unseen, index]))
        found[fold] = table[len(unseen) :].tobytes()
        return table[: len(unseen)]

    with monkeypatch.context() as patched:
        patched.setattr(Head, "fit_and_predict", noted)
        cross_fit(head, rows, [dealt], Search(extra))
    assert len(found) == FOLDS
    return found


def changed(rows, own, how):
    """Return rows of which those in `own` have other labels, or features that are noise."""
    rng = np.random.default_rng(7)
    features, targets = rows.features.copy(), rows.targets.copy()
    if how == "labels":
        targets[own] = targets[own][:, [1, 2, 0]]
    else:
        features[own] = 5 * rng.normal(size=features[own].shape)
    return Rows(features, targets, rows.weights, rows.classes, rows.sets)


@pytest.mark.parametrize("how", ["labels", "features"])
@pytest.mark.parametrize("kind", sorted(HEAD_KINDS))
def test_a_fold_has_no_part_in_the_head_that_predicts_it(kind, how, monkeypatch):
    rows = make_rows()
    head = make_head(kind, 3, **SETTINGS[kind])
    assert len(head.choices()) > 1
    extra = head.further_choices(1, 0)
    dealt = deal_folds(keys_of(rows), rows.codes, FOLDS, 1)
    before = fold_heads(head, rows, dealt, monkeypatch, extra)
    # The first and the last: a fold between them costs as much and tells nothing else.
    for fold in (0, FOLDS - 1):
        other = changed(rows, dealt == fold, how)
        after = fold_heads(head, other, dealt, monkeypatch, extra)
        assert after[fold] == before[fold]
        # The others learn from it.
        assert all(after[k] != before[k] for k in range(FOLDS) if k != fold)


@pytest.mark.parametrize("kind", ["kernel", "mlp"])
def test_nor_in_the_directions_that_it_learns_along(kind, monkeypatch):
    for module in (directions, classifier):
        monkeypatch.setattr(module, "DIRECTIONS", 4)
    settings = {"kernel": {"width": 1.0, "scaling": "power"}}
    settings["mlp"] = {"width": 6, "members": 1, "batch_size": 64}
    settings["mlp"]["scaling"] = "power"
    head = make_head(kind, 3, **settings[kind])
    rows = make_rows()
    dealt = deal_folds(keys_of(rows), rows.codes, FOLDS, 1)
    before = fold_heads(head, rows, dealt, monkeypatch)
    for fold in (0, FOLDS - 1):
        other = changed(rows, dealt == fold, "features")
        after = fold_heads(head, other, dealt, monkeypatch)
        assert [k for k in range(FOLDS) if after[k] == before[k]] == [fold]
    # The test notices directions of all rows.
    made = directions._directions

    def of_all(own, index):
        every = made(own, np.arange(len(own)))
        return dataclasses.replace(every, own=index, mix=every.mix[index])

    monkeypatch.setattr(directions, "_directions", of_all)
    before = fold_heads(head, make_rows(), dealt, monkeypatch)
    after = fold_heads(head, changed(rows, dealt == 0, "features"), dealt, monkeypatch)
    assert after[0] != before[0]


@pytest.mark.parametrize("how", ["labels", "features"])
def test_that_test_notices_a_choice_that_looks_at_the_rows_it_predicts(how, monkeypatch):
    def own(self, fold=None):
        return self.losses[:, self.dealt == fold].sum(axis=(1, 2))

    monkeypatch.setattr(Judged, "totals", own)

    def noticed():
        for seed in range(2):
            rows = make_rows(seed)
            head = make_head("logistic", 3)
            dealt = deal_folds(keys_of(rows), rows.codes, FOLDS, 1)
            before = fold_heads(head, rows, dealt, monkeypatch)
            for fold in range(FOLDS):
                other = changed(rows, dealt == fold, how)
                after = fold_heads(head, other, dealt, monkeypatch)
                yield after[fold] != before[fold]

    assert any(noticed())


def test_that_test_notices_early_stopping_on_the_predicted_rows(monkeypatch):
    """An MLP of which the length is the best one for the rows it predicts."""
    rows = make_rows()
    dealt = deal_folds(keys_of(rows), rows.codes, FOLDS, 1)
    fit_and_predict = Head.fit_and_predict

    def stopped(head, rows, index, unseen):
        held = ~np.isin(unseen, index)
        tried = [clone(head).set_params(epochs=n) for n in (1, 20)]
        tables = [fit_and_predict(one, rows, index, unseen) for one in tried]
        losses = [-(np.log(table) * rows.targets[unseen])[held].sum() for table in tables]
        return tables[int(np.argmin(losses))]

    monkeypatch.setattr(Head, "fit_and_predict", stopped)
    head = make_head("mlp", 3, **SETTINGS["mlp"], weight_decay=0.0)
    before = fold_heads(head, rows, dealt, monkeypatch)
    assert any(
        fold_heads(head, changed(rows, dealt == fold, "labels"), dealt, monkeypatch)[fold]
        != before[fold]
        for fold in range(FOLDS)
    )


@pytest.mark.parametrize("kind", ["kernel", "logistic", "mlp"])
def test_weight_zero_is_absence_in_folds_too(kind):
    rows = make_rows()
    weights = rows.weights.copy()
    weights[::5] = 0
    dealt = deal_folds(keys_of(rows), rows.codes, FOLDS, 1)
    head = make_head(kind, 0, **SETTINGS[kind])
    one = cross_fit(head, dataclasses.replace(rows, weights=weights, _memory={}), [dealt])
    other = changed(dataclasses.replace(rows, weights=weights), weights == 0, "labels")
    two = cross_fit(head, other, [dealt])
    np.testing.assert_array_equal(one.probabilities, two.probabilities)


def test_a_choice_is_what_the_neighbouring_folds_prefer():
    dealt = np.array([0, 1, 2, 3])
    losses = np.zeros((2, 4, 2))
    # The first choice is worse on fold 1, judged without folds 0 and 1; nothing else speaks.
    losses[0, 1, 1] = 1.0
    judged = Judged([{"a": 1}, {"a": 2}], losses, dealt)
    assert choose([judged], 0) == {"a": 2}
    assert choose([judged], 1) == {"a": 1}
    assert choose([judged], 2) == {"a": 1}
    assert choose([judged]) == {"a": 2}


def test_a_penalty_is_taken_from_between_those_that_were_tried():
    losses = np.zeros((5, 4, 2))
    alphas = 10.0 ** -np.arange(5)
    # A parabola over the logarithm with its least value at 10 ** -1.8.
    losses[:, :, 0] = ((np.arange(5) - 1.8) ** 2)[:, None]
    choices = [{"alpha": alpha, "width": 1} for alpha in alphas] + [{"alpha": 1e-3, "width": 2}]
    losses = np.concatenate([losses, losses[1:2] + 1])
    judged = Judged(choices, losses, np.arange(4), "alpha")
    assert choose([judged]) == {"alpha": pytest.approx(10**-1.8), "width": 1}
    # A search that tries the same ones again changes nothing.
    assert choose([judged.joined(judged)]) == choose([judged])
    # Nor do those that were not tried.
    others = [{**choice, "width": 3} for choice in choices]
    untried = Judged(others, np.full_like(losses, np.inf), np.arange(4), "alpha")
    assert choose([judged.joined(untried)]) == choose([judged])
    # At an end there is nothing to lie between.
    ends = Judged(choices[2:5], losses[2:5], np.arange(4), "alpha")
    assert choose([ends]) == choices[2]


def test_one_mistake_is_imagined_among_the_rows():
    class Certain(type(make_head("logistic"))):
        """Gives its own class 0.9 and the others 0.06 and 0.04."""

        def predict_path(self, rows, fitted, judged, choices):
            table = 0.9 * rows.targets[judged]
            first = np.argmax(table == 0, axis=1)
            table[table == 0] = 0.04
            table[np.arange(len(table)), first] = 0.06
            return np.stack([table] * len(choices))

    rows = make_rows(count=60)
    judged = judge(Certain(), rows, np.arange(60) % FOLDS, [{}, {}])
    np.testing.assert_allclose(judged.losses.sum(axis=(1, 2)), 2 * 60 * -np.log(0.9))
    np.testing.assert_allclose(judged.mistakes.sum(axis=(1, 2)), 2 * -np.log(0.06))
    np.testing.assert_allclose(judged.totals(), 2 * (60 * -np.log(0.9) - np.log(0.06)))


@pytest.mark.parametrize("kind", ["logistic", "kernel"])
def test_the_least_penalty_is_not_chosen_because_no_row_speaks_against_it(kind):
    rng = np.random.default_rng(0)
    codes = np.arange(60) % 3
    features = (np.eye(3)[codes] * 4 + rng.normal(size=(60, 3))).astype(np.float32)
    rows = dataclasses.replace(make_rows(count=60), features=features, sets=(3,), _memory={})
    head = make_head(kind)
    choices = [one for one in head.choices() if one.get("scaling", "standard") == "standard"]
    judged = judge(head, rows, np.arange(60) // 3 % FOLDS, choices)
    least = min(choice["alpha"] for choice in choices)
    without = dataclasses.replace(judged, mistakes=0.0)
    assert choose([without])["alpha"] == least
    assert choose([judged])["alpha"] > 5 * least


def test_rows_of_classes_that_a_fit_does_not_know_judge_nothing():
    rows = make_rows(count=45)
    # The last class is in one fold alone.
    dealt = np.where(rows.codes == 2, 1, np.arange(45) % FOLDS)
    judged = judge(make_head("logistic"), rows, dealt, make_head("logistic").choices())
    lost = (rows.codes == 2) & (dealt == 1)
    assert (judged.losses[:, lost] == 0).all()
    assert np.isfinite(judged.losses).all()
    found = cross_fit(make_head("logistic"), rows, [dealt]).probabilities
    np.testing.assert_allclose(found.sum(axis=1), 1)
    # Half a row's share, not 0.
    seen = (dealt != 1).sum()
    np.testing.assert_allclose(found[lost, 2], 0.5 / (seen + 1), rtol=1e-6)


def test_a_fit_of_one_class_predicts_it():
    rows = make_rows(count=12)
    dealt = np.where(rows.codes == 0, 0, np.where(rows.codes == 1, 1, 2))
    found = cross_fit(make_head("kernel"), rows, [dealt]).probabilities
    assert np.isfinite(found).all()
    table = spread(np.ones((3, 1)), np.array([1]), rows, 9)
    np.testing.assert_allclose(table, [[0.05, 0.9, 0.05]] * 3, rtol=1e-9)


def test_a_search_takes_what_there_is_time_for_and_never_loses_to_the_default():
    rows = make_rows(count=90)
    dealt = deal_folds(keys_of(rows), rows.codes, FOLDS, 1)
    head = make_head("mlp", 0, **SETTINGS["mlp"])
    steps = []
    extra = head.further_choices(3, 0)
    found = cross_fit(head, rows, [dealt], Search(extra), lambda *step: steps.append(step))
    (judged,) = found.judged
    assert len(judged.choices) == len(head.choices()) + 3
    totals = judged.totals()
    assert totals.min() <= totals[: len(head.choices())].min()
    assert steps[0] == ("settings", 0, len(judged.choices), None)
    assert steps[-1][0] == "folds"
    assert steps[1][3] > 0
    late = cross_fit(head, rows, [dealt], Search(extra, deadline=0.0))
    assert late.judged[0].choices == head.choices()


def test_the_head_of_all_rows_is_the_one_that_is_fitted_alone():
    rows = make_rows()
    dealt = deal_folds(keys_of(rows), rows.codes, FOLDS, 1)
    head = make_head("logistic", 3)
    found = cross_fit(head, rows, [dealt])
    alone = crossfit.fit_on(head, rows, np.arange(len(rows)), crossfit.choose(found.judged))
    assert fingerprint(found.final) == fingerprint(alone)
    assert cross_fit(head, rows, [dealt], predict=False).final is None


def test_what_all_rows_bring_is_foretold_from_what_more_folds_brought():
    told, gained = [], []
    codes = np.arange(1080) % 3
    learn, fresh = slice(0, 80), slice(80, None)
    for seed in range(12):
        centres = np.random.default_rng(99).normal(size=(3, 12)) * 0.6
        X = centres[codes] + np.random.default_rng(seed).normal(size=(1080, 12))
        X = X.astype(np.float32)
        targets = np.eye(3, dtype=np.float32)[codes[learn]]
        rows = Rows(X[learn], targets, np.ones(80), np.arange(3), (12,))
        head = make_head("logistic", 0, scaling="rms")
        dealt = deal_folds(keys_of(rows), rows.codes, 5, seed)
        found = cross_fit(head, rows, [dealt])
        # The class shares of fresh rows are known here, too.
        known = learning_of(head, rows, found)
        told.append(known.gain + class_shares_cost(rows, 5))
        assert known.excess == pytest.approx(4 * told[-1])
        parts = [np.flatnonzero(dealt != fold) for fold in range(5)]
        heads = [
            crossfit.fit_on(head, rows, part, choice) for part, choice in zip(parts, found.choices)
        ]
        *of_folds, of_all = (
            -np.log(one.predict_proba(X[fresh])[np.arange(1000), codes[fresh]]).mean()
            for one in (*heads, found.final)
        )
        gained.append(np.mean(of_folds) - of_all)
    assert np.mean(gained) > 0.01
    assert 0.5 < np.mean(told) / np.mean(gained) < 2


def test_what_all_rows_bring_is_not_told_where_it_is_not_known():
    rows = make_rows()
    dealt = deal_folds(keys_of(rows), rows.codes, FOLDS, 1)
    for kind, settings, deals in (
        ("mlp", {"width": 6}, [dealt]),
        ("logistic", {"alpha": 0.01}, [dealt]),
        ("logistic", {}, [dealt, (dealt + 1) % FOLDS]),
    ):
        head = make_head(kind, 0, **settings)
        assert learning_of(head, rows, cross_fit(head, rows, deals)) is None


def test_no_more_is_told_to_be_gained_than_a_kth_of_the_loss():
    """One row of which heads of fewer folds are sure, and wrong, is no law of learning."""
    rows = make_rows()
    head = make_head("logistic", 3)
    dealt = deal_folds(keys_of(rows), rows.codes, FOLDS, 1)
    found = cross_fit(head, rows, [dealt])
    (judged,) = found.judged
    judged.losses[:, 0] += 700.0
    lost = -(np.log(found.probabilities) * rows.targets).sum(axis=1).mean()
    known = learning_of(head, rows, found)
    assert known.excess == pytest.approx((FOLDS - 1) / FOLDS * lost)
    assert known.gain == pytest.approx(lost / FOLDS - class_shares_cost(rows, FOLDS))

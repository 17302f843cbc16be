"""The head that learns a function for each group of images."""

from __future__ import annotations

import numpy as np
import pytest

from icecore.heads import GroupedHead, KernelHead, Rows, load_head
from icecore.heads.crossfit import cross_fit
from icecore.heads.folds import deal_folds
from icecore.heads.numerics import gram

SHARES = {"alpha": 1e-4, "share": 0.3}


def two_kinds(count=400, turned=True, seed=0):
    """Rows whose classes lie at other places in each of two groups, if `turned`."""
    rng = np.random.default_rng(seed)
    groups, codes = rng.integers(0, 2, count), rng.integers(0, 3, count)
    angle = 2 * np.pi * codes / 3 + (np.pi / 3) * groups * turned
    X = rng.normal(size=(count, 12)) + 3
    X[:, 0] += 2.2 * np.cos(angle)
    X[:, 1] += 2.2 * np.sin(angle)
    X[:, 2] += 4 * groups
    return X.astype(np.float32), codes, groups


def rows_of(X, codes, groups=None, known=None):
    targets = np.eye(3, dtype=np.float32)[codes]
    columns = None
    if groups is not None:
        columns = np.eye(2, dtype=np.float32)[groups]
        if known is not None:
            columns[~known] = 0
    return Rows(X, targets, np.ones(len(X)), np.arange(3), (X.shape[1],), columns)


def out_of_fold(head, rows):
    dealt = deal_folds([str(i) for i in range(len(rows))], rows.codes, 5, 0)
    table = cross_fit(head, rows, [dealt]).probabilities
    return table, -np.log((table * rows.targets).sum(axis=1))


def test_groups_with_rules_of_their_own_gain_and_others_lose_next_to_nothing():
    gains = {}
    for turned in (True, False):
        rows = rows_of(*two_kinds(turned=turned))
        heads = GroupedHead(), KernelHead(scaling="power")
        own, common = (out_of_fold(head, rows)[1] for head in heads)
        gain = common - own
        gains[turned] = gain.mean(), gain.std() / np.sqrt(len(gain))
    mean, error = gains[True]
    assert mean > 3 * error
    mean, error = gains[False]
    assert mean > -0.02


def test_one_group_alone_is_a_kernel_machine():
    X, codes, _ = two_kinds()
    ours = GroupedHead(alpha=1e-3, share=0.3, tol=1e-7).fit(X, codes)
    theirs = KernelHead(alpha=1e-3, width=1.0, tol=1e-7).fit(X, codes)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)


def test_with_nothing_in_common_each_group_has_its_own_machine():
    X, codes, groups = two_kinds()
    X[:, 2] += 30 * groups  # nothing to route by mistake
    rows = rows_of(X, codes, groups)
    index = np.arange(len(X))
    ours = GroupedHead(alpha=1e-3, share=1e-6, tol=1e-7).fit_rows(rows, index)
    table = ours._probabilities(X)
    for group in (0, 1):
        part = np.flatnonzero(groups == group)
        alone = KernelHead(alpha=1e-3 * len(X) / len(part), tol=1e-7)
        # The same kernel, of all rows' median distance.
        alone.set_params(width=1.0)
        gram_of = rows_of(X[part], codes[part])
        alone.fit_rows(gram_of, np.arange(len(part)))
        agree = (alone._probabilities(X[part]).argmax(1) == table[part].argmax(1)).mean()
        assert agree > 0.97


def test_the_answer_is_the_mixture_over_groups():
    X, codes, groups = two_kinds()
    head = GroupedHead(**SHARES).fit_rows(rows_of(X, codes, groups), np.arange(len(X)))
    routes = head.route(X)
    np.testing.assert_allclose(routes.sum(axis=1), 1, atol=1e-9)
    assert (routes.argmax(axis=1) == groups).mean() > 0.9
    kernel = head.support_.map(lambda kernel: kernel, X[:50], head.sets_)
    expected = 0
    for group, coef in enumerate(head.group_coefs):
        logits = kernel @ coef + head.intercept_
        each = np.exp(logits - logits.max(axis=1, keepdims=True))
        expected += routes[:50, group, None] * each / each.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(head.predict_proba(X[:50]), expected, atol=1e-5)


def test_groups_known_for_a_tenth_are_enough_to_gain():
    X, codes, groups = two_kinds(600)
    known = np.random.default_rng(1).random(600) < 0.1
    few = out_of_fold(GroupedHead(), rows_of(X, codes, groups, known))[1]
    common = out_of_fold(KernelHead(), rows_of(X, codes))[1]
    gain = common - few
    assert gain.mean() > 2 * gain.std() / np.sqrt(600)


@pytest.mark.parametrize("change", ["labels", "features", "groups"])
def test_what_is_predicted_has_no_part_in_its_heads(change):
    X, codes, groups = two_kinds(150)
    dealt = deal_folds([str(i) for i in range(150)], codes, 5, 0)
    before = cross_fit(GroupedHead(), rows_of(X, codes, groups), [dealt])
    held, rng = dealt == 2, np.random.default_rng(3)
    X, codes, groups = X.copy(), codes.copy(), groups.copy()
    others = np.flatnonzero(~held)
    if change == "labels":
        codes[held] = rng.permutation(codes[held])
    elif change == "groups":
        groups[held] = 1 - groups[held]
    else:
        X[held] = rng.normal(size=X[held].shape)
    rows = rows_of(X, codes, groups)
    after = cross_fit(GroupedHead(), rows, [dealt])
    assert after.choices[2] == before.choices[2]
    probe = rows_of(X, codes, groups)
    heads = [
        GroupedHead(**after.choices[2]).fit_rows(one, others)
        for one in (rows_of(*two_kinds(150)), probe)
    ]
    np.testing.assert_array_equal(heads[0].coef_, heads[1].coef_)


def test_many_rows_go_through_landmarks(monkeypatch):
    X, codes, groups = two_kinds(500)
    exact = GroupedHead(**SHARES).fit_rows(rows_of(X, codes, groups), np.arange(500))
    monkeypatch.setattr(gram, "EXACT_ROWS", 100)
    monkeypatch.setattr(gram, "LANDMARKS", 300)
    some = GroupedHead(**SHARES).fit_rows(rows_of(X, codes, groups), np.arange(500))
    assert len(some.support_) == 300
    assert np.abs(exact.predict_proba(X) - some.predict_proba(X)).mean() < 0.03


def test_it_is_saved_with_its_groups(tmp_path):
    X, codes, groups = two_kinds(120)
    head = GroupedHead(**SHARES).fit_rows(rows_of(X, codes, groups), np.arange(120))
    head.save(tmp_path / "head")
    again = load_head(tmp_path / "head")
    assert again.members_.shape == (120, 2)
    np.testing.assert_array_equal(head.predict_proba(X), again.predict_proba(X))
    np.testing.assert_array_equal(head.route(X), again.route(X))

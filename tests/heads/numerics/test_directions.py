"""Directions near the principal ones, of a fit's own rows alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD

from icecore.heads import KernelHead, Rows
from icecore.heads.numerics import directions, gram
from icecore.heads.numerics.directions import directions_of
from icecore.heads.numerics.scaling import power_rows


def rows_of(X, sets=None):
    codes = np.arange(len(X)) % 3
    targets = np.eye(3, dtype=np.float32)[codes]
    return Rows(X, targets, np.ones(len(X)), np.array(list("abc")), sets or (X.shape[1],))


def correlated(count=240, columns=90, seed=0):
    rng = np.random.default_rng(seed)
    spread = np.linspace(3, 0, columns) ** 3 + 0.05
    turn = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    return (rng.normal(size=(count, columns)) * spread @ turn).astype(np.float32)


@pytest.fixture(params=["all", "landmarks"])
def few(request, monkeypatch):
    """Fewer directions than rows and columns; with all products, or those with landmarks."""
    monkeypatch.setattr(directions, "DIRECTIONS", 30)
    if request.param == "landmarks":
        monkeypatch.setattr(gram, "EXACT_ROWS", 100)
        monkeypatch.setattr(gram, "LANDMARKS", 200)


def test_they_are_orthonormal_and_near_the_principal_ones(few):
    rows, index = rows_of(correlated()), np.arange(0, 240, 2)
    found = directions_of(rows, index)
    matrix = found.weights(rows)
    assert matrix.shape == (90, 30)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(30), atol=2e-3)
    scaled = power_rows(rows).astype(np.float32)
    np.testing.assert_allclose(found.coordinates, scaled @ matrix, atol=2e-3)
    best = TruncatedSVD(30, random_state=0).fit(scaled[found.own])
    kept = (found.coordinates[found.own] ** 2).sum()
    assert kept > 0.97 * (best.transform(scaled[found.own]) ** 2).sum()
    # Weights of coordinates are weights of features.
    weights = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    np.testing.assert_allclose(
        scaled @ found.weights(rows, weights), found.coordinates @ weights, atol=5e-3
    )


def test_other_rows_have_no_part_in_them(few):
    X, index = correlated(), np.arange(0, 240, 2)
    changed = X.copy()
    changed[1::2] = 9 * np.random.default_rng(5).normal(size=changed[1::2].shape)
    one, two = (directions_of(rows_of(each), index) for each in (X, changed))
    np.testing.assert_array_equal(one.mix, two.mix)
    np.testing.assert_array_equal(one.own, two.own)
    np.testing.assert_array_equal(one.coordinates[::2], two.coordinates[::2])


def test_few_rows_span_all_and_narrow_features_are_their_own():
    wide = rows_of(correlated(20, 1000))
    found = directions_of(wide, np.arange(20))
    scaled = power_rows(wide).astype(np.float32)
    np.testing.assert_allclose(
        found.coordinates @ found.coordinates.T, scaled @ scaled.T, atol=2e-4
    )
    narrow = rows_of(correlated(20, 50))
    found = directions_of(narrow, np.arange(10))
    assert found.mix is None
    np.testing.assert_array_equal(found.coordinates, power_rows(narrow))


def test_equal_rows_and_rows_of_low_rank_do_no_harm(few):
    X = np.tile(correlated(4, 90), (30, 1))
    found = directions_of(rows_of(X), np.arange(len(X)))
    scaled = power_rows(rows_of(X)).astype(np.float32)
    assert np.isfinite(found.weights(rows_of(X))).all()
    np.testing.assert_allclose(
        (found.coordinates**2).sum(axis=1), (scaled**2).sum(axis=1), atol=2e-3
    )


def test_few_rows_have_a_wide_kernel():
    gammas = []
    for count in (60, 700, 2000):
        rows = rows_of(np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32))
        head = KernelHead(alpha=1e-2).fit_rows(rows, np.arange(0, count, 2))
        same = KernelHead(alpha=1e-2, width=1.0).fit_rows(rows, np.arange(0, count, 2))
        gammas.append(head.support_.gamma / same.support_.gamma)
    np.testing.assert_allclose(gammas, [1.4**-2, 700 / 28**2, 0.8**-2], rtol=1e-5)

import numpy as np
import pytest

from icecore.core.errors import HeadError
from icecore.heads import LogisticHead
from icecore.heads.kinds import logistic
from icecore.heads.numerics import gram
from icecore.heads.numerics.gram import Basis, centred


@pytest.mark.parametrize("rounding", [0.0, 3e-4, 3e-3])
def test_a_singular_kernel_that_is_rounded_below_zero_has_features(rounding):
    rng = np.random.default_rng(3)
    rows = (rng.standard_normal((300, 40)) + 5).astype(np.float32)
    rows[200:] = rows[:100]  # Equal rows, and a mean that is taken away: 40 of 300 dimensions.
    inner, _, _ = centred(rows @ rows.T, np.zeros((1, 300), np.float32), np.full(300, 1 / 300))
    kernel = inner - np.float32(rounding) * np.eye(300, dtype=np.float32)
    features = Basis(kernel).features(kernel)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(features @ features.T, inner, atol=20 * rounding + 1e-3)


@pytest.mark.parametrize("count", [1, 5, 12, 13])
def test_products_of_rows_with_each_other_are_all_there(count, monkeypatch):
    monkeypatch.setattr(gram, "_HALVES", 4)
    rows = np.random.default_rng(0).normal(size=(count, 7)).astype(np.float32)
    products = gram.all_products(rows)
    np.testing.assert_allclose(products, rows @ rows.T, atol=1e-5)
    np.testing.assert_array_equal(products, products.T)


def test_what_is_no_kernel_is_refused():
    with pytest.raises(HeadError, match="make no kernel"):
        Basis(np.float32([[1, 4], [4, 1]]))


def test_coefficients_of_landmarks_answer_as_weights_of_features_do():
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((50, 80)).astype(np.float32)
    basis, weights = Basis(rows @ rows.T / 80), rng.standard_normal((50, 3)).astype(np.float32)
    across = rng.standard_normal((7, 80)).astype(np.float32) @ rows.T / 80
    found = across @ basis.coefficients(weights)
    np.testing.assert_allclose(found, basis.features(across) @ weights, rtol=1e-3, atol=1e-3)


def test_many_wide_rows_that_are_all_equal_teach_the_class_shares(monkeypatch):
    for module in (gram, logistic):
        monkeypatch.setattr(module, "EXACT_ROWS", 60)
        monkeypatch.setattr(module, "LANDMARKS", 30)
    X, y = np.full((120, 400), 1.5, np.float32), np.arange(120) % 4 % 3
    head = LogisticHead().fit(X, y)
    np.testing.assert_allclose(head.predict_proba(X[:1])[0], [0.5, 0.25, 0.25], atol=0.01)

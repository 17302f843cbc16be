"""Products by SciPy's BLAS equal NumPy's, whatever the layout."""

from __future__ import annotations

import numpy as np
import pytest
from drawing import few
from hypothesis import example, given
from hypothesis import strategies as st

from icecore.heads.numerics import products
from icecore.heads.numerics.products import multiply

sizes = st.integers(1, 9)
layouts = st.sampled_from(["plain", "transposed", "columns", "rows", "reversed"])


def laid_out(values: np.ndarray, layout: str) -> np.ndarray:
    height, width = values.shape
    if layout == "plain":
        return values
    if layout == "transposed":
        return np.ascontiguousarray(values.T).T
    room = np.full((2 * height + 1, 2 * width + 3), np.nan, np.float32)
    parts = {
        "columns": room[:height, 2 : 2 + width],
        "rows": room[1 : 2 * height + 1 : 2, :width],
        "reversed": room[:height, width - 1 :: -1] if width > 1 else room[:height, :1],
    }
    parts[layout][:] = values
    return parts[layout]


@few(60)
@given(
    sizes,
    sizes,
    sizes,
    layouts,
    layouts,
    layouts,
    st.sampled_from([(0.0, 1.0), (0.5, 1.0), (1.0, 4.0), (0.0, 0.5)]),
    st.integers(),
)
@example(2, 7, 3, "transposed", "plain", "columns", (0.5, 1.0), 0)
@example(2, 7, 3, "rows", "transposed", "rows", (0.0, 1.0), 0)
@example(7, 2, 3, "columns", "columns", "plain", (0.0, 1.0), 0)
@example(7, 2, 3, "columns", "columns", "reversed", (1.0, 4.0), 0)
@example(7, 2, 3, "columns", "columns", "reversed", (0.0, 4.0), 0)
def test_every_layout_gives_numpys_product(n, k, m, of_left, of_right, of_out, factors, seed):
    keep, factor = factors
    rng = np.random.default_rng(abs(seed))
    left, right, before = (
        rng.integers(-4, 5, shape).astype(np.float32) for shape in ((n, k), (k, m), (n, m))
    )
    out = laid_out(before.copy(), of_out)
    result = multiply(laid_out(left, of_left), laid_out(right, of_right), out, keep, factor)
    assert result is out
    # Small whole numbers and halves: exact in float32.
    np.testing.assert_array_equal(out, factor * (left @ right) + np.float32(keep) * before)


def test_without_an_out_array_a_new_one_is_returned():
    ones = np.ones((3, 4), np.float32)
    np.testing.assert_array_equal(multiply(ones, ones.T), np.full((3, 3), 4))


def test_old_contents_of_the_out_array_do_not_matter():
    ones = np.ones((2, 2), np.float32)
    np.testing.assert_array_equal(
        multiply(ones, ones, np.full((2, 2), np.nan, np.float32)), 2 * ones
    )


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 3), (2, 3, 0)])
def test_empty_factors_are_no_problem(shape):
    n, k, m = shape
    found = multiply(np.ones((n, k), np.float32), np.ones((k, m), np.float32))
    np.testing.assert_array_equal(found, np.zeros((n, m)))


def test_scipys_blas_is_found_and_the_fallback_gives_the_same(monkeypatch):
    assert products._SGEMM is not None
    rng = np.random.default_rng(0)
    left, right = rng.random((40, 50), np.float32), rng.random((50, 60), np.float32)
    fast = multiply(left, right)
    monkeypatch.setattr(products, "_SGEMM", None)
    np.testing.assert_allclose(multiply(left, right), fast, rtol=1e-5)

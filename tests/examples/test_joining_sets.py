"""Joining feature sets."""

from __future__ import annotations

import numpy as np
import pytest
from joining_sets import BilinearSketch, ScaleSets, SumOfProjections
from sklearn.utils.estimator_checks import check_estimator

from icecore.core.errors import HeadError

METHODS = ("rms", "standard", "l2", "power", "whiten")


def sets(rows=60):
    rng = np.random.default_rng(0)
    return np.hstack([rng.random((rows, 5)), 100 * rng.random((rows, 7))]).astype(np.float32)


@pytest.mark.parametrize(
    "transformer",
    [
        *(ScaleSets(method=name, random_state=0) for name in METHODS),
        SumOfProjections(components=8, random_state=0),
        BilinearSketch(components=64, random_state=0),
    ],
    ids=lambda one: f"{type(one).__name__}-{getattr(one, 'method', '')}",
)
def test_scikit_learns_own_checks(transformer):
    check_estimator(transformer, on_skip=None)


@pytest.mark.parametrize("method", METHODS)
def test_after_scaling_no_set_drowns_the_other(method):
    done = ScaleSets([5, 7], method, random_state=0).fit_transform(sets())
    first, second = done[:, :5], done[:, 5:]
    assert 0.3 < np.linalg.norm(first) / np.linalg.norm(second) < 1.2
    if method == "whiten":
        np.testing.assert_allclose(np.cov(first.T), np.eye(5), atol=1e-3)
    if method in ("l2", "power"):
        np.testing.assert_allclose(np.linalg.norm(second, axis=1), 1, rtol=1e-5)


def test_the_sketch_keeps_squared_inner_products():
    """Before root and length, sketches' inner product estimates the squared one."""
    X = sets(8)
    head = BilinearSketch([5, 7], components=8192, random_state=0).fit(X)
    balanced = head._balanced(X)
    sketch = head.sketch_.transform(balanced)
    np.testing.assert_allclose(sketch @ sketch.T, (balanced @ balanced.T) ** 2, atol=0.25)


def test_projections_have_one_width_and_a_seed():
    X = sets()
    one, again, other = (
        SumOfProjections([5, 7], 16, random_state=seed).fit_transform(X) for seed in (1, 1, 2)
    )
    assert one.shape == (60, 16)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1


def test_widths_that_do_not_fit_are_refused():
    with pytest.raises(HeadError, match=r"have 5 \+ 9 columns, but the matrix has 12"):
        ScaleSets([5, 9]).fit(sets())
    with pytest.raises(HeadError, match="method is 'cube'"):
        ScaleSets(method="cube").fit(sets())

"""Dropout by halves is dropout with a certain mask, without computing what it drops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icecore.heads.mlp.halves import step_by_tiles, tiles
from icecore.heads.mlp.member import Member
from icecore.heads.mlp.network import dropout_mask, initial_layers, upper_pass
from icecore.heads.mlp.stack import fit_stack


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.integers(0, 5), st.integers(1, 9), st.floats(0, 0.99))
def test_each_row_sees_its_share_of_the_units(rows, start, width, dropout):
    seen = np.zeros((rows, start + width + 2), int)
    for tile in tiles(rows, slice(start, start + width), dropout):
        seen[tile] += 1
    own = seen[:, start : start + width]
    assert seen.sum() == own.sum()
    if dropout < 0.5 or rows == 1 or width == 1:
        assert (own == 1).all()
        return
    assert own.max() == 1
    assert set(own.sum(axis=1)) == {width // 2, (width + 1) // 2}
    assert set(own.sum(axis=0)) == {rows // 2, (rows + 1) // 2}


@pytest.mark.parametrize("dropout", [0.25, 0.5, 0.7])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("rows", [1, 9])
def test_a_step_by_tiles_is_a_step_with_the_whole_mask(rows, depth, dropout):
    rng = np.random.default_rng(3)
    width, classes = 7, 3
    layers = [
        (w + np.float32(0.1), b + np.float32(0.2))
        for w, b in initial_layers([5, *[width] * depth, classes], rng)
    ]
    product = rng.standard_normal((rows, width), dtype=np.float32)
    targets = np.eye(classes, dtype=np.float32)[rng.integers(classes, size=rows)]
    weights = rng.random(rows, dtype=np.float32)

    errors = np.zeros((rows, width), np.float32)
    loss, gradients = step_by_tiles(
        product.copy(), layers, targets, weights, dropout, np.random.default_rng(8), errors
    )

    own, masks = np.random.default_rng(8), [np.zeros((rows, width), np.float32) for _ in layers[1:]]
    parts = tiles(rows, slice(0, width), dropout)
    for part, units in parts:
        height = part.stop - part.start
        for mask in masks[1:]:
            mask[part] = dropout_mask((height, width), dropout, own)
        more = dropout if len(parts) == 1 else 2 * dropout - 1
        kept = dropout_mask((height, units.stop - units.start), more, own)
        masks[0][part, units] = len(parts) * (1 if kept is None else kept)
    wanted_loss, wanted_errors, wanted = upper_pass(product.copy(), layers, targets, weights, masks)
    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    np.testing.assert_allclose(errors, wanted_errors, atol=1e-6)
    for (matrix, bias), (wanted_matrix, wanted_bias) in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(bias, wanted_bias, atol=1e-5)
        if wanted_matrix is not None:
            np.testing.assert_allclose(matrix, wanted_matrix, atol=1e-5)


def test_what_is_not_seen_is_not_looked_at():
    """The products of dropped units are not computed: whatever is there has no effect."""
    layers = initial_layers([5, 4, 3], np.random.default_rng(0))
    targets, weights = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], np.ones(4, np.float32)
    product = np.full((4, 4), np.nan, np.float32)
    errors = np.full((4, 4), 7, np.float32)
    for tile in tiles(4, slice(0, 4), 0.5):
        product[tile] = 1
    loss, gradients = step_by_tiles(
        product, layers, targets, weights, 0.5, np.random.default_rng(0), errors
    )
    assert np.isfinite(loss)
    assert all(np.isfinite(bias).all() for _, bias in gradients)
    assert (errors[:2, 2:] == 7).all()
    assert (errors[2:, :2] == 7).all()


def test_the_smallest_network_and_batch_can_be_trained():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((5, 3), dtype=np.float32)
    targets = np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 1]]
    members = [Member(width=1, dropout=0.5, epochs=2), Member(width=2, dropout=0.9, epochs=2)]
    for outcome in fit_stack(features, targets, members, batch_size=1):
        assert all(np.isfinite(matrix).all() for matrix, _ in outcome.layers)

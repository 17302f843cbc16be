"""Training on principal components: the projection itself, and heads that use it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from icecore.core.errors import HeadError
from icecore.heads import MLPClassifier, load_head
from icecore.heads.mlp.components import principal_components
from icecore.heads.mlp.folds import mlp_out_of_fold
from icecore.heads.mlp.inputs import prepare_inputs
from icecore.heads.mlp.search import search_mlp
from icecore.heads.numerics.lanes import Lanes
from icecore.heads.numerics.scaling import Scaling


def spectrum(rows, columns, seed=0, dtype=np.float32):
    """Rows whose components fall off as those of real features do, far from the origin."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    strength = 1 / np.arange(1, columns + 1) ** 0.7
    return (rng.normal(size=(rows, columns)) * strength @ turn + 0.5).astype(dtype)


def classes_of(features, seed=1):
    """Three classes that a few directions tell apart."""
    rng = np.random.default_rng(seed)
    scores = (features - features.mean(axis=0)) @ rng.normal(size=(features.shape[1], 3))
    return scores.argmax(axis=1)


def components_of(features, count, rows=None, weights=None, lanes=1, scaling=None):
    rows = np.arange(len(features)) if rows is None else rows
    weights = np.ones(len(rows)) if weights is None else weights
    with Lanes(features.shape[1], lanes) as threads:
        return principal_components(features, rows, weights, count, threads, 0, scaling)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_they_hold_nearly_what_exact_components_hold(dtype):
    features = spectrum(700, 300, dtype=dtype)
    exact = PCA(40).fit(features.astype(np.float64))
    found = components_of(features, 40)
    np.testing.assert_allclose(found.matrix.T @ found.matrix, np.eye(40), atol=1e-4)
    np.testing.assert_allclose(found.mean, exact.mean_, atol=1e-5)
    with Lanes(300, 1) as lanes:
        held = found.apply(features, lanes).var(axis=0)
    assert held.sum() > 0.97 * exact.explained_variance_.sum()
    # The strong ones are in order, and are the exact ones.
    assert (np.diff(held[:10]) < 0).all()
    assert np.abs(np.diag(exact.components_[:3] @ found.matrix[:, :3])) == pytest.approx(
        1, abs=0.02
    )


def test_a_row_of_weight_two_is_two_rows():
    features = spectrum(300, 90)
    # Strong in one direction where the weights are large, and in another elsewhere.
    features[:100, 3] += np.linspace(-4, 4, 100, dtype=np.float32)
    features[100:, 7] += np.linspace(-3, 3, 200, dtype=np.float32)
    weights = np.where(np.arange(300) < 100, 8.0, 1.0)
    found = components_of(features, 30, weights=weights)
    exact = PCA(30).fit(np.repeat(features, weights.astype(int), axis=0).astype(np.float64))
    np.testing.assert_allclose(found.mean, exact.mean_, atol=1e-5)
    assert abs(exact.components_[0] @ found.matrix[:, 0]) > 0.99
    unweighted = components_of(features, 30)
    assert abs(exact.components_[0] @ unweighted.matrix[:, 0]) < 0.9
    assert np.abs(unweighted.mean - exact.mean_).max() > 1e-2


def test_few_rows_have_no_more_directions_than_they_span():
    features = spectrum(12, 90)
    found = components_of(features, 70)
    assert found.matrix.shape == (90, 11)
    np.testing.assert_allclose(found.matrix.T @ found.matrix, np.eye(11), atol=1e-4)
    with Lanes(90, 1) as lanes:
        back = found.apply(features, lanes) @ found.matrix.T + found.mean
    np.testing.assert_allclose(back, features, atol=1e-3)


def test_lanes_and_a_scaling_do_not_matter_beyond_themselves():
    features = spectrum(300, 600)
    scaling = Scaling(np.full(600, 0.3, np.float32), np.linspace(0.5, 2, 600, dtype=np.float32))
    scaled = (features - scaling.shift) * scaling.factor
    one = components_of(features, 20, lanes=2, scaling=scaling)
    other = components_of(scaled, 20)
    with Lanes(600, 2) as lanes:
        np.testing.assert_allclose(
            np.abs(one.apply(features, lanes)), np.abs(other.apply(scaled, lanes)), atol=2e-3
        )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.booleans(), st.floats(0.1, 10))
def test_a_folded_layer_does_what_projection_and_layer_do(seed, scales, factor):
    rng = np.random.default_rng(seed)
    features = spectrum(50, 40, seed)
    scaling = None
    if scales:
        scaling = Scaling(
            rng.normal(size=40).astype(np.float32), rng.uniform(0.5, 2, 40).astype(np.float32)
        )
    projection = components_of(features, 7, scaling=scaling).times(factor)
    matrix = rng.normal(size=(7, 5)).astype(np.float32)
    bias = rng.normal(size=5).astype(np.float32)
    wide, shifted = projection.fold(matrix, bias)
    with Lanes(40, 1) as lanes:
        wanted = projection.apply(features, lanes) @ matrix + bias
    np.testing.assert_allclose(features @ wide + shifted, wanted, atol=1e-3 * max(1, factor))


def test_constant_features_have_one_component_of_nothing():
    found = components_of(np.full((30, 20), 3.0, np.float32), 5)
    assert found.matrix.shape == (20, 1)
    assert not found.matrix.any()


@pytest.mark.parametrize("scaling", ["rms", "standard", "none"])
def test_a_head_on_components_is_saved_and_predicts_as_any_other(tmp_path, scaling):
    features = spectrum(600, 80, dtype=np.float16)
    codes = classes_of(features)
    head = MLPClassifier(components=20, scaling=scaling, random_state=0)
    head.fit(features[:500], codes[:500], validation=(features[500:], codes[500:]))
    assert head.layers_[0][0].shape == (80, 256)
    table = head.predict_proba(features[500:])
    truth = table[np.arange(100), codes[500:]]
    # What early stopping saw through the projection is what the folded head gives.
    assert -np.log(truth).mean() == pytest.approx(head.best_loss_, abs=1e-4)
    assert (table.argmax(axis=1) == codes[500:]).mean() > 0.75
    head.save(tmp_path / "head")
    assert (load_head(tmp_path / "head").predict_proba(features[500:]) == table).all()


def test_auto_means_components_of_many_wide_rows_only():
    head = MLPClassifier()
    assert head.used_components(4096, 6016) is None
    assert head.used_components(4097, 6016) == 512
    assert head.used_components(4097, 512) is None
    assert MLPClassifier(components=None).used_components(9999, 6016) is None
    assert MLPClassifier(components=30).used_components(10, 31) == 30


@pytest.mark.parametrize("wrong", [0, -3, 2.5, "all", True])
def test_other_numbers_of_components_are_refused(wrong):
    features = spectrum(40, 10)
    with pytest.raises(HeadError, match="components=.*'auto', None or a whole number"):
        MLPClassifier(components=wrong).fit(features, classes_of(features))


def test_inputs_have_the_length_that_the_learning_rate_is_made_for():
    features = spectrum(500, 300)
    head, rows = MLPClassifier(), np.arange(400)
    for count, wanted in ((None, 128), (200, 128), (60, 60)):
        inputs = prepare_inputs(head, features, rows, np.ones(500), count, 0)
        own = inputs.features[rows].astype(np.float64)
        if inputs.scaling is not None:
            own = own * inputs.scaling.factor
        squared = ((own - own.mean(axis=0)) ** 2).sum(axis=1).mean()
        assert squared == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("views", [1, 2])
def test_a_fold_has_no_say_in_its_own_components(views):
    """Rows of the fold that is predicted may be anything: the others keep their predictions."""
    features = spectrum(300 * views, 60).reshape(300, -1)
    codes = classes_of(features[:, :60])
    targets = np.eye(3, dtype=np.float32)[codes]
    dealt = np.arange(300) % 3
    head = MLPClassifier(components=12, width=16, random_state=0, n_jobs=1)
    job = (codes, targets, np.ones(300), dealt, None, views)
    table, rounds = mlp_out_of_fold(head, features, *job)
    strange = features.copy()
    strange[0] *= 50
    other, _ = mlp_out_of_fold(head, strange, *job)
    rest = np.flatnonzero((dealt == 0) & (np.arange(300) != 0))
    assert len(rounds) == 3
    assert np.isfinite(table).all()
    np.testing.assert_array_equal(table[rest], other[rest])
    assert (table[dealt == 1] != other[dealt == 1]).any()
    assert (table.argmax(axis=1) == codes).mean() > 0.5


def test_progress_of_folds_with_components_shows_the_finished_ones():
    features = spectrum(200, 40)
    codes = classes_of(features)
    head = MLPClassifier(components=8, width=8, epochs=2, random_state=0)
    seen = []
    mlp_out_of_fold(
        head,
        features,
        codes,
        np.eye(3, dtype=np.float32)[codes],
        np.ones(200),
        np.arange(200) % 2,
        lambda epoch, outcomes: seen.append((epoch, [one.name for one in outcomes])),
    )
    first, both = ["fold 1"], ["fold 1", "fold 2"]
    assert seen == [(1, first), (2, first), (1, both), (2, both)]


def test_a_search_on_components_finds_settings_and_repeats():
    features = spectrum(400, 60)
    codes = classes_of(features)
    head = MLPClassifier(components=10, random_state=0, n_jobs=1)
    job = (features, np.eye(3, dtype=np.float32)[codes], np.ones(400), 6, 5)
    found = search_mlp(head, *job)
    assert found == search_mlp(head, *job)
    assert found["components"] == 10

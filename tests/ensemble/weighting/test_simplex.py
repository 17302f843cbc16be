import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from drawing import few
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from icecore.ensemble.weighting.simplex import (
    certificate,
    minimise_log_loss,
    minimise_log_loss_geometric,
)


def slsqp(loss, models, upper=1.0):
    found = minimize(
        loss,
        np.full(models, 1 / models),
        method="SLSQP",
        bounds=[(0, upper)] * models,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return found.fun


def true_class(probabilities, y):
    return probabilities[:, np.arange(len(y)), y].T


@pytest.mark.parametrize("models", [1, 2, 5, 12])
@pytest.mark.parametrize(("l2", "upper"), [(0, 1), (0.3, 1), (0, 0.55), (0.05, 0.6)])
def test_arithmetic_optimum_is_that_of_slsqp(builders, models, l2, upper):
    probabilities, y = builders.probabilities(models, 150, 4, seed=models)
    true = true_class(probabilities, y)
    upper = max(upper, 1 / models)

    def loss(w):
        return -np.log(true @ w).mean() + l2 * ((w - 1 / models) ** 2).sum()

    found = minimise_log_loss(true, l2, upper)
    assert found.weights.sum() == pytest.approx(1, abs=1e-12)
    assert found.weights.min() >= 0
    assert found.weights.max() <= upper + 1e-12
    assert 0 <= found.certificate <= 1e-8
    assert loss(found.weights) <= slsqp(loss, models, upper) + 1e-8
    assert found.loss == pytest.approx(-np.log(true @ found.weights).mean(), abs=1e-12)


@pytest.mark.parametrize("l2", [0, 0.2])
def test_geometric_optimum_is_that_of_slsqp(builders, l2):
    probabilities, y = builders.probabilities(5, 150, 4)
    logs = np.log(probabilities)

    def loss(w):
        mixed = np.tensordot(w, logs, axes=1)
        own = mixed[np.arange(len(y)), y]
        return (np.log(np.exp(mixed).sum(axis=1)) - own).mean() + l2 * ((w - 0.2) ** 2).sum()

    found = minimise_log_loss_geometric(probabilities, y, l2)
    assert found.certificate <= 1e-8
    assert loss(found.weights) <= slsqp(loss, 5) + 1e-8


def test_a_sample_of_many_rows_does_not_change_the_answer(builders):
    probabilities, y = builders.probabilities(4, 9000, 3)
    true = true_class(probabilities, y)
    found = minimise_log_loss(true)
    assert found.certificate <= 1e-8
    assert certificate(true, found.weights) <= 1e-8


@few(60)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 25), st.integers(1, 7)),
        elements=st.one_of(st.just(0.0), st.just(1.0), st.floats(1e-12, 1)),
    )
)
def test_every_answer_is_certified_and_no_vertex_or_centre_is_better(true):
    found = minimise_log_loss(true)
    clipped = np.maximum(true, 1e-15)
    models = true.shape[1]
    assert found.weights.min() >= 0
    assert found.weights.sum() == pytest.approx(1)
    assert found.certificate <= 1e-8
    # The certificate can be checked with Q and the weights alone.
    assert certificate(true, found.weights) <= 2e-8
    for other in [*np.eye(models), np.full(models, 1 / models)]:
        assert found.loss <= -np.log(clipped @ other).mean() + 1e-8


def test_the_certificate_of_poor_weights_bounds_what_is_lost(builders):
    probabilities, y = builders.probabilities(4, 100, 4)
    true = true_class(probabilities, y)
    best = minimise_log_loss(true).loss
    for weights in np.random.default_rng(0).dirichlet(np.ones(4), 20):
        lost = -np.log(true @ weights).mean() - best
        assert certificate(true, weights) >= lost - 1e-12


def test_identical_columns_and_impossible_rows_do_no_harm():
    rng = np.random.default_rng(0)
    true = np.repeat(rng.random((60, 3)), 3, axis=1)
    true[:4] = 0
    found = minimise_log_loss(true)
    assert found.certificate <= 1e-8
    alone = minimise_log_loss(true[:, ::3])
    assert found.loss == pytest.approx(alone.loss, abs=1e-8)


def test_importance_is_the_same_as_repeating_rows():
    rng = np.random.default_rng(0)
    true, times = rng.random((40, 4)), rng.integers(1, 5, 40)
    weighted = minimise_log_loss(true, importance=times.astype(float))
    repeated = minimise_log_loss(np.repeat(true, times, axis=0))
    assert weighted.weights == pytest.approx(repeated.weights, abs=1e-6)
    assert weighted.loss == pytest.approx(repeated.loss, abs=1e-9)


@pytest.mark.parametrize("useless", [0, 40])
def test_many_rows_and_models_are_certified_over_all_models(useless):
    rng = np.random.default_rng(0)
    common = rng.beta(3, 2, (12_000, 1))
    true = np.clip(common * rng.uniform(0.5, 1.3, (12_000, 6)), 1e-4, 1)
    true = np.hstack([rng.uniform(0, 0.2, (12_000, useless)), true])
    # A specialist that matters for very few rows, so that a sample of rows may miss it.
    rare = np.full((12_000, 1), 1e-3)
    rare[:30] = 1
    true[:30, :] = np.minimum(true[:30, :], 1e-3)
    true = np.hstack([true, rare])
    found = minimise_log_loss(true)
    assert found.certificate <= 1e-8
    assert certificate(true, found.weights) <= 1e-8
    assert found.weights[-1] > 0
    assert found.loss == pytest.approx(-np.log(true @ found.weights).mean(), abs=1e-12)


@few(30)
@given(
    arrays.arrays(
        np.float64, st.tuples(st.integers(2, 30), st.integers(2, 6)), elements=st.floats(1e-6, 1)
    ),
    st.integers(0, 10**6),
)
def test_a_model_more_never_hurts_and_order_means_nothing(true, seed):
    whole = minimise_log_loss(true)
    assert whole.loss <= minimise_log_loss(true[:, :-1]).loss + 1e-8
    rng = np.random.default_rng(seed)
    rows, models = rng.permutation(len(true)), rng.permutation(true.shape[1])
    shuffled = minimise_log_loss(true[rows][:, models])
    assert shuffled.loss == pytest.approx(whole.loss, abs=2e-8)
    twice = minimise_log_loss(np.hstack([true, true[:, :1]]))
    assert twice.loss == pytest.approx(whole.loss, abs=2e-8)
    bounded = [minimise_log_loss(true, upper=u).loss for u in (0.5, 0.75, 1.0)]
    assert bounded[0] >= bounded[1] - 1e-8 >= bounded[2] - 2e-8


@pytest.mark.parametrize("models", [3, 6, 20])
def test_a_bound_is_obeyed_and_the_optimum_found_where_models_are_alike(models):
    """Of hundred such problems five stopped far from the optimum, by up to 0.25 in the loss."""
    rng = np.random.default_rng(models)
    for upper in (0.5, 0.6, 0.75):
        for _ in range(40):
            true = np.full((rng.integers(2, 40), models), rng.uniform(0.1, 1))
            few = rng.random(true.shape) < 0.15
            true[few] = rng.uniform(1e-6, 1, few.sum())
            found = minimise_log_loss(true, upper=upper)
            assert found.certificate < 1e-8
            assert found.weights.max() <= upper + 1e-12
            assert found.weights.sum() == pytest.approx(1)


def test_who_asks_whether_a_loss_can_be_reached_is_told_sooner():
    rng = np.random.default_rng(0)
    true = np.clip(rng.beta(3, 1, (500, 12)), 0.02, 1)
    best = minimise_log_loss(true)
    for below in (0.05, 0.001):
        found = minimise_log_loss(true, enough=best.loss - below)
        assert found.iterations < best.iterations
        assert best.loss - below <= found.loss - found.certificate <= best.loss
    never = minimise_log_loss(true, start=best.weights, enough=best.loss + 0.01)
    assert never.loss == pytest.approx(best.loss, abs=1e-9)
    assert never.certificate < 1e-8

"""Gradients against finite differences and against Gluon's autograd."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icecore.core.statistics import softmax
from icecore.heads.mlp.adam import Moments, adam_step, cosine
from icecore.heads.mlp.network import (
    dropout_mask,
    initial_layers,
    log_loss,
    loss_and_gradients,
    predict_logits,
)
from icecore.heads.numerics.lanes import Lanes, widen


def problem(depth: int, seed: int = 0, rows: int = 7, dropout: float = 0.0):
    rng = np.random.default_rng(seed)
    sizes = [5, *[6] * depth, 4]
    layers = [(rng.normal(size=(a, b)), rng.normal(size=b)) for a, b in zip(sizes[:-1], sizes[1:])]
    inputs = rng.normal(size=(rows, 5))
    targets = rng.dirichlet(np.ones(4), rows)
    weights = rng.random(rows)
    masks = [dropout_mask((rows, 6), dropout, rng) for _ in range(depth)]
    return inputs, layers, targets, weights, masks


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_gradients_are_those_of_finite_differences(depth, dropout):
    inputs, layers, targets, weights, masks = problem(depth, dropout=dropout)
    _, gradients = loss_and_gradients(inputs, layers, targets, weights, masks)
    step = 1e-6
    for pair, gradient_pair in zip(layers, gradients, strict=True):
        for values, gradient in zip(pair, gradient_pair, strict=True):
            for index in np.ndindex(values.shape):
                kept = values[index]
                values[index] = kept + step
                above, _ = loss_and_gradients(inputs, layers, targets, weights, masks)
                values[index] = kept - step
                below, _ = loss_and_gradients(inputs, layers, targets, weights, masks)
                values[index] = kept
                assert gradient[index] == pytest.approx((above - below) / (2 * step), abs=1e-7)


@pytest.mark.parametrize("depth", [1, 2])
def test_loss_and_gradients_are_those_of_gluon(depth):
    mx = import_mxnet()
    inputs, layers, targets, weights, _ = problem(depth)
    loss, gradients = loss_and_gradients(inputs, layers, targets, weights, [None] * depth)
    net = mx.gluon.nn.HybridSequential()
    for _ in range(depth):
        net.add(mx.gluon.nn.Dense(6, activation="relu", in_units=5 if len(net) == 0 else 6))
    net.add(mx.gluon.nn.Dense(4, in_units=6))
    net.cast("float64")
    net.initialize()
    for block, (matrix, bias) in zip(net, layers, strict=True):
        block.weight.set_data(mx.nd.array(matrix.T, dtype="float64"))
        block.bias.set_data(mx.nd.array(bias, dtype="float64"))
    objective = mx.gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False)
    with mx.autograd.record():
        rows = objective(
            net(mx.nd.array(inputs, dtype="float64")),
            mx.nd.array(targets, dtype="float64"),
            mx.nd.array(weights[:, None], dtype="float64"),
        )
        total = rows.sum()
    total.backward()
    assert loss == pytest.approx(float(total.asscalar()), rel=1e-12)
    for block, (matrix, bias) in zip(net, gradients, strict=True):
        np.testing.assert_allclose(block.weight.grad().asnumpy().T, matrix, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(block.bias.grad().asnumpy(), bias, rtol=1e-9, atol=1e-12)


def import_mxnet():
    added = "bool" not in vars(np)
    if added:
        np.bool = bool
    try:
        return pytest.importorskip("mxnet", reason="mxnet (the reference) is not installed")
    finally:
        if added:
            del np.bool


def test_adam_is_the_textbook_formula():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 4))
    expected, first, second = values.copy(), np.zeros((3, 4)), np.zeros((3, 4))
    moments = Moments.zeros_like(values)
    for step in range(1, 6):
        gradient = rng.normal(size=(3, 4))
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        move = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        expected = expected - 0.01 * 0.1 * expected - 0.01 * move
        adam_step(values, gradient, moments, step, 0.01, 0.1)
        np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_cosine_rises_then_falls_to_zero():
    assert cosine(0.0, 2.0, 0.2) == 0
    assert cosine(0.1, 2.0, 0.2) == pytest.approx(1.0)
    assert cosine(0.2, 2.0, 0.2) == pytest.approx(2.0)
    assert cosine(0.6, 2.0, 0.2) == pytest.approx(1.0)
    assert cosine(1.0, 2.0) == pytest.approx(0.0)


def test_dropout_keeps_the_mean_and_the_rate():
    mask = dropout_mask((1000, 100), 0.3, np.random.default_rng(0))
    assert mask.dtype == np.float32
    assert (mask == 0).mean() == pytest.approx(77 / 256, abs=0.01)
    assert mask.mean() == pytest.approx(1, abs=0.02)
    assert dropout_mask((2, 2), 0.0, np.random.default_rng(0)) is None


def test_widening_is_exact_for_every_finite_float16():
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    out = np.empty(every.shape, np.float32)
    widen(every, out)
    np.testing.assert_array_equal(out.view(np.uint32), every.astype(np.float32).view(np.uint32))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e4))
def test_log_loss_is_that_of_the_softmax_and_does_not_overflow(seed, size):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(5, 3)) * size
    targets = rng.dirichlet(np.ones(3), 5)
    found = log_loss(logits, targets)
    assert np.isfinite(found)
    probabilities = softmax(logits)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    if size < 50:
        expected = -(targets * np.log(np.maximum(probabilities, 1e-300))).sum(axis=1).mean()
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_predicting_is_the_forward_pass():
    inputs, layers, targets, weights, _ = problem(2)
    logits = predict_logits(inputs @ layers[0][0], layers)
    loss, _ = loss_and_gradients(inputs, layers, targets, weights, [None, None])
    assert loss == pytest.approx(log_loss(logits, targets, weights) * weights.sum())


def test_initial_layers_have_he_variance_and_a_silent_output():
    layers = initial_layers([400, 300, 5], np.random.default_rng(0))
    assert layers[0][0].std() == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    assert not layers[1][0].any()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_lanes_cover_the_columns_and_keep_the_order(count):
    with Lanes(1000, count) as lanes:
        covered = [i for part in lanes.ranges for i in range(part.start, part.stop)]
        assert covered == list(range(1000))
        assert lanes.run(lambda item: item * 2, 7) == [0, 2, 4, 6, 8, 10, 12]


def test_an_error_in_a_lane_reaches_the_caller():
    def fail(item):
        if item == 1:
            raise ZeroDivisionError

    with Lanes(1000, 2) as lanes, pytest.raises(ZeroDivisionError):
        lanes.run(fail)

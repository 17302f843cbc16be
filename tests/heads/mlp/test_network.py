"""The loss of the MLP and its gradients, against finite differences."""

import numpy as np
import pytest

from icecore.heads.mlp.network import (
    Batch,
    Network,
    dropout_mask,
    initial,
    loss_and_gradients,
    tiles,
)

ROWS, INPUTS, WIDTH, CLASSES = 24, 6, 16, 3


@pytest.fixture
def network():
    rng = np.random.default_rng(3)
    found = initial(INPUTS, WIDTH, CLASSES, rng)
    for array in (found.b1, found.W2, found.b2):
        array[...] = rng.normal(0, 0.5, array.shape)
    return found


@pytest.fixture
def batch():
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(ROWS, INPUTS)).astype(np.float32)
    # Soft labels, and rows that count differently.
    targets = rng.dirichlet(np.ones(CLASSES), ROWS).astype(np.float32)
    return Batch(inputs, targets, rng.uniform(0.5, 2, ROWS).astype(np.float32) / ROWS)


def loss_and_found(network, batch, dropout):
    found = Network(*(np.full_like(array, np.nan) for array in network.arrays))
    # The same units are left out each time.
    return loss_and_gradients(network, batch, dropout, np.random.default_rng(7), found), found


@pytest.mark.parametrize("dropout", [0.0, 0.25, 0.5, 0.75])
def test_gradients_are_those_of_finite_differences(network, batch, dropout):
    _, found = loss_and_found(network, batch, dropout)
    rng = np.random.default_rng(11)
    for array, gradient in zip(network.arrays, found.arrays):
        for _ in range(4):
            before, step = array.copy(), rng.normal(0, 2e-3, array.shape).astype(np.float32)
            losses = []
            for sign in (1, -1):
                array[...] = before + sign * step
                losses.append(loss_and_found(network, batch, dropout)[0])
            array[...] = before
            # A step may lead over the kinks of a few ReLUs, and the numbers are float32.
            size = float(np.linalg.norm(gradient) * np.linalg.norm(step))
            assert (losses[0] - losses[1]) / 2 == pytest.approx(
                float((gradient * step).sum()), abs=0.03 * size + 1e-6
            )


def test_the_loss_is_the_weighted_cross_entropy(network, batch):
    loss, _ = loss_and_found(network, batch, 0.0)
    hidden = np.maximum(batch.inputs.astype(float) @ network.W1 + network.b1, 0)
    logits = hidden @ network.W2 + network.b2
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert loss == pytest.approx(-(batch.weights @ (logs * batch.targets).sum(axis=1)), rel=1e-5)


def test_a_new_network_gives_every_class_the_same_chance(batch):
    new = initial(INPUTS, WIDTH, CLASSES, np.random.default_rng(0))
    loss, _ = loss_and_found(new, batch, 0.0)
    assert loss == pytest.approx(float(batch.weights.sum()) * np.log(CLASSES), rel=1e-5)


def test_dropout_keeps_the_mean():
    mask = dropout_mask((400, 400), 0.3, np.random.default_rng(0))
    assert set(np.unique(mask).round(4)) == {0, np.float32(256 / (256 - 77)).round(4)}
    assert mask.mean() == pytest.approx(1, abs=0.01)
    assert dropout_mask((4, 4), 0.0, np.random.default_rng(0)) is None


@pytest.mark.parametrize(("rows", "width"), [(2, 2), (7, 9), (24, 16)])
def test_halves_of_rows_see_halves_of_units(rows, width):
    seen = np.zeros((rows, width), int)
    for part, units in tiles(rows, width, 0.5):
        seen[part, units] += 1
    assert seen.max() == 1
    assert (seen.sum(axis=1) > 0).all()
    assert (seen.sum(axis=0) > 0).all()
    assert tiles(rows, width, 0.4) == [(slice(0, rows), slice(0, width))]

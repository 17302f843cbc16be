"""A member of a stack ends where it would end alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icecore.core.errors import HeadError
from icecore.heads.mlp.adam import LazyAdam, Moments, adam_step, cosine
from icecore.heads.mlp.member import Member
from icecore.heads.mlp.network import initial_layers, loss_and_gradients, predict_logits
from icecore.heads.mlp.stack import fit_stack
from icecore.heads.mlp.validation import Validation
from icecore.heads.numerics.scaling import Scaling


def blobs(rows=240, columns=40, classes=3, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    codes = rng.integers(classes, size=rows)
    centres = rng.normal(size=(classes, columns))
    features = (centres[codes] + 2 * rng.normal(size=(rows, columns))).astype(dtype)
    return features, np.eye(classes, dtype=np.float32)[codes]


def assert_same(one, other, tolerance=2e-4):
    assert one.best_epoch == other.best_epoch
    assert one.stopped == other.stopped
    np.testing.assert_allclose(one.losses, other.losses, rtol=tolerance)
    for (w1, b1), (w2, b2) in zip(one.layers, other.layers, strict=True):
        np.testing.assert_allclose(w1, w2, rtol=0, atol=tolerance)
        np.testing.assert_allclose(b1, b2, rtol=0, atol=tolerance)


member_strategy = st.builds(
    Member,
    width=st.sampled_from([8, 16, 33]),
    depth=st.sampled_from([1, 2]),
    learning_rate=st.sampled_from([1e-3, 5e-3]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    dropout=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    input_dropout=st.sampled_from([0.0, 0.2, 0.4]),
    label_smoothing=st.sampled_from([0.0, 0.1]),
    epochs=st.integers(1, 5),
    stop_after=st.sampled_from([None, 2]),
    patience=st.sampled_from([None, 1]),
    seed=st.integers(0, 5),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(member_strategy, min_size=2, max_size=5), st.integers(0, 3))
def test_every_member_equals_itself_alone(members, seed):
    features, targets = blobs(dtype=np.float16)
    rng = np.random.default_rng(seed)
    weights = [(rng.random(len(features)) < 0.8).astype(np.float32) for _ in members]
    held = [np.flatnonzero(mask == 0) for mask in weights]
    validation = [Validation(features, targets, rows) for rows in held]
    options = {"batch_size": 50, "seed": seed, "lanes": 1}
    together = fit_stack(
        features, targets, members, weights=weights, validation=validation, **options
    )
    for index, member in enumerate(members):
        alone = fit_stack(
            features,
            targets,
            [member],
            weights=[weights[index]],
            validation=[validation[index]],
            **options,
        )[0]
        assert_same(together[index], alone)


@pytest.mark.parametrize(("decay", "dropout"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.5)])
def test_training_is_the_plain_loop(decay, dropout):
    """The stacked, blocked, folded trainer against AdamW written out.

    The second moment of the first matrix is renewed at the first eight steps, and then
    at every fourth, whose gradient stands for four.
    """
    features, targets = blobs()
    member = Member(
        width=10, dropout=dropout, weight_decay=decay, learning_rate=0.01, epochs=5, seed=4
    )
    mask = None
    if dropout:
        mask = np.zeros((60, 10))
        mask[:30, :5] = mask[30:, 5:] = 2
    scaling = Scaling(np.full(1, 0.3, np.float32), np.full(1, 0.7, np.float32))
    found = fit_stack(features, targets, [member], scaling=scaling, batch_size=60, seed=9)[0]

    inputs = ((features - np.float32(0.3)) * np.float32(0.7)).astype(np.float64)
    layers = [
        (w.astype(np.float64), b.astype(np.float64))
        for w, b in initial_layers([40, 10, 3], np.random.default_rng([4, 4]))
    ]
    moments = [(Moments.zeros_like(w), Moments.zeros_like(b)) for w, b in layers]
    first, second, root = np.zeros((40, 10)), np.zeros((40, 10)), None
    order, step = np.random.default_rng([9, 1]), 0
    for _ in range(5):
        for rows in np.array_split(order.permutation(np.arange(240, dtype=np.int32)), 4):
            step += 1
            share = np.full(len(rows), 1 / 60)
            _, gradients = loss_and_gradients(inputs[rows], layers, targets[rows], share, [mask])
            rate = cosine((step - 0.5) / 20, 0.01)
            first = 0.9 * first + 0.1 * gradients[0][0]
            if step <= 8 or step % 4 == 0:
                steps = 1 if step <= 8 else 4
                second = 0.999**steps * second + steps * 0.001 * gradients[0][0] ** 2
                root = np.sqrt(second / (1 - 0.999**step)) + 1e-8
            layers[0][0][:] *= 1 - rate * decay
            layers[0][0][:] -= rate * np.clip(first / (1 - 0.9**step) / root, -1, 1)
            adam_step(layers[0][1], gradients[0][1], moments[0][1], step, rate, 0.0)
            for layer, gradient, moment in list(zip(layers, gradients, moments, strict=True))[1:]:
                adam_step(layer[0], gradient[0], moment[0], step, rate, decay)
                adam_step(layer[1], gradient[1], moment[1], step, rate, 0.0)
    np.testing.assert_allclose(
        predict_logits(features @ found.layers[0][0], found.layers),
        predict_logits(inputs @ layers[0][0], layers),
        atol=2e-3,
    )


def test_a_feature_seen_between_two_renewals_makes_no_leap():
    """Its second moment is still zero when the weight moves for the first time."""
    optimiser, rate = LazyAdam((1, 1)), 0.01
    weights, before = np.zeros((1, 1), np.float32), 0.0
    space = np.empty((1, 1), np.float32)
    for step in range(1, 16):

        def gradient(out, keep, factor, seen=5.0 if step == 14 else 0.0):
            out[:] = keep * out + factor * seen if keep else factor * seen

        optimiser.step(weights, slice(0, 1), gradient, step, rate, 0.0, space)
        assert abs(weights[0, 0] - before) <= rate * 1.001
        assert (weights[0, 0] == 0) == (step < 14)
        before = float(weights[0, 0])


def test_label_smoothing_is_training_on_smoothed_targets():
    features, targets = blobs()
    smoothed = targets * np.float32(0.8) + np.float32(0.2 / 3)
    one = fit_stack(features, targets, [Member(width=8, label_smoothing=0.2, epochs=2)])[0]
    other = fit_stack(features, smoothed, [Member(width=8, epochs=2)])[0]
    assert_same(one, other, 1e-5)


def test_lanes_do_not_change_the_result():
    features, targets = blobs(columns=800)
    members = [Member(width=16, epochs=2), Member(width=8, epochs=2, input_dropout=0.3)]
    one = fit_stack(features, targets, members, batch_size=64, lanes=1)
    three = fit_stack(features, targets, members, batch_size=64, lanes=3)
    for a, b in zip(one, three, strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("lanes", [1, 2])
def test_blocks_and_groups_do_not_change_the_result(monkeypatch, lanes):
    features, targets = blobs(columns=600, dtype=np.float16)
    validation = [Validation(features, targets, np.arange(40))] * 3
    members = [Member(width=16, epochs=2), Member(width=8, epochs=3, seed=1)]
    members.append(Member(width=12, epochs=2, input_dropout=0.3))
    options = {"batch_size": 64, "lanes": lanes, "validation": validation}
    whole = fit_stack(features, targets, members, **options)
    # The least height of a block is 64 rows of the matrix; each member is a group.
    monkeypatch.setattr("icecore.heads.mlp.first_layers._BLOCK", 1)
    monkeypatch.setattr("icecore.heads.mlp.stack._WIDEST", 1)
    for a, b in zip(whole, fit_stack(features, targets, members, **options), strict=True):
        assert_same(a, b)


def test_the_best_epoch_is_kept_and_patience_ends_training():
    features, targets = blobs()
    shuffled = targets[np.random.default_rng(1).permutation(len(targets))]
    validation = Validation(features, shuffled)
    member = Member(width=32, learning_rate=0.02, dropout=0, epochs=30, patience=3)
    outcome = fit_stack(features, targets, [member], validation=[validation], batch_size=40)[0]
    assert outcome.stopped == "patience"
    assert len(outcome.losses) == outcome.best_epoch + 3 < 30
    assert outcome.best_loss == min(outcome.losses)
    again = Validation(features, shuffled)
    logits = predict_logits(features @ outcome.layers[0][0], outcome.layers)
    from icecore.heads.mlp.network import log_loss

    assert log_loss(logits, again.targets) == pytest.approx(outcome.best_loss, rel=1e-4)


def test_progress_can_drop_members():
    features, targets = blobs()
    seen = []

    def progress(epoch, outcomes):
        seen.append(epoch)
        return [1] if epoch == 2 else None

    first, second = fit_stack(
        features,
        targets,
        [Member(width=8, epochs=4), Member(width=8, epochs=4)],
        batch_size=60,
        progress=progress,
    )
    assert (first.stopped, second.stopped) == ("finished", "dropped")
    assert (first.best_epoch, second.best_epoch) == (4, 2)
    assert seen == [1, 2, 3, 4]


def test_a_diverging_member_is_named():
    features, targets = blobs()
    with pytest.raises(HeadError, match="training diverged.*learning rate 1e\\+38"):
        fit_stack(
            features * 1e5,
            targets,
            [Member(width=8, learning_rate=1e38)],
            batch_size=60,
            validation=[Validation(features, targets)],
        )

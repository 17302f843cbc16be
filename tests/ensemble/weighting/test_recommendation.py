"""What is recommended: on noise, on real gains, under budgets, and whatever users bring."""

import numpy as np
import pytest
from drawing import few
from hypothesis import example, given
from hypothesis import strategies as st

from icecore.core.softmax import softmax
from icecore.ensemble import Blender, BlendOptions, Chooser
from icecore.ensemble.metrics import log_loss
from icecore.ensemble.weighting.calibration import fit_calibration
from icecore.ensemble.weighting.recommendation import AVERAGE, SHRUNK, SINGLE
from icecore.ensemble.weighting.subsets import Costs


def choose(probabilities, y, options=None, groups=None, **more):
    blender = Blender(options or BlendOptions(), **more)
    return Chooser(blender).fit(probabilities, y, groups=groups)


def noisy_copies(builders, copies=6, rows=200):
    (table,), y = builders.probabilities(1, rows, quality=[1.5])
    rng = np.random.default_rng(0)
    return np.stack([table + rng.dirichlet(np.ones(4), rows) for _ in range(copies)]) / 2, y


@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "map"])
def test_equal_models_keep_nearly_equal_weights(builders, metric):
    chooser = choose(*noisy_copies(builders), BlendOptions(metric))
    away = np.abs(chooser.recipes_["recommended"].weights - 1 / 6).max()
    assert away <= 0.6 * np.abs(chooser.recipes_["tuned"].weights - 1 / 6).max()


def test_a_real_gain_is_taken(builders):
    chooser = choose(*builders.probabilities(5, 300, quality=[2.5, 0.2, 0.2, 0.2, 0.2]))
    assert chooser.recipes_["recommended"].weights[0] > 0.8
    assert chooser.reason_.scores[chooser.reason_.kind] < chooser.reason_.scores[AVERAGE]


def test_models_that_are_not_sure_enough_are_not_left_out_for_the_surest():
    """Tuned weights make up for that by the surest model alone; an average may be calibrated."""
    rng, rows = np.random.default_rng(0), 200
    y = rng.integers(4, size=rows + 2000)
    strength = (2, 1.8, 1.5, 1)
    models = np.stack([softmax(s * np.eye(4)[y] + rng.normal(size=(len(y), 4))) for s in strength])
    chooser = choose(models[:, :rows], y[:rows])
    unseen, truth = models[:, rows:], y[rows:]
    average = fit_calibration(models[:, :rows].mean(axis=0), y[:rows]).apply(unseen.mean(axis=0))
    found = log_loss(truth, chooser.predict_proba(unseen))
    assert found < log_loss(truth, average) + 0.02
    assert found < 0.6 * log_loss(truth, chooser.recipes_["tuned"].apply(unseen))


def test_a_model_that_brings_nothing_is_not_needed():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=400)
    probabilities = np.full((3, 400, 3), 1 / 3)
    for table in probabilities[:2]:  # two that err on different rows, and one that knows nothing
        table[:] = 0.1
        table[np.arange(400), np.where(rng.random(400) < 0.8, y, (y + 1) % 3)] = 0.8
    chooser = choose(probabilities, y, BlendOptions(calibrate=False))
    assert chooser.reason_.kind == SHRUNK
    assert chooser.reason_.shrinkage == chooser.recipes_["recommended"].weights[2] == 0


def test_a_model_alone_must_be_better_beyond_noise(builders):
    probabilities, y = builders.probabilities(2, 40, quality=[3, 0.05])
    # Weights of two models that are right and wrong together cannot do better than one alone.
    probabilities = np.stack([probabilities[0], np.roll(probabilities[0], 1, axis=1)])
    chooser = choose(probabilities, y, BlendOptions("brier"))
    assert chooser.recipes_["recommended"].weights[0] == pytest.approx(1, abs=0.05)


def test_the_recommended_answer_is_seldom_worse_than_average_or_single(builders):
    lost = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        quality = rng.uniform(0.5, 2, 4)
        probabilities, y = builders.probabilities(4, 2150, seed=seed, quality=quality)
        chooser = choose(probabilities[:, :150], y[:150])
        fresh, true = probabilities[:, 150:], y[150:]
        ours = log_loss(true, chooser.predict_proba(fresh))
        names = ("average", "single")
        others = [log_loss(true, chooser.recipes_[name].apply(fresh)) for name in names]
        lost.append(ours - min(others))
    assert np.mean(lost) < 0
    assert max(lost) < 0.02


@pytest.mark.parametrize("metric", ["log_loss", "accuracy"])
def test_budgets_hold_for_every_answer(builders, metric):
    probabilities, y = builders.probabilities(4, 120)
    names = ("a", "b", "c", "d")
    costs = Costs({}, size={"a": 5, "b": 4, "c": 3, "d": 100})
    options = BlendOptions(metric, max_size=7)
    chooser = choose(probabilities, y, options, models=names, costs=costs)
    for recipe in chooser.recipes_.values():
        used = [name for name, weight in zip(names, recipe.weights) if weight > 0]
        assert costs.of(used, "size") <= 7


@few(25)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(10, 60))
@example(19816, 5, 49)  # A calibration's fit once ended where it began, in one of the orders.
def test_order_of_models_and_rows_means_nothing(seed, models, rows):
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=rows)
    probabilities = rng.dirichlet(np.ones(3), (models, rows)) * 0.7 + 0.3 * np.eye(3)[y]
    first = choose(probabilities, y)
    swap, order = rng.permutation(models), rng.permutation(rows)
    second = choose(probabilities[swap][:, order], y[order], groups=order)
    for answer in ("tuned", "average", "recommended"):
        ours, theirs = (c.recipes_[answer] for c in (first, second))
        assert ours.weights.min() >= 0
        assert ours.weights.sum() == pytest.approx(1)
        # Weights may not be unique; what they give is.
        assert theirs.apply(probabilities[swap]) == pytest.approx(
            ours.apply(probabilities), abs=2e-4
        )


def test_a_model_given_twice_changes_nothing_that_is_tuned(builders):
    probabilities, y = builders.probabilities(3, 150)
    once = choose(probabilities, y).recipes_["tuned"].apply(probabilities)
    doubled = np.concatenate([probabilities, probabilities[:1]])
    assert choose(doubled, y).recipes_["tuned"].apply(doubled) == pytest.approx(once, abs=1e-4)


@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "map", "macro_f1"])
@pytest.mark.parametrize(
    "y",
    [
        np.array([0]),
        np.array([0, 0]),
        np.array([0, 1, 2, 3, 0, 1, 2, 3, 0, 1]),
        np.array([0] * 30 + [1]),
        np.array([2] * 25),
    ],
)
def test_few_rows_and_absent_classes(metric, y):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), (3, len(y)))
    chooser = choose(probabilities, y, BlendOptions(metric))
    table = chooser.predict_proba(probabilities)
    assert np.isfinite(table).all()
    assert table.sum(axis=1) == pytest.approx(np.ones(len(y)))
    assert chooser.reason_.kind in (AVERAGE, SHRUNK, SINGLE)


def test_two_hundred_classes(builders):
    probabilities, y = builders.probabilities(3, 600, classes=200)
    chooser = choose(probabilities, y)
    ours = log_loss(y, chooser.predict_proba(probabilities))
    assert ours <= log_loss(y, probabilities.mean(axis=0)) + 1e-9


def test_equal_images_are_in_one_fold(builders):
    probabilities, y = builders.probabilities(3, 60)
    many = np.repeat(probabilities, 5, axis=1)
    groups = np.repeat(np.arange(60), 5)
    together = choose(many, np.repeat(y, 5), groups=groups).reason_
    alone = choose(probabilities, y).reason_
    assert together.shrinkage == pytest.approx(alone.shrinkage, abs=1e-3)
    assert together.scores[SHRUNK] == pytest.approx(alone.scores[SHRUNK], abs=1e-4)

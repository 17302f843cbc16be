"""Calibration: known noise is recovered, and nothing is made up where there is none."""

import csv

import numpy as np
import pytest
from blending import blend_run
from scipy.optimize import minimize

from icecore.ensemble import (
    Blender,
    BlendOptions,
    Calibration,
    Chooser,
    blend_sources,
    load_saved,
    result_text,
)
from icecore.ensemble.metrics import log_loss
from icecore.ensemble.weighting.calibration import find_calibration, fit_calibration


def drawn(rows, wrong=0.0, temperature=1.0, classes=5, seed=0):
    """Return a table, given labels of which some are drawn at random, and the right labels."""
    rng = np.random.default_rng(seed)
    chances = Calibration(0.3).apply(rng.dirichlet(np.ones(classes), rows))
    right = (chances.cumsum(axis=1) < rng.random(rows)[:, None]).sum(axis=1).clip(0, classes - 1)
    flipped = np.where(rng.random(rows) < wrong, rng.integers(classes, size=rows), right)
    return Calibration(temperature).apply(chances), flipped, right


@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_known_noise_and_scale_are_recovered(wrong, temperature):
    table, y, _ = drawn(20_000, wrong, temperature)
    found = fit_calibration(table, y)
    assert found.wrong == pytest.approx(wrong, abs=0.02)
    assert found.temperature == pytest.approx(1 / temperature, rel=0.06)


def test_no_other_search_finds_better_numbers():
    table, y, _ = drawn(800, 0.2, 3.0, seed=4)

    def loss(at):
        return log_loss(y, Calibration(np.exp(at[0]), 1 / (1 + np.exp(-at[1]))).apply(table))

    best = min(
        minimize(loss, start, method="Nelder-Mead").fun for start in ([0, -3], [-1, -1], [1, 0])
    )
    # One imagined mistake among 800 rows moves it a little.
    assert log_loss(y, fit_calibration(table, y).apply(table)) <= best + 1e-4


def test_rows_of_a_dropped_class_are_not_taken_for_wrong_labels():
    table, y, _ = drawn(600, classes=4, seed=2)
    table = np.concatenate([table, np.zeros((600, 1))], axis=1)
    y[:60] = 4
    assert fit_calibration(table, y).wrong > 0.05
    assert find_calibration(table, y, np.arange(600)) is None
    chosen = Chooser(Blender(BlendOptions())).fit(np.stack([table, table]), y)
    assert not chosen.predict_proba(np.stack([table, table]))[:, 4].any()


def test_rows_keep_their_order_of_classes_and_sum_to_one():
    table, _, _ = drawn(50)
    after = Calibration(0.4, 0.2).apply(table)
    assert (after.argsort(axis=1) == table.argsort(axis=1)).all()
    assert after.sum(axis=1) == pytest.approx(np.ones(50))
    assert Calibration().apply(table) == pytest.approx(table)
    assert after.min() >= 0.04


def test_where_nothing_is_wrong_nothing_is_calibrated():
    kept = []
    for seed in range(30):
        table, y, _ = drawn(200, seed=seed)
        kept.append(find_calibration(table, y, np.arange(200)) is not None)
    assert np.mean(kept) <= 0.1


@pytest.mark.parametrize("rows", [50, 100, 300])
def test_rows_without_a_mistake_are_no_reason_to_be_surer(rows):
    """Probabilities that are right, and so high that 50 rows may hold no mistake."""

    def easy(count, seed):
        rng = np.random.default_rng(seed)
        top = 1 - rng.beta(0.1, 10, size=count)
        table = np.stack([top, (1 - top) * 0.7, (1 - top) * 0.3], axis=1)
        return table, (table.cumsum(axis=1) < rng.random(count)[:, None]).sum(axis=1).clip(0, 2)

    fresh, truth = easy(20_000, 99)
    losses = []
    for seed in range(10):
        table, y = easy(rows, seed)
        found = find_calibration(table, y, np.arange(rows)) or Calibration()
        losses.append(log_loss(truth, found.recommended.apply(fresh)))
    assert max(losses) < log_loss(truth, fresh) + 0.005


def test_copies_of_an_image_are_no_evidence():
    table, y, _ = drawn(40, 0.15, 1.5, seed=1)
    alone = find_calibration(table, y, np.arange(40))
    copies = np.repeat(np.arange(40), 30)
    together = find_calibration(table[copies], y[copies], copies)
    assert (alone is None) == (together is None)
    # Were they, the same rows would be in the fit and in what judges it.
    assert find_calibration(table[copies], y[copies], np.arange(len(copies))) is not None


@pytest.mark.parametrize("y", [np.array([0]), np.array([0, 1]), np.array([2] * 30)])
def test_few_rows_and_one_class(y):
    table = np.random.default_rng(0).dirichlet(np.ones(4), len(y))
    found = find_calibration(table, y, np.arange(len(y))) or Calibration()
    assert np.isfinite(found.apply(table)).all()


def test_the_recommended_answer_is_for_not_knowing_whether_labels_will_be_right(builders):
    probabilities, y = builders.probabilities(3, 4000, quality=[2, 1.5, 1])
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(4000) < 0.15, rng.integers(4, size=4000), y)
    # As heads that learnt from wrong labels: unsure of everything.
    unsure = 0.85 * Calibration(2.0).apply(probabilities.reshape(-1, 4)) + 0.15 / 4
    unsure = unsure.reshape(probabilities.shape)
    learn, fresh = slice(0, 1000), slice(1000, None)
    chooser = Chooser(Blender()).fit(unsure[:, learn], noisy[learn])
    plain = Chooser(Blender(BlendOptions(calibrate=False))).fit(unsure[:, learn], noisy[learn])
    ours, clean, given = (
        chooser.recipes_[name].apply(unsure[:, fresh]) for name in ("recommended", "clean", "given")
    )
    before = plain.recipes_["recommended"].apply(unsure[:, fresh])
    assert chooser.reason_.calibration.wrong == pytest.approx(0.15, abs=0.05)
    assert ours == pytest.approx((clean + given) / 2)
    as_given = [log_loss(noisy[fresh], table) for table in (given, ours, before)]
    if_right = [log_loss(y[fresh], table) for table in (clean, ours, given, before)]
    assert as_given[0] < as_given[1] < as_given[2] - 0.01
    assert if_right[0] < if_right[1] < if_right[2] < if_right[3] - 0.02


def test_other_metrics_are_not_calibrated(builders):
    probabilities, y = builders.probabilities(3, 200)
    spoilt = np.stack([Calibration(5.0).apply(table) for table in probabilities])
    assert Chooser(Blender(BlendOptions("accuracy"))).fit(spoilt, y).reason_.calibration is None
    assert Chooser(Blender()).fit(spoilt, y).reason_.calibration is not None


def test_a_run_with_wrong_labels_says_so_and_keeps_all_answers(builders, tmp_path):
    run = builders.run(tmp_path / "run", rows=900)
    rng = np.random.default_rng(0)
    with open(run / "samples.csv", newline="") as file:
        header, *rows = list(csv.reader(file))
    label = header.index("label")
    for row in rows:
        if rng.random() < 0.3:
            row[label] = rng.choice(builders.classes)
    with open(run / "samples.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    result = blend_run(run)
    (task,) = result.tasks
    wrong = task.reason.calibration.wrong
    assert 0.15 < wrong < 0.45
    assert f"wrong labels: about {wrong:.0%} of the labels look as if drawn" in result_text(result)
    assert "Take --answer clean if" in result_text(result)
    shares = [
        load_saved(run, name).tasks["label"].calibration.wrong for name in (None, "clean", "given")
    ]
    assert shares == [task.reason.calibration.recommended.wrong, 0, wrong]
    assert load_saved(run, "tuned").tasks["label"].calibration is None


def test_no_labels_are_called_wrong_for_the_imagined_mistake_alone(tmp_path):
    """Every row is right, of models that are less sure than they could be."""
    y = np.random.default_rng(0).integers(3, size=90)
    files = {"labels": [["id", "label"], *([n, "abc"[own]] for n, own in enumerate(y))]}
    for seed in (1, 2):
        table = np.random.default_rng(seed).dirichlet(np.ones(3), 90) / 2 + np.eye(3)[y] / 2
        files[f"model{seed}"] = [["id", *"abc"], *([n, *row] for n, row in enumerate(table))]
    for name, content in files.items():
        with open(tmp_path / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows(content)
    models = [tmp_path / "model1.csv", tmp_path / "model2.csv"]
    (task,) = blend_sources(models, labels=tmp_path / "labels.csv").tasks
    assert task.reason.calibration.wrong > 0.005
    assert task.wrong_labels == ""


def test_half_of_the_share_is_taken_unless_held_out_rows_are_worse_off_by_it():
    assert Calibration(0.6, 0.2, 0.05, 0.01, halved_gain=0.03).recommended.wrong == 0.1
    assert Calibration(0.6, 0.2, 0.05, 0.01, halved_gain=-0.01).recommended.wrong == 0.2
    table, y, _ = drawn(2000, 0.3, 1.0, seed=3)
    found = find_calibration(table, y, np.arange(2000))
    # The table is right for right labels: taking half of the wrong ones for right costs.
    assert found.gain > 0
    assert found.recommended.wrong in (found.wrong, found.wrong / 2)
    assert log_loss(y, found.recommended.apply(table)) < log_loss(y, table)

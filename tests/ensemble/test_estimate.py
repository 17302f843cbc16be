import dataclasses
import json
from typing import ClassVar

import numpy as np
import pytest
from blending import blend_run
from sklearn.base import BaseEstimator

from icecore.core.errors import ProbabilityError
from icecore.ensemble import (
    Blender,
    BlendOptions,
    Stacker,
    TaskData,
    blend_sources,
    estimate,
    result_text,
)
from icecore.ensemble.estimate import Learning
from icecore.ensemble.held_out import held_out
from icecore.ensemble.metrics import METRICS, log_loss
from icecore.ensemble.resampling import (
    Difference,
    Scored,
    bootstrap_interval,
    paired_difference,
)
from icecore.manifest import Manifest
from icecore.runs import open_run

ANSWERS = {"recommended", "tuned", "average", "best single", "class shares"}


def data_of(probabilities, y, tests=0):
    models, rows, classes = probabilities.shape
    none = ("",) * rows
    splits = np.array(["validation"] * (rows - tests) + ["test"] * tests)
    names = tuple(f"m{i}" for i in range(models))
    ids = tuple(map(str, range(rows)))
    labels = tuple(map(str, range(classes)))
    return TaskData("label", labels, names, ids, probabilities, splits, y, none, none)


class Spy(BaseEstimator):
    """Remembers which rows it saw: they are recognised by their probabilities."""

    seen: ClassVar[list] = []

    def fit(self, probabilities, y, letters=None):
        self.known_ = {row.tobytes() for row in probabilities[0]}
        return self

    def predict_proba(self, probabilities):
        unseen = {row.tobytes() for row in probabilities[0]}
        Spy.seen.append((len(self.known_), len(unseen), len(self.known_ & unseen)))
        return probabilities[0]


@pytest.mark.parametrize("tests", [0, 40])
def test_no_row_is_scored_by_a_choice_that_saw_it(builders, tests):
    data = data_of(*builders.probabilities(3, 100), tests)
    Spy.seen = []
    found = estimate(data, Blender(), {"spy": Spy()})
    assert all(common == 0 for _, _, common in Spy.seen)
    assert sum(scored for _, scored, _ in Spy.seen) == found.rows == (tests or 100)
    assert found.source == ("test split" if tests else "nested cross-validation")


def test_held_out_answers_stand_in_the_order_of_the_rows(builders):
    data = data_of(*builders.probabilities(3, 60))
    held = held_out(data, Blender(), {"spy": Spy()}, "nested cross-validation")
    assert held.rows.tolist() == list(range(60))
    assert np.array_equal(held.tables["spy"], data.probabilities[0])
    assert np.allclose(held.tables["average"], data.probabilities.mean(axis=0))


@pytest.mark.parametrize(
    ("metric", "rows", "parts"),
    [
        ("log_loss", 10, 10),
        ("log_loss", 100, 20),
        ("log_loss", 800, 12),
        ("log_loss", 2500, 5),
        ("accuracy", 100, 5),
    ],
)
def test_few_rows_are_held_out_in_more_parts(builders, metric, rows, parts):
    data = data_of(*builders.probabilities(2, rows))
    blender = Blender(BlendOptions(metric=metric))
    assert held_out(data, blender, None, "nested cross-validation").parts == parts
    assert f"one of {parts} parts at a time" in estimate(data, blender).rows_text


@pytest.mark.slow
def test_the_excess_is_what_weights_of_these_rows_cost(builders):
    every, y = builders.probabilities(4, 60_000, seed=1)
    best = log_loss(y, Blender().fit(every, y).predict_proba(every))
    told, true = [], []
    for start in range(0, 1600, 80):
        own = slice(start, start + 80)
        held = held_out(data_of(every[:, own], y[own]), Blender(), None, "nested cross-validation")
        assert held.excess["average"] == pytest.approx(0, abs=1e-12)
        told.append(held.excess["tuned"])
        fitted = Blender().fit(every[:, own], y[own])
        true.append(log_loss(y, fitted.predict_proba(every)) - best)
    assert 0.5 < np.mean(told) / np.mean(true) < 2


def test_intervals_are_wider_by_what_other_tuning_rows_might_bring(builders):
    data = data_of(*builders.probabilities(4, 80))
    held = held_out(data, Blender(), None, "nested cross-validation")
    found, more = estimate(data, Blender()), 4 * held.excess["recommended"] / 80
    scored = Scored(METRICS["log_loss"], data.y)
    ours, shares = held.tables["recommended"], held.tables["class shares"]
    plain = bootstrap_interval(scored, ours)
    gap = paired_difference(scored, ours, shares)
    _, *told = found.scores["recommended"]["log_loss"]
    assert more > 0
    for wide, narrow in (
        (told, plain),
        (dataclasses.astuple(found.over_shares["log_loss"])[1:3], (gap.low, gap.high)),
    ):
        errors = np.ptp(wide) / 3.92, np.ptp(narrow) / 3.92
        assert errors[0] ** 2 - errors[1] ** 2 == pytest.approx(more)
    assert found.scores["average"]["log_loss"][1:] == pytest.approx(
        bootstrap_interval(scored, held.tables["average"])
    )


def test_on_a_test_split_the_numbers_are_those_of_the_fitted_weights(builders):
    data = data_of(*builders.probabilities(3, 150), 50)
    found = estimate(data, Blender())
    fitted = Blender().fit(data.probabilities[:, :100], data.y[:100])
    table = fitted.predict_proba(data.probabilities[:, 100:])
    value, low, high = found.scores["tuned"]["log_loss"]
    assert value == pytest.approx(log_loss(data.y[100:], table))
    assert low < value < high


def test_stackers_are_compared_on_the_same_rows(builders):
    data = data_of(*builders.probabilities(3, 80))
    others = {f"stacking, {kind}": Stacker(kind) for kind in ("logistic", "lightgbm")}
    found = estimate(data, Blender(), others)
    assert set(found.scores) == {*ANSWERS, *others}
    assert all(set(s) == {"log_loss", "accuracy", "map"} for s in found.scores.values())


def test_a_class_with_one_row_does_not_stop_the_folds(builders):
    probabilities, y = builders.probabilities(3, 40)
    y = np.where(y == 3, 0, y)
    y[7] = 3
    assert estimate(data_of(probabilities, y), Blender()).rows == 40


def test_too_little_to_score(builders):
    data = data_of(*builders.probabilities(2, 30))
    with pytest.raises(ProbabilityError, match="there are no labelled test rows"):
        estimate(data, Blender(), source="test split")


def test_a_run_says_it_everywhere(run):
    result = blend_run(run)
    found = result.to_json()["tasks"][0]["estimate"]
    assert found["source"] == "test split"
    assert found["rows"] == 40
    assert set(found["scores"]) == set(found["seen"]) == ANSWERS
    assert result.tasks[0].estimate.sentence_on("these rows") in result_text(result)
    assert blend_run(run, BlendOptions(honest=False), write=False).tasks[0].estimate is None


def test_every_number_says_which_rows_it_saw(builders):
    probabilities, y = builders.probabilities(3, 150)
    with_test = estimate(data_of(probabilities, y, 50), Blender(), kind="out-of-fold")
    assert with_test.seen["tuned"] == "chosen on 100 out-of-fold rows, scored on 50 test rows"
    assert with_test.seen["average"] == "nothing is chosen; scored on 50 test rows"
    alone = estimate(data_of(probabilities, y, 1), Blender(), kind="out-of-fold")
    assert alone.seen["average"] == "nothing is chosen; scored on 1 test row"
    nested = estimate(data_of(probabilities, y), Blender(), kind="out-of-fold")
    assert nested.seen["best single"] == (
        "chosen on 19 of 20 parts of 150 out-of-fold rows, scored on the part left out"
    )
    assert "validation" not in str(nested.to_json()).replace("cross-validation", "")


def gap(value, low, high, p=0.5):
    return Difference(value, low, high, p)


@pytest.fixture(scope="module")
def estimated(builders):
    return estimate(data_of(*builders.probabilities(3, 60)), Blender())


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (gap(0.02, 0.01, 0.03), "beats the plain average beyond noise"),
        (gap(0.01, -0.01, 0.03), "does not differ from the plain average beyond noise"),
        (gap(-0.01, -0.03, 0.01), "does not differ from the plain average beyond noise"),
        (gap(0.01, -0.01, 0.03, 0.001), "p = 0.001 of these rows alone: a mistake more, or"),
        (gap(0.02, 0.01, 0.03, 0.001), "p = 0.001)"),
        (gap(-0.02, -0.03, -0.01), "is worse than the plain average beyond noise"),
        (gap(0.0, 0.0, 0.0), "gives what the plain average gives"),
    ],
)
def test_the_sentence_follows_the_sign(estimated, difference, words):
    assert words in dataclasses.replace(estimated, difference=difference).sentence


@pytest.mark.parametrize(("seeds", "least"), [(4, 3), pytest.param(12, 10, marks=pytest.mark.slow)])
def test_labels_of_noise_teach_nothing(seeds, least):
    said = 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        y = rng.integers(4, size=150)
        probabilities = rng.dirichlet(np.full(4, 5.0), (3, 150))
        found = estimate(data_of(probabilities, y), Blender())
        said += not found.learnt
        if not found.learnt:
            assert found.sentence.startswith("nothing was learnt that shows on 150 tuning rows")
            assert "95% interval" in found.sentence
    assert said >= least


def test_ten_rows_are_enough_to_say_something(builders):
    found = estimate(data_of(*builders.probabilities(3, 10)), Blender())
    assert found.rows == 10
    assert found.sentence


def test_nested_log_losses_are_those_of_heads_of_all_rows_and_say_so(builders):
    probabilities, y = builders.probabilities(3, 100)
    plain = estimate(data_of(probabilities, y), Blender())
    found = estimate(data_of(probabilities, y), Blender(), learning=Learning(0.01, 0.04))
    for answer in ANSWERS - {"class shares"}:
        value, low, high = plain.scores[answer]["log_loss"]
        ours = found.scores[answer]["log_loss"]
        assert ours[0] == pytest.approx(value - 0.01)
        error = (high - low) / 3.92
        wider = np.sqrt(error**2 + 4 * 0.04 / 100) / error
        ends = ours[0] + wider * (np.array([low, high]) - value)
        assert ours[1:] == pytest.approx(np.maximum(ends, 0))  # no log-loss is below 0
        assert found.scores[answer]["accuracy"] == plain.scores[answer]["accuracy"]
    assert found.scores["class shares"] == plain.scores["class shares"]
    assert found.difference == plain.difference
    assert "0.0100 lower than measured: the final heads learn from all rows" in found.gain_text
    assert plain.gain_text == ""
    tested = estimate(data_of(probabilities, y, 40), Blender(), learning=Learning(0.01, 0.04))
    assert tested.scores == estimate(data_of(probabilities, y, 40), Blender()).scores


@pytest.mark.parametrize(
    ("chosen", "gain"),
    [
        ({"m0": {"learning": {"gain": 0.02, "excess": 0.1}}, "m1": {"learning": None}}, 0.02),
        ({"m0": {"learning": {"gain": -0.02, "excess": 0.1}}, "m1": {}}, 0),
        ({"m0": {"learning": {"gain": 1, "excess": 0.1}}}, 0),
        ({"m0": {"learning": {"gain": 0.1}}}, 0),
        ({"m0": {"learning": "x"}}, 0),
        ({}, 0),
    ],
)
def test_a_run_says_what_its_heads_gain_from_all_rows(builders, tmp_path, chosen, gain):
    run = untested(builders, tmp_path / "run", chosen)
    found = blend_run(run, write=False)
    assert found.tasks[0].estimate.learning.gain == pytest.approx(gain)
    assert ("the final heads learn from all" in result_text(found)) == (gain > 0)


def untested(builders, path, chosen, **changes):
    """Return a run that says `chosen` of its first two models, and has no test labels."""
    run = builders.run(path)
    # Without its labels the last third scores nothing.
    samples = [
        dataclasses.replace(one, label="") if one.split == "test" else one
        for one in open_run(run).samples()
    ]
    Manifest(tuple(samples)).write(run / "samples.csv")
    about = json.loads((run / "run.json").read_text())
    (task,) = about["tasks"].values()
    named = dict(zip(("m0", "m1"), task["models"]))
    task |= {"chosen": {named[name]: value for name, value in chosen.items()}, **changes}
    (run / "run.json").write_text(json.dumps(about))
    return run


def test_several_runs_say_what_their_heads_gain_as_one_does(builders, tmp_path):
    said = {"m0": {"learning": {"gain": 0.02, "excess": 0.1}}}
    first = untested(builders, tmp_path / "first", said)
    second = untested(builders, tmp_path / "second", said)
    together = blend_sources([first, second])
    learning = together.tasks[0].estimate.learning
    assert dataclasses.astuple(learning) == pytest.approx((0.02, 0.1))
    # Rows that are predicted in two ways have no one gain.
    other = untested(builders, tmp_path / "other", said, validation="validation split")
    mixed = blend_sources([first, other])
    assert mixed.tasks[0].estimate.learning == Learning()


def test_no_blend_is_told_to_have_no_loss_at_all(builders):
    """Heads may lose, and so gain, more than their blend has to lose."""
    data = data_of(*builders.probabilities(3, 60))
    plain = estimate(data, Blender())
    found = estimate(data, Blender(), learning=Learning(gain=4.0))
    least = min(own["log_loss"][0] for own in plain.scores.values())
    assert found.learning.gain == pytest.approx(least / 2)
    told = [found.scores[answer]["log_loss"][0] for answer in ANSWERS - {"class shares"}]
    assert min(told) == pytest.approx(least / 2)
    assert f"{least / 2:.4f} lower than measured" in found.gain_text

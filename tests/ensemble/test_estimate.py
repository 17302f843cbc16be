from typing import ClassVar

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from icecore.core.errors import ProbabilityError
from icecore.ensemble import Blender, Stacker, TaskData, blend_run, estimate, result_text
from icecore.ensemble.estimate import held_out_tables
from icecore.ensemble.metrics import METRICS, log_loss


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
    metric = "log_loss"

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
    found = estimate(data, Spy())
    assert all(common == 0 for _, _, common in Spy.seen)
    assert sum(scored for _, scored, _ in Spy.seen) == found.rows == (tests or 100)
    assert found.source == ("test split" if tests else "nested cross-validation")


def test_held_out_answers_stand_in_the_order_of_the_rows(builders):
    data = data_of(*builders.probabilities(3, 60))
    rows, tables = held_out_tables(
        data, {"tuned": Spy()}, METRICS["log_loss"], "nested cross-validation", 5, 0
    )
    assert rows.tolist() == list(range(60))
    assert np.array_equal(tables["tuned"], data.probabilities[0])
    assert np.allclose(tables["average"], data.probabilities.mean(axis=0))


def test_on_a_test_split_the_numbers_are_those_of_the_fitted_weights(builders):
    data = data_of(*builders.probabilities(3, 150), 50)
    found = estimate(data, Blender())
    fitted = Blender().fit(data.probabilities[:, :100], data.y[:100])
    table = fitted.predict_proba(data.probabilities[:, 100:])
    value, low, high = found.scores["tuned"]["log_loss"]
    assert value == pytest.approx(log_loss(data.y[100:], table))
    assert low < value < high


def test_noise_is_not_recommended(builders):
    probabilities, y = builders.probabilities(1, 200, quality=[1.5])
    rng = np.random.default_rng(0)
    # Six copies of one model with independent noise: equal weights are the best there are.
    noisy = np.stack([probabilities[0] + rng.dirichlet(np.ones(4), 200) for _ in range(6)]) / 2
    found = estimate(data_of(noisy, y), Blender())
    assert found.recommended == "average"
    assert "do not beat the plain average beyond noise" in found.sentence
    assert "the plain average is recommended" in found.sentence


def test_a_real_gain_is_recommended(builders):
    probabilities, y = builders.probabilities(5, 300, quality=[2.5, 0.2, 0.2, 0.2, 0.2])
    found = estimate(data_of(probabilities, y), Blender())
    assert found.recommended == "tuned"
    assert found.difference.low > 0
    assert "they are recommended" in found.sentence


def test_stackers_are_compared_on_the_same_rows(builders):
    data = data_of(*builders.probabilities(3, 80))
    others = {f"stacking, {kind}": Stacker(kind) for kind in ("logistic", "lightgbm")}
    found = estimate(data, Blender(), others)
    assert set(found.scores) == {"tuned", "average", "best single", *others}
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
    assert found["recommended"] in ("tuned", "average")
    assert set(found["scores"]) == {"tuned", "average", "best single"}
    assert found["sentence"] in result_text(result)
    assert blend_run(run, honest=False, write=False).tasks[0].estimate is None

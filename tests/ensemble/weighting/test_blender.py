"""One conformance suite for every way of finding weights, and what each promises beyond it."""

import dataclasses

import numpy as np
import pytest
from sklearn.base import clone

from icecore.core.errors import ProbabilityError
from icecore.ensemble import METRICS, Blender, BlendOptions, combine, find_weights
from icecore.ensemble.metrics import accuracy, log_loss

METHODS = {
    "log_loss": BlendOptions(),
    "log_loss, geometric": BlendOptions(mean="geometric"),
    "log_loss, pulled": BlendOptions(l2=0.1),
    "log_loss, bounded": BlendOptions(upper=0.5),
    "accuracy": BlendOptions("accuracy"),
    "accuracy, geometric": BlendOptions("accuracy", mean="geometric"),
    "map": BlendOptions("map"),
    "mrr": BlendOptions("mrr"),
    "balanced_accuracy": BlendOptions("balanced_accuracy"),
    "macro_f1": BlendOptions("macro_f1"),
    "basic_precision": BlendOptions("basic_precision"),
    "a callable": BlendOptions(accuracy),
}


def letters_for(y, classes=4):
    return ["".join("y" if c == true else "n" for c in range(classes)) for true in y]


@pytest.fixture(params=METHODS)
def method(request):
    return Blender(METHODS[request.param])


class TestConformance:
    def test_weights_are_non_negative_and_sum_to_one(self, method, builders):
        probabilities, y = builders.probabilities(5, 80)
        assert method.fit(probabilities, y, letters_for(y)) is method
        assert method.weights_.shape == (5,)
        assert method.weights_.min() >= 0
        assert method.weights_.sum() == pytest.approx(1)

    def test_never_worse_than_average_and_singles_on_the_rows_of_fit(self, method, builders):
        if method.options.l2 or method.options.upper < 1:
            pytest.skip("a pull or a bound gives up the optimum on purpose")
        probabilities, y = builders.probabilities(5, 80)
        letters = letters_for(y)
        method.fit(probabilities, y, letters)
        metric = METRICS.get(method.options.metric, METRICS["accuracy"])
        reached = metric.score(y, method.predict_proba(probabilities), letters)
        others = [
            combine(probabilities, w, method.options.mean) for w in [*np.eye(5), np.full(5, 0.2)]
        ]
        assert reached >= max(metric.score(y, table, letters) for table in others) - 1e-9
        assert method.score_ == pytest.approx(reached if metric.higher_is_better else -reached)

    def test_the_same_seed_gives_the_same_weights(self, method, builders):
        probabilities, y = builders.probabilities(5, 80)
        first = clone(method).fit(probabilities, y, letters_for(y)).weights_
        assert np.array_equal(first, method.fit(probabilities, y, letters_for(y)).weights_)

    def test_predictions_are_probabilities(self, method, builders):
        probabilities, y = builders.probabilities(3, 50)
        table = method.fit(probabilities, y, letters_for(y)).predict_proba(probabilities)
        assert table.shape == (50, 4)
        assert np.allclose(table.sum(axis=1), 1)
        assert np.array_equal(method.predict(probabilities), table.argmax(axis=1))

    def test_one_model_gets_the_whole_weight(self, method, builders):
        method.options = dataclasses.replace(method.options, upper=1.0)
        probabilities, y = builders.probabilities(1, 30)
        method.fit(probabilities, y, letters_for(y))
        assert method.weights_.tolist() == [1.0]
        assert any("there is one model only" in note for note in method.notes_)

    def test_identical_models_are_named(self, method, builders):
        probabilities, y = builders.probabilities(2, 60)
        method.options = dataclasses.replace(method.options, upper=1.0)
        method.fit(np.stack([*probabilities, probabilities[0]]), y, letters_for(y))
        assert method.weights_.sum() == pytest.approx(1)
        assert any(n.startswith("model 2 and model 0 give the same") for n in method.notes_)

    def test_impossible_and_perfect_rows_are_named(self, method, builders):
        probabilities, y = builders.probabilities(2, 40)
        probabilities[0, 3] = np.eye(4)[(y[3] + 1) % 4]
        probabilities[1] = np.eye(4)[y]
        method.fit(probabilities, y, letters_for(y))
        notes = "\n".join(method.notes_)
        assert "model 0 gives its true class a probability of 0 in 1 row" in notes
        assert "row 3; such values count as 1e-15" in notes
        assert "model 1 is perfect on the tuning rows" in notes

    def test_columns_that_are_called_otherwise_are_named(self, method, builders):
        probabilities, y = builders.probabilities(2, 80)
        # As a header that was written by hand: numbers of one class under another's name.
        probabilities[1] = 0.2 * probabilities[1] + 0.8 * np.eye(4)[y]
        probabilities[1, :, [0, 2]] = probabilities[1, :, [2, 0]]
        notes = method.fit(probabilities, y, letters_for(y)).notes_
        assert [n.partition(" is right")[0] for n in notes if "called otherwise" in n] == [
            "model 1"
        ]
        assert any("(0 for 2, 2 for 0)" in note for note in notes)

    def test_too_few_rows_and_absent_classes_are_named(self, method, builders):
        probabilities, y = builders.probabilities(5, 8)
        few, y = probabilities[:, :3], y[:3]
        method.fit(few, y, letters_for(y))
        assert any("fewer tuning rows (3) than models (5)" in note for note in method.notes_)
        assert any("1 class has no tuning row: 3" in note for note in method.notes_)

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (lambda p: p * np.nan, "NaN or infinite"),
            (lambda p: np.log(p), "apply a softmax first"),
            (lambda p: p * 0.5, "rows do not sum to 1"),
            (lambda p: p[0], "give probabilities \\(M, N, C\\)"),
            (lambda p: p[:, :5], "do not fit labels of shape"),
        ],
    )
    def test_what_is_no_probability_is_refused(self, method, builders, spoil, words):
        probabilities, y = builders.probabilities(3, 20)
        with pytest.raises(ProbabilityError, match=words):
            method.fit(spoil(probabilities), y, letters_for(y))


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_log_loss_is_certified(builders, mean):
    probabilities, y = builders.probabilities(6, 200)
    blender = Blender(BlendOptions(mean=mean)).fit(probabilities, y)
    assert blender.certificate_ <= 1e-8
    for weights in np.random.default_rng(0).dirichlet(np.ones(6), 200):
        assert blender.score_ <= log_loss(y, combine(probabilities, weights, mean)) + 1e-9


def test_a_search_has_no_certificate(builders):
    assert (
        Blender(BlendOptions("accuracy")).fit(*builders.probabilities(3, 40)).certificate_ is None
    )


def test_small_searches_are_exhaustive(builders):
    probabilities, y = builders.probabilities(2, 60, seed=3)
    best = max(
        accuracy(y, combine(probabilities, np.array([w, 1 - w]))) for w in np.linspace(0, 1, 201)
    )
    assert Blender(BlendOptions("accuracy")).fit(probabilities, y).score_ >= best


def test_accuracy_search_finds_a_needle(builders):
    # Only weights near (0.9, 0.1) get every row right: half of the rows need each model.
    y = np.array([0] * 10)
    first = np.array([[0.52, 0.48]] * 5 + [[0.49, 0.51]] * 5)
    second = np.array([[0.34, 0.66]] * 5 + [[0.7, 0.3]] * 5)
    assert Blender(BlendOptions("accuracy")).fit(np.stack([first, second]), y).score_ == 1


def test_a_pull_draws_to_equal_weights_and_a_bound_holds(builders):
    probabilities, y = builders.probabilities(4, 100)
    away = [np.ptp(find_weights(probabilities, y, BlendOptions(l2=l2))) for l2 in (0, 0.1, 1, 100)]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 1e-2
    assert find_weights(probabilities, y, BlendOptions(upper=0.3)).max() <= 0.3 + 1e-12


def test_a_model_that_knows_nothing_gets_nothing(builders):
    probabilities, y = builders.probabilities(3, 300, quality=[2, 2, 2])
    useless = np.random.default_rng(1).dirichlet(np.ones(4), 300)
    assert find_weights(np.stack([*probabilities, useless]), y)[3] < 0.02


def test_all_wrong_options_are_named_at_once(builders):
    with pytest.raises(ProbabilityError) as caught:
        BlendOptions(
            "accuracy", mean="harmonic", l2=1e308, upper=2, backbones_max=0, stacking=("x",)
        )
    for words in (
        "mean is 'harmonic'",
        "l2 is 1e+308, not from 0 to 1e+06",
        "upper is 2",
        "go with the metric log_loss only",
        "the budget of networks is 0",
        "unknown stacking 'x'",
    ):
        assert words in str(caught.value)
    with pytest.raises(ProbabilityError, match=r"upper is 0.1, which 3 models cannot reach"):
        Blender(BlendOptions(upper=0.1)).fit(*builders.probabilities(3, 20))


def test_combine_refuses_weights_that_do_not_fit(builders):
    probabilities, _ = builders.probabilities(3, 20)
    with pytest.raises(ProbabilityError, match="one weight for each model"):
        combine(probabilities, np.ones(2))


def test_a_metric_of_the_callers_changes_no_rows(builders):
    # One that sorted its labels had the weights tuned on other ones.
    def careless(y, probabilities):
        right = float((y == probabilities.argmax(axis=1)).mean())
        y.sort()
        probabilities /= 2
        return right

    probabilities, y = builders.probabilities(3, 60)
    kept = probabilities.copy(), y.copy()
    found = Blender(BlendOptions(metric=careless)).fit(probabilities, y).weights_
    assert np.array_equal(probabilities, kept[0])
    assert np.array_equal(y, kept[1])
    expected = Blender(BlendOptions(metric="accuracy")).fit(probabilities, y).weights_
    assert np.allclose(found, expected)

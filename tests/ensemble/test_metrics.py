import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import sklearn.metrics as reference
from drawing import few
from hypothesis import given
from hypothesis import strategies as st

from icecore.core.errors import ProbabilityError
from icecore.ensemble import metrics


@pytest.fixture(params=[0, 1, 2])
def data(request, builders):
    probabilities, y = builders.probabilities(1, 200, 6, seed=request.param)
    table = probabilities[0]
    if request.param == 2:
        # Two decimals make ties between rows, as submissions have them.
        table = np.round(table, 2)
    return y, table


def one_hot(y, table):
    return np.eye(table.shape[1])[y]


def test_agree_with_scikit_learn(data):
    y, table = data
    top = table.argmax(axis=1)
    hot = one_hot(y, table)
    expected = {
        "accuracy": reference.accuracy_score(y, top),
        "balanced_accuracy": reference.balanced_accuracy_score(y, top),
        "macro_f1": reference.f1_score(y, top, average="macro"),
        "map": reference.average_precision_score(hot, table, average="macro"),
        "micro_map": reference.average_precision_score(hot, table, average="micro"),
        "brier": float(((table - hot) ** 2).sum(axis=1).mean()),
    }
    found = {name: metrics.METRICS[name].function(y, table) for name in expected}
    assert found == pytest.approx(expected, abs=1e-12)


def test_log_loss_agrees_with_scikit_learn(builders):
    probabilities, y = builders.probabilities(1, 150, 5)
    assert metrics.log_loss(y, probabilities[0]) == pytest.approx(
        reference.log_loss(y, probabilities[0], labels=range(5)), abs=1e-12
    )


def test_top_k_agrees_with_scikit_learn_where_there_are_no_ties(builders):
    probabilities, y = builders.probabilities(1, 150, 6)
    for k in (1, 2, 5):
        expected = reference.top_k_accuracy_score(y, probabilities[0], k=k, labels=range(6))
        assert metrics.top_k_accuracy(y, probabilities[0], k) == pytest.approx(expected)


def test_mrr_agrees_with_the_ranking_of_the_gluon_sample(data):
    y, table = data
    table = np.round(table, 1)
    ranks = [
        int(np.flatnonzero(np.argsort(row, kind="stable")[::-1] == t)[0]) + 1
        for row, t in zip(table, y)
    ]
    assert metrics.mrr(y, table) == pytest.approx(np.mean(1 / np.array(ranks)), abs=1e-12)


def test_ece_agrees_with_a_plain_loop(data):
    y, table = data
    confidence, right = table.max(axis=1), table.argmax(axis=1) == y
    total = 0.0
    for index in range(15):
        inside = (confidence > index / 15) & (confidence <= (index + 1) / 15)
        if inside.any():
            total += inside.sum() * abs(right[inside].mean() - confidence[inside].mean())
    assert metrics.ece(y, table) == pytest.approx(total / len(y), abs=1e-12)


def test_a_tie_for_the_top_goes_to_the_lowest_class_except_in_mrr():
    table = np.array([[0.5, 0.5]])
    assert metrics.accuracy(np.array([0]), table) == 1
    assert metrics.accuracy(np.array([1]), table) == 0
    assert metrics.top_k_accuracy(np.array([1]), table, 1) == 0
    assert metrics.mrr(np.array([1]), table) == 1
    assert metrics.mrr(np.array([0]), table) == 0.5


def test_classes_without_rows_are_left_out():
    y = np.array([0, 0, 1])
    table = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    # Class 0: hits at ranks 1 and 2 of its column; class 1: hit at rank 1; class 2 has no row.
    assert metrics.macro_map(y, table) == pytest.approx(1.0)
    assert metrics.balanced_accuracy(y, table) == pytest.approx((0.5 + 1) / 2)
    assert metrics.macro_f1(y, table) == pytest.approx((2 / 3 + 2 / 3) / 2)


@pytest.mark.parametrize("name", [n for n, m in metrics.METRICS.items() if not m.uses_letters])
def test_a_single_row_has_a_score(name):
    value = metrics.METRICS[name].function(np.array([1]), np.array([[0.25, 0.75]]))
    assert math.isfinite(value)


def test_an_impossible_row_costs_a_finite_amount():
    y = np.array([0, 1])
    table = np.array([[0.0, 1.0], [0.5, 0.5]])
    assert metrics.log_loss(y, table) == pytest.approx((-math.log(1e-15) + math.log(2)) / 2)


def by_hand(letters, table, ties):
    scores, top = table.max(axis=1), table.argmax(axis=1)
    found = [row[k] for row, k in zip(letters, top)]
    thresholds = scores if ties == "rows" else np.unique(scores)
    values = []
    for t in thresholds:
        right = sum(s >= t and f == "y" for s, f in zip(scores, found))
        counted = sum(s >= t and f in "yn" for s, f in zip(scores, found))
        if counted:
            values.append(right / counted)
    return np.mean(values) if values else math.nan


def test_fashionai_example_of_three_rows_with_a_tie():
    # Two rows tie at the top and one of them is right; the third, less sure, is right.
    table = np.array([[0.9, 0.1], [0.9, 0.1], [0.8, 0.2]])
    letters = ["yn", "ny", "yn"]
    assert metrics.fashionai_ap(letters, table, "rows") == pytest.approx(0.5556, abs=5e-5)
    assert metrics.fashionai_ap(letters, table, "distinct") == pytest.approx(0.5833, abs=5e-5)
    assert metrics.fashionai_basic_precision(letters, table) == pytest.approx(2 / 3)


def test_fashionai_ignores_predictions_on_an_m():
    table = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    letters = ["my", "yn", "ny"]
    # At 0.9 only an m is left: no precision there, and no division by zero.
    assert metrics.fashionai_ap(letters, table) == pytest.approx((1 + 1 / 2) / 2)
    assert metrics.fashionai_basic_precision(letters, table) == pytest.approx(1 / 2)


def test_fashionai_with_nothing_but_m_is_undefined():
    table = np.array([[0.9, 0.1]])
    assert math.isnan(metrics.fashionai_ap(["my"], table))
    assert math.isnan(metrics.fashionai_basic_precision(["my"], table))


@few(60)
@given(
    cells=arrays.arrays(
        np.int64, st.tuples(st.integers(1, 12), st.just(3)), elements=st.integers(0, 4)
    ),
    seed=st.integers(0, 99),
)
def test_fashionai_agrees_with_the_formula(cells, seed):
    rng = np.random.default_rng(seed)
    table = cells / 4
    letters = []
    for _ in table:
        row = rng.choice(["m", "n"], 3)
        row[rng.integers(3)] = "y"
        letters.append("".join(row))
    for ties in ("rows", "distinct"):
        found = metrics.fashionai_ap(letters, table, ties)
        assert found == pytest.approx(by_hand(letters, table, ties), nan_ok=True)


@few(60)
@given(
    cells=arrays.arrays(
        np.int64, st.tuples(st.integers(1, 30), st.just(3)), elements=st.integers(0, 3)
    ),
    seed=st.integers(0, 99),
)
def test_macro_map_agrees_with_scikit_learn_however_many_ties(cells, seed):
    y = np.random.default_rng(seed).integers(3, size=len(cells))
    expected = [reference.average_precision_score(y == c, cells[:, c]) for c in np.unique(y)]
    assert metrics.macro_map(y, cells / 3) == pytest.approx(np.mean(expected))


def test_wrong_input_is_refused_with_a_line():
    table = np.full((2, 2), 0.5)
    with pytest.raises(ProbabilityError, match="no rows to score"):
        metrics.accuracy(np.array([], dtype=int), np.empty((0, 2)))
    with pytest.raises(ProbabilityError, match="do not fit 2 classes"):
        metrics.accuracy(np.array([0, 2]), table)
    with pytest.raises(ProbabilityError, match="do not fit probabilities of shape"):
        metrics.accuracy(np.array([0]), table)
    with pytest.raises(ProbabilityError, match="unknown tie rule 'x'"):
        metrics.fashionai_ap(["yn"], table[:1], "x")
    with pytest.raises(ProbabilityError, match="1 row has the letters 'yx'"):
        metrics.fashionai_ap(["yx"], table[:1])
    with pytest.raises(ProbabilityError, match="unknown metric 'acuracy'"):
        metrics.get_metric("acuracy")
    with pytest.raises(ProbabilityError, match="needs FashionAI letters"):
        metrics.get_metric("fashionai_ap").score(np.array([0]), table[:1])


def test_a_loss_of_nothing_has_no_minus():
    sure = np.array([[1 + 1e-7, 0.0], [0.0, 1.0]])
    assert f"{metrics.log_loss(np.array([0, 1]), sure):.4f}" == "0.0000"

import numpy as np
import pytest
from drawing import few
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from icecore.core.bootstrap import Images, draw_images, draw_means, imagine, mean_interval


def intervals_of_hits(rows, sure):
    """Return the interval of accuracy for each number of hits of a head that is `sure` always."""
    table = np.tile([sure, 1 - sure], (rows, 1))
    found = []
    for hits in range(rows + 1):
        y = (np.arange(rows) >= hits).astype(int)
        labels, room = imagine(table, y)
        found.append(mean_interval(1.0 - y, 0, (1.0 - labels, room)))
    return np.array(found)


@pytest.mark.parametrize("rows", [15, 40, 100])
@pytest.mark.parametrize("sure", [0.7, 0.99, 1.0])
def test_intervals_hold_a_known_accuracy_as_often_as_they_say(rows, sure):
    # Exactly, by the binomial chances of each number of hits.
    low, high = intervals_of_hits(rows, sure).T
    held = {}
    for accuracy in (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999):
        chances = stats.binom.pmf(np.arange(rows + 1), rows, accuracy)
        held[accuracy] = chances[(low <= accuracy) & (accuracy <= high)].sum()
    # Hits are whole numbers: some accuracies are held more often than others.
    assert min(held.values()) > 0.9
    assert np.mean(list(held.values())) > 0.94
    exact = [stats.binomtest(hits, rows).proportion_ci() for hits in range(rows + 1)]
    assert (high - low).sum() < 1.1 * np.ptp(exact, axis=1).sum()


@few(20)
@given(rows=st.integers(2, 400), sure=st.floats(0.51, 1), right=st.booleans())
def test_rows_that_are_all_right_or_all_wrong_are_no_certainty(rows, sure, right):
    table, y = np.tile([sure, 1 - sure], (rows, 1)), np.full(rows, int(not right))
    labels, room = imagine(table, y)
    low, high = mean_interval(1.0 - y, 0, (1.0 - labels, room))
    # Three mistakes of an image each, the rule of three; a little more for few rows.
    assert (1 - low if right else high) == pytest.approx(min(3 / rows, 1), rel=0.7)
    assert high == 1 if right else low == 0


def test_an_image_is_imagined_with_the_likeliest_label_that_it_does_not_have():
    table = np.array([[0.9, 0.1, 0], [0.3, 0.5, 0.2], [0.3, 0.5, 0.2], [0, 1, 0]])
    labels, room = imagine(table, np.array([0, 1, 0, 1]))
    assert labels.tolist() == [1, 0, 1, 0]
    assert room == pytest.approx([0.1, 0.3, 0.5, 0], abs=1e-14)


def test_the_imagined_image_is_drawn_as_often_as_any_other():
    room = np.array([0.0, 1.0, 3.0, 0.0])
    picks, places, imagined = draw_images(4, room, 50_000, np.random.default_rng(0))
    picks[places] = 4 + imagined
    drawn = np.bincount(picks.ravel(), minlength=8)
    expected = 200_000 / 5 * np.array([1, 1, 1, 1, 0, 0.25, 0.75, 0])
    assert drawn == pytest.approx(expected, rel=0.03)


def test_without_room_nothing_is_imagined():
    values = np.random.default_rng(0).normal(size=30)
    nothing = (values + 100, np.zeros(30))
    assert mean_interval(values, 3, nothing) == mean_interval(values, 3)


@pytest.mark.parametrize("rows", [19_000, 21_000])
def test_draws_of_many_images_and_their_normal_form_agree(rows):
    # Above 20,000 images nothing is drawn but the imagined one.
    values = np.random.default_rng(1).exponential(size=rows)
    images, others = (Images(each, np.ones(rows)) for each in (values, values + 1000))
    _, means = draw_means(images, others, np.ones(rows), np.random.default_rng(0))
    # There are 0 to 3 imagined ones with the chances 0.37, 0.37, 0.18 and 0.06.
    times = stats.poisson.pmf(np.arange(9), 1)
    ends = values.mean() + 1000 * np.arange(9) / rows
    for percent in (2.5, 30, 60, 97.5):
        place = np.percentile(means, percent)
        below = times @ stats.norm.cdf(place, ends, 1 / np.sqrt(rows))
        assert below == pytest.approx(percent / 100, abs=0.04)


def test_an_interval_of_thousands_of_rows_hardly_knows_of_it():
    rng = np.random.default_rng(0)
    y = rng.integers(5, size=3000)
    logits = 3 * np.eye(5)[y] + rng.normal(size=(3000, 5))
    table = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels, room = imagine(table, y)
    losses, others = (-np.log(table[np.arange(3000), of]) for of in (y, labels))
    assert mean_interval(losses, 0, (others, room)) == pytest.approx(
        mean_interval(losses, 0), abs=0.002
    )

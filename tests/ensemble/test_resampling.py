import numpy as np
import pytest
from scipy import stats

from icecore.core.softmax import softmax
from icecore.ensemble.metrics import (
    METRICS,
    accuracy,
    brier,
    log_loss,
    macro_map,
    macro_map_of_counts,
)
from icecore.ensemble.resampling import (
    Scored,
    bootstrap_interval,
    jackknife,
    paired_difference,
    row_scores,
)


@pytest.mark.parametrize("name", ["log_loss", "accuracy", "brier"])
def test_rows_add_up_to_the_metric(builders, name):
    (table,), y = builders.probabilities(1, 50)
    metric = METRICS[name]
    assert row_scores(metric, y, table).mean() == pytest.approx(metric.score(y, table))


def test_the_interval_of_accuracy_is_about_the_normal_one(builders):
    (table,), y = builders.probabilities(1, 800)
    low, high = bootstrap_interval(Scored(METRICS["accuracy"], y), table)
    p = accuracy(y, table)
    half = 1.96 * np.sqrt(p * (1 - p) / 800)
    assert (low, high) == pytest.approx((p - half, p + half), abs=0.006)


def test_an_interval_of_few_rows_is_that_of_a_t_test():
    # Of normal values, whose mean has the exact interval of Student.
    inside = 0
    for seed in range(400):
        table = np.exp(-np.abs(np.random.default_rng(seed).normal(5, 1, (12, 1))))
        rows = np.hstack([table, 1 - table])
        low, high = bootstrap_interval(Scored(METRICS["log_loss"], np.zeros(12, int)), rows)
        inside += low <= 5 <= high
    assert inside / 400 == pytest.approx(0.95, abs=0.03)


def test_an_interval_of_a_loss_is_not_turned_around(builders):
    (table,), y = builders.probabilities(1, 300)
    for name, value in (("log_loss", log_loss(y, table)), ("brier", brier(y, table))):
        low, high = bootstrap_interval(Scored(METRICS[name], y), table)
        assert low < value < high


def test_metrics_that_are_no_means_are_drawn_whole(builders):
    (table,), y = builders.probabilities(1, 200)
    low, high = bootstrap_interval(Scored(METRICS["map"], y), table)
    assert low < METRICS["map"].function(y, table) < high


def test_samples_sorted_once_give_the_map_of_each(builders):
    rng = np.random.default_rng(0)
    (table,), y = builders.probabilities(1, 60)
    table[:30] = table[:30].round(1)  # ties
    y[y == 3] = 2  # a class without rows
    draws = rng.integers(60, size=(20, 60))
    draws[0] = np.flatnonzero(y == 1)[0]  # one class alone
    counts = np.array([np.bincount(rows, minlength=60) for rows in draws]).T
    expected = [macro_map(y[rows], table[rows]) for rows in draws]
    assert macro_map_of_counts(y, table, counts) == pytest.approx(expected, abs=1e-12)


# Of five classes nobody's label is beyond the first five: no mistake in top-5 can be imagined.
@pytest.mark.parametrize("name", sorted(METRICS.keys() - {"top_5"}))
@pytest.mark.parametrize("sure", [True, False])
@pytest.mark.parametrize("rows", [12, 50])
def test_an_answer_without_mistakes_is_not_told_as_certain(name, sure, rows):
    metric, y = METRICS[name], np.arange(rows) % 5
    others = np.random.default_rng(rows).dirichlet(np.ones(5), rows)
    table = np.eye(5)[y] if sure else 0.6 * np.eye(5)[y] + 0.4 * others
    letters = ["".join("y" if place == own else "n" for place in range(5)) for own in y]
    scored = Scored(metric, y, letters)
    low, high = bootstrap_interval(scored, table)
    value = abs(scored.score(table))
    worse, best = (value - low, high) if metric.higher_is_better else (high - value, -low)
    assert worse > 0
    if sure:
        # Of the best value that there is, nothing is better.
        assert best == pytest.approx(1 if metric.higher_is_better else 0, abs=1e-9)


def test_letters_that_a_metric_does_not_use_may_be_any(builders):
    (table,), y = builders.probabilities(1, 60)
    scored = Scored(METRICS["map"], y, ["y"] * 60)
    assert bootstrap_interval(scored, table) == bootstrap_interval(Scored(METRICS["map"], y), table)


@pytest.mark.parametrize("name", ["log_loss", "map"])
def test_images_that_are_there_twice_are_one_imagined_mistake(name):
    y = np.arange(40) % 4
    table = 0.2 / 3 + (0.8 - 0.2 / 3) * np.eye(4)[y]
    twice = Scored(METRICS[name], np.repeat(y, 2), groups=np.repeat(np.arange(40), 2))
    together = bootstrap_interval(twice, np.repeat(table, 2, axis=0))
    assert together == pytest.approx(bootstrap_interval(Scored(METRICS[name], y), table), abs=0.02)


@pytest.mark.parametrize("rows", [40, 120])
@pytest.mark.parametrize("name", ["log_loss", "brier", "accuracy"])
def test_intervals_of_easy_rows_hold_what_other_rows_say(name, rows):
    # Heads that are right nine times of ten, and surer than that.
    def drawn(count, seed):
        rng = np.random.default_rng(seed)
        y = rng.integers(4, size=count)
        return softmax(2.5 * (2.5 * np.eye(4)[y] + rng.normal(size=(count, 4)))), y

    table, y = drawn(200_000, 0)
    true, inside = METRICS[name].function(y, table), 0
    for seed in range(1, 201):
        table, y = drawn(rows, seed)
        low, high = bootstrap_interval(Scored(METRICS[name], y, seed=seed), table)
        inside += low <= true <= high
    assert inside / 200 > 0.92


def test_many_rows_agree_with_the_central_limit(builders):
    (table,), y = builders.probabilities(1, 30_000, 3)
    low, high = bootstrap_interval(Scored(METRICS["log_loss"], y), table)
    rows = -row_scores(METRICS["log_loss"], y, table)
    half = 1.96 * rows.std() / np.sqrt(len(rows))
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)


def test_the_paired_test_agrees_with_the_t_test(builders):
    (one, two), y = builders.probabilities(2, 400, quality=[1.5, 1.4])
    metric = METRICS["log_loss"]
    gap = paired_difference(Scored(metric, y), one, two)
    expected = stats.ttest_rel(row_scores(metric, y, one), row_scores(metric, y, two)).pvalue
    assert gap.p == pytest.approx(expected, abs=0.05)
    assert gap.value == pytest.approx(log_loss(y, two) - log_loss(y, one))
    assert gap.low < gap.value < gap.high


@pytest.mark.parametrize("name", ["log_loss", "accuracy", "map"])
def test_equal_answers_do_not_differ(builders, name):
    (table,), y = builders.probabilities(1, 100)
    gap = paired_difference(Scored(METRICS[name], y), table, table)
    assert (gap.value, gap.low, gap.high, gap.p) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("better", "worse"), [(0.002, 0.002), (0.01, 0), (0, 0.02), (0.03, 0.01), (0.05, 0.05)]
)
def test_intervals_hold_a_known_difference_in_accuracy(better, worse):
    # Exactly, by the chances of how many of 60 rows one answer alone has right.
    rows, most, held = 60, 11, 0.0
    y = np.zeros(rows, int)
    for first in range(most):
        for second in range(most):
            place = np.arange(rows)
            right = place >= second, (place < second) | (place >= first + second)
            one, other = (
                np.column_stack([np.where(own, sure, 1 - sure), np.where(own, 1 - sure, sure)])
                for own, sure in zip(right, (0.9, 0.8))
            )
            gap = paired_difference(Scored(METRICS["accuracy"], y), one, other)
            assert gap.value == pytest.approx((first - second) / rows)
            chances = better, worse, 1 - better - worse
            chance = stats.multinomial.pmf([first, second, rows - first - second], rows, chances)
            held += chance * (gap.low <= better - worse <= gap.high)
    assert held > 0.9


@pytest.mark.parametrize("name", ["log_loss", "accuracy", "map"])
def test_a_clear_difference_is_clear(builders, name):
    (good, bad), y = builders.probabilities(2, 200, quality=[2.5, 0.3])
    gap = paired_difference(Scored(METRICS[name], y), good, bad)
    assert gap.low > 0
    assert gap.p < 0.02


def test_the_p_value_is_rarely_small_by_chance(builders):
    small = 0
    for seed in range(60):
        (one, two), y = builders.probabilities(2, 80, seed=seed, quality=[1, 1])
        swap = np.random.default_rng(seed).random(80) < 0.5
        first = np.where(swap[:, None], one, two)
        second = np.where(swap[:, None], two, one)
        scored = Scored(METRICS["log_loss"], y, seed=seed)
        small += paired_difference(scored, first, second).p < 0.1
    assert small <= 13


def test_rows_of_one_image_are_drawn_together(builders):
    (table,), y = builders.probabilities(1, 200)
    twice, double = np.repeat(y, 2), np.repeat(table, 2, axis=0)
    images = np.repeat(np.arange(200), 2)
    for name in ("log_loss", "map"):
        alone = bootstrap_interval(Scored(METRICS[name], y), table)
        together = bootstrap_interval(Scored(METRICS[name], twice, groups=images), double)
        apart = bootstrap_interval(Scored(METRICS[name], twice), double)
        assert np.ptp(together) == pytest.approx(np.ptp(alone), rel=0.15)
        assert np.ptp(apart) < 0.85 * np.ptp(alone)


def test_the_jackknife_knows_the_error_of_a_mean(builders):
    (one, two), y = builders.probabilities(2, 2000, quality=[1.5, 1.2])
    metric = METRICS["log_loss"]
    drops = jackknife(Scored(metric, y), [one, two])
    gap = drops[:, 0] - drops[:, 1]
    error = np.sqrt((len(gap) - 1) / len(gap) * ((gap - gap.mean()) ** 2).sum())
    rows = row_scores(metric, y, one) - row_scores(metric, y, two)
    assert error == pytest.approx(rows.std() / np.sqrt(2000), rel=0.4)

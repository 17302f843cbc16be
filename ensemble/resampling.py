"""How far chance alone moves a score: intervals, standard errors and a paired test.

The bootstrap draws images with replacement (Efron 1979), from those at hand and from these and an
imagined one (see `core.bootstrap`): rows of equal images are drawn together. Intervals are
percentiles of the draws, a little farther out than 2.5 and 97.5 where there are few images.
The paired test swaps the two answers of images at random: if they were
worth the same, the swapped differences would look like the observed one. Standard errors of
differences come from the jackknife over blocks of images (Efron and Tibshirani 1993,
chapter 11), which takes any metric.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ..core.bootstrap import (
    DRAWS,
    NORMAL,
    Images,
    Imagined,
    draw_images,
    draw_means,
    imagine,
    interval_ends,
)
from ..core.folds import deal_folds
from .metrics import EPSILON, Metric, macro_map, macro_map_of_counts

BLOCKS = 20
# Metrics that need a sort for each draw are allowed this many cells in all.
_CELLS = 5e7


@dataclasses.dataclass(frozen=True)
class Scored:
    """The rows that answers are compared on.

    Attributes
    ----------
    y : ndarray of int, shape (N,)
        Column of the true class.
    letters : sequence of str, optional
        FashionAI letters of each row, for the metrics that need them.
    groups : ndarray of int, shape (N,), optional
        Rows of equal number are one image; every row is its own without it.
    seed : int
        Seed for draws and swaps.
    """

    metric: Metric
    y: np.ndarray
    letters: Sequence[str] | None = None
    groups: np.ndarray | None = None
    seed: int = 0

    def score(self, table: np.ndarray, rows: np.ndarray | None = None) -> float:
        """Return the metric of `table` (N, C), more is better, of all or of some rows."""
        if rows is None:
            return self.metric.score(self.y, table, self.letters)
        letters = None if self.letters is None else [self.letters[index] for index in rows]
        return self.metric.score(self.y[rows], table[rows], letters)

    @property
    def images(self) -> np.ndarray:
        """Number of each row's image, (N,), from 0 without gaps."""
        if self.groups is None:
            return np.arange(len(self.y))
        return np.unique(self.groups, return_inverse=True)[1]


@dataclasses.dataclass(frozen=True)
class Difference:
    """One answer's score less another's, on the same rows.

    Attributes
    ----------
    value : float
        More than 0: the first is better, whichever way the metric counts.
    low, high : float
        95% bootstrap interval; NaN where there are too many rows to draw in reasonable time.
    p : float
        Two-sided p-value of the swap test; NaN likewise.
    """

    value: float
    low: float
    high: float
    p: float


def row_scores(metric: Metric, y: np.ndarray, table: np.ndarray) -> np.ndarray | None:
    """Return what each row adds to a metric that is a mean over rows (more is better).

    None for metrics that are not: mAP, F1 and the like.
    """
    rows = np.arange(len(y))
    own = table[rows, y]
    if metric.name == "log_loss":
        return np.log(np.clip(own, EPSILON, 1))
    if metric.name == "accuracy":
        return (table.argmax(axis=1) == y).astype(float)
    if metric.name == "brier":
        return -((table**2).sum(axis=1) - 2 * own + 1)
    return None


def bootstrap_interval(scored: Scored, table: np.ndarray) -> tuple[float, float]:
    """Return the 95% bootstrap interval of the metric (as it counts, not turned around).

    NaN, NaN where the rows are too many to draw them often enough.
    """
    sign = 1 if scored.metric.higher_is_better else -1
    imagined = imagine(table, scored.y)
    own, others = (row_scores(scored.metric, y, table) for y in (scored.y, imagined.labels))
    if own is not None and others is not None:
        samples = _mean_draws(own, _others(others, imagined, scored), scored)
    else:
        both, twice = _with_imagined(scored, imagined), np.concatenate([table, table])
        samples = [_drawn_scores(both, twice, rows) for rows in _draws(table, imagined, scored)]
    return _ends([sign * one + 0.0 for one in samples], scored)


def paired_difference(scored: Scored, first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two tables (N, C) of the same rows: `first` less `second`."""
    value = scored.score(first) - scored.score(second)
    imagined = imagine((first + second) / 2, scored.y)
    gain, other_gain = (
        _row_gains(scored.metric, y, first, second) for y in (scored.y, imagined.labels)
    )
    if gain is not None and other_gain is not None:
        others = _others(other_gain, imagined, scored)
        if scored.metric.name == "accuracy" and not np.array_equal(first, second):
            others = _either_right(scored)
        ends = _ends(_mean_draws(gain, others, scored), scored)
        return Difference(value, *ends, _sign_test(gain, scored))
    both = _with_imagined(scored, imagined)
    samples = []
    for draws in _draws(first, imagined, scored):
        rows = list(draws)
        one, other = (
            _drawn_scores(both, np.concatenate([table, table]), rows) for table in (first, second)
        )
        samples.append(one - other)
    swapped = []
    rng = np.random.default_rng(scored.seed + 1)
    images = scored.images
    for _ in samples[0]:
        swap = (rng.random(images.max() + 1) < 0.5)[images][:, None]
        one, other = np.where(swap, second, first), np.where(swap, first, second)
        swapped.append(scored.score(one) - scored.score(other))
    return Difference(value, *_ends(samples, scored), _p_value(np.array(swapped), value))


def _row_gains(
    metric: Metric, y: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray | None:
    ours, theirs = (row_scores(metric, y, table) for table in (first, second))
    return None if ours is None or theirs is None else ours - theirs


def jackknife(scored: Scored, tables: Sequence[np.ndarray]) -> np.ndarray:
    """Return each table's score without each of up to `BLOCKS` blocks of images, (B, T).

    The standard error of a difference d of two columns is
    ``sqrt((B - 1) / B * sum((d - mean(d))**2))``.
    """
    blocks = deal_folds(scored.y, scored.images, BLOCKS, [scored.seed, 32])
    rows = [np.flatnonzero(blocks != number) for number in range(int(blocks.max()) + 1)]
    return np.array([[scored.score(table, part) for table in tables] for part in rows if len(part)])


def _mean_draws(
    own: np.ndarray, others: tuple[Images, np.ndarray], scored: Scored
) -> list[np.ndarray]:
    """Return the means of samples of images with replacement, without and with an imagined one.

    Parameters
    ----------
    own : ndarray of shape (N,)
        What each row adds.
    others : Images and ndarray
        What the imagined image may add, and how likely each is.
    """
    images = _by_image(own, scored)
    return draw_means(images, *others, np.random.default_rng(scored.seed))


def _by_image(values: np.ndarray, scored: Scored) -> Images:
    return Images(np.bincount(scored.images, values), np.bincount(scored.images))


def _others(values: np.ndarray, imagined: Imagined, scored: Scored) -> tuple[Images, np.ndarray]:
    """Return images whose rows add `values` with their imagined labels, and the room for them."""
    return _by_image(values, scored), np.bincount(scored.images, imagined.room)


def _either_right(scored: Scored) -> tuple[Images, np.ndarray]:
    """Return an image that one answer has right and the other wrong, either way alike.

    Where two answers agree on every row at hand, no label that a row might have tells them apart.
    """
    rows = np.full(2, len(scored.y) / (scored.images.max() + 1))
    return Images(rows * [1, -1], rows), np.ones(2)


def _sign_test(gain: np.ndarray, scored: Scored) -> float:
    if not gain.any():
        return 1.0
    rng = np.random.default_rng(scored.seed + 1)
    total = np.bincount(scored.images, weights=gain)
    if len(total) > NORMAL:
        swapped = rng.normal(0, np.sqrt((total**2).sum()) / len(gain), DRAWS)
    else:
        signs = rng.integers(2, size=(DRAWS, len(total)), dtype=np.int8) * 2 - 1
        swapped = signs @ total / len(gain)
    return _p_value(swapped, float(gain.mean()))


def _p_value(swapped: np.ndarray, value: float) -> float:
    swapped = swapped[np.isfinite(swapped)]
    if not len(swapped):
        return float("nan")
    return float((1 + (np.abs(swapped) >= abs(value) - 1e-15).sum()) / (1 + len(swapped)))


def _with_imagined(scored: Scored, imagined: Imagined) -> Scored:
    """Return the rows, and after them the same rows labelled otherwise."""
    letters = scored.letters if scored.metric.uses_letters else None
    if letters is not None:
        pairs = zip(letters, scored.y, imagined.labels)
        letters = [*letters, *(_swapped(row, *places) for row, *places in pairs)]
    y = np.concatenate([scored.y, imagined.labels])
    return dataclasses.replace(scored, y=y, letters=letters, groups=None)


def _swapped(letters: str, one: int, other: int) -> str:
    cells = list(letters)
    cells[one], cells[other] = cells[other], cells[one]
    return "".join(cells)


def _drawn_scores(scored: Scored, table: np.ndarray, draws: Iterable[np.ndarray]) -> np.ndarray:
    """Return the metric of each draw of rows, more is better."""
    if scored.metric.function is not macro_map:
        return np.array([scored.score(table, rows) for rows in draws])
    counts = [np.bincount(rows, minlength=len(table)).astype(np.int32) for rows in draws]
    if not counts:
        return np.empty(0)
    drawn = np.any(counts, axis=0)
    return macro_map_of_counts(scored.y[drawn], table[drawn], np.array(counts)[:, drawn].T)


def _draws(table: np.ndarray, imagined: Imagined, scored: Scored) -> Iterator[Iterator[np.ndarray]]:
    """Give the rows of samples of images without an imagined one, then those of samples with it.

    N more is the same row with the imagined label.
    """
    # Fewer than fifty draws say nothing about the ends of an interval.
    count = int(min(DRAWS, 200, _CELLS / table.size))
    images = scored.images
    order = np.argsort(images, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(images))[:-1])
    room = np.bincount(images, imagined.room)
    for own_room in (0 * room, room):
        yield _rows_drawn(members, own_room, count if count >= 50 else 0, scored.seed)


def _rows_drawn(
    members: Sequence[np.ndarray], room: np.ndarray, count: int, seed: int
) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    every = np.concatenate(members)
    single = len(every) == len(members)
    for _ in range(count):
        drawn = draw_images(len(members), room, 1, rng)
        picks, others = drawn.picks[0], np.zeros(len(members), int)
        others[drawn.places[1]], picks[drawn.places[1]] = 1, drawn.imagined
        if single:
            yield every[picks] + len(every) * others
        else:
            pairs = zip(picks, others, strict=True)
            yield np.concatenate([members[pick] + len(every) * other for pick, other in pairs])


def _ends(samples: Sequence[np.ndarray], scored: Scored) -> tuple[float, float]:
    known = [values[np.isfinite(values)] for values in samples]
    if min(map(len, known)) < 50:
        return float("nan"), float("nan")
    return interval_ends(known, int(scored.images.max()) + 1)

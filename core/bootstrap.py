"""The bootstrap: draws of images, and the ends of an interval of what they say.

The images at hand may all be right where others would not be, and draws of them never hold what
none of them is. So there are two kinds of draws: of the images at hand, and of these and one more,
whose label is another than it is. The interval reaches as far as either. So does the exact one of
a share (Clopper and Pearson 1934): each of its ends is that of one observation more on its side.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

DRAWS = 1000
_LEAST = 1e-15
# So many images make a mean normal; drawing them would only take time.
NORMAL = 20_000
# Draws at a time hold so many images.
_CELLS = 2_000_000


class Imagined(NamedTuple):
    """What one image more might have been.

    Attributes
    ----------
    labels : ndarray of int, shape (N,)
        The likeliest label that each row does not have.
    room : ndarray of shape (N,)
        Its probability: by it, the imagined image is one of the rows.
    """

    labels: np.ndarray
    room: np.ndarray


class Images(NamedTuple):
    """What each image adds to a mean over rows: the sum over its rows, and their number."""

    total: np.ndarray
    rows: np.ndarray


class Drawn(NamedTuple):
    """Samples of images, see `draw_images`.

    Attributes
    ----------
    picks : ndarray of int, shape (draws, N)
        Numbers of images.
    places : pair of ndarray of int
        Sample and position of those in whose place the imagined image comes.
    imagined : ndarray of int
        What it then is.
    """

    picks: np.ndarray
    places: tuple[np.ndarray, np.ndarray]
    imagined: np.ndarray


def imagine(table: np.ndarray, y: np.ndarray) -> Imagined:
    """Return what an image might be that is labelled otherwise than those at hand.

    Parameters
    ----------
    table : ndarray of shape (N, C)
        Probabilities.
    y : ndarray of int, shape (N,)
        Column of the label that each row has.
    """
    rows = np.arange(len(y))
    others = np.maximum(table, _LEAST, dtype=np.float64)
    others[rows, y] = 0
    labels = others.argmax(axis=1)
    return Imagined(labels, others[rows, labels])


def draw_images(count: int, room: np.ndarray, draws: int, rng: np.random.Generator) -> Drawn:
    """Draw as many images as there are, with replacement, from them and an imagined one.

    With and without it, the other images are the same: two samples differ by it alone.

    Parameters
    ----------
    count : int
        Number of images, N.
    room : ndarray
        How likely the imagined image is each of what it may be. Without any room there is none.
    draws : int
    rng : numpy.random.Generator
    """
    picks = rng.integers(count, size=(draws, count), dtype=np.int32)
    times = np.zeros(draws, int)
    if room.any():
        (rng,) = rng.spawn(1)
        times = rng.binomial(count, 1 / (count + 1), draws)
    sample, imagined = _imagined(times, room, rng)
    position = np.arange(len(sample)) - np.repeat(np.cumsum(times) - times, times)
    return Drawn(picks, (sample, position), imagined)


def draw_means(
    images: Images, others: Images, room: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return the means over rows of 1,000 samples of images, and of these and an imagined one.

    Parameters
    ----------
    images : Images
    others : Images
        What the imagined image may be.
    room : ndarray
        How likely it is each of these.
    rng : numpy.random.Generator
    """
    count = len(images.total)
    if count > NORMAL:
        return _normal_means(images, others, room, rng)
    step = max(1, _CELLS // count)
    means = []
    for start in range(0, DRAWS, step):
        drawn = draw_images(count, room, min(step, DRAWS - start), rng)
        sums, sizes = (_sums(values, drawn.picks) for values in images)
        gone, sample = drawn.picks[drawn.places], drawn.places[0]
        more, larger = (
            np.bincount(sample, other[drawn.imagined] - own[gone], len(sums))
            for own, other in zip(images, others)
        )
        means.append((sums / sizes, (sums + more) / (sizes + larger)))
    return [np.concatenate(one) for one in zip(*means)]


def _sums(values: np.ndarray, picks: np.ndarray) -> np.ndarray:
    if (values == values[0]).all():
        return np.full(len(picks), picks.shape[1] * float(values[0]))
    return values[picks].sum(axis=1)


def _normal_means(
    images: Images, others: Images, room: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    total, rows = images
    size = rows.sum()
    mean = total.sum() / size
    spread = np.sqrt(((total - rows * mean) ** 2).sum()) / size
    means = rng.normal(mean, spread, DRAWS)
    # No normal number: it may be there not at all.
    times = rng.poisson(1, DRAWS) if room.any() else np.zeros(DRAWS, int)
    sample, imagined = _imagined(times, room, rng)
    change = (others.total - others.rows * mean)[imagined] / size
    return [means, means + np.bincount(sample, change, DRAWS)]


def _imagined(
    times: np.ndarray, room: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return in which sample an imagined image is, and what it is, `times` in each."""
    sample = np.repeat(np.arange(len(times)), times)
    if not len(sample):
        return sample, sample
    return sample, rng.choice(len(room), size=len(sample), p=room / room.sum())


def mean_interval(
    values: np.ndarray, seed: int = 0, imagined: tuple[np.ndarray, np.ndarray] | None = None
) -> list[float]:
    """Return the 95% percentile bootstrap interval of a mean over images, of 1,000 draws.

    Parameters
    ----------
    values : ndarray of shape (N,)
        One number for each image.
    seed : int
    imagined : pair of ndarray of shape (N,), optional
        The number that each image would have with the label of `imagine`, and the room for it.

    Returns
    -------
    [low, high]

    Notes
    -----
    Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13, with the percents of
    `bootstrap_percents`.
    """
    rows = np.ones(len(values))
    others, room = imagined or (values, np.zeros(len(values)))
    rng = np.random.default_rng([seed, 8])
    samples = draw_means(Images(values, rows), Images(others, rows), room, rng)
    return list(interval_ends(samples, len(values)))


def interval_ends(samples: Iterable[np.ndarray], count: int) -> tuple[float, float]:
    """Return the ends of a 95% interval that reaches as far as that of each sample of draws.

    Parameters
    ----------
    samples : iterable of ndarray
    count : int
        Number of images of a draw.
    """
    low, high = np.transpose([np.percentile(one, bootstrap_percents(count)) for one in samples])
    return float(low.min()), float(high.max())


def bootstrap_percents(count: int) -> tuple[float, float]:
    """Return the percents of the draws of `count` images at which a 95% interval ends.

    2.5 and 97.5 for many. Of few images draws vary too little, by the factor of the variance of
    a sample, and their deviation is not known: Hesterberg 2015, "What teachers should know
    about the bootstrap", The American Statistician, has the ends for both.
    """
    if count < 2:
        return 2.5, 97.5
    low = 100 * float(ndtr(np.sqrt(count / (count - 1)) * stdtrit(count - 1, 0.025)))
    return low, 100 - low

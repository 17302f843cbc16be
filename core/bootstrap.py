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
    """What the rows of each image add to a mean over rows.

    Attributes
    ----------
    total, others : ndarray of shape (N,)
        Sum over the image's rows, with the labels that they have and with those of `Imagined`.
    rows : ndarray of shape (N,)
    room : ndarray of shape (N,)
        How likely the imagined image is each of them.
    """

    total: np.ndarray
    others: np.ndarray
    rows: np.ndarray
    room: np.ndarray


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


def draw_images(room: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draw as many images as there are, with replacement, from them and an imagined one.

    Parameters
    ----------
    room : ndarray of shape (N,)
        How likely the imagined image is each of them, labelled otherwise. Without any room there
        is none.
    draws : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int, shape (draws, N)
        Numbers of images; N more is the same image, labelled otherwise.
    """
    count, total = len(room), room.sum()
    picks = rng.integers(count, size=(draws, count), dtype=np.int32)
    if total > 0:
        # With and without it, the other images are the same: two samples differ by it alone.
        (own,) = rng.spawn(1)
        times = own.binomial(count, 1 / (count + 1), draws)
        imagined = np.arange(count) < times[:, None]
        picks[imagined] = count + own.choice(count, size=int(times.sum()), p=room / total)
    return picks


def draw_means(images: Images, rng: np.random.Generator) -> np.ndarray:
    """Return the means over rows of 1,000 samples of images, see `draw_images`."""
    total, others, rows, room = images
    if len(total) > NORMAL:
        return _normal_means(images, rng)
    sums, sizes = np.concatenate([total, others]), np.concatenate([rows, rows])
    step = max(1, _CELLS // len(total))
    means = []
    for start in range(0, DRAWS, step):
        picks = draw_images(room, min(step, DRAWS - start), rng)
        means.append(sums[picks].sum(axis=1) / sizes[picks].sum(axis=1))
    return np.concatenate(means)


def _normal_means(images: Images, rng: np.random.Generator) -> np.ndarray:
    total, others, rows, room = images
    size = rows.sum()
    mean = total.sum() / size
    spread = np.sqrt(((total - rows * mean) ** 2).sum()) / size
    means = rng.normal(mean, spread, DRAWS)
    if room.sum() > 0:
        # No normal number: it may be there not at all.
        times = rng.poisson(1, DRAWS)
        picks = rng.choice(len(total), size=int(times.sum()), p=room / room.sum())
        change = (others - rows * mean)[picks] / size
        means += np.bincount(np.repeat(np.arange(DRAWS), times), change, DRAWS)
    return means


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
    count, nowhere = len(values), np.zeros(len(values))
    others, room = imagined or (values, nowhere)
    samples = [
        draw_means(Images(values, others, np.ones(count), one), np.random.default_rng([seed, 8]))
        for one in (nowhere, room)
    ]
    return list(interval_ends(samples, count))


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

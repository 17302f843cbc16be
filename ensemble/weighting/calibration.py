"""Calibration of an average: sharper or softer, and with a share for labels that are wrong.

Probabilities p become ``(1 - e) * softmax(log(p) / T) + e / C``. The temperature T is that of Guo
et al., "On calibration of modern neural networks", ICML 2017. The share e is for labels that say
nothing, drawn evenly from the C classes: what rows with such labels look like (symmetric noise,
as in Patrini et al., "Making deep neural networks robust to label noise", CVPR 2017). Heads that
learn from wrong labels are unsure of all images alike; what is true of them is that they should
be sure of most images, and of no label more than ``1 - e``. Without the share, the same
probabilities are those of labels that are right.

No row can say whether labels to come will be right, or wrong as often as those at hand. What is
recommended takes both for equally likely: the mean of the two answers, which is the same with half
of the share. Where that is worse than no calibration on rows that were held out, it takes the
whole share.

Both numbers are fitted on rows that neither heads nor weights have seen, and are used only if they
help beyond noise on rows that they were not fitted on. One mistake is imagined among the rows, in
the fit and where it is judged: without it, few rows that hold none make any sharpening look good.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

import numpy as np
from scipy.optimize import minimize

from ...core.bootstrap import imagine
from ...core.folds import deal_folds, fold_rows
from ...core.softmax import softmax
from ..metrics import EPSILON

# T between 1/20 and 20: beyond that a model is broken, not badly scaled.
_TEMPERATURES = (0.05, 20.0)
_MOST_WRONG = 0.95
# Sharpness, as a logarithm, and share: where there is no share, the slope of an imagined mistake
# that has no probability is so steep that a search may end there, far from the least loss.
_STARTS = ((0.1, 0.02), (0.0, 0.2), (1.0, 0.05))
_FOLDS = 5
# Two numbers need no more rows than make so many cells.
_CELLS = 500_000
# Standard errors by which rows that were held out must be better.
_BEYOND = 2.0


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What is done to the probabilities of an average.

    Attributes
    ----------
    temperature : float
        Below 1 makes them sharper.
    wrong : float
        Share of the labels that are taken for drawn at random.
    gain, error : float
        What it gains in log-loss on rows it was not fitted on and the imagined mistake, and the
        standard error.
    halved_gain : float
        What half of the share gains there.
    """

    temperature: float = 1.0
    wrong: float = 0.0
    gain: float = 0.0
    error: float = 0.0
    halved_gain: float = 0.0

    @property
    def clean(self) -> Self:
        """The same without the share of wrong labels."""
        return dataclasses.replace(self, wrong=0.0)

    @property
    def halved(self) -> Self:
        """The mean of this and `clean`: the same with half of the share of wrong labels."""
        return dataclasses.replace(self, wrong=self.wrong / 2)

    @property
    def recommended(self) -> Self:
        """Half of the share, where that is better than nothing on rows it was not fitted on."""
        return self.halved if self.halved_gain > 0 else self

    def apply(self, table: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities of a table (N, C)."""
        logs = np.log(np.maximum(table, EPSILON, dtype=np.float64))
        return (1 - self.wrong) * softmax(logs / self.temperature) + self.wrong / table.shape[1]


def find_calibration(
    table: np.ndarray, y: np.ndarray, images: np.ndarray, seed: int = 0
) -> Calibration | None:
    """Return the calibration of rows that nothing was fitted on; None if it does not help.

    There is none where a class has no probability in any row, either: it keeps none.

    Parameters
    ----------
    table : ndarray of shape (N, C)
    y : ndarray of int, shape (N,)
    images : ndarray of int, shape (N,)
        Number of each row's image; rows of one image are in one fold.
    seed : int
        Of the folds.
    """
    # Rows of a class that was dropped look like wrong labels; a share of them would be its share.
    if not (table > 0).any(axis=0).all():
        return None
    if deal_folds(y, images, _FOLDS, [seed, 33]).max() < 1:
        return None
    known = fit_calibration(table, y, seed, len(y) / len(np.unique(images)))
    # What does not help on its own rows does not help on others, and needs no folds.
    for fits in ([(np.arange(len(y)), known)], _unseen_fits(table, y, images, seed)):
        gain, error, halved = _judged(fits, table, y, images)
        if not gain > _BEYOND * error or gain < 1e-6:
            return None
    return dataclasses.replace(known, gain=gain, error=error, halved_gain=halved)


def _judged(
    fits: Iterable[tuple[np.ndarray, Calibration]],
    table: np.ndarray,
    y: np.ndarray,
    images: np.ndarray,
) -> tuple[float, float, float]:
    """Return the mean gain of calibrations on their rows, its standard error, and that of halves.

    The gain is in log-loss, on the rows and the imagined mistake.
    """
    # Rows of one image are one observation, and so is the mistake.
    image = np.unique(images, return_inverse=True)[1]
    count = np.bincount(image)
    copies = float(count.mean())
    both = _with_a_mistake(table, y, copies)
    # Of the calibration, and of half of its share; of the labels, and of the mistake's.
    gain = np.empty((2, 2, len(y)))
    for held, fitted in fits:
        for own, known in zip(gain, (fitted, fitted.halved)):
            after = np.log(np.maximum(known.apply(table[held]), EPSILON))
            change = after - np.log(np.maximum(table[held], EPSILON))
            own[:, held] = change[np.arange(len(held)), both.labels.reshape(2, -1)[:, held]]
    weighted = gain * both.weights.reshape(2, -1)
    mean, halved = (weighted.sum(axis=(1, 2)) / (len(y) + copies)).tolist()
    total = np.bincount(image, weights=gain[0, 0])
    apart = ((total - count * mean) ** 2).sum() + (weighted[0, 1].sum() - copies * mean) ** 2
    return mean, float(np.sqrt(apart)) / (len(y) + copies), halved


def calibrated_unseen(
    table: np.ndarray, y: np.ndarray, images: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Return all rows of a table as calibrations make them that were fitted without their folds.

    The arguments are those of `find_calibration`.
    """
    calibrated = np.empty(table.shape)
    for held, fitted in _unseen_fits(table, y, images, seed):
        calibrated[held] = fitted.apply(table[held])
    return calibrated


def _unseen_fits(
    table: np.ndarray, y: np.ndarray, images: np.ndarray, seed: int
) -> Iterator[tuple[np.ndarray, Calibration]]:
    """Yield the rows of each fold, and the calibration of the others."""
    copies = len(y) / len(np.unique(images))
    for learn, held in fold_rows(deal_folds(y, images, _FOLDS, [seed, 33])):
        yield held, fit_calibration(table[learn], y[learn], seed, copies)


def fit_calibration(
    table: np.ndarray, y: np.ndarray, seed: int = 0, mistake: float = 1.0
) -> Calibration:
    """Return the calibration of least log-loss on these rows and one imagined mistake."""
    classes = table.shape[1]
    most = max(1000, _CELLS // classes)
    if len(y) > most:
        some = np.random.default_rng(seed).permutation(len(y))[:most]
        table, y = table[some], y[some]
    both = _with_a_mistake(table, y, mistake)
    logs = np.log(np.maximum(table, EPSILON, dtype=np.float64))[both.rows]
    weights = both.weights / both.weights.sum()
    places = np.arange(len(logs)), both.labels
    own = logs[places]

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        sharpness, wrong = np.exp(at[0]), at[1]
        chances = softmax(sharpness * logs)
        true = chances[places]
        mixed = np.maximum((1 - wrong) * true + wrong / classes, EPSILON)
        slope = true * (own - np.einsum("ij,ij->i", chances, logs))
        gradient = [sharpness * (1 - wrong) * slope / mixed, (1 / classes - true) / mixed]
        return float(-np.log(mixed) @ weights), -(gradient @ weights)

    coldest, hottest = _TEMPERATURES
    bounds = [(-np.log(hottest), -np.log(coldest)), (0.0, _MOST_WRONG)]
    ends = []
    for start in _STARTS:
        ends.append(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds))
        if ends[-1].success:
            break
    found = min(ends, key=lambda end: end.fun)
    return Calibration(float(np.exp(-found.x[0])), float(found.x[1]))


class _Observed(NamedTuple):
    """Labels of rows, each of which is there twice."""

    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def _with_a_mistake(table: np.ndarray, y: np.ndarray, weight: float) -> _Observed:
    """Add one imagined mistake of a weight, as in Laplace's rule of succession.

    It is shared by the rows, as their likeliest other classes leave room for it.
    """
    rows = np.arange(len(y))
    labels, room = imagine(table, y)
    return _Observed(
        np.concatenate([rows, rows]),
        np.concatenate([y, labels]),
        np.concatenate([np.ones(len(y)), weight * room / room.sum()]),
    )

"""Adam with decoupled weight decay, in few passes over memory.

The method is that of Loshchilov and Hutter 2019, "Decoupled weight decay
regularization" (AdamW). The running moments are kept without their factors
(1 - beta), which are folded into the step instead: two passes less.

For the large matrices the second moment, which is a mean over a thousand steps, is
renewed at every fourth step only (`LazyAdam`). Between them a step is four passes, and the
product that makes the gradient adds it to the first moment itself. No weight moves by
more than the learning rate in a step (as in Shazeer and Stern 2018, "Adafactor", but for
each weight): a feature that is seen for the first time between two renewals would.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

__all__ = ["LazyAdam", "Moments", "adam_step", "cosine"]

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
# The second moment is renewed at each of the first steps, while it grows quickly, and
# at every fourth from there on.
_ALWAYS_UNTIL, _EVERY = 8, 4


@dataclasses.dataclass
class Moments:
    """Running sums of gradients and squared gradients of one array."""

    first: np.ndarray
    second: np.ndarray

    @classmethod
    def zeros_like(cls, values: np.ndarray) -> Moments:
        """Return the moments before the first step."""
        return cls(np.zeros_like(values), np.zeros_like(values))


def adam_step(
    values: np.ndarray,
    gradient: np.ndarray,
    moments: Moments,
    step: int,
    rate: np.ndarray | float,
    decay: np.ndarray | float,
) -> None:
    """Update `values` and `moments` in place.

    Parameters
    ----------
    values, gradient : ndarray of one shape
        The gradient is used as scratch space.
    moments : Moments
    step : int
        Number of this step, from 1.
    rate, decay : float or ndarray that broadcasts against `values`
        Learning rate and weight decay; the weights shrink by ``rate * decay``.
    """
    first, second = moments.first, moments.second
    correction = math.sqrt((1 - BETA2) / (1 - BETA2**step))
    scale = np.asarray(rate * ((1 - BETA1) / (1 - BETA1**step) / correction), values.dtype)
    first *= values.dtype.type(BETA1)
    first += gradient
    np.multiply(gradient, gradient, out=gradient)
    second *= values.dtype.type(BETA2)
    second += gradient
    np.sqrt(second, out=gradient)
    gradient += values.dtype.type(EPSILON / correction)
    np.divide(first, gradient, out=gradient)
    gradient *= scale
    if np.any(decay):
        values *= np.asarray(1 - rate * decay, values.dtype)
    values -= gradient


class LazyAdam:
    """The optimiser's state of a matrix whose second moment is renewed now and then.

    Parameters
    ----------
    shape : (int, int)
        Of the matrix: units, inputs.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        # The first moment as it would be had it not faded since the last renewal.
        self.first, self.second = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        # 1 / (root of the corrected second moment + epsilon), as it was last renewed.
        self.inverse = np.zeros(shape, np.float32)

    def keep(self, units: np.ndarray) -> None:
        """Keep only some units."""
        for name in ("first", "second", "inverse"):
            setattr(self, name, getattr(self, name)[units])

    def step(
        self,
        values: np.ndarray,
        units: slice,
        gradient: Callable[[np.ndarray, float, float], None],
        number: int,
        rate: np.ndarray | float,
        decay: np.ndarray | float,
        space: np.ndarray,
    ) -> None:
        """Update some units of the matrix.

        Parameters
        ----------
        values : ndarray of shape (h, d)
            Their weights; changed in place.
        units : slice
            Where they are in the matrix.
        gradient : callable
            ``gradient(out, keep, factor)`` makes of ``out`` ``keep * out`` plus ``factor`` times
            the gradient.
        number : int
            Number of this step, from 1.
        rate, decay : float or ndarray of shape (h, 1)
        space : ndarray of shape (h, d)
            Scratch.
        """
        first, inverse = self.first[units], self.inverse[units]
        faded = BETA1 ** _since_renewal(number)
        if faded == 1:
            gradient(space, 0.0, 1.0)
            first *= np.float32(BETA1 * BETA1 ** _since_renewal(number - 1))
            first += space
            self._renew(self.second[units], inverse, space, number)
        else:
            # Newer gradients count for more, instead of all older ones for less: a pass saved.
            gradient(first, 1.0, 1 / faded)
        np.multiply(first, inverse, out=space)
        share = faded * (1 - BETA1) / (1 - BETA1**number)
        # What the last renewal had not seen yet must not make a leap.
        np.clip(space, np.float32(-1 / share), np.float32(1 / share), out=space)
        space *= np.asarray(rate * share, np.float32)
        if np.any(decay):
            values *= np.asarray(1 - rate * decay, np.float32)
        values -= space

    @staticmethod
    def _renew(second, inverse, gradient, number: int) -> None:
        # This gradient stands for those of the steps since the last renewal.
        steps = 1 if number <= _ALWAYS_UNTIL else _EVERY
        second *= np.float32(BETA2**steps)
        np.multiply(gradient, gradient, out=inverse)
        if steps > 1:
            inverse *= np.float32(steps)
        second += inverse
        np.sqrt(second, out=inverse)
        inverse *= np.float32(math.sqrt((1 - BETA2) / (1 - BETA2**number)))
        inverse += np.float32(EPSILON)
        np.reciprocal(inverse, out=inverse)


def _since_renewal(number: int) -> int:
    """Return how many steps ago the second moment was renewed last."""
    return 0 if number <= _ALWAYS_UNTIL else number % _EVERY


def cosine(done: float, peak: float, warm_up: float = 0.0) -> float:
    """Return the learning rate when the share `done` (0 to 1) of the schedule is behind.

    Half a cosine from `peak` to 0 (Loshchilov and Hutter 2017, "SGDR") after a
    linear rise over the share `warm_up`.
    """
    if done < warm_up:
        return peak * done / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))

"""Adam with decoupled weight decay, in few passes over memory.

The method is that of Loshchilov and Hutter 2019, "Decoupled weight decay
regularization" (AdamW). The running moments are kept without their factors
(1 - beta), which are folded into the step instead: two passes less.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

__all__ = ["Moments", "adam_step", "cosine"]

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


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


def cosine(done: float, peak: float, warm_up: float = 0.0) -> float:
    """Return the learning rate when the share `done` (0 to 1) of the schedule is behind.

    Half a cosine from `peak` to 0 (Loshchilov and Hutter 2017, "SGDR") after a
    linear rise over the share `warm_up`.
    """
    if done < warm_up:
        return peak * done / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))

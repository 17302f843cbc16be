"""Averages of the probabilities of several models, and all that an average may carry."""

import dataclasses
from typing import Self

import numpy as np

from ...core.errors import ProbabilityError
from ...core.softmax import softmax
from ..metrics import EPSILON
from .calibration import Calibration
from .groups import combine_groups


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to make one answer out of several.

    Attributes
    ----------
    weights : ndarray of shape (M,)
        Non-negative, sum 1.
    mean : {"arithmetic", "geometric"}
    groups : ndarray of int, shape (C,), optional
        Group of each class.
    group_weights : ndarray of shape (G, M), optional
        Takes the place of `weights` where there are groups.
    calibration : Calibration, optional
        Applied to the average.
    routed : ndarray of shape (G, M), optional
        Takes the place of `weights` for rows whose probabilities of groups of images are known.
    """

    weights: np.ndarray
    mean: str = "arithmetic"
    groups: np.ndarray | None = None
    group_weights: np.ndarray | None = None
    calibration: Calibration | None = None
    routed: np.ndarray | None = None

    @property
    def used(self) -> np.ndarray:
        """Which models have a weight anywhere, (M,) of bool."""
        if self.group_weights is not None:
            return (self.group_weights > 0).any(axis=0)
        used = self.weights > 0
        return used if self.routed is None else used | (self.routed > 0).any(axis=0)

    def only_used(self) -> Self:
        """Return the recipe for the models that have a weight, in their order."""
        kept, groups, routed = self.used, self.group_weights, self.routed
        return dataclasses.replace(
            self,
            weights=self.weights[kept],
            group_weights=None if groups is None else groups[:, kept],
            routed=None if routed is None else routed[:, kept],
        )

    def shrunk(self, amount: float, towards: np.ndarray) -> Self:
        """Return the recipe with all weights moved by `amount` (0 to 1) to those in `towards`."""
        groups = self.group_weights
        return dataclasses.replace(
            self,
            weights=(1 - amount) * self.weights + amount * towards,
            group_weights=None if groups is None else (1 - amount) * groups + amount * towards,
        )

    def apply(self, probabilities: np.ndarray, routes: np.ndarray | None = None) -> np.ndarray:
        """Return the average (N, C) of probabilities (M, N, C), and (N, G) of groups of images."""
        if self.routed is not None and routes is not None:
            table = np.einsum("nm,mnc->nc", routes @ self.routed, probabilities)
        elif self.group_weights is not None and self.groups is not None:
            table = combine_groups(probabilities, self.group_weights, self.groups)
        else:
            table = combine(probabilities, self.weights, self.mean)
        return table if self.calibration is None else self.calibration.apply(table)


def equal_weights(models: int, among: np.ndarray | None = None) -> np.ndarray:
    """Return equal weights (models,) for the models numbered in `among`, or for all."""
    weights = np.zeros(models)
    among = np.arange(models) if among is None else among
    weights[among] = 1 / len(among)
    return weights


def combine(probabilities: np.ndarray, weights: np.ndarray, mean: str = "arithmetic") -> np.ndarray:
    """Average the probabilities of several models.

    Parameters
    ----------
    probabilities : ndarray of shape (M, N, C)
    weights : ndarray of shape (M,)
    mean : {"arithmetic", "geometric"}
        The geometric mean is made to sum to 1; its probabilities below 1e-15 count as 1e-15.

    Returns
    -------
    ndarray of shape (N, C)
    """
    probabilities = np.asarray(probabilities)
    weights = np.asarray(weights, dtype=np.float64)
    if probabilities.ndim != 3 or weights.shape != probabilities.shape[:1]:
        raise ProbabilityError(
            f"{weights.shape} weights do not fit probabilities of shape {probabilities.shape}",
            "give one weight for each model: probabilities are (M, N, C)",
        )
    used = np.flatnonzero(weights)
    if mean == "arithmetic":
        return np.tensordot(weights[used], probabilities[used].astype(np.float64), axes=1)
    logs = np.log(np.maximum(probabilities[used], EPSILON, dtype=np.float64))
    return softmax(np.tensordot(weights[used], logs, axes=1))

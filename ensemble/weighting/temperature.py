"""Temperature scaling: one number that makes a model's probabilities softer or sharper.

Probabilities p become proportional to p^(1/T) (Guo et al., "On calibration of modern
neural networks", ICML 2017). The log-loss is convex in 1/T; it is minimised over log T.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.model_selection import KFold

from ..metrics import EPSILON

__all__ = ["apply_temperatures", "find_temperatures"]

# T between 1/20 and 20: beyond that a model is broken, not badly scaled.
_RANGE = (-3.0, 3.0)


def find_temperatures(
    probabilities: np.ndarray, y: np.ndarray, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Find each model's temperature, and keep it only if it helps on rows it was not fitted on.

    Parameters
    ----------
    probabilities : ndarray of shape (M, N, C)
    y : ndarray of int, shape (N,)
    folds : int
        The temperature of a model is 1 if, over this many folds, fitted temperatures do not
        lower the log-loss of held-out rows.
    seed : int
        Of the folds.

    Returns
    -------
    ndarray of shape (M,)
    """
    found = []
    for table in probabilities:
        logs = np.log(np.maximum(table, EPSILON))
        found.append(_fit(logs, y) if _helps(logs, y, folds, seed) else 1.0)
    return np.array(found)


def apply_temperatures(probabilities: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    """Return probabilities (M, N, C), each model's scaled by its temperature."""
    scaled = np.array(probabilities, dtype=np.float64)
    for index, temperature in enumerate(temperatures):
        if temperature != 1:
            logs = np.log(np.maximum(scaled[index], EPSILON)) / temperature
            share = np.exp(logs - logs.max(axis=1, keepdims=True))
            scaled[index] = share / share.sum(axis=1, keepdims=True)
    return scaled


def _fit(logs: np.ndarray, y: np.ndarray) -> float:
    found = minimize_scalar(
        lambda log_t: _loss(logs, y, np.exp(log_t)), bounds=_RANGE, method="bounded"
    )
    return float(np.exp(found.x))


def _helps(logs: np.ndarray, y: np.ndarray, folds: int, seed: int) -> bool:
    if len(y) < 2 * folds:
        return False
    gain = 0.0
    for learn, score in KFold(folds, shuffle=True, random_state=seed).split(y):
        temperature = _fit(logs[learn], y[learn])
        before, after = (_loss(logs[score], y[score], t) for t in (1.0, temperature))
        gain += len(score) * (before - after)
    return gain > 0


def _loss(logs: np.ndarray, y: np.ndarray, temperature: float) -> float:
    scaled = logs / temperature
    top = scaled.max(axis=1)
    total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
    return float(np.mean(total - scaled[np.arange(len(y)), y]))

"""Nearest neighbours among whitened features, exactly, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.utils.extmath import randomized_svd

from .material import subset

__all__ = ["nearest", "whitened"]

# Of so many rows the directions are learnt.
_LEARN_FROM = 4000
_DIRECTIONS = 256
_BLOCK, _CHUNK = 512, 8192


def whitened(
    read: Callable[[np.ndarray], np.ndarray], count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return features whose directions all count alike, and principal components as they are.

    Pictures of one studio or one kind differ little from one another in the few directions in
    which features vary most, and copies of one picture agree in all: dividing by the spread in
    each direction is what tells them apart.

    Parameters
    ----------
    read : callable
        From numbers of rows to their features, float32 (n, F).
    count : int
        How many rows there are.
    seed : int
        Of the sample that the directions are learnt from.

    Returns
    -------
    points : ndarray of shape (count, D), float32
        Whitened and scaled to length 1. D is at most 256, and a quarter of the rows.
    components : ndarray of shape (count, E), float32
        The principal components of all features, with a total variance of 9: what a logistic
        regression with C=1 wants.
    """
    sample = read(subset(count, _LEARN_FROM, seed))
    mean = sample.mean(axis=0)
    sample -= mean
    rank = max(1, min(_DIRECTIONS, len(sample) - 1, sample.shape[1]))
    _, spread, directions = randomized_svd(sample, rank, n_iter=3, random_state=seed)
    kept = spread > 1e-6 * max(float(spread[0]), 1e-30)
    turn = directions[kept].T.astype(np.float32)
    components = np.zeros((count, max(1, turn.shape[1])), np.float32)
    for start in range(0, count, 4096):
        rows = np.arange(start, min(start + 4096, count))
        if turn.shape[1]:
            components[rows] = (read(rows) - mean) @ turn
    # Directions of hardly any spread are noise, and dividing by it would make them count.
    few = max(1, len(sample) // 4)
    points = components[:, :few] / spread[kept][:few] if turn.shape[1] else components.copy()
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    components *= 3 / max(float(np.sqrt(components.var(axis=0).sum())), 1e-12)
    return points.astype(np.float32, copy=False), components


def nearest(points: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's nearest others by cosine.

    Parameters
    ----------
    points : ndarray of shape (N, D)
        Rows of length 1.
    most : int
        How many neighbours; fewer where there are fewer rows.

    Returns
    -------
    index, cosine : ndarray of shape (N, k)
        Nearest first.

    Notes
    -----
    All pairs are compared, by products of blocks of 512 x 8,192 rows (64 MiB in all): the time
    grows with the square of the number of rows, the memory does not.
    """
    count = len(points)
    k = min(most, count - 1)
    index = np.zeros((count, k), np.int64)
    cosine = np.full((count, k), -np.inf, np.float32)
    for start in range(0, count, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, count))
        for other in range(0, count, _CHUNK):
            columns = np.arange(other, min(other + _CHUNK, count))
            close = points[rows] @ points[columns].T
            close[rows[:, None] == columns] = -np.inf
            last = max(close.shape[1] - k, 0)
            take = (
                np.argpartition(close, last, axis=1)[:, last:]
                if last
                else (np.broadcast_to(np.arange(close.shape[1]), close.shape))
            )
            both = np.concatenate([cosine[rows], np.take_along_axis(close, take, 1)], axis=1)
            ids = np.concatenate([index[rows], columns[take]], axis=1)
            best = np.argsort(-both, axis=1, kind="stable")[:, :k]
            cosine[rows] = np.take_along_axis(both, best, 1)
            index[rows] = np.take_along_axis(ids, best, 1)
    return index, cosine

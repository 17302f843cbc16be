"""Nearest neighbours among whitened features, in blocks of bounded memory.

All pairs are compared up to 200,000 rows. Beyond that the time would grow with the square of
their number, so each row is compared with the rows near it alone: points are put in cells, and
a row looks into the cells whose centres are nearest to it (an inverted file; Jégou, Douze and
Schmid 2011), until they hold about 32,768 rows.
"""

from collections.abc import Callable

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils.extmath import randomized_svd

from .material import subset

# Of so many rows the directions are learnt.
_LEARN_FROM = 4000
_DIRECTIONS = 256
# A square of so many rows a side is compared at once (16 MiB).
_BLOCK = 2048
# Up to so many rows all pairs are compared; beyond, each row with about so many.
EXACT, _LOOKED_AT = 200_000, 32_768
# Cells are learnt from so many rows, and looked into so many at a time.
_SAMPLE, _BATCH = 50_000, 32


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


def nearest(points: np.ndarray, most: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's nearest others by cosine.

    Parameters
    ----------
    points : ndarray of shape (N, D)
        Rows of length 1.
    most : int
        How many neighbours; fewer where there are fewer rows.
    seed : int
        Seed for the cells, which more than 200,000 rows are put in.

    Returns
    -------
    index, cosine : ndarray of shape (N, k)
        Nearest first. Exact up to 200,000 rows; docs/audit.md says what is found beyond.
    """
    best = _Best(len(points), min(most, len(points) - 1))
    if len(points) > EXACT:
        _compare_near(points, best, seed)
    else:
        _compare_all(points, best, np.arange(len(points)))
    return best.index, best.cosine


class _Best:
    """The nearest of what each row was compared with so far, nearest first."""

    def __init__(self, rows: int, most: int) -> None:
        self.index = np.zeros((rows, most), np.int64)
        self.cosine = np.full((rows, most), -np.inf, np.float32)

    def offer(self, rows: np.ndarray, others: np.ndarray, close: np.ndarray) -> None:
        """Keep what is nearer than before: `close` holds the cosines of `rows` and `others`."""
        row, other = np.nonzero(close > self.cosine[rows, -1:])
        found = close[row, other]
        touched, row = np.unique(row, return_inverse=True)
        if not len(touched):
            return
        k, mine = self.cosine.shape[1], rows[touched]
        owner = np.concatenate([np.repeat(np.arange(len(mine)), k), row])
        ids = np.concatenate([self.index[mine].ravel(), others[other]])
        every = np.concatenate([self.cosine[mine].ravel(), found])
        order = np.lexsort((-every, owner))
        first = np.searchsorted(owner[order], np.arange(len(mine)))
        kept = order[first[:, None] + np.arange(k)]
        self.index[mine], self.cosine[mine] = ids[kept], every[kept]


def _compare_all(points: np.ndarray, best: _Best, rows: np.ndarray) -> None:
    """Compare all pairs of `rows`, each once."""
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    for block in blocks:
        close = points[block] @ points[block].T
        np.fill_diagonal(close, -np.inf)
        # All but the nearest are taken away, so that few are left to sort.
        kth = max(len(block) - best.cosine.shape[1], 0)
        floor = np.partition(close, kth, axis=1)[:, kth, None]
        best.offer(block, block, np.where(close >= floor, close, -np.inf))
    for place, block in enumerate(blocks):
        for others in blocks[place + 1 :]:
            close = points[block] @ points[others].T
            best.offer(block, others, close)
            best.offer(others, block, close.T)


def _compare_near(points: np.ndarray, best: _Best, seed: int) -> None:
    """Compare each row with those in the cells whose centres are nearest to it."""
    count, cells = len(points), int(2 * np.sqrt(len(points)))
    model = MiniBatchKMeans(cells, batch_size=4096, max_iter=20, n_init=1, random_state=seed)
    centres = model.fit(points[subset(count, _SAMPLE, seed)]).cluster_centers_
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    own, floor = np.zeros(count, np.int64), np.zeros(count, np.float32)
    kth = cells - min(cells, max(1, round(cells * _LOOKED_AT / count)))
    for start in range(0, count, _BLOCK):
        rows = slice(start, start + _BLOCK)
        close = points[rows] @ centres.T
        own[rows], floor[rows] = close.argmax(axis=1), np.partition(close, kth, axis=1)[:, kth]
    members = np.split(np.argsort(own, kind="stable"), np.bincount(own, minlength=cells).cumsum())
    for rows in members[:cells]:
        _compare_all(points, best, rows)
    for first in range(0, cells, _BATCH):
        near = points @ centres[first : first + _BATCH].T >= floor[:, None]
        for cell, looking in enumerate(near.T, first):
            rows = np.flatnonzero(looking & (own != cell))
            for start in range(0, len(rows), _BLOCK):
                block = rows[start : start + _BLOCK]
                best.offer(block, members[cell], points[block] @ points[members[cell]].T)

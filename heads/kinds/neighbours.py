"""k nearest neighbours on features of unit length."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.base import clone

from ...core.float16 import widen
from ..base import Head
from ..numerics.products import multiply
from ..rows import Rows
from ..saved import HeadFiles
from ..settings import ABOVE_0, count, number

NEIGHBOURS, TEMPERATURES = (40, 20, 10, 5), (0.2, 0.1, 0.05, 0.02)
_ROWS_AT_ONCE = 512
# So many numbers of the votes of neighbours lie in memory at once.
_VOTES_AT_ONCE = 2**24


class NeighboursHead(Head):
    """Vote of the nearest training rows by cosine similarity.

    A neighbour at similarity s votes with ``exp((s - 1) / temperature)``, and every
    class has a small vote of its share of the training rows, so that no
    probability is 0.

    Parameters
    ----------
    neighbours : int or "auto", default "auto"
        "auto" chooses among 5, 10, 20 and 40, out of fold.
    temperature : float or "auto", default "auto"
        "auto" chooses among 0.02, 0.05, 0.1 and 0.2, out of fold.
    prior : float, default 0.02
        Weight of the class shares in the answer.
    random_state : int, RandomState or None, default None
        Accepted for the contract of heads; nothing is random.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    neighbours_, temperature_ : int, float
        Those that are used.
    rows_ : ndarray of shape (N, D), float32
        Training rows of unit length.
    votes_ : ndarray of shape (N, C), float32
        Weight of each row in the column of its class.
    """

    kind: ClassVar[str] = "neighbours"
    recipe: ClassVar[int] = 3
    allowed: ClassVar = {
        "neighbours": count(2**20) | "auto",
        "temperature": ABOVE_0 | "auto",
        "prior": number("between 0 and 1", lambda value: 0 < value < 1),
    }

    def __init__(self, neighbours="auto", temperature="auto", prior=0.02, random_state=None):
        self.neighbours = neighbours
        self.temperature = temperature
        self.prior = prior
        self.random_state = random_state

    def choices(self) -> list[dict[str, Any]]:
        """Return all pairs of a number of neighbours and a temperature that are open."""
        return self.grid(neighbours=NEIGHBOURS, temperature=TEMPERATURES)

    def predict_path(
        self, rows: Rows, fitted: np.ndarray, judged: np.ndarray, choices: Sequence[dict]
    ) -> np.ndarray:
        """See `Head.predict_path`: the nearest rows are sought once."""
        heads = [clone(self).set_params(**choice) for choice in choices]
        most = max(heads, key=lambda head: head.neighbours).fit_rows(rows, fitted)
        near, likeness = most._nearest(rows.features[judged], most.neighbours)
        for head in heads:
            head.votes_ = most.votes_
            head.neighbours_, head.temperature_ = head.neighbours, head.temperature
        return np.array([head._vote(near, likeness) for head in heads])

    def _memory(self, rows: Rows) -> tuple[dict[str, Any], int]:
        return {}, 4 * rows.features.size

    def _fit(self, rows: Rows, index: np.ndarray) -> None:
        self.neighbours_, self.temperature_ = self.neighbours, self.temperature
        self.rows_ = _unit(rows.features[index])
        targets = rows.targets[index][:, rows.present(index)]
        self.votes_ = (targets * rows.weights[index, None]).astype(np.float32)

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        return self._vote(*self._nearest(X, self.neighbours_))

    def _nearest(self, X: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest training rows of each row, and their likeness, the best first."""
        count = min(count, len(self.rows_))
        near = np.empty((len(X), count), np.int64)
        likeness = np.empty((len(X), count))
        for top in range(0, len(X), _ROWS_AT_ONCE):
            product = multiply(_unit(X[top : top + _ROWS_AT_ONCE]), self.rows_.T)
            some = np.argpartition(-product, count - 1, axis=1)[:, :count]
            values = np.take_along_axis(product, some, axis=1)
            order = np.argsort(-values, axis=1, kind="stable")
            near[top : top + _ROWS_AT_ONCE] = np.take_along_axis(some, order, axis=1)
            likeness[top : top + _ROWS_AT_ONCE] = np.take_along_axis(values, order, axis=1)
        return near, likeness

    def _vote(self, near: np.ndarray, likeness: np.ndarray) -> np.ndarray:
        shares = self.votes_.sum(axis=0, dtype=np.float64)
        shares /= shares.sum()
        near, likeness = near[:, : self.neighbours_], likeness[:, : self.neighbours_]
        values = np.exp((likeness - likeness[:, :1]) / self.temperature_)
        votes = np.empty((len(near), len(shares)))
        step = max(1, _VOTES_AT_ONCE // (near.shape[1] * len(shares)))
        for top in range(0, len(near), step):
            block = slice(top, top + step)
            votes[block] = np.einsum("ij,ijk->ik", values[block], self.votes_[near[block]])
        votes /= votes.sum(axis=1, keepdims=True)
        return (1 - self.prior) * votes + self.prior * shares

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        fields = {
            "rows": len(self.rows_),
            "neighbours": int(self.neighbours_),
            "temperature": float(self.temperature_),
        }
        return fields, {"rows": self.rows_, "votes": self.votes_}

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        count = files.field(fields, "rows", int)
        self.neighbours_ = files.field(fields, "neighbours", int)
        self.temperature_ = files.field(fields, "temperature", float)
        if self.neighbours_ < 1 or not self.temperature_ > 0:
            raise files.refuse("its neighbours or its temperature are not above 0")
        arrays = files.arrays(
            {"rows": (count, files.features), "votes": (count, len(files.classes))}
        )
        self.rows_, self.votes_ = arrays["rows"], arrays["votes"]
        if count < 1 or (self.votes_ < 0).any() or not (self.votes_.sum(axis=1) > 0).all():
            raise files.refuse("its votes are negative or empty")


def _unit(X: np.ndarray) -> np.ndarray:
    values = np.empty(X.shape, np.float32)
    widen(X, values)
    length = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    values /= np.maximum(length, 1e-30)[:, None].astype(np.float32)
    return values

"""k nearest neighbours on features of unit length."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...core.errors import HeadError
from ..base import Head
from ..numerics.lanes import widen
from ..numerics.products import multiply
from ..saved import HeadFiles

__all__ = ["NeighboursHead"]

_ROWS_AT_ONCE = 512


class NeighboursHead(Head):
    """Vote of the nearest training rows by cosine similarity.

    A neighbour at similarity s votes with ``exp((s - 1) / temperature)``, and every
    class has a small vote of its share of the training rows, so that no
    probability is 0.

    Parameters
    ----------
    neighbours : int, default 20
    temperature : float, default 0.1
    prior : float, default 0.02
        Weight of the class shares in the answer.
    random_state : int, RandomState or None, default None
        Accepted for the contract of heads; nothing is random.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    rows_ : ndarray of shape (N, D), float32
        Training rows of unit length.
    votes_ : ndarray of shape (N, C), float32
        Weight of each row in the column of its class.
    """

    kind: ClassVar[str] = "neighbours"

    def __init__(self, neighbours=20, temperature=0.1, prior=0.02, random_state=None):
        self.neighbours = neighbours
        self.temperature = temperature
        self.prior = prior
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None, *, validation=None, progress=None):
        """Keep the training rows; `validation` and `progress` are accepted and not used."""
        self._check_settings()
        X, codes, weights = self._check_training(X, y, sample_weight)
        rows = np.flatnonzero(weights)
        self.rows_ = _unit(X[rows])
        self.votes_ = np.zeros((len(rows), len(self.classes_)), np.float32)
        self.votes_[np.arange(len(rows)), codes[rows]] = weights[rows]
        return self

    def predict_proba(self, X):
        """Return class probabilities, float64 of shape (N, C), columns as in `classes_`."""
        X = self._check_features(X)
        count = min(self.neighbours, len(self.rows_))
        shares = self.votes_.sum(axis=0, dtype=np.float64)
        shares /= shares.sum()
        table = np.empty((len(X), len(self.classes_)))
        for top in range(0, len(X), _ROWS_AT_ONCE):
            likeness = multiply(_unit(X[top : top + _ROWS_AT_ONCE]), self.rows_.T)
            near = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
            values = np.take_along_axis(likeness, near, axis=1).astype(np.float64)
            values = np.exp((values - values.max(axis=1, keepdims=True)) / self.temperature)
            votes = np.einsum("ij,ijk->ik", values, self.votes_[near])
            votes /= votes.sum(axis=1, keepdims=True)
            table[top : top + _ROWS_AT_ONCE] = (1 - self.prior) * votes + self.prior * shares
        return table

    def _check_settings(self) -> None:
        fits = (
            isinstance(self.neighbours, (int, np.integer))
            and self.neighbours >= 1
            and self.temperature > 0
            and 0 < self.prior < 1
        )
        if not fits:
            raise HeadError(
                f"neighbours={self.neighbours!r}, temperature={self.temperature!r}, "
                f"prior={self.prior!r} cannot be used",
                "neighbours is a whole number from 1, temperature above 0, prior between 0 and 1",
            )

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"rows": len(self.rows_)}, {"rows": self.rows_, "votes": self.votes_}

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        self._check_settings()
        count = files.field(fields, "rows", int)
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

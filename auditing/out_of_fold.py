"""Honest predictions of simple models: every row by one that has not seen it or its copies."""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from ..core.blas import with_one_thread
from ..core.folds import deal_folds

FOLDS = 5


def deal_rows(y: np.ndarray, groups: Sequence[Sequence[int]], seed: int) -> np.ndarray:
    """Return the fold of each row: classes are spread evenly, rows of a group stay together."""
    leader = np.arange(len(y))
    for rows in groups:
        leader[list(rows)] = min(rows)
    return deal_folds(y, leader, FOLDS, [seed, 23])


def logistic(seed: int) -> LogisticRegression:
    """Return a logistic regression for the principal components of features."""
    return LogisticRegression(C=1.0, max_iter=200, tol=1e-3, random_state=seed)


@with_one_thread
def out_of_fold(model, X: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return the probabilities of each row's fold by `model` fitted on the other folds, (N, C).

    Classes are 0 to C - 1; one that the other folds lack has probability 0.
    """
    table = np.zeros((len(y), int(y.max()) + 1))
    for number in np.unique(fold):
        held, rest = fold == number, fold != number
        if len(np.unique(y[rest])) < 2:
            table[held, y[rest][0] if rest.any() else 0] = 1
            continue
        model.fit(X[rest], y[rest])
        table[np.ix_(held, model.classes_)] = model.predict_proba(X[held])
    return table

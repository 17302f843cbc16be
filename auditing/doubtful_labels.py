"""Doubtful labels, by confident learning.

Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty in dataset
labels", section 3: a row is confidently of class j where its probability of j is at least the
mean probability of j over the rows that are labelled j. Rows that are confidently of another
class than their label are doubtful.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Doubts:
    """Labels that probabilities contradict.

    Attributes
    ----------
    rows : ndarray of int
        Doubtful rows, least probable label first.
    instead : ndarray of int
        The class that each of them is confidently of.
    joint : ndarray of shape (C, C)
        Estimated number of rows by label (line) and true class (column); lines add up to
        the rows of each label.
    """

    rows: np.ndarray
    instead: np.ndarray
    joint: np.ndarray

    @property
    def expected(self) -> float:
        """Estimated number of wrong labels: the joint off its diagonal."""
        return float(self.joint.sum() - np.trace(self.joint))


def doubtful_labels(y: np.ndarray, probabilities: np.ndarray) -> Doubts:
    """Find labels that are probably wrong.

    Parameters
    ----------
    y : ndarray of int, shape (N,)
        Labels.
    probabilities : ndarray of shape (N, C)
        Of models that had not seen the row.
    """
    count = probabilities.shape[1]
    rows = np.arange(len(y))
    threshold = np.full(count, np.inf)
    for label in np.unique(y):
        threshold[label] = probabilities[y == label, label].mean()
    sure = probabilities >= threshold - 1e-6
    confident = np.where(sure, probabilities, -1.0)
    instead = confident.argmax(axis=1)
    known = sure.any(axis=1)
    confident_joint = np.zeros((count, count))
    np.add.at(confident_joint, (y[known], instead[known]), 1)
    # A class of which nothing is confident keeps its rows.
    labelled = np.bincount(y, minlength=count).astype(float)
    np.fill_diagonal(confident_joint, np.maximum(np.diag(confident_joint), labelled > 0))
    joint = confident_joint * (labelled / np.maximum(confident_joint.sum(axis=1), 1))[:, None]
    wrong = known & (instead != y) & (probabilities.argmax(axis=1) != y)
    order = np.flatnonzero(wrong)
    order = order[np.argsort(probabilities[order, y[order]], kind="stable")]
    return Doubts(rows[order], instead[order], joint)

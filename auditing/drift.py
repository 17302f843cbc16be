"""Tell whether new images differ from the training images, by whether features can.

A classifier of "new or not" that does no better than chance on images it has not seen finds
no difference (Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests").
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from .auc import Area, area
from .material import subset
from .out_of_fold import deal_rows, logistic, out_of_fold

_FEWEST = 20
_MOST = 10_000
_SHOWN = 12
# More directions than this only fit noise: two kinds differ in few.
_DIRECTIONS = 64


@dataclasses.dataclass(frozen=True)
class Drift:
    """How well new images can be told from training images.

    Attributes
    ----------
    new : str
        ``test``, ``validation`` or ``new``.
    training, others : int
        How many images were compared.
    strangest : list of int
        New images that are least like the training images.
    """

    new: str
    training: int
    others: int
    area: Area
    strangest: list[int]

    @property
    def real(self) -> bool:
        """Whether the difference is beyond chance."""
        return self.area.low > 0.5


def measure_drift(
    components: np.ndarray, new: np.ndarray, name: str, groups: Sequence[Sequence[int]], seed: int
) -> Drift | None:
    """Compare images, or return None where there are fewer than twenty of a kind.

    Parameters
    ----------
    components : ndarray of shape (N, D)
        Principal components of the features.
    new : ndarray of int, shape (N,)
        1 for new images, 0 for training images, -1 for others.
    name : str
        What the new ones are called.
    groups : sequence of sequences of int
        Copies, which must not be on both sides of a fold.
    """
    rows = np.flatnonzero(new >= 0)
    if min((new == 0).sum(), (new == 1).sum()) < _FEWEST:
        return None
    rows = rows[subset(len(rows), _MOST, seed)]
    if min((new[rows] == 0).sum(), (new[rows] == 1).sum()) < _FEWEST:
        return None
    place = {int(row): number for number, row in enumerate(rows)}
    kept = [[place[row] for row in group if row in place] for group in groups]
    y = new[rows]
    fold = deal_rows(y, [group for group in kept if group], seed)
    scores = out_of_fold(logistic(seed), components[rows, :_DIRECTIONS], y, fold)[:, 1]
    order = rows[np.argsort(-scores, kind="stable")]
    strangest = [int(row) for row in order if new[row] == 1][:_SHOWN]
    found = area(y == 1, scores)
    return Drift(name, int((y == 0).sum()), int((y == 1).sum()), found, strangest)

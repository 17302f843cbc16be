"""Classes that simple facts of the file predict: a network may have learnt those alone.

(Geirhos et al. 2020, "Shortcut learning in deep neural networks".)
"""

import dataclasses

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from ..core.bootstrap import imagine, mean_interval
from .auc import Area, area
from .facts import FACTS
from .out_of_fold import deal_rows, out_of_fold

_FEWEST = 20
# A fact that ranks a class above the others in four pairs of five could stand in for it.
STRONG = 0.8


@dataclasses.dataclass(frozen=True)
class Shortcut:
    """The fact that predicts one class best.

    Attributes
    ----------
    area : Area
        Of the class against the others by that fact alone, out of fold; the interval covers
        all classes and facts together (Bonferroni).
    inside, outside : float
        Median of the fact in the class and in the others.
    """

    label: str
    fact: str
    area: Area
    inside: float
    outside: float

    @property
    def strong(self) -> bool:
        """Whether the fact could stand in for the class."""
        return self.area.low >= STRONG


@dataclasses.dataclass(frozen=True)
class Shortcuts:
    """What the facts say about the labels of a task.

    Attributes
    ----------
    rows : int
        Pictures that were opened.
    accuracy, low, high : float
        Of all facts together, out of fold, with its 95% bootstrap interval.
    chance : float
        Share of the commonest class.
    classes : list of Shortcut
        The best fact of each class, strongest first.
    """

    task: str
    rows: int
    accuracy: float
    low: float
    high: float
    chance: float
    classes: list[Shortcut]


def find_shortcuts(
    task: str, classes: tuple[str, ...], y: np.ndarray, facts: np.ndarray, seed: int
) -> Shortcuts | None:
    """Predict labels from facts alone.

    Parameters
    ----------
    y : ndarray of int, shape (N,)
    facts : ndarray of shape (N, F)
        Of `read_facts`; rows with NaN are left out.

    Returns
    -------
    Shortcuts or None
        None where fewer than two classes have twenty pictures.
    """
    counts = np.bincount(y[np.isfinite(facts[:, 0]) & (y >= 0)], minlength=len(classes))
    enough = np.flatnonzero(counts >= _FEWEST)
    rows = np.flatnonzero(np.isfinite(facts[:, 0]) & np.isin(y, enough))
    if len(enough) < 2:
        return None
    y, facts = np.searchsorted(enough, y[rows]), facts[rows]
    fold = deal_rows(y, [], seed)
    forest = RandomForestClassifier(60, min_samples_leaf=5, random_state=seed)
    table = out_of_fold(forest, facts, y, fold)
    others, room = imagine(table, y)
    right, other = ((table.argmax(axis=1) == labels).astype(float) for labels in (y, others))
    low, high = mean_interval(right, seed, (other, room))
    level = 1 - 0.05 / (len(enough) * facts.shape[1])
    found = []
    for number, label in enumerate(enough):
        best = max(
            ((column, _alone(facts[:, column], y == number, fold, level, seed))
             for column in range(facts.shape[1])),
            key=lambda entry: entry[1].value,
        )  # fmt: skip
        values = facts[:, best[0]]
        inside, outside = np.median(values[y == number]), np.median(values[y != number])
        found.append(
            Shortcut(classes[label], FACTS[best[0]], best[1], float(inside), float(outside))
        )
    found.sort(key=lambda one: -one.area.value)
    chance = float(np.bincount(y).max() / len(y))
    return Shortcuts(task, len(y), float(right.mean()), low, high, chance, found)


def _alone(values: np.ndarray, is_it: np.ndarray, fold: np.ndarray, level: float, seed: int):
    tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=10, random_state=seed)
    scores = out_of_fold(tree, values[:, None], is_it.astype(int), fold)[:, 1]
    return area(is_it, scores, level)

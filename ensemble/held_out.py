"""Answers to rows that no choice has seen: test rows, or each part of the rows by the others.

In nested cross-validation everything is chosen anew on the rows of all folds but one, and answers
the rows of that one. There are five folds; of fewer than 2,000 images there are more, up to 20,
where log-loss is tuned for: what is chosen on four fifths of few rows is worse than what is saved.
Equal images are always in one fold.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import clone

from ..core.errors import ProbabilityError
from ..core.folds import deal_folds, fold_rows
from .joining.join import TEST, TUNING, TaskData
from .metrics import EPSILON
from .options import BlendOptions
from .weighting.recommendation import Chooser

# As many folds as cost no more than the least number of so many images.
_FOLDS, _MOST_FOLDS, _IMAGES = 5, 20, 2000
RECOMMENDED, TUNED, AVERAGE, SINGLE = "recommended", "tuned", "average", "best single"
PRIOR = "class shares"


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Answers to rows that no choice has seen.

    Attributes
    ----------
    rows : ndarray of int, shape (R,)
    tables : dict of str to ndarray of shape (R, C)
        Probabilities of each answer.
    parts : int
        Of the rows, each of which was answered by what was chosen on the others; 0 for test rows.
    excess : dict of str to float
        How far an answer's log-loss is above what endless tuning rows would bring. What fits p
        numbers to m rows has a loss lower by p / 2m than that on these, and higher by it on others.
    """

    rows: np.ndarray
    tables: dict[str, np.ndarray]
    parts: int = 0
    excess: dict[str, float] = dataclasses.field(default_factory=dict)


def held_out(data: TaskData, blender, others: Mapping[str, Any] | None, source: str) -> HeldOut:
    """Return rows, and each answer's probabilities of them when it never saw them."""
    tuning = data.rows(TUNING)
    if source == "test split":
        rows = data.rows(TEST)
        if not len(rows):
            raise ProbabilityError(
                "there are no labelled test rows", "use nested cross-validation instead"
            )
        return HeldOut(rows, _answers(data, blender, others, tuning, rows)[0])
    images = data.images_of(tuning)
    most = _parts(len(np.unique(images)), blender.options)
    fold = deal_folds(data.y[tuning], images, most, [blender.options.seed, 31])
    if not len(tuning) or fold.max() < 1:
        raise ProbabilityError(
            f"nested cross-validation needs at least 2 tuning images; there are {len(tuning)} rows",
            "give more rows",
        )
    tables: dict[str, np.ndarray] = {}
    known: dict[str, np.ndarray] = {}
    for learn, score in fold_rows(fold):
        held, losses = _answers(data, blender, others, tuning[learn], tuning[score])
        for name, table in held.items():
            tables.setdefault(name, np.empty((len(tuning), table.shape[1])))[score] = table
        for name, own in losses.items():
            known.setdefault(name, np.zeros(len(tuning)))[learn] += own
    parts = int(fold.max()) + 1
    excess = {}
    for name, own in known.items():
        more = _losses(data.y[tuning], tables[name]) - own / (parts - 1)
        excess[name] = max(float(more.mean()), 0.0) * (parts - 1) / (2 * parts)
    return HeldOut(tuning, tables, parts, excess)


def _parts(images: int, options: BlendOptions) -> int:
    """Return the number of folds; a search for other metrics costs too much for more of them."""
    most = _MOST_FOLDS if options.convex else _FOLDS
    return int(np.clip(_FOLDS * _IMAGES // max(images, 1), _FOLDS, most))


def _answers(
    data: TaskData, blender, others: Mapping[str, Any] | None, learn: np.ndarray, score: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return each answer's probabilities of the rows to score, and losses on those it learnt from.

    The losses are of answers that are weights, (len(learn),) for each.
    """
    known, unseen = data.probabilities[:, learn], data.probabilities[:, score]
    y, letters = data.y[learn], data.letters_of(learn)
    chooser = Chooser(clone(blender))
    chooser.fit(known, y, letters, data.images_of(learn), data.routes_of(learn))
    names = {RECOMMENDED: "recommended", TUNED: "tuned", AVERAGE: "average", SINGLE: "single"}
    recipes = {name: chooser.recipes_[recipe] for name, recipe in names.items()}
    tables = {name: one.apply(unseen, data.routes_of(score)) for name, one in recipes.items()}
    losses = {
        name: _losses(y, one.apply(known, data.routes_of(learn))) for name, one in recipes.items()
    }
    for name, other in (others or {}).items():
        tables[name] = clone(other).fit(known, y, letters).predict_proba(unseen)
    # One row of each class more: a class that happens to be absent keeps a chance.
    counts = np.bincount(y, minlength=len(data.classes)) + 1.0
    tables[PRIOR] = np.tile(counts / counts.sum(), (len(score), 1))
    return tables, losses


def _losses(y: np.ndarray, table: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(table[np.arange(len(y)), y], EPSILON))

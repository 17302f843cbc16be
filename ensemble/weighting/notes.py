"""What is odd about the rows that weights are tuned on, one line for each kind of finding."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from ...core.errors import counted, enumerate_some
from ..metrics import EPSILON


def true_class(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return each model's probability of the true class, (N, M)."""
    return probabilities[:, np.arange(len(y)), y].T


def data_notes(
    probabilities: np.ndarray, y: np.ndarray, models=None, ids=None, classes=None
) -> list[str]:
    """Say what is odd about these rows: one line for each kind of finding.

    Parameters
    ----------
    probabilities, y : ndarray
        As in `Blender.fit`.
    models, ids, classes : sequence of str, optional
        Names for the lines; numbers are used without them.
    """
    count, rows, width = probabilities.shape
    models = [f"model {index}" for index in range(count)] if models is None else models
    ids = [f"row {index}" for index in range(rows)] if ids is None else ids
    classes = [str(index) for index in range(width)] if classes is None else classes
    notes = []
    if count == 1:
        notes.append(f"there is one model only, {models[0]}: its weight is 1")
    for index in range(count):
        twin = next((j for j in range(index) if _same(probabilities, index, j)), None)
        if twin is not None:
            notes.append(
                f"{models[index]} and {models[twin]} give the same probabilities: how weight is "
                "shared between them means nothing, one of them can be left out"
            )
    if rows < count:
        notes.append(
            f"there are fewer tuning rows ({rows}) than models ({count}): the weights are "
            "hardly determined, prefer the plain average"
        )
    absent = [classes[c] for c in sorted(set(range(width)) - set(np.unique(y).tolist()))]
    if absent:
        notes.append(
            f"{counted(len(absent), 'class has', 'classes have')} no tuning row: "
            f"{enumerate_some(absent)}; mAP leaves "
            "them out"
        )
    for index in range(count):
        if order := _other_order(probabilities[index], y):
            named = enumerate_some((f"{classes[a]} for {classes[b]}" for a, b in order), 10)
            notes.append(
                f"{models[index]} is right far more often if its columns are called otherwise "
                f"({named}): make sure that its classes stand in the order of its columns"
            )
    own = true_class(probabilities, y)
    for index in range(count):
        notes += _model_notes(own[:, index], models[index], ids)
    return notes


def _other_order(table: np.ndarray, y: np.ndarray) -> list[tuple[int, int]]:
    """Return which columns hold another class than they are called, if it shows: (class, column).

    The order under which most rows are right is looked for; it must make half of the rows right,
    and far more than the given one does. Of few rows chance would make such an order.
    """
    rows, width = table.shape
    if rows < 10 * width:
        return []
    seen = np.zeros((width, width))
    np.add.at(seen, (y, table.argmax(axis=1)), 1)
    truth, column = linear_sum_assignment(seen, maximize=True)
    right, best = np.trace(seen), seen[truth, column].sum()
    if best < rows / 2 or best < 1.5 * right or best - right < 2.5 * np.sqrt(best + right):
        return []
    return [(int(a), int(b)) for a, b in zip(truth, column) if a != b and seen[a, b]]


def _model_notes(own: np.ndarray, model: str, ids) -> list[str]:
    impossible = np.flatnonzero(own < EPSILON)
    if len(impossible):
        named = enumerate_some(ids[index] for index in impossible)
        return [
            f"{model} gives its true class a probability of 0 in "
            f"{counted(len(impossible), 'row')}, so that "
            f"its log-loss would be infinite: {named}; such values count as {EPSILON:g}"
        ]
    if np.all(own > 1 - 1e-9):
        return [f"{model} is perfect on the tuning rows: make sure that it was not trained on them"]
    return []


def _same(probabilities: np.ndarray, one: int, other: int) -> bool:
    # Most pairs differ in the first row already; only twins are compared whole.
    first = np.array_equal(probabilities[one, 0], probabilities[other, 0])
    return first and np.array_equal(probabilities[one], probabilities[other])

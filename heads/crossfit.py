"""Choose a head's settings and predict every row by heads that never saw its fold.

The folds stand in a ring. For every two neighbours a head is fitted on all other folds and
predicts both: so each fold has two judges of settings, its neighbours, that were predicted
without it. The settings of the head that predicts fold k are those with the least loss on the
folds k - 1 and k + 1, predicted by the fits that leave out k as well; the head is then fitted on
all folds but k. Neither the labels nor the features of fold k have any part in it. The
settings of the final head are those with the least loss over all rows. A penalty is taken from
between those that were tried: the loss is smooth in it, so that few need be tried.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import clone

from .parallel import each_of
from .rows import Rows

Choice = dict[str, Any]
# In the place of a fold.
_ALL = -1
Progress = Callable[[str, int, int, float | None], None]


@dataclasses.dataclass(frozen=True)
class Judged:
    """Losses of settings on rows that the judged heads did not see.

    Attributes
    ----------
    losses : ndarray of shape (len(choices), N, 2)
        Weighted log-loss of each row; 0: by the fit without its own and the next fold,
        1: without its own and the fold before. 0 where the fit did not know the row's class,
        infinite where a choice was not tried.
    dealt : ndarray of int, shape (N,)
        Fold of each row.
    penalty : str
        See `Head`.
    mistakes : ndarray of the shape of `losses`, or 0
        What one imagined mistake among the rows would cost; see `_mistake`.
    """

    choices: list[Choice]
    losses: np.ndarray
    dealt: np.ndarray
    penalty: str = ""
    mistakes: np.ndarray | float = 0.0

    @property
    def folds(self) -> int:
        """Number of folds."""
        return int(self.dealt.max()) + 1

    def totals(self, fold: int | None = None) -> np.ndarray:
        """Return the loss of each choice, as seen from `fold` or over all rows.

        A mistake is imagined among the rows: where there is none, nothing would speak against the
        least penalty, whose probabilities are 0 and 1.
        """
        losses = self.losses + self.mistakes
        if fold is None:
            return losses.sum(axis=(1, 2))
        after, before = (fold + 1) % self.folds, (fold - 1) % self.folds
        return losses[:, self.dealt == after, 1].sum(axis=1) + losses[
            :, self.dealt == before, 0
        ].sum(axis=1)

    def joined(self, other: Self) -> Self:
        """Return both lists of choices as one."""
        return dataclasses.replace(
            self,
            choices=self.choices + other.choices,
            losses=np.concatenate([self.losses, other.losses]),
            mistakes=np.concatenate(
                [np.broadcast_to(one.mistakes, one.losses.shape) for one in (self, other)]
            ),
        )


@dataclasses.dataclass(frozen=True)
class Search:
    """Settings to try after a head's own.

    Attributes
    ----------
    extra : sequence of list of dict
        Those that share work stand in one list.
    deadline : float, optional
        `time.monotonic` at which no further list is tried.
    """

    extra: Sequence[Sequence[Choice]] = ()
    deadline: float | None = None


@dataclasses.dataclass(frozen=True)
class CrossFit:
    """What `cross_fit` found.

    Attributes
    ----------
    probabilities : ndarray of shape (N, C)
        Each row predicted by a head that did not see its fold.
    choices : list of dict
        Settings of the head that predicted each fold.
    judged : list of Judged
        One for each time the rows were dealt; empty if nothing was open.
    final : Head or None
        Fitted on all rows, with the settings that all judged best; None if nothing was predicted.
    """

    probabilities: np.ndarray
    choices: list[Choice]
    judged: list[Judged]
    final: Any = None


def judge(head, rows: Rows, dealt: np.ndarray, choices: Sequence[Choice]) -> Judged:
    """Fit `head` without each two neighbouring folds and measure every choice on them."""
    folds = int(dealt.max()) + 1
    losses = np.zeros((2, len(choices), len(rows), 2))
    pair = functools.partial(judge_pair, head, dealt, choices)
    for judged, side, found in each_of(pair, [(rows, first) for first in range(folds)]):
        losses[:, :, judged, side] = found
    # Each row is judged twice; there is to be a mistake for each time.
    return Judged(list(choices), losses[0], dealt, head.penalty, losses[1] / folds)


def judge_pair(
    head, dealt: np.ndarray, choices: Sequence[Choice], rows: Rows, first: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the losses of two neighbouring folds, shape (2, len(choices), n), and where they go.

    These are those of the rows, and of a mistake in each of the folds. They go to the rows that
    were judged, and to the last index in `Judged.losses`.
    """
    second = (first + 1) % (int(dealt.max()) + 1)
    fitted = np.flatnonzero((dealt != first) & (dealt != second) & (rows.weights > 0))
    present = rows.present(fitted)
    known = rows.targets[:, present].sum(axis=1) > 0.5
    judged = np.flatnonzero(((dealt == first) | (dealt == second)) & known)
    side = (dealt[judged] == second).astype(int)
    if len(present) < 2 or not len(judged):
        return judged, side, np.zeros((2, len(choices), len(judged)))
    tables = clone(head).predict_path(rows, fitted, judged, choices)
    tables = np.log(spread(np.asarray(tables), present, rows, len(fitted)))
    weights, targets = rows.weights[judged], rows.targets[judged]
    losses = np.zeros((2, len(choices), len(judged)))
    losses[0] = -(weights * (tables * targets).sum(axis=2))
    # Each fold by itself: what is seen from one has nothing of the other.
    for own in (side == 0, side == 1):
        losses[1, :, own] = _mistake(tables[:, own], targets[own], weights[own]).T
    losses[:, np.isnan(tables).any(axis=(1, 2))] = np.inf
    return judged, side, losses


def _mistake(logs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return what a mistake of the mean weight costs, as in Laplace's rule of succession.

    Parameters
    ----------
    logs : ndarray of shape (len(choices), n, C)
        Logarithms of probabilities.
    targets : ndarray of shape (n, C)
    weights : ndarray of shape (n,)

    Returns
    -------
    ndarray of shape (len(choices), n)
        The rows' parts of it, as their likeliest other classes leave room for it.
    """
    if not len(targets):
        return np.zeros(logs.shape[:2])
    other = np.where(targets == targets.max(axis=1, keepdims=True), -np.inf, logs).max(axis=2)
    other = np.maximum(other, np.log(1e-15))
    room = np.exp(other) * weights
    return -weights.mean() * other * room / np.maximum(room.sum(axis=1, keepdims=True), 1e-300)


def choose(judged: Sequence[Judged], fold: int | None = None) -> Choice:
    """Return the choice with the least loss, as seen from `fold` or over all rows.

    A penalty is taken from between those that were tried.
    """
    if not judged:
        return {}
    totals = np.sum([one.totals(fold) for one in judged], axis=0)
    best = judged[0].choices[int(totals.argmin())]
    penalty = judged[0].penalty
    if penalty not in best:
        return best
    return {**best, penalty: _between(judged[0].choices, totals, best, penalty)}


def _between(choices: Sequence[Choice], totals: np.ndarray, best: Choice, name: str) -> float:
    """Return where a parabola through the best value of a setting and its neighbours is least."""
    # A search may try a value again.
    alike = sorted(
        {
            choice[name]: total
            for choice, total in zip(choices, totals.tolist(), strict=True)
            if {**choice, name: best[name]} == best
        }.items()
    )
    place = [value for value, _ in alike].index(best[name])
    if not 0 < place < len(alike) - 1:
        return best[name]
    values, losses = np.array(alike[place - 1 : place + 2]).T
    steps = np.log(values / best[name])
    curve, slope, _ = np.polyfit(steps, losses, 2)
    least = np.clip(-slope / (2 * curve), *steps[[0, 2]] / 2) if curve > 0 else 0.0
    return float(best[name] * np.exp(least))


@dataclasses.dataclass(frozen=True)
class Learning:
    """What more rows bring, as far as folds tell.

    Attributes
    ----------
    gain : float
        By how much fresh rows' log-loss is expected to be below that of the folds. The final head
        learns from all rows, those of the K folds from K - 1 of them.
    excess : float
        How far the final head's log-loss is above what endless rows would bring.
    """

    gain: float
    excess: float


def learning_of(head, rows: Rows, found: CrossFit) -> Learning | None:
    """Return what more rows bring; None where it is not known.

    What K - 1 folds brought over K - 2 is known: each row was predicted by both, with settings that
    had not seen it. An error that falls with the inverse of the number of rows falls by (K - 2) / K
    of this once more (one that falls with its root by a little more), and is K - 1 times as large
    as that: the gain is a Kth of an error, so a Kth of the measured loss at most. Chance, such as
    one row that fewer folds are sure of and wrong, may say more. From the gain is taken what is not
    known of fresh rows: folds are dealt class by class, and so have the class shares of the rows
    that they are predicted from. Shares that are learnt from n rows cost up to (C - 1) / 2n.

    It is not known where nothing was judged, where settings are judged by simpler heads, or where
    folds were dealt several times: their average is no one head's.
    """
    if len(found.judged) != 1 or not head.judged_whole:
        return None
    (judged,) = found.judged
    folds, size = judged.folds, max(rows.weights.sum(), 1e-12)
    before = np.empty((len(rows), 2))
    for fold in range(folds):
        own = judged.dealt == fold
        before[own] = judged.losses[judged.totals(fold).argmin(), own]
    after = -rows.weights * (np.log(found.probabilities) * rows.targets).sum(axis=1)
    # Rows whose class a fit did not know, and those of weight 0, are judged by nothing.
    known = (before > 0).all(axis=1)
    gain = (before.mean(axis=1) - after)[known].sum() / size * (folds - 2) / folds
    gain = min(gain, after[known].sum() / size / folds)
    return Learning(float(gain - class_shares_cost(rows, folds)), float((folds - 1) * gain))


def class_shares_cost(rows: Rows, folds: int) -> float:
    """Return what it costs at most, in log-loss, not to know the class shares of fresh rows."""
    learnt = (rows.weights > 0).sum() * (folds - 1) / folds
    return float((len(rows.classes) - 1) / (2 * max(learnt, 1)))


def fit_on(head, rows: Rows, index: np.ndarray, choice: Choice):
    """Return a new head with the settings `choice`, fitted on the rows at `index`."""
    return clone(head).set_params(**choice).fit_rows(rows, index)


def cross_fit(
    head,
    rows: Rows,
    deals: Sequence[np.ndarray],
    search: Search | None = None,
    progress: Progress | None = None,
    predict: bool = True,
) -> CrossFit:
    """Choose settings and predict out of fold.

    Parameters
    ----------
    head : Head
        With its open settings; it is not fitted.
    deals : sequence of ndarray of int, shape (N,)
        Fold of each row, for each time they are dealt; the probabilities are averaged.
    search : Search, optional
        Further settings to try.
    progress : callable, optional
        ``progress(step, done, total, least log-loss so far or None)``.
    predict : bool, default True
        False chooses settings and predicts nothing; the probabilities are 0.
    """
    search = search or Search()
    table = np.zeros(rows.targets.shape)
    used: list[Choice] = []
    found: list[Judged] = []
    final = None
    tell = progress or (lambda *_: None)
    own = list(head.choices())
    for dealt in deals:
        folds = int(dealt.max()) + 1
        judged: list[Judged] = []
        if len(own) + len(search.extra) > 1:
            judged = [_judge_all(head, rows, dealt, search, tell)]
            # The other deals judge what the first one had the time for.
            search = Search((judged[0].choices[len(own) :],))
        found += judged
        if not predict:
            continue
        choices = [choose(judged, fold) if judged else own[0] for fold in range(folds)]
        used += choices
        tell("folds", 0, folds, None)

        # The head of all rows is fitted beside those of the last folds: no thread waits for it.
        items: list[tuple[int, Choice]] = list(enumerate(choices))
        if dealt is deals[-1]:
            items.insert(0, (_ALL, choose(found) if found else own[0]))
        made = each_of(functools.partial(_fold, head, dealt), [(rows, item) for item in items])
        if items[0][0] == _ALL:
            final = made.pop(0)
        for fold, own_table in enumerate(made):
            table[dealt == fold] += own_table / len(deals)
    return CrossFit(table, used, found, final)


def _fold(head, dealt: np.ndarray, rows: Rows, item: tuple[int, Choice]) -> Any:
    """Return the rows of a fold as they are predicted without it; for all rows, the fitted head."""
    fold, choice = item
    if fold == _ALL:
        return fit_on(head, rows, np.arange(len(rows)), choice)
    held = np.flatnonzero(dealt == fold)
    fitted = np.flatnonzero((dealt != fold) & (rows.weights > 0))
    return _predict(head, rows, fitted, held, choice)


def _judge_all(head, rows: Rows, dealt, search: Search, tell) -> Judged:
    """Judge the head's own choices, then those of a search for which there is time."""
    own = list(head.choices())
    total = len(own) + sum(map(len, search.extra))
    tell("settings", 0, total, None)
    judged = judge(head, rows, dealt, own)
    size = max(2 * rows.weights.sum(), 1e-12)
    for choices in search.extra:
        tell("settings", len(judged.choices), total, float(judged.totals().min() / size))
        if search.deadline is not None and time.monotonic() > search.deadline:
            break
        if choices:
            judged = judged.joined(judge(head, rows, dealt, choices))
    return judged


def _predict(head, rows: Rows, fitted, held, choice: Choice) -> np.ndarray:
    present = rows.present(fitted)
    if len(present) < 2:
        return spread(np.ones((len(held), len(present))), present, rows, len(fitted))
    table = clone(head).set_params(**choice).fit_and_predict(rows, fitted, held)
    return spread(table, present, rows, len(fitted))


def spread(tables: np.ndarray, present: np.ndarray, rows: Rows, seen: int) -> np.ndarray:
    """Put columns of the classes at `present` among all classes, with a share for the others.

    A class that has rows, but none among the `seen` ones, gets the share of half a row: a
    probability of 0 for what then happens would be an infinite loss.
    """
    classes = len(rows.classes)
    full = np.full((*tables.shape[:-1], classes), 0.5 / (seen + 1))
    absent = (classes - len(present)) * 0.5 / (seen + 1)
    smallest = np.finfo(np.float64).tiny
    full[..., present] = np.maximum(tables, smallest) * max(1 - absent, 0.5)
    return full / full.sum(axis=-1, keepdims=True)

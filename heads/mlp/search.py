"""Search settings of the MLP by successive halving over one stack.

All candidates start together; at a few points of the schedule all but the best third are
dropped (Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and
hyperparameter optimization"). Those that stay run on undisturbed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.errors import HeadError
from ..saved import plain_settings
from ..splits import stratified_part
from .classifier import MLPClassifier
from .inputs import prepare_inputs
from .member import Member, Outcome, Progress
from .stack import fit_stack
from .validation import Validation

__all__ = ["Halving", "affordable_candidates", "draw_members", "search_mlp"]

# Shares of the schedule after which two of three candidates go.
RUNGS = (1 / 6, 1 / 3, 2 / 3)
FACTOR = 3


def describe(member: Member) -> str:
    """Return the settings that a search changes, for those who watch."""
    text = f"width {member.width}" + (" x 2" if member.depth == 2 else "")
    return (
        f"{text}, rate {member.learning_rate:.1e}, decay {member.weight_decay:g}, "
        f"dropout {member.dropout:g}/{member.input_dropout:g}, "
        f"smoothing {member.label_smoothing:g}"
    )


def draw_members(
    count: int, seed: int, base: Member | None = None, epochs: int | None = None
) -> list[Member]:
    """Draw candidates: the base settings first, then seeded random changes of them.

    Parameters
    ----------
    count : int
    seed : int
    base : Member, optional
        What is not drawn, and the first candidate.
    epochs : int, optional
        Length of all schedules.

    Returns
    -------
    list of Member
    """
    base = base or Member(learning_rate=4e-3, epochs=7)
    if epochs is not None:
        base = dataclasses.replace(base, epochs=epochs)
    rng = np.random.default_rng([seed, 7])
    members = [base]
    while len(members) < count:
        members.append(
            dataclasses.replace(
                base,
                width=int(rng.choice([64, 128, 256, 512], p=[0.2, 0.3, 0.4, 0.1])),
                learning_rate=float(10 ** rng.uniform(-2.9, -1.9)),
                weight_decay=float(rng.choice([0.0, 1e-2, 1e-1, 1.0])),
                dropout=float(rng.choice([0.25, 0.5, 0.7])),
                # Two rates only: every rate is one more masked copy of each batch.
                input_dropout=float(rng.choice([0.0, 0.25])),
                label_smoothing=float(rng.choice([0.0, 0.05, 0.1])),
                depth=int(rng.choice([1, 2], p=[0.8, 0.2])),
                seed=base.seed + len(members),
            )
        )
    return members


class Halving:
    """A ``progress`` for `fit_stack` that keeps the best third at each rung, or fewer.

    Parameters
    ----------
    members : sequence of Member
    rungs : sequence of float
        Shares of the schedule.
    keep : int
        Never fewer than these, unless the budget is short.
    fits : float, optional
        Budget: the epochs of all candidates together, in whole fits of one.
    seconds : float, optional
        Budget of time. At each rung as many go on as can be finished in the rest of it
        at the speed so far; when it is used up, all stop.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self,
        members: Sequence[Member],
        rungs: Sequence[float] = RUNGS,
        keep: int = 2,
        fits: float | None = None,
        seconds: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.epochs = max(member.epochs for member in members)
        self.rungs = sorted({max(1, round(share * self.epochs)) for share in rungs})
        self.keep, self.fits, self.seconds, self.clock = keep, fits, seconds, clock
        self.spent, self._live = 0, len(members)
        self._start = clock()

    def __call__(self, epoch: int, outcomes: Sequence[Outcome]) -> list[int]:
        """Return which members to drop after `epoch`."""
        self.spent += self._live
        running = [i for i, one in enumerate(outcomes) if not one.stopped and one.losses]
        self._live = len(running)
        left = self._left()
        if left < 1 and epoch < self.epochs:
            self._live = 0
            return running
        if epoch not in self.rungs:
            return []
        ranked = sorted(running, key=lambda i: (outcomes[i].best_loss, i))
        count = self._kept(len(ranked))
        if self._cost_of_going_on(epoch, len(ranked)) > left:
            count = min(count, self._affordable(epoch, len(ranked), left))
        self._live = count
        return ranked[count:]

    def _left(self) -> float:
        """Return how many epochs of one member the budget still allows."""
        left = np.inf
        if self.fits is not None:
            left = self.fits * self.epochs - self.spent
        if self.seconds is not None:
            passed = self.clock() - self._start
            left = min(left, (self.seconds - passed) * self.spent / max(passed, 1e-9))
        return left

    def _kept(self, count: int) -> int:
        return min(count, max(self.keep, -(-count // FACTOR)))

    def _lengths(self, epoch: int) -> list[int]:
        """Return the epochs from here to the next rung, from that to the one after, ..."""
        ends = [*(rung for rung in self.rungs if rung > epoch), self.epochs]
        return np.diff([epoch, *ends]).tolist()

    def _cost_of_going_on(self, epoch: int, count: int) -> int:
        cost = 0
        for length in self._lengths(epoch):
            count = self._kept(count)
            cost += count * length
        return cost

    def _affordable(self, epoch: int, count: int, left: float) -> int:
        """Return how many of `count` may go on if each rung keeps an equal share."""
        lengths = self._lengths(epoch)
        powers = np.arange(1, len(lengths) + 1)
        shares = np.linspace(1 / FACTOR, 0, 201)
        costs = (count * shares[:, None] ** powers) @ lengths
        share = shares[np.argmax(costs <= left)]
        return max(1, int(count * share))


def affordable_candidates(count: int, epochs: int, fits: float | None) -> int:
    """Return how many of `count` candidates may start: half the budget is for the first rung."""
    if fits is None:
        return count
    first = max(1, round(RUNGS[0] * epochs))
    return max(1, min(count, int(fits * epochs / 2 / first)))


def search_mlp(
    head: MLPClassifier,
    X: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    count: int,
    seed: int,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    progress: Progress | None = None,
    views: int = 1,
    view_mean: str = "features",
    fits: float | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Return the best of `count` settings of an MLP.

    Parameters
    ----------
    head : MLPClassifier
        Its settings are the first candidate, and give what is not drawn.
    X : ndarray of shape (N, views * D)
    targets : ndarray of shape (N, C)
    weights : ndarray of shape (N,)
    count : int
        Candidates.
    seed : int
    held_out : (X, targets), optional
        Rows to judge by; else a stratified part of the training rows.
    progress : callable, optional
    views : int, default 1
    view_mean : str
        See `ViewUse`.
    fits, seconds : float, optional
        Budgets, see `Halving`. With few `fits`, fewer candidates are drawn.

    Returns
    -------
    dict
        Settings for `MLPClassifier`.
    """
    begin, rows = time.perf_counter(), np.flatnonzero(weights)
    components = head.used_components(len(rows), X.shape[1] // views)
    if held_out is None:
        picked = stratified_part(targets.argmax(axis=1), rows, head.validation_fraction, seed)
        if not len(picked):
            raise HeadError(
                f"{len(rows)} training images are too few for a search: a tenth of each class "
                "is held out to judge by, and there is none",
                "train without a search, or give a validation split",
            )
        rows = np.setdiff1d(rows, picked)
    inputs = prepare_inputs(head, X, rows, weights, components, seed, views)
    if held_out is None:
        judge = (inputs.features, targets, picked, weights[picked])
    else:
        judge = (inputs.like(held_out[0], head.n_jobs), held_out[1], None, None)
    validation = Validation(*judge, views, view_mean)
    count = affordable_candidates(count, head.schedule(len(rows)), fits)
    members = [
        dataclasses.replace(member, name=describe(member))
        for member in draw_members(count, seed, head.member(seed, len(rows)))
    ]
    if seconds is not None:
        seconds -= time.perf_counter() - begin
    drop = Halving(members, fits=fits, seconds=seconds)

    def both(epoch: int, outcomes: Sequence[Outcome]) -> list[int]:
        told = list(progress(epoch, outcomes) or ()) if progress else []
        return [*drop(epoch, outcomes), *told]

    outcomes = fit_stack(
        inputs.features,
        targets,
        members,
        rows=rows,
        weights=[weights] * count,
        validation=[validation] * count,
        scaling=inputs.scaling,
        batch_size=head.batch(len(rows)),
        seed=seed,
        lanes=head.n_jobs,
        progress=both,
        views=views,
    )
    if any(outcome.stopped == "interrupted" for outcome in outcomes):
        raise KeyboardInterrupt
    best = members[min(range(count), key=lambda i: (outcomes[i].best_loss, i))]
    names = ("width", "depth", "learning_rate", "weight_decay", "dropout", "input_dropout")
    chosen = {name: getattr(best, name) for name in (*names, "label_smoothing")}
    return {**plain_settings(head.get_params()), **chosen, "random_state": seed}

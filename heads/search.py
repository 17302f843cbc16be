"""Search settings of the MLP by successive halving over one stack.

All candidates start together; at a few points of the schedule the worse half is
dropped (Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and
hyperparameter optimization"). Those that stay run on undisturbed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .base import measure_scaling, plain_settings
from .mlp import MLPClassifier, stratified_part
from .stack import Member, Outcome, Progress, fit_stack
from .stack_parts import Validation
from .view_rows import one_view_in_a_row

__all__ = ["draw_members", "halving", "search_mlp"]

# Shares of the schedule after which half of the candidates go.
RUNGS = (1 / 6, 1 / 3, 2 / 3)


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
    base = base or Member(learning_rate=2e-3, epochs=6)
    if epochs is not None:
        base = dataclasses.replace(base, epochs=epochs)
    rng = np.random.default_rng([seed, 7])
    members = [base]
    while len(members) < count:
        members.append(
            dataclasses.replace(
                base,
                width=int(rng.choice([64, 128, 256, 512], p=[0.2, 0.3, 0.4, 0.1])),
                learning_rate=float(10 ** rng.uniform(-3.2, -2.2)),
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


def halving(
    members: Sequence[Member], rungs: Sequence[float] = RUNGS, keep: int = 2
) -> Callable[[int, Sequence[Outcome]], list[int]]:
    """Return a ``progress`` for `fit_stack` that drops the worse half at each rung.

    Parameters
    ----------
    members : sequence of Member
    rungs : sequence of float
        Shares of the schedule.
    keep : int
        Never fewer than these.
    """
    epochs = max(member.epochs for member in members)
    at = {max(1, round(share * epochs)) for share in rungs}

    def progress(epoch: int, outcomes: Sequence[Outcome]) -> list[int]:
        if epoch not in at:
            return []
        running = [i for i, one in enumerate(outcomes) if not one.stopped and one.losses]
        ranked = sorted(running, key=lambda i: (outcomes[i].best_loss, i))
        return ranked[max(keep, (len(ranked) + 1) // 2) :]

    return progress


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
    view_mean: str = "probabilities",
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

    Returns
    -------
    dict
        Settings for `MLPClassifier`.
    """
    rows = np.flatnonzero(weights)
    if held_out is None:
        picked = stratified_part(targets.argmax(axis=1), rows, head.validation_fraction, seed)
        validation = Validation(X, targets, picked, weights[picked], views, view_mean)
        rows = np.setdiff1d(rows, picked)
    else:
        validation = Validation(*held_out, None, None, views, view_mean)
    members = draw_members(count, seed, head.member(seed))
    drop = halving(members)

    def both(epoch: int, outcomes: Sequence[Outcome]) -> list[int]:
        told = list(progress(epoch, outcomes) or ()) if progress else []
        return [*drop(epoch, outcomes), *told]

    outcomes = fit_stack(
        X,
        targets,
        members,
        rows=rows,
        weights=[weights] * count,
        validation=[validation] * count,
        scaling=measure_scaling(
            one_view_in_a_row(X, views), head.scaling, np.repeat(weights, views)
        ),
        batch_size=head.batch_size or int(np.clip(len(rows) // 24, 16, 256)),
        seed=seed,
        lanes=head.n_jobs,
        progress=both,
        views=views,
    )
    best = members[min(range(count), key=lambda i: (outcomes[i].best_loss, i))]
    names = ("width", "depth", "learning_rate", "weight_decay", "dropout", "input_dropout")
    chosen = {name: getattr(best, name) for name in (*names, "label_smoothing")}
    return {**plain_settings(head.get_params()), **chosen, "random_state": seed}

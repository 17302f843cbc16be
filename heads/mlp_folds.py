"""Out-of-fold probabilities of an MLP: all folds are trained in one stack."""

from __future__ import annotations

import dataclasses

import numpy as np
from sklearn.utils import check_random_state

from .base import measure_scaling
from .first_layers import wide_product
from .lanes import Lanes
from .mlp import MLPClassifier, stratified_part
from .network import Layers, predict_logits, softmax
from .stack import Progress, fit_stack
from .stack_parts import Validation
from .view_rows import one_view_in_a_row

__all__ = ["mlp_out_of_fold"]


def mlp_out_of_fold(
    head: MLPClassifier,
    X: np.ndarray,
    codes: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    dealt: np.ndarray,
    progress: Progress | None = None,
    views: int = 1,
    view_mean: str = "features",
) -> tuple[np.ndarray, list[int]]:
    """Predict each row by a network that was trained on the other folds.

    Early stopping looks at a stratified part of each fold's own training rows, so
    the predicted rows have no say in anything.

    Parameters
    ----------
    head : MLPClassifier
        Its settings are used; it is not fitted.
    X : ndarray of shape (N, views * D)
    codes : ndarray of int, shape (N,)
        Classes from 0.
    targets : ndarray of shape (N, C)
        Rows that sum to 1.
    weights : ndarray of shape (N,)
    dealt : ndarray of int, shape (N,)
        Fold of each row; a negative number keeps the row in training always.
    progress : callable, optional
        See `fit_stack`.
    views : int, default 1
    view_mean : {"features", "probabilities", "first"}
        See `ViewUse`.

    Returns
    -------
    probabilities : ndarray of shape (N, C)
        NaN where no fold predicted.
    rounds : list of int
        Best epoch of each fold.

    Raises
    ------
    KeyboardInterrupt
        Folds that are trained in part predict nothing.
    """
    seed = int(check_random_state(head.random_state).randint(2**31 - 1))
    members, row_weights, held_out = [], [], []
    folds = [int(fold) for fold in np.unique(dealt) if fold >= 0]
    for fold in folds:
        rows = np.flatnonzero((dealt != fold) & (weights > 0))
        picked = np.empty(0, int)
        if head.early_stopping:
            picked = stratified_part(codes, rows, head.validation_fraction, seed + fold)
        own = np.zeros(len(X))
        own[np.setdiff1d(rows, picked)] = weights[np.setdiff1d(rows, picked)]
        member = head.member(seed + fold)
        members.append(dataclasses.replace(member, name=f"fold {fold + 1}"))
        row_weights.append(own)
        usable = len(picked) >= 10
        held = (X, targets, picked, weights[picked], views, view_mean)
        held_out.append(Validation(*held) if usable else None)
        if not usable:
            own[picked] = weights[picked]
    rows = np.flatnonzero(weights)
    outcomes = fit_stack(
        X,
        targets,
        members,
        rows=rows,
        weights=row_weights,
        validation=held_out,
        scaling=measure_scaling(
            one_view_in_a_row(X, views), head.scaling, np.repeat(weights, views)
        ),
        batch_size=head.batch(len(rows)),
        seed=seed,
        lanes=head.n_jobs,
        progress=progress,
        views=views,
    )
    if any(outcome.stopped == "interrupted" for outcome in outcomes):
        raise KeyboardInterrupt
    table = np.full((len(X), targets.shape[1]), np.nan)
    with Lanes(X.shape[1] // views, head.n_jobs) as lanes:
        for fold, outcome in zip(folds, outcomes, strict=True):
            own = np.flatnonzero(dealt == fold)
            table[own] = _probabilities(
                lanes, Validation(X, targets, own, None, views, view_mean), outcome.layers
            )
    return table, [outcome.best_epoch for outcome in outcomes]


def _probabilities(lanes: Lanes, rows: Validation, layers: Layers) -> np.ndarray:
    found = []
    for picks in rows.picks:
        product = wide_product(lanes, rows.features, picks, layers[0][0])
        found.append(softmax(predict_logits(product, layers).astype(np.float64)))
    return np.mean(found, axis=0)

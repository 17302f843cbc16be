"""Out-of-fold probabilities of an MLP."""

from __future__ import annotations

import dataclasses

import numpy as np
from sklearn.utils import check_random_state

from ...core.statistics import softmax
from ..numerics.lanes import Lanes
from ..numerics.scaling import wide_product
from ..splits import FEWEST_HELD_OUT, stratified_part
from .classifier import MLPClassifier
from .inputs import Inputs, prepare_inputs
from .member import Member, Outcome, Progress
from .network import Layers, predict_logits
from .stack import fit_stack
from .validation import Validation

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
    folds = [
        _fold(head, codes, weights, dealt, int(fold), seed)
        for fold in np.unique(dealt)
        if fold >= 0
    ]
    count = head.used_components(np.count_nonzero(weights), X.shape[1] // views)
    data = _Data(X, targets, weights, count, views, view_mean)
    fit = _fit_together if count is None else _fit_apart
    outcomes = fit(head, data, folds, seed, progress)
    table = np.full((len(X), targets.shape[1]), np.nan)
    with Lanes(X.shape[1] // views, head.n_jobs) as lanes:
        for fold, outcome in zip(folds, outcomes, strict=True):
            own = np.flatnonzero(dealt == fold.number)
            table[own] = _probabilities(
                lanes, Validation(X, targets, own, None, views, view_mean), outcome.layers
            )
    return table, [outcome.best_epoch for outcome in outcomes]


@dataclasses.dataclass
class _Data:
    X: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    components: int | None
    views: int
    view_mean: str

    def inputs(self, head, rows: np.ndarray, seed: int) -> Inputs:
        return prepare_inputs(head, self.X, rows, self.weights, self.components, seed, self.views)


@dataclasses.dataclass
class _Fold:
    number: int
    member: Member
    # The rows it learns from, and those it is stopped by.
    rows: np.ndarray
    picked: np.ndarray | None


def _fold(head, codes, weights, dealt, number: int, seed: int) -> _Fold:
    rows = np.flatnonzero((dealt != number) & (weights > 0))
    member = dataclasses.replace(
        head.member(seed + number, np.count_nonzero(weights)), name=f"fold {number + 1}"
    )
    if head.early_stopping:
        picked = stratified_part(codes, rows, head.validation_fraction, seed + number)
        if len(picked) >= FEWEST_HELD_OUT:
            return _Fold(number, member, np.setdiff1d(rows, picked), picked)
    return _Fold(number, member, rows, None)


def _fit_together(head, data: _Data, folds: list[_Fold], seed: int, progress) -> list[Outcome]:
    """Train all folds in one stack, on the features themselves."""
    rows = np.flatnonzero(data.weights)
    inputs = data.inputs(head, rows, seed)
    masks = [np.zeros(len(data.X)) for _ in folds]
    for own, fold in zip(masks, folds, strict=True):
        own[fold.rows] = data.weights[fold.rows]
    return _fit(head, data, inputs, folds, rows, masks, seed, progress)


def _fit_apart(head, data: _Data, folds: list[_Fold], seed: int, progress) -> list[Outcome]:
    """Train one fold after the other: each has the components of its own training rows."""
    done: list[Outcome] = []
    for fold in folds:
        inputs = data.inputs(head, fold.rows, seed)

        def report(epoch, outcomes, before=tuple(done)):
            # The finished folds stay in sight; no more than this one can be dropped.
            told = progress(epoch, (*before, *outcomes)) if progress else ()
            return [0] if len(before) in set(told or ()) else []

        (outcome,) = _fit(head, data, inputs, [fold], fold.rows, [data.weights], seed, report)
        outcome.layers = inputs.fold(outcome.layers)
        done.append(outcome)
    return done


def _fit(head, data, inputs, folds, rows, weights, seed, progress) -> list[Outcome]:
    held_out = [
        None
        if fold.picked is None
        else Validation(
            inputs.features,
            data.targets,
            fold.picked,
            data.weights[fold.picked],
            data.views,
            data.view_mean,
        )
        for fold in folds
    ]
    outcomes = fit_stack(
        inputs.features,
        data.targets,
        [fold.member for fold in folds],
        rows=rows,
        weights=weights,
        validation=held_out,
        scaling=inputs.scaling,
        batch_size=head.batch(len(rows)),
        seed=seed,
        lanes=head.n_jobs,
        progress=progress,
        views=data.views,
    )
    if any(outcome.stopped == "interrupted" for outcome in outcomes):
        raise KeyboardInterrupt
    return outcomes


def _probabilities(lanes: Lanes, rows: Validation, layers: Layers) -> np.ndarray:
    found = []
    for picks in rows.picks:
        product = wide_product(lanes, rows.features, picks, layers[0][0])
        found.append(softmax(predict_logits(product, layers).astype(np.float64)))
    return np.mean(found, axis=0)

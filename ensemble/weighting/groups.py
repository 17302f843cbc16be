"""Weights of their own for groups of classes.

A class c of group g gets sum_m w_gm p_mc, and rows are divided by their sum. Dividing
makes the log-loss non-convex, so the answer has no certificate: L-BFGS starts from the
weights that all groups share and can only improve on them.
"""

import numpy as np
from scipy.optimize import minimize

from ...core.errors import ProbabilityError, enumerate_some
from ...core.text import repeated
from ...manifest import class_name
from ..metrics import EPSILON


def parse_groups(text: str, classes: tuple[str, ...]) -> np.ndarray:
    """Read ``"dress,skirt;hat"`` as the group number (C,) of each class.

    Classes that are not named form one more group. ``each`` gives every class its own.
    """
    if text.strip() == "each":
        return np.arange(len(classes))
    parts = [[class_name(name) for name in part.split(",")] for part in text.split(";")]
    named = [name for part in parts for name in part]
    unknown = [name for name in named if name not in classes]
    twice = repeated(named)
    if unknown or twice:
        raise ProbabilityError(
            f"the groups name unknown classes ({enumerate_some(unknown)}) or one twice "
            f"({enumerate_some(twice)})",
            f"separate classes with , and groups with ; the classes are "
            f"{enumerate_some(classes, 60)}",
        )
    number = {name: index for index, part in enumerate(parts) for name in part}
    found = np.array([number.get(name, len(parts)) for name in classes])
    return np.unique(found, return_inverse=True)[1]


def combine_groups(
    probabilities: np.ndarray, weights: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """Average (M, N, C) with the weights (G, M) of each class's group; rows sum to 1."""
    mixed = np.einsum("mnc,cm->nc", probabilities, weights[groups])
    mixed = np.maximum(mixed, EPSILON)
    return mixed / mixed.sum(axis=1, keepdims=True)


def group_weights(
    probabilities: np.ndarray, y: np.ndarray, groups: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Find weights (G, M) of low log-loss, no worse than `start` (M,) for every group.

    Parameters
    ----------
    probabilities : ndarray of shape (M, N, C)
    y : ndarray of int, shape (N,)
    groups : ndarray of int, shape (C,)
        Group of each class, numbered from 0.
    start : ndarray of shape (M,)
    """
    models, rows = len(probabilities), len(y)
    count = int(groups.max()) + 1
    own = probabilities[:, np.arange(rows), y].T
    of_row = groups[y]
    # Each model's probability of each group: all that the sums of rows need.
    mass = np.stack([probabilities[:, :, groups == g].sum(axis=2).T for g in range(count)], axis=1)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        logits = flat.reshape(count, models)
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights = share / share.sum(axis=1, keepdims=True)
        mixed = np.maximum((own * weights[of_row]).sum(axis=1), EPSILON)
        total = np.maximum(np.einsum("ngm,gm->n", mass, weights), EPSILON)
        value = float(np.mean(np.log(total) - np.log(mixed)))
        gradient = np.einsum("ngm,n->gm", mass, 1 / total) / rows
        np.subtract.at(gradient, of_row, own / mixed[:, None] / rows)
        # Through the softmax of each group.
        inner = (gradient * weights).sum(axis=1, keepdims=True)
        return value, (weights * (gradient - inner)).ravel()

    first = np.tile(np.log(np.maximum(start, 1e-4)), (count, 1))
    found = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    logits = found.x.reshape(count, models)
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    # A softmax never reaches 0: what is next to nothing is nothing, and need not be run.
    share[share < 1e-6 * share.sum(axis=1, keepdims=True)] = 0
    weights = share / share.sum(axis=1, keepdims=True)
    shared = np.tile(start, (count, 1))
    better = _loss(probabilities, y, groups, weights) < _loss(probabilities, y, groups, shared)
    return weights if better else shared


def _loss(probabilities, y, groups, weights) -> float:
    table = combine_groups(probabilities, weights, groups)
    return float(-np.mean(np.log(np.maximum(table[np.arange(len(y)), y], EPSILON))))

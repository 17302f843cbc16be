"""Weights of their own for images of each group, held towards those that all have in common.

``p(y | x) = sum over g of p(g | x) * sum over m of w_gm p_m(y | x)``: what `p(g | x)` says is known
from the features, so that nobody need know the group of an image. The weights of a group are
the mode under a Dirichlet prior around the common ones that counts as much as some number of
rows: a group with far fewer rows has the common weights, and nothing decides where "few" ends.
What number of rows is found by folds, averaged over several with their evidence. The problem is
concave, and expectation-maximisation (Dempster, Laird and Rubin 1977) climbs to its optimum.
"""

import numpy as np

from ..metrics import EPSILON

# Rows that the common weights count as in each group; the last one leaves all groups alike.
STRENGTHS = (10.0, 30.0, 100.0, 300.0, 1000.0, np.inf)
_STEPS, _STILL = 300, 1e-5


def routed_weights(
    true: np.ndarray, routes: np.ndarray, common: np.ndarray, strength: float
) -> np.ndarray:
    """Find the weights of each group, ``(G, M)``; a model without common weight stays without.

    Parameters
    ----------
    true : ndarray of shape (N, M)
        Each model's probability of the true class.
    routes : ndarray of shape (N, G)
        Probabilities of the groups.
    common : ndarray of shape (M,)
    strength : float
        Rows that the common weights count as.
    """
    weights = np.tile(common, (routes.shape[1], 1))
    if not np.isfinite(strength):
        return weights
    for _ in range(_STEPS):
        total = true_probability(true, routes, weights)
        # What each group and model had to do with each row, summed over rows.
        share = weights * ((routes / total[:, None]).T @ true)
        found = strength * common + share
        found /= found.sum(axis=1, keepdims=True)
        moved, weights = np.abs(found - weights).max(), found
        if moved < _STILL:
            break
    return weights


def true_probability(true: np.ndarray, routes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the probability of the true class, ``(N,)``, by weights ``(G, M)`` of groups."""
    return np.maximum((routes @ weights * true).sum(axis=1), EPSILON)

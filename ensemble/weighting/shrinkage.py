"""How far to move tuned weights back towards equal ones.

Weights that were tuned on few rows fit their noise. How far to move them back is found by
folds: in each, weights are tuned on the other folds and moved by several amounts, and the
held-out rows judge them. The amounts are then averaged, each with its evidence: the likelihood of
the held-out rows where log-loss is tuned for (pseudo-Bayesian model averaging, Yao et al., "Using
stacking to average Bayesian predictive distributions", Bayesian Analysis 2018), else a normal
likelihood of the difference to the best amount. An average of amounts moves smoothly with the
evidence, where the best one alone jumps.
"""

import numpy as np

from ..resampling import Scored, jackknife

AMOUNTS = (1.0, 0.75, 0.5, 0.25, 0.0)


def averaged_amount(scored: Scored, tables: list[np.ndarray]) -> float:
    """Return the mean of `AMOUNTS`, each weighted by the evidence of its held-out `tables`."""
    values = np.array([scored.score(table) for table in tables])
    if scored.metric.name == "log_loss":
        return float(evidence_shares(scored, values) @ AMOUNTS)
    best = int(np.nanargmax(values)) if np.isfinite(values).any() else 0
    behind = values[best] - values
    drops = jackknife(scored, tables)
    errors = np.array([standard_error(column - drops[:, best]) for column in drops.T])
    evidence = -0.5 * (behind / np.maximum(errors, 1e-12)) ** 2
    share = np.exp(np.nan_to_num(evidence, nan=-np.inf))
    return float(share @ AMOUNTS / share.sum())


def evidence_shares(scored: Scored, values: np.ndarray) -> np.ndarray:
    """Return the share of each candidate by its held-out log-likelihood a row; they sum to 1."""
    # Rows of one image are one observation.
    evidence = (values - np.nanmax(values)) * (scored.images.max() + 1)
    share = np.exp(np.nan_to_num(evidence, nan=-np.inf))
    return share / share.sum()


def standard_error(drops: np.ndarray) -> float:
    """Return the standard error of a difference from its values without each block."""
    blocks = len(drops)
    return float(np.sqrt((blocks - 1) / blocks * ((drops - drops.mean()) ** 2).sum()))

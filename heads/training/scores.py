"""Scores of probabilities with their uncertainty."""

from collections.abc import Sequence

import numpy as np

from ...core.bootstrap import imagine, mean_interval


def score(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], seed: int = 0
) -> dict:
    """Return log-loss and accuracy, each with a 95% interval.

    Parameters
    ----------
    probabilities : ndarray of shape (N, C)
    labels : ndarray of str, shape (N,)
    classes : sequence of str
        Names of the columns.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``log_loss`` (natural logarithm, clipped at 1e-15), ``accuracy``,
        ``log_loss_interval`` and ``accuracy_interval`` (pairs).
    """
    position = {name: index for index, name in enumerate(classes)}
    codes = np.array([position[str(label)] for label in labels])
    others, room = imagine(probabilities, codes)
    losses, other_losses = (_losses(probabilities, labels) for labels in (codes, others))
    hits, other_hits = (
        (probabilities.argmax(axis=1) == labels).astype(np.float64) for labels in (codes, others)
    )
    return {
        "log_loss": float(losses.mean()),
        "accuracy": float(hits.mean()),
        "log_loss_interval": mean_interval(losses, seed, (other_losses, room)),
        "accuracy_interval": mean_interval(hits, seed, (other_hits, room)),
    }


def _losses(probabilities: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return 0 - np.log(np.clip(probabilities[np.arange(len(codes)), codes], 1e-15, 1))

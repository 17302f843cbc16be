"""Which answer to recommend: the plain average, shrunk tuned weights, or one model alone.

Weights that were tuned on few rows fit their noise. How far to move them back towards equal
weights is found by folds: in each, weights are tuned on the other folds and moved by several
amounts, and the held-out rows judge them. The amounts are then averaged, each with its
evidence: the likelihood of the held-out rows where log-loss is tuned for (pseudo-Bayesian
model averaging, Yao et al., "Using stacking to average Bayesian predictive distributions",
Bayesian Analysis 2018), else a normal likelihood of the difference to the best amount.
An average of amounts moves smoothly with the evidence, where the best one alone jumps.

The plain average is recommended instead where held-out rows do not prefer the shrunk
weights (metrics other than log-loss: by more than one standard error), and a model alone only
where it is better than both by more than one standard error. What is recommended for log-loss is
then calibrated, where that helps.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from sklearn.base import BaseEstimator, clone

from ..folds import deal, fold_rows
from ..metrics import get_metric
from ..resampling import Scored, jackknife
from .averaging import Recipe, equal_weights
from .blender import Blender
from .calibration import Calibration, find_calibration

__all__ = ["AMOUNTS", "AVERAGE", "SHRUNK", "SINGLE", "Chooser", "Reason"]

AMOUNTS = (1.0, 0.75, 0.5, 0.25, 0.0)
AVERAGE, SHRUNK, SINGLE = "plain average", "tuned weights", "best single model"
FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why an answer is recommended.

    Attributes
    ----------
    kind : str
        ``plain average``, ``tuned weights`` or ``best single model``.
    shrinkage : float
        How far the tuned weights are moved towards equal ones: 0 not at all, 1 all the way.
    scores : dict of str to float
        The metric, as it counts, of each kind on rows that it was not fitted on.
    error : dict of str to float
        Standard error of each kind's difference to the recommended one.
    rows : int
        Rows that were held out, each once; 0 where there were too few for folds.
    calibration : Calibration or None
        What was found; see `Calibration.recommended`.
    """

    kind: str
    shrinkage: float
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    error: dict[str, float] = dataclasses.field(default_factory=dict)
    rows: int = 0
    calibration: Calibration | None = None


class Chooser(BaseEstimator):
    """Find the tuned weights and the answer to recommend.

    Parameters
    ----------
    blender : Blender
        Finds the tuned weights; it is cloned.

    Attributes
    ----------
    blender_ : Blender
        Fitted on all rows.
    recipes_ : dict of str to Recipe
        ``recommended``, ``clean`` (the same for rows whose labels are right), ``given`` (for
        rows whose labels are wrong as often as these), ``tuned``, ``average``, and ``single``:
        the best model alone.
    reason_ : Reason
    """

    def __init__(self, blender: Blender) -> None:
        self.blender = blender

    def fit(self, probabilities, y, letters=None, groups=None) -> Chooser:
        """Fit on rows that the models have not seen.

        Parameters
        ----------
        probabilities : ndarray of shape (M, N, C)
        y : ndarray of int, shape (N,)
        letters : sequence of str, optional
        groups : ndarray of int, shape (N,), optional
            Equal images have equal numbers: they are in one fold.
        """
        options = self.blender.options
        groups = np.arange(len(y)) if groups is None else groups
        scored = Scored(get_metric(options.metric), y, letters, groups, options.seed)
        self.blender_ = clone(self.blender).fit(probabilities, y, letters)
        parts = _Parts(self.blender_, probabilities, scored)
        self.recipes_ = {
            "tuned": self.blender_.recipe_,
            "average": parts.average,
            "single": parts.single,
        }
        self.reason_ = self._choose(probabilities, scored)
        recommended = {
            AVERAGE: self.recipes_["average"],
            SINGLE: self.recipes_["single"],
            SHRUNK: parts.shrunk(self.reason_.shrinkage),
        }[self.reason_.kind]
        found = self.reason_.calibration
        for name, known in (
            ("recommended", found and found.recommended),
            ("clean", found and found.clean),
            ("given", found),
        ):
            self.recipes_[name] = dataclasses.replace(recommended, calibration=known)
        return self

    def predict_proba(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the recommended probabilities (N, C) of `probabilities` (M, N, C)."""
        return self.recipes_["recommended"].apply(probabilities)

    def _choose(self, probabilities: np.ndarray, scored: Scored) -> Reason:
        if len(probabilities) == 1:
            return self._calibrated(Reason(AVERAGE, 0.0), probabilities[0], scored)
        assert scored.groups is not None
        fold = deal(scored.y, scored.groups, FOLDS, scored.seed)
        if fold.max() < 1:
            return Reason(AVERAGE, 1.0)
        held = self._held_out(probabilities, scored, fold)
        amount = _averaged_amount(scored, [held[name] for name in AMOUNTS])
        tables = {
            AVERAGE: held[AVERAGE],
            SHRUNK: held["tuned"].at(amount),
            SINGLE: held[SINGLE],
        }
        reason = self._preferred(scored, tables, amount)
        return self._calibrated(reason, tables[reason.kind], scored)

    def _calibrated(self, reason: Reason, table: np.ndarray, scored: Scored) -> Reason:
        options = self.blender.options
        if not (options.calibrate and options.convex):
            return reason
        found = find_calibration(table, scored.y, scored.images, options.seed)
        return dataclasses.replace(reason, calibration=found)

    def _held_out(self, probabilities, scored: Scored, fold: np.ndarray) -> dict:
        """Return each candidate's probabilities of all rows, from fits without their fold."""
        assert scored.groups is not None
        shape = probabilities.shape[1:]
        fits = []
        tables = {name: np.empty(shape) for name in (*AMOUNTS, AVERAGE, SINGLE)}
        for learn, score in fold_rows(fold):
            letters = None
            if scored.letters is not None:
                letters = [scored.letters[index] for index in learn]
            known = dataclasses.replace(
                scored, y=scored.y[learn], letters=letters, groups=scored.groups[learn]
            )
            fitted = clone(self.blender).fit(probabilities[:, learn], known.y, letters)
            parts = _Parts(fitted, probabilities[:, learn], known)
            unseen = probabilities[:, score]
            fits.append((score, parts, unseen))
            for amount in AMOUNTS:
                tables[amount][score] = parts.shrunk(amount).apply(unseen)
            tables[AVERAGE][score] = parts.average.apply(unseen)
            tables[SINGLE][score] = parts.single.apply(unseen)
        return {**tables, "tuned": _AtAmount(fits, shape)}

    def _preferred(self, scored: Scored, tables: dict[str, np.ndarray], amount: float) -> Reason:
        values = {kind: scored.score(table) for kind, table in tables.items()}
        drops = dict(zip(tables, jackknife(scored, list(tables.values())).T))

        def gain(kind: str, other: str) -> tuple[float, float]:
            return values[kind] - values[other], _error(drops[kind] - drops[other])

        better, error = gain(SHRUNK, AVERAGE)
        # Evidence shrinks weights that are tuned for log-loss; other metrics are too coarse.
        slack = 0.0 if scored.metric.name == "log_loss" else error
        kind = SHRUNK if better > slack else AVERAGE
        better, error = gain(SINGLE, kind)
        if better > error and self.blender.options.upper == 1:
            kind = SINGLE
        sign = 1 if scored.metric.higher_is_better else -1
        return Reason(
            kind,
            amount,
            {name: sign * value for name, value in values.items()},
            {name: gain(name, kind)[1] for name in tables},
            len(scored.y),
        )


class _Parts:
    """What one fit gives: the weights at every amount of shrinkage, and the best model alone."""

    def __init__(self, fitted: Blender, probabilities: np.ndarray, scored: Scored) -> None:
        self.recipe = fitted.recipe_
        self.equal = equal_weights(len(probabilities), fitted.kept_)
        self.average = Recipe(self.equal, self.recipe.mean)
        alone = [scored.score(probabilities[index]) for index in fitted.kept_]
        best = fitted.kept_[int(np.argmax(np.nan_to_num(alone, nan=-np.inf)))]
        self.single = Recipe(np.eye(len(probabilities))[best], self.recipe.mean)

    def shrunk(self, amount: float) -> Recipe:
        return self.recipe.shrunk(amount, self.equal)


class _AtAmount:
    """Held-out probabilities at any amount of shrinkage."""

    def __init__(self, fits: list, shape: tuple[int, int]) -> None:
        self.fits, self.shape = fits, shape

    def at(self, amount: float) -> np.ndarray:
        table = np.empty(self.shape)
        for score, parts, unseen in self.fits:
            table[score] = parts.shrunk(amount).apply(unseen)
        return table


def _averaged_amount(scored: Scored, tables: list[np.ndarray]) -> float:
    """Return the mean of `AMOUNTS`, each weighted by the evidence of its held-out `tables`."""
    values = np.array([scored.score(table) for table in tables])
    best = int(np.nanargmax(values)) if np.isfinite(values).any() else 0
    behind = values[best] - values
    if scored.metric.name == "log_loss":
        # Rows of one image are one observation.
        evidence = -behind * (scored.images.max() + 1)
    else:
        drops = jackknife(scored, tables)
        errors = np.array([_error(column - drops[:, best]) for column in drops.T])
        evidence = -0.5 * (behind / np.maximum(errors, 1e-12)) ** 2
    share = np.exp(np.nan_to_num(evidence, nan=-np.inf))
    return float(share @ AMOUNTS / share.sum())


def _error(drops: np.ndarray) -> float:
    """Return the standard error of a difference from its values without each block."""
    blocks = len(drops)
    return float(np.sqrt((blocks - 1) / blocks * ((drops - drops.mean()) ** 2).sum()))

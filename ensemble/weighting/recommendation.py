"""Which answer to recommend: the plain average, shrunk tuned weights, or one model alone.

How far tuned weights are moved towards equal ones is found by folds (see `shrinkage`). The
plain average is recommended instead where held-out rows do not prefer the shrunk
weights (metrics other than log-loss: by more than one standard error), and a model alone only
where it is better than both by more than one standard error. Where it is known how likely an
image is of each of several groups, each group's weights are then moved away from these as far as
the evidence goes (see `routed`), if held-out rows prefer that. What is recommended for log-loss
is calibrated last, where that helps; all of them are then compared as calibrations leave them,
too, since tuned weights make up for models that are not sure enough by the surest one alone.
"""

import dataclasses
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, clone

from ...core.folds import deal_folds, fold_rows
from ..metrics import get_metric
from ..resampling import Scored, jackknife
from .averaging import Recipe, equal_weights
from .blender import Blender
from .calibration import Calibration, calibrated_unseen, find_calibration
from .notes import true_class
from .routed import STRENGTHS, routed_weights, true_probability
from .shrinkage import AMOUNTS, averaged_amount, evidence_shares, standard_error

AVERAGE, SHRUNK, SINGLE = "plain average", "tuned weights", "best single model"
FOLDS = 5
# Less would make every model needed, and its network, for nothing.
_LEAST_AMOUNT = 0.005


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
    calibrated : bool
        Whether scores are of answers that were calibrated without the row's fold.
    calibration : Calibration or None
        What was found; see `Calibration.recommended`.
    routing_gain : float or None
        What weights of their own for groups of images bring in the log-loss of rows that they were
        not fitted on. They are recommended where it is above 0.
    """

    kind: str
    shrinkage: float
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    error: dict[str, float] = dataclasses.field(default_factory=dict)
    rows: int = 0
    calibrated: bool = False
    calibration: Calibration | None = None
    routing_gain: float | None = None


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

    def fit(self, probabilities, y, letters=None, groups=None, routes=None) -> Self:
        """Fit on rows that the models have not seen.

        Parameters
        ----------
        probabilities : ndarray of shape (M, N, C)
        y : ndarray of int, shape (N,)
        letters : sequence of str, optional
        groups : ndarray of int, shape (N,), optional
            Equal images have equal numbers: they are in one fold.
        routes : ndarray of shape (N, G), optional
            Probabilities of groups of images, which then have weights of their own.
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
        self.reason_, strengths = self._choose(probabilities, scored, self._routes(routes))
        recommended = parts.recipe_of(self.reason_)
        if strengths is not None:
            true = true_class(probabilities, scored.y)
            recommended = _routed(recommended, true, routes, strengths)
        found = self.reason_.calibration
        for name, known in (
            ("recommended", found and found.recommended),
            ("clean", found and found.clean),
            ("given", found),
        ):
            self.recipes_[name] = dataclasses.replace(recommended, calibration=known)
        return self

    def predict_proba(self, probabilities: np.ndarray, routes=None) -> np.ndarray:
        """Return the recommended probabilities (N, C) of `probabilities` (M, N, C)."""
        return self.recipes_["recommended"].apply(probabilities, routes)

    def _routes(self, routes: np.ndarray | None) -> np.ndarray | None:
        """Return the routes if a blend of these options can have weights for each group."""
        options = self.blender.options
        plain = options.convex and options.mean == "arithmetic" and options.upper == 1
        return None if options.groups or options.budgets or not plain else routes

    def _choose(
        self, probabilities: np.ndarray, scored: Scored, routes: np.ndarray | None
    ) -> tuple[Reason, np.ndarray | None]:
        """Return what is recommended and why, and the share of each of `STRENGTHS` if routed."""
        if len(probabilities) == 1:
            known = self._calibration(probabilities[0], scored)
            return Reason(AVERAGE, 0.0, calibration=known), None
        assert scored.groups is not None
        fold = deal_folds(scored.y, scored.groups, FOLDS, [scored.seed, 34])
        if fold.max() < 1:
            return Reason(AVERAGE, 1.0), None
        held = _HeldOut(self.blender, probabilities, scored, fold)
        reason, strengths = self._best(scored, held), None
        table = held.table(reason)
        if routes is not None:
            # The best model alone may be best in one group alone.
            several = SHRUNK if reason.kind == SINGLE else reason.kind
            routed_reason = dataclasses.replace(reason, kind=several)
            true = true_class(probabilities, scored.y)
            held_out = _Routed(held.fits, routed_reason, true, routes)
            shares = evidence_shares(scored, -held_out.losses())
            routed = held_out.table(shares, table.shape)
            gain = scored.score(routed) - scored.score(table)
            if gain > 0:
                reason, strengths, table = routed_reason, shares, routed
            reason = dataclasses.replace(reason, routing_gain=float(gain))
        known = self._calibration(table, scored)
        return dataclasses.replace(reason, calibration=known), strengths

    def _calibration(self, table: np.ndarray, scored: Scored) -> Calibration | None:
        """Return the calibration of held-out rows, if it helps and is wished for."""
        options = self.blender.options
        if not (options.calibrate and options.convex):
            return None
        return find_calibration(table, scored.y, scored.images, options.seed)

    def _best(self, scored: Scored, held: "_HeldOut") -> Reason:
        """Return what held-out rows prefer, of answers that are calibrated where that is needed."""
        plain = self._preferred(scored, held)
        ways = (plain, Reason(AVERAGE, 1.0))
        if not any(self._calibration(held.table(one), scored) for one in ways):
            return plain
        after = self._preferred(scored, held, calibrated=True)
        tables = [held.table(one) for one in (after, plain)]
        for place, table in enumerate(tables):
            if self._calibration(table, scored):
                tables[place] = _calibrated_unseen(table, scored)
        drops = jackknife(scored, tables)
        gain = scored.score(tables[0]) - scored.score(tables[1])
        return after if gain > standard_error(drops[:, 0] - drops[:, 1]) else plain

    def _preferred(self, scored: Scored, held: "_HeldOut", calibrated: bool = False) -> Reason:
        """Return which kind held-out rows prefer, as it is or as calibrations leave it."""

        def table(kind: str, amount: float) -> np.ndarray:
            plain = held.table(Reason(kind, amount))
            return _calibrated_unseen(plain, scored) if calibrated else plain

        amount = averaged_amount(scored, [table(SHRUNK, each) for each in AMOUNTS])
        if amount < _LEAST_AMOUNT:
            amount = 0.0
        tables = {kind: table(kind, amount) for kind in (AVERAGE, SHRUNK, SINGLE)}
        values = {kind: scored.score(table) for kind, table in tables.items()}
        drops = dict(zip(tables, jackknife(scored, list(tables.values())).T))

        def gain(kind: str, other: str) -> tuple[float, float]:
            return values[kind] - values[other], standard_error(drops[kind] - drops[other])

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
            calibrated,
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

    def recipe_of(self, reason: Reason) -> Recipe:
        plain = {AVERAGE: self.average, SINGLE: self.single}
        return plain.get(reason.kind) or self.shrunk(reason.shrinkage)


class _HeldOut:
    """Fits without each fold, and what they say of the rows of that fold."""

    def __init__(self, blender: Blender, probabilities, scored: Scored, fold: np.ndarray) -> None:
        assert scored.groups is not None
        self.shape, self.fits = probabilities.shape[1:], []
        for learn, score in fold_rows(fold):
            letters = None
            if scored.letters is not None:
                letters = [scored.letters[index] for index in learn]
            known = dataclasses.replace(
                scored, y=scored.y[learn], letters=letters, groups=scored.groups[learn]
            )
            fitted = clone(blender).fit(probabilities[:, learn], known.y, letters)
            parts = _Parts(fitted, probabilities[:, learn], known)
            self.fits.append((learn, score, parts, probabilities[:, score]))

    def table(self, reason: Reason) -> np.ndarray:
        """Return the probabilities of all rows by what is recommended for `reason`."""
        table = np.empty(self.shape)
        for _, score, parts, unseen in self.fits:
            table[score] = parts.recipe_of(reason).apply(unseen)
        return table


def _calibrated_unseen(table: np.ndarray, scored: Scored) -> np.ndarray:
    return calibrated_unseen(table, scored.y, scored.images, scored.seed)


def _routed(recipe: Recipe, true: np.ndarray, routes, strengths: np.ndarray) -> Recipe:
    """Give each group weights of its own: the mean over `STRENGTHS` with their shares."""
    several = [routed_weights(true, routes, recipe.weights, each) for each in STRENGTHS]
    return dataclasses.replace(recipe, routed=np.tensordot(strengths, several, axes=1))


class _Routed:
    """Held-out probabilities where each group of images has weights of its own."""

    def __init__(self, fits: list, reason: Reason, true: np.ndarray, routes: np.ndarray) -> None:
        self.fits, self.reason, self.true, self.routes = fits, reason, true, routes

    def losses(self) -> np.ndarray:
        """Return the held-out log-loss at each of `STRENGTHS`."""
        losses = np.zeros((len(STRENGTHS), len(self.true)))
        for learn, score, parts, _ in self.fits:
            common = parts.recipe_of(self.reason).weights
            for place, strength in enumerate(STRENGTHS):
                own = routed_weights(self.true[learn], self.routes[learn], common, strength)
                found = true_probability(self.true[score], self.routes[score], own)
                losses[place, score] = -np.log(found)
        return losses.mean(axis=1)

    def table(self, strengths: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the probabilities of all rows by the mean over strengths with these shares."""
        table = np.empty(shape)
        for learn, score, parts, unseen in self.fits:
            recipe = parts.recipe_of(self.reason)
            recipe = _routed(recipe, self.true[learn], self.routes[learn], strengths)
            table[score] = recipe.apply(unseen, self.routes[score])
        return table

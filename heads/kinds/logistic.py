"""Multinomial logistic regression along a path of penalties."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ...core.float16 import widen
from ...core.softmax import softmax
from ..base import Head
from ..numerics.gram import EXACT_ROWS, LANDMARKS, Basis, centred, power_gram
from ..numerics.products import multiply
from ..numerics.scaling import (
    OPEN_SCALINGS,
    SCALINGS,
    Scaling,
    combined,
    measure_scaling,
    plainest,
    power_rows,
    power_scaled,
    untried,
    wide_product,
)
from ..numerics.softmax_regression import Features, Kernel, SoftmaxRegression
from ..rows import Rows
from ..saved import HeadFiles
from ..settings import ABOVE_0, among

# Penalties of the path, for rows of mean squared length 1: what suits frozen features lies
# well inside, for a hundred rows and for ten thousand.
_LARGEST, _SMALLEST, _STEPS = 0.3, 3e-8, 11
_PATH_GAP = 1e-3


def penalties() -> list[float]:
    """Return the penalties of a path, from the largest on."""
    return np.geomspace(_LARGEST, _SMALLEST, _STEPS).tolist()


def along_path(solver: SoftmaxRegression, alphas: Sequence[float]):
    """Yield the position of each of `alphas` when `solver` has come there, the largest first."""
    for place in np.argsort(-np.asarray(alphas), kind="stable").tolist():
        solver.solve(alphas[place], _PATH_GAP)
        yield place


class LogisticHead(Head):
    """Multinomial logistic regression with an L2 penalty on all but the intercept.

    Parameters
    ----------
    alpha : float or "auto", default "auto"
        Strength of the penalty: the mean log-loss plus ``alpha / 2`` times the squared
        weights is minimised. "auto" chooses by 11 values from 0.3 to 3e-8, out of fold.
    C : float, optional
        scikit-learn's setting, in place of `alpha`: ``1 / (alpha * sum of weights)``, for two
        classes twice that.
    scaling : {"power", "standard", "rms", "none"} or "auto", default "auto"
        "power" takes signed square roots and gives each feature set of each row unit length.
        Then the columns are centred, and divided by one number so that rows have the mean
        squared length 1. The others divide each column by its deviation ("standard"), all
        by one number ("rms") or nothing, and then by the root of the number of columns
        (not so "none"). "auto" chooses between "power" and "standard" out of fold where there are
        few columns, of scales that are far apart, or hardly differing beside their mean.
        Elsewhere, and where a penalty is given, it is "power".
    sets : tuple of int, optional
        Widths of the feature sets that lie side by side; one set by default.
    tol : float, default 3e-4
        How far the objective may be above its minimum.
    random_state : int, RandomState or None, default None
        Accepted for the contract of heads; the solution is unique.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    coef_ : ndarray of shape (D, C), float32
        With centring and factors folded in; of the power-scaled features for "power".
    intercept_ : ndarray of shape (C,), float32
    n_iter_ : int
    scaling_ : str
        That of the fit.
    """

    kind: ClassVar[str] = "logistic"
    recipe: ClassVar[int] = 6
    penalty: ClassVar[str] = "alpha"
    allowed: ClassVar = {
        "alpha": ABOVE_0 | "auto",
        "C": ABOVE_0 | None,
        "scaling": among(SCALINGS) | "auto",
    }

    def __init__(
        self, alpha="auto", C=None, scaling="auto", sets=None, tol=3e-4, random_state=None
    ):
        self.alpha = alpha
        self.C = C
        self.scaling = scaling
        self.sets = sets
        self.tol = tol
        self.random_state = random_state

    def choices(self) -> list[dict[str, Any]]:
        """Return the penalties of a path for each open scaling, unless one is given."""
        if self.C is not None or self.alpha != "auto":
            return [{}]
        return self.grid(scaling=OPEN_SCALINGS, alpha=penalties())

    def further_choices(self, count: int, seed: int) -> list[list[dict[str, Any]]]:
        """Return the other scaling that may be better."""
        if self.scaling != "auto" or len(self.choices()) < 2:
            return []
        others = [{"alpha": alpha, "scaling": "standard"} for alpha in penalties()]
        return [others][:count]

    def predict_path(
        self, rows: Rows, fitted: np.ndarray, judged: np.ndarray, choices: Sequence[dict]
    ) -> np.ndarray:
        """See `Head.predict_path`: one path of warm starts for each scaling."""
        own = [{**self.get_params(), **choice} for choice in choices]
        tables: list[Any] = [None] * len(own)
        scalings = list(dict.fromkeys(plainest(one["scaling"]) for one in own))
        left_out = untried(rows, fitted, scalings)
        for scaling in scalings:
            places = [place for place, one in enumerate(own) if plainest(one["scaling"]) == scaling]
            if left_out and scaling == "standard":
                for place in places:
                    tables[place] = np.full((len(judged), len(rows.present(fitted))), np.nan)
                continue
            space = _Space(rows, fitted, scaling, judged)
            solver = space.solver()
            alphas = [_penalty(own[place], rows, fitted) for place in places]
            for number in along_path(solver, alphas):
                tables[places[number]] = softmax(space.logits(solver))
        return np.array(tables)

    def _solved(self, space: "_Space", rows: Rows, index: np.ndarray) -> SoftmaxRegression:
        alpha = _penalty(self.get_params(), rows, index)
        return space.solver().solve(10 * alpha, gap=0.01).solve(alpha, self.tol)

    def _fit_and_predict(self, rows: Rows, index: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        space = _Space(rows, index, plainest(self.scaling), unseen)
        return softmax(space.logits(self._solved(space, rows, index)))

    def _fit(self, rows: Rows, index: np.ndarray) -> None:
        self.scaling_ = plainest(self.scaling)
        space = _Space(rows, index, self.scaling_)
        solver = self._solved(space, rows, index)
        self.coef_, self.intercept_ = space.weights(solver)
        self.n_iter_ = solver.iterations
        self.sets_ = rows.sets

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        if self.scaling_ == "power":
            X = power_scaled(X, self.sets_)
        logits = wide_product(X, self.coef_) + self.intercept_
        return softmax(logits.astype(np.float64))

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        fields = {"iterations": self.n_iter_, "sets": list(self.sets_), "scaling": self.scaling_}
        return fields, {"W": self.coef_, "b": self.intercept_}

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        self.n_iter_ = files.field(fields, "iterations", int)
        self.sets_, self.scaling_ = files.sets(fields), files.one_of(fields, "scaling", SCALINGS)
        classes = len(files.classes)
        arrays = files.arrays({"W": (files.features, classes), "b": (classes,)})
        self.coef_, self.intercept_ = arrays["W"], arrays["b"]


def _penalty(settings: dict[str, Any], rows: Rows, index: np.ndarray) -> float:
    if settings["C"] is None:
        return float(settings["alpha"])
    # scikit-learn has one column of weights for two classes: half of the penalty of two.
    factor = 2 if len(rows.present(index)) == 2 else 1
    return float(factor / (settings["C"] * rows.fit_weights(index).sum()))


class _Space:
    """The scaled rows of a fit as the solver sees them, and the way back to weights.

    Of wide rows all inner products are taken, those of power-scaled rows from the matrix that
    all fits share; where there are too many rows for that, landmarks stand for them. Else
    the rows themselves are used.
    """

    def __init__(
        self, rows: Rows, index: np.ndarray, scaling: str, judged: np.ndarray | None = None
    ) -> None:
        self._rows, self._index, self._scaling = rows, index, scaling
        self._judged = np.empty(0, int) if judged is None else judged
        self._basis: Basis | None = None
        self._features: Any = None
        self._kernel: np.ndarray | None = None
        self._across: np.ndarray | None = None
        width, many = rows.features.shape[1], len(rows) > EXACT_ROWS
        if scaling == "power" and width > (LANDMARKS if many else len(rows) // 2):
            self._from_gram(power_gram(rows))
            return
        self._measured = self._measure()
        self._features = self._scaled(index)
        if width > len(index) and not many:
            self._kernel = multiply(self._features, self._features.T)

    def solver(self) -> SoftmaxRegression:
        """Return a solver for the classes that the rows have."""
        kernel = self._kernel
        space = Features(self._features) if kernel is None else Kernel(kernel)
        targets = self._rows.shares(self._index)
        rows, index = self._rows, self._index
        return SoftmaxRegression(space, targets, rows.fit_weights(index), rows.own_weights(index))

    def logits(self, solver: SoftmaxRegression) -> np.ndarray:
        """Return the logits of the rows at `judged`."""
        across, right = self._across, solver.coef
        if across is None:
            across, right = self._scaled(self._judged), self._linear(solver)
        return multiply(across, right).astype(np.float64) + solver.intercept

    def weights(self, solver: SoftmaxRegression) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients and intercept for rows that are power-scaled, or as they are."""
        if self._across is None:
            return self._measured.fold(self._linear(solver), solver.intercept)
        weights, index = solver.coef, self._index
        if self._basis is not None:
            weights, index = self._basis.coefficients(solver.coef), self._landmarks
        # Of centred rows: what all rows have in common has no weight.
        weights = weights - self._shares[:, None] * weights.sum(axis=0)
        scaled = power_rows(self._rows)
        both = np.column_stack([weights, self._shares]).astype(np.float32)
        found = combined(scaled, index, both)
        coef, mean = found[:, :-1] * np.float32(self._factor), found[:, -1].astype(np.float64)
        return coef, (solver.intercept - mean @ coef).astype(np.float32)

    def _linear(self, solver: SoftmaxRegression) -> np.ndarray:
        if self._kernel is None:
            return solver.coef
        return multiply(self._features.T, solver.coef)

    def _from_gram(self, gram) -> None:
        own = self._index if gram.exact else gram.columns[gram.landmarks(self._index)]
        places = own if gram.exact else gram.landmarks(self._index)
        weights = self._rows.fit_weights(own)
        self._shares = (weights / weights.sum()).astype(np.float32)
        inner = gram.part(own, places)
        if gram.exact:
            across = gram.part(self._judged, places)
            self._kernel, self._across, self._factor = centred(inner, across, self._shares)
            return
        every = gram.part(np.concatenate([self._index, self._judged]), places)
        inner, every, self._factor = centred(inner, every, self._shares)
        self._landmarks, self._basis = own, Basis(inner)
        found = self._basis.features(every)
        self._features, self._across = found[: len(self._index)], found[len(self._index) :]

    def _measure(self) -> Scaling:
        source, weights = self._source(), self._rows.fit_weights(self._index)
        scaling = measure_scaling(source[self._index], self._scaling, weights)
        if self._scaling == "none":
            return scaling
        return Scaling(scaling.shift, scaling.factor / np.float32(np.sqrt(source.shape[1])))

    def _source(self) -> np.ndarray:
        return power_rows(self._rows) if self._scaling == "power" else self._rows.features

    def _scaled(self, index: np.ndarray) -> np.ndarray:
        source = self._source()
        values = np.empty((len(index), source.shape[1]), np.float32)
        widen(source[index], values)
        return self._measured.apply(values)

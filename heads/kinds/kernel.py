"""Multinomial logistic regression with a Gaussian kernel."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ...core.softmax import softmax
from ..base import Head
from ..numerics.directions import DIRECTIONS
from ..numerics.kernel_machine import FitKernels, Machine, Support, least_memory
from ..numerics.products import multiply
from ..numerics.scaling import OPEN_SCALINGS, plainest, untried
from ..rows import Rows
from ..saved import HeadFiles
from ..settings import ABOVE_0, among
from .logistic import along_path, penalties

# Few rows take a wide kernel: widths as many rows and as few ones want them.
_NARROW, _WIDE, _ROOT_ROWS = 0.8, 1.4, 28.0


class KernelHead(Head):
    """Kernel logistic regression: a Gaussian kernel on scaled feature sets.

    Zhu and Hastie 2005, "Kernel logistic regression and the import vector machine". The
    kernel is ``exp(-d**2 / (2 * s**2))``, where d is the distance of two rows whose sets are
    power-scaled, or their columns standardised, and s is `width` times the median distance of the
    training rows. Inner products of power-scaled rows are taken along 896 directions, near the
    principal ones of the training rows.

    All training rows are in the solution where there are up to 10,000. Of more rows some
    4,000 are, drawn without a look at them (Nyström's approximation): the cost is linear in
    the rows.

    Parameters
    ----------
    alpha : float or "auto", default "auto"
        Penalty: the mean log-loss plus ``alpha / 2`` times the squared norm of the function
        is minimised. "auto" chooses by 11 values from 0.3 to 3e-8, out of fold.
    width : float or "auto", default "auto"
        "auto" goes by the number of rows: 1.4 up to 400, ``28 / sqrt(rows)`` from there, 0.8
        from 1,225 on. A search tries others.
    scaling : {"power", "standard"} or "auto", default "auto"
        As of `LogisticHead`; of more than 896 columns "auto" is "power".
    sets : tuple of int, optional
        Widths of the feature sets that lie side by side; one set by default.
    tol : float, default 3e-4
        How far the objective may be above its minimum.
    random_state : int, RandomState or None, default None
        Accepted for the contract of heads; the solution is unique.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    support_ : Support
        The M rows in the solution along the directions, and the kernel's gamma, ``1 / (2 * s**2)``.
    coef_ : ndarray of shape (M, C), float32
    intercept_ : ndarray of shape (C,), float32
    n_iter_ : int
    scaling_ : str
        That of the fit.
    """

    kind: ClassVar[str] = "kernel"
    recipe: ClassVar[int] = 6
    penalty: ClassVar[str] = "alpha"
    allowed: ClassVar = {
        "alpha": ABOVE_0 | "auto",
        "width": ABOVE_0 | "auto",
        "scaling": among(OPEN_SCALINGS) | "auto",
    }

    def __init__(
        self, alpha="auto", width="auto", scaling="auto", sets=None, tol=3e-4, random_state=None
    ):
        self.alpha = alpha
        self.width = width
        self.scaling = scaling
        self.sets = sets
        self.tol = tol
        self.random_state = random_state

    def choices(self) -> list[dict[str, Any]]:
        """Return the penalties of a path for each open scaling, unless one is given."""
        if self.alpha != "auto":
            return [{}]
        return self.grid(scaling=OPEN_SCALINGS, alpha=penalties())

    def further_choices(self, count: int, seed: int) -> list[list[dict[str, Any]]]:
        """Return other widths."""
        if self.width != "auto":
            return []
        widths = (_WIDE, _NARROW, 0.5, 2.5)[:count]
        return [self.grid(width=(width,), alpha=penalties()) for width in widths]

    def predict_path(
        self, rows: Rows, fitted: np.ndarray, judged: np.ndarray, choices: Sequence[dict]
    ) -> np.ndarray:
        """See `Head.predict_path`: one path of warm starts for each width and scaling."""
        own = [{**self.get_params(), **choice} for choice in choices]
        tables: list[Any] = [None] * len(own)
        kinds = [(one["width"], plainest(one["scaling"])) for one in own]
        left_out = self._left_out(rows, fitted, [scaling for _, scaling in kinds])
        for width, scaling in dict.fromkeys(kinds):
            places = [place for place, kind in enumerate(kinds) if kind == (width, scaling)]
            if left_out and scaling == "standard":
                for place in places:
                    tables[place] = np.full((len(judged), len(rows.present(fitted))), np.nan)
                continue
            kernels = FitKernels(rows, fitted, _wide(width, rows), scaling)
            machine, across = _machine(rows, fitted, kernels), kernels.across(judged)
            for number in along_path(machine.solver, [own[place]["alpha"] for place in places]):
                tables[places[number]] = _predicted(across, machine)
        return np.array(tables)

    def _left_out(self, rows: Rows, fitted: np.ndarray, scalings: Sequence[str]) -> bool:
        wide = rows.features.shape[1] > DIRECTIONS
        return (wide and set(OPEN_SCALINGS) <= set(scalings)) or untried(rows, fitted, scalings)

    def _solved(self, rows: Rows, index: np.ndarray) -> tuple[FitKernels, Machine]:
        kernels = FitKernels(rows, index, _wide(self.width, rows), plainest(self.scaling))
        machine = _machine(rows, index, kernels)
        machine.solve(self.alpha, self.tol)
        return kernels, machine

    def _fit_and_predict(self, rows: Rows, index: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        kernels, machine = self._solved(rows, index)
        return _predicted(kernels.across(unseen), machine)

    def _memory(self, rows: Rows) -> tuple[dict[str, Any], int]:
        return {}, least_memory(rows)

    def _fit(self, rows: Rows, index: np.ndarray) -> None:
        kernels, machine = self._solved(rows, index)
        self.scaling_ = plainest(self.scaling)
        self.coef_, self.intercept_ = machine.coef, machine.solver.intercept.astype(np.float32)
        self.support_, self.n_iter_ = kernels.kept(), machine.solver.iterations
        self.sets_ = rows.sets

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        def logits(kernel: np.ndarray) -> np.ndarray:
            return multiply(kernel, self.coef_) + self.intercept_

        return softmax(self.support_.map(logits, X, self.sets_).astype(np.float64))

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        fields = {"iterations": self.n_iter_, "sets": list(self.sets_), "scaling": self.scaling_}
        arrays = {**self.support_.arrays, "coef": self.coef_, "intercept": self.intercept_}
        return {**fields, "gamma": self.support_.gamma}, arrays

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        self.n_iter_ = files.field(fields, "iterations", int)
        self.sets_, self.scaling_ = (
            files.sets(fields),
            files.one_of(fields, "scaling", OPEN_SCALINGS),
        )
        classes = len(files.classes)
        shapes: dict[str, tuple] = {"coef": (None, classes), "intercept": (classes,)}
        if self.scaling_ == "standard":
            shapes |= {"shift": (files.features,), "factor": (files.features,)}
        self.support_, arrays = Support.restored(fields, files, **shapes)
        self.coef_, self.intercept_ = arrays["coef"], arrays["intercept"]


def _wide(width: float | str, rows: Rows) -> float:
    """Return the width for so many rows; their number is all that it looks at."""
    if isinstance(width, str):
        count = max(int((rows.weights > 0).sum()), 1)
        return float(np.clip(_ROOT_ROWS / np.sqrt(count), _NARROW, _WIDE))
    return width


def _predicted(across: np.ndarray, machine: Machine) -> np.ndarray:
    logits = multiply(across, machine.coef).astype(np.float64)
    return softmax(logits + machine.solver.intercept)


def _machine(rows: Rows, index: np.ndarray, kernels: FitKernels) -> Machine:
    inner, fitted = kernels.inner, kernels.fitted()
    own = rows.own_weights(index)
    return Machine.of(inner, fitted, rows.shares(index), rows.fit_weights(index), own)

"""Kernel logistic regression for images of several kinds, with soft routing between them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ...core.softmax import softmax
from ..base import Head
from ..numerics.kernel_machine import FitKernels, Machine, Support, least_memory
from ..numerics.products import multiply
from ..rows import Rows
from ..saved import HeadFiles
from ..settings import ABOVE_0, number
from .logistic import along_path, penalties

SHARES = (0.7, 0.4, 0.15)


class GroupedHead(Head):
    """A function for each group of images and a common one, learnt together.

    Every group has the common function plus one of its own, which is held towards zero:
    ``K(x, x') * (share + (1 - share) * [same group])`` is the kernel (Evgeniou and Pontil
    2004, "Regularized multi-task learning"). A group with few rows so falls back on what is
    common to all. The group of a new image need not be known: a router, a kernel machine as
    well, gives ``p(group | x)``, and the answer is the sum of ``p(group | x) p(y | x, group)``.

    Parameters
    ----------
    alpha : float or "auto", default "auto"
        As of `KernelHead`.
    width : float, default 1.0
        As of `KernelHead`.
    share : float or "auto", default "auto"
        What groups have in common, from 0 (nothing) to 1 (all). "auto" chooses among 0.7, 0.4
        and 0.15, out of fold.
    route_alpha : float, default 1e-5
        Penalty of the router.
    sets, tol, random_state
        As of `KernelHead`.

    Attributes
    ----------
    classes_, support_, coef_, intercept_, n_iter_
        As of `KernelHead`.
    members_ : ndarray of shape (M, G), float32
        Group of each row in the solution; probabilities where it was not known.
    share_ : float
    route_coef_, route_intercept_ : ndarray of shape (M, G) and (G,), float32
    """

    kind: ClassVar[str] = "grouped"
    recipe: ClassVar[int] = 5
    penalty: ClassVar[str] = "alpha"
    allowed: ClassVar = {
        "alpha": ABOVE_0 | "auto",
        "width": ABOVE_0,
        "share": number("above 0 and up to 1", lambda value: 0 < value <= 1) | "auto",
        "route_alpha": ABOVE_0,
    }

    def __init__(
        self,
        alpha="auto",
        width=1.0,
        share="auto",
        route_alpha=1e-5,
        sets=None,
        tol=3e-4,
        random_state=None,
    ):
        self.alpha = alpha
        self.width = width
        self.share = share
        self.route_alpha = route_alpha
        self.sets = sets
        self.tol = tol
        self.random_state = random_state

    def choices(self) -> list[dict[str, Any]]:
        """Return all pairs of a penalty and a share that are open."""
        return self.grid(share=SHARES, alpha=penalties())

    @property
    def power_sets(self) -> tuple[int, ...]:
        """Widths of the feature sets: the kernel is always one of power-scaled rows."""
        return self.sets_

    def predict_path(
        self, rows: Rows, fitted: np.ndarray, judged: np.ndarray, choices: Sequence[dict]
    ) -> np.ndarray:
        """See `Head.predict_path`: one path of warm starts for each share."""
        own = [{**self.get_params(), **choice} for choice in choices]
        tables: list[Any] = [None] * len(own)
        fit = _Fit(rows, fitted, self.width, self.route_alpha)
        across = fit.kernels.across(judged)
        routes = fit.router.route(across)
        for share in dict.fromkeys(one["share"] for one in own):
            places = [place for place, one in enumerate(own) if one["share"] == share]
            machine, factors = fit.machine(share), _factors(fit.members, share)
            for step in along_path(machine.solver, [own[place]["alpha"] for place in places]):
                coef, intercept = machine.coef, machine.solver.intercept
                tables[places[step]] = _mixture(across, coef, intercept, routes, factors)
        return np.array(tables)

    def _memory(self, rows: Rows) -> tuple[dict[str, Any], int]:
        return {}, least_memory(rows)

    def _fit(self, rows: Rows, index: np.ndarray) -> None:
        fit = _Fit(rows, index, self.width, self.route_alpha)
        machine = fit.machine(self.share)
        machine.solve(self.alpha, self.tol)
        self.coef_, self.intercept_ = machine.coef, machine.solver.intercept.astype(np.float32)
        self.support_ = fit.kernels.kept()
        self.members_ = np.ascontiguousarray(fit.members, np.float32)
        self.route_coef_, self.route_intercept_ = fit.router.coef, fit.router.intercept
        self.n_iter_ = machine.solver.iterations
        self.share_, self.sets_ = float(self.share), rows.sets

    def route(self, X: np.ndarray) -> np.ndarray:
        """Return the probabilities of the groups, shape (N, G)."""
        X = self._check_features(X)
        return self.support_.map(self._router().route, X, self.sets_)

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        router, factors = self._router(), _factors(self.members_, self.share_)

        def mixture(kernel: np.ndarray) -> np.ndarray:
            routes = router.route(kernel)
            return _mixture(kernel, self.coef_, self.intercept_, routes, factors)

        return self.support_.map(mixture, X, self.sets_)

    @property
    def group_coefs(self) -> list[np.ndarray]:
        """Coefficients of each group's function, G arrays of shape (M, C), float32."""
        factors = _factors(self.members_, self.share_)
        return [self.coef_ * column[:, None].astype(np.float32) for column in factors.T]

    def _router(self) -> "_Router":
        return _Router(self.route_coef_, self.route_intercept_)

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        fields = {"iterations": self.n_iter_, "sets": list(self.sets_), "share": self.share_}
        fields["gamma"] = self.support_.gamma
        arrays = {**self.support_.arrays, "coef": self.coef_, "intercept": self.intercept_}
        arrays |= {"members": self.members_, "route_coef": self.route_coef_}
        return fields, {**arrays, "route_intercept": self.route_intercept_}

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        self.n_iter_ = files.field(fields, "iterations", int)
        self.share_ = files.field(fields, "share", float)
        if not 0 < self.share_ <= 1:
            raise files.refuse(f"head.json has share = {self.share_}")
        self.sets_ = files.sets(fields)
        classes = len(files.classes)
        self.support_, arrays = Support.restored(
            fields,
            files,
            coef=(None, classes),
            intercept=(classes,),
            members=(None, None),
            route_coef=(None, None),
            route_intercept=(None,),
        )
        lengths = {len(arrays[name]) for name in ("coef", "members", "route_coef")}
        groups = {arrays["members"].shape[1], arrays["route_coef"].shape[1]}
        groups.add(len(arrays["route_intercept"]))
        if len(lengths) != 1 or len(groups) != 1 or 0 in lengths | groups:
            raise files.refuse("its rows, coefficients and groups do not fit together")
        for name, array in arrays.items():
            setattr(self, f"{name}_", array)


def _mixture(
    kernel: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    routes: np.ndarray,
    factors: np.ndarray,
) -> np.ndarray:
    """Return ``sum over g of p(g | x) p(y | x, g)``, shape (m, C).

    Parameters
    ----------
    kernel : ndarray of shape (m, M)
    coef, intercept : ndarray of shape (M, C) and (C,)
    routes : ndarray of shape (m, G)
    factors : ndarray of shape (M, G)
        What the rows in the solution are multiplied by for each group.
    """
    table = np.zeros((len(kernel), coef.shape[1]))
    for route, factor in zip(routes.T, factors.T, strict=True):
        logits = multiply(kernel, coef * factor[:, None].astype(np.float32))
        table += route[:, None] * softmax(logits.astype(np.float64) + intercept)
    return table


def _factors(members: np.ndarray, share: float | np.floating) -> np.ndarray:
    return share + (1 - share) * members


class _Fit:
    """What fits on the same rows have in common, whatever groups share: kernels and a router.

    Attributes
    ----------
    kernels : FitKernels
    router : _Router
    members : ndarray of shape (M, G), float32
        Groups of the rows in the solution; probabilities where they are not known.
    """

    def __init__(self, rows: Rows, index: np.ndarray, width: float, route_alpha: float) -> None:
        self.kernels = FitKernels(rows, index, width)
        self._fitted = self.kernels.fitted()
        self._targets, self._weights = rows.shares(index), rows.fit_weights(index)
        self._own = rows.own_weights(index)
        groups = np.ones((len(index), 1), np.float32) if rows.groups is None else rows.groups[index]
        groups = groups[:, groups.any(axis=0)]
        if groups.shape[1] < 2:
            groups = np.ones((len(index), 1), np.float32)
        self.router = self._learn_router(groups, rows.weights[index], route_alpha)
        self._groups = groups.copy()
        unknown = ~groups.any(axis=1)
        if unknown.any():
            kernel = self.kernels.inner if self._fitted is None else self._fitted
            self._groups[unknown] = self.router.route(kernel[unknown])
        self.members = self._groups
        if self._fitted is not None:
            self.members = self._groups[np.searchsorted(index, self.kernels.support)]

    def machine(self, share: float) -> Machine:
        """Return the unsolved machine of groups that have `share` of their functions in common."""
        inner = self.kernels.inner * self._common(self.members, share)
        fitted = self._fitted
        if fitted is not None:
            fitted = fitted * self._common(self._groups, share)
        return Machine.of(inner, fitted, self._targets, self._weights, self._own)

    def _common(self, groups: np.ndarray, share: float) -> np.ndarray:
        return _factors(groups @ self.members.T, np.float32(share))

    def _learn_router(self, groups: np.ndarray, weights: np.ndarray, alpha: float) -> "_Router":
        count = groups.shape[1]
        coef = np.zeros((len(self.kernels.support), count), np.float32)
        if count < 2:
            return _Router(coef, np.zeros(1, np.float32))
        known = groups.any(axis=1)
        inner, fitted, own = self.kernels.inner, self._fitted, slice(None)
        if fitted is None:
            inner, own = inner[np.ix_(known, known)], known
        else:
            fitted = fitted[known]
        machine = Machine.of(inner, fitted, groups[known], weights[known])
        for step in (1000, 100, 10, 1):
            machine.solver.solve(step * alpha, gap=1e-2 if step > 1 else 1e-3)
        coef[own] = machine.coef
        return _Router(coef, machine.solver.intercept.astype(np.float32))


@dataclasses.dataclass(frozen=True)
class _Router:
    """Tells groups apart.

    Attributes
    ----------
    coef, intercept : ndarray of shape (M, G) and (G,), float32
    """

    coef: np.ndarray
    intercept: np.ndarray

    def route(self, kernel: np.ndarray) -> np.ndarray:
        """Return the probabilities of the groups for a kernel (m, M), shape (m, G)."""
        return softmax((multiply(kernel, self.coef) + self.intercept).astype(np.float64))

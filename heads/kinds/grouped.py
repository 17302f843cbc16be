"""Kernel logistic regression for images of several kinds, with soft routing between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ...core.errors import HeadError
from ...core.statistics import softmax
from ..base import Head
from ..numerics.gram import Basis, gaussian, kernel_blocks, median_gamma, power_gram
from ..numerics.products import multiply
from ..numerics.scaling import power_rows
from ..numerics.softmax_regression import Features, Kernel, SoftmaxRegression
from ..rows import Rows
from ..saved import HeadFiles
from .logistic import along_path, penalties

__all__ = ["GroupedHead"]

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
    classes_, support_, coef_, intercept_, gamma_, n_iter_
        As of `KernelHead`.
    members_ : ndarray of shape (M, G), float32
        Group of each row in the solution; probabilities where it was not known.
    share_ : float
    route_coef_, route_intercept_ : ndarray of shape (M, G) and (G,), float32
    """

    kind: ClassVar[str] = "grouped"
    recipe: ClassVar[int] = 2
    penalty: ClassVar[str] = "alpha"

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
        found: list[dict[str, Any]] = [{}]
        if self.share == "auto":
            found = [{"share": share} for share in SHARES]
        if self.alpha == "auto":
            found = [{**one, "alpha": alpha} for one in found for alpha in penalties()]
        return found

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
        kernels = _Kernels.of(rows, fitted, self.width)
        across = kernels.with_support(rows, judged)
        router = _Router.fit(kernels, rows, fitted, self.route_alpha)
        routes = router.route(across)
        for share in dict.fromkeys(one["share"] for one in own):
            places = [place for place, one in enumerate(own) if one["share"] == share]
            problem = _Problem.of(kernels, router.members, share)
            solver = problem.solver(rows, fitted)
            for number in along_path(solver, [own[place]["alpha"] for place in places]):
                tables[places[number]] = _mixture(
                    across,
                    problem.coefficients(solver),
                    solver.intercept,
                    routes,
                    problem.factors,
                )
        return np.array(tables)

    def _fit(self, rows: Rows, index: np.ndarray) -> None:
        kernels = _Kernels.of(rows, index, self.width)
        router = _Router.fit(kernels, rows, index, self.route_alpha)
        problem = _Problem.of(kernels, router.members, self.share)
        solver = problem.solver(rows, index)
        solver.solve(100 * self.alpha, gap=0.01).solve(10 * self.alpha, gap=0.01)
        solver.solve(self.alpha, self.tol)
        self.coef_ = np.ascontiguousarray(problem.coefficients(solver), np.float32)
        self.intercept_ = solver.intercept.astype(np.float32)
        self.support_ = power_rows(rows)[kernels.support]
        self.members_ = np.ascontiguousarray(router.members[kernels.places], np.float32)
        self.route_coef_, self.route_intercept_ = router.coef, router.intercept
        self.gamma_, self.n_iter_ = kernels.gamma, solver.iterations
        self.share_, self.sets_ = float(self.share), rows.sets

    def route(self, X: np.ndarray) -> np.ndarray:
        """Return the probabilities of the groups, shape (N, G)."""
        X = self._check_features(X)
        return np.concatenate([self._routes(kernel) for _, kernel in self._kernels(X)])

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        factors = self.share_ + (1 - self.share_) * self.members_
        table = np.empty((len(X), len(self.classes_)))
        for block, kernel in self._kernels(X):
            table[block] = _mixture(
                kernel, self.coef_, self.intercept_, self._routes(kernel), factors
            )
        return table

    @property
    def group_coefs(self) -> list[np.ndarray]:
        """Coefficients of each group's function, G arrays of shape (M, C), float32."""
        factors = self.share_ + (1 - self.share_) * self.members_
        return [self.coef_ * column[:, None].astype(np.float32) for column in factors.T]

    def _kernels(self, X: np.ndarray):
        return kernel_blocks(X, self.sets_, self.support_, self.gamma_)

    def _routes(self, kernel: np.ndarray) -> np.ndarray:
        logits = multiply(kernel, self.route_coef_) + self.route_intercept_
        return softmax(logits.astype(np.float64))

    def _check_settings(self) -> None:
        wrong = [
            f"{name}={value!r} (a number {span})"
            for name, value, span, top in (
                ("alpha", self.alpha, "above 0, or 'auto'", np.inf),
                ("width", self.width, "above 0", np.inf),
                ("share", self.share, "above 0 and up to 1, or 'auto'", 1),
                ("route_alpha", self.route_alpha, "above 0", np.inf),
            )
            if not (value == "auto" and "auto" in span)
            and (isinstance(value, str) or not 0 < value <= top)
        ]
        if wrong:
            raise HeadError(
                f"{len(wrong)} settings of the grouped head are out of range: {', '.join(wrong)}",
                "give them values in the ranges in brackets",
            )

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        fields = {"iterations": self.n_iter_, "gamma": self.gamma_, "sets": list(self.sets_)}
        fields["share"] = self.share_
        arrays = {"support": self.support_, "coef": self.coef_, "intercept": self.intercept_}
        arrays |= {"members": self.members_, "route_coef": self.route_coef_}
        return fields, {**arrays, "route_intercept": self.route_intercept_}

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        self._check_settings()
        self.n_iter_ = files.field(fields, "iterations", int)
        self.gamma_ = files.field(fields, "gamma", float)
        self.share_ = files.field(fields, "share", float)
        if not 0 < self.gamma_ < float("inf") or not 0 < self.share_ <= 1:
            raise files.refuse(f"head.json has gamma = {self.gamma_}, share = {self.share_}")
        self.sets_ = files.sets(fields)
        classes = len(files.classes)
        arrays = files.arrays(
            {
                "support": (None, files.features),
                "coef": (None, classes),
                "intercept": (classes,),
                "members": (None, None),
                "route_coef": (None, None),
                "route_intercept": (None,),
            },
            half=("support",),
        )
        lengths = {len(arrays[name]) for name in ("support", "coef", "members", "route_coef")}
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


@dataclasses.dataclass(frozen=True)
class _Kernels:
    """Kernels of a fit's rows with the rows in its solution.

    Attributes
    ----------
    gamma : float
    support : ndarray of int, shape (M,)
        Positions among all rows.
    places : ndarray of int, shape (M,)
        Positions among the rows of the fit.
    inner : ndarray of shape (M, M)
    fitted : ndarray of shape (n, M)
        `inner` where all rows are in the solution.
    exact : bool
    """

    gamma: float
    support: np.ndarray
    places: np.ndarray
    inner: np.ndarray
    fitted: np.ndarray
    exact: bool

    @classmethod
    def of(cls, rows: Rows, index: np.ndarray, width: float) -> _Kernels:
        gram = power_gram(rows)
        columns = index if gram.exact else gram.landmarks(index)
        support = gram.columns[columns]
        squares = gram.squares
        inner = gram.part(support, columns)
        gamma = median_gamma(inner, squares[support], width)
        inner = gaussian(inner, squares[support], squares[support], gamma)
        fitted, places = inner, np.arange(len(index))
        if not gram.exact:
            fitted = gaussian(gram.part(index, columns), squares[index], squares[support], gamma)
            places = np.searchsorted(index, support)
        return cls(gamma, support, places, inner, fitted, gram.exact)

    def with_support(self, rows: Rows, index: np.ndarray) -> np.ndarray:
        """Return the kernel of the rows at `index` with those in the solution."""
        gram = power_gram(rows)
        columns = self.support if gram.exact else np.searchsorted(gram.columns, self.support)
        part, squares = gram.part(index, columns), gram.squares
        return gaussian(part, squares[index], squares[self.support], self.gamma)


@dataclasses.dataclass(frozen=True)
class _Problem:
    """The kernel of a fit whose rows belong to groups that share a part of their functions."""

    kernels: _Kernels
    factors: np.ndarray
    space: Kernel | Features
    basis: Basis | None

    @classmethod
    def of(cls, kernels: _Kernels, members: np.ndarray, share: float) -> _Problem:
        own = members[kernels.places]
        common = np.float32(share)

        def shared(left: np.ndarray) -> np.ndarray:
            return common + (1 - common) * (left @ own.T)

        inner = kernels.inner * shared(own)
        basis = None
        if kernels.exact:
            space = Kernel(inner)
        else:
            basis = Basis(inner)
            space = Features(basis.features(kernels.fitted * shared(members)))
        return cls(kernels, share + (1 - share) * own, space, basis)

    def solver(self, rows: Rows, index: np.ndarray) -> SoftmaxRegression:
        targets = rows.targets[index][:, rows.present(index)]
        targets = targets / targets.sum(axis=1, keepdims=True)
        return SoftmaxRegression(self.space, targets, rows.weights[index])

    def coefficients(self, solver: SoftmaxRegression) -> np.ndarray:
        """Return the weights (M, C) of the kernels with the rows in the solution."""
        return solver.coef if self.basis is None else self.basis.coefficients(solver.coef)


@dataclasses.dataclass(frozen=True)
class _Router:
    """Tells groups apart.

    Attributes
    ----------
    coef, intercept : ndarray of shape (M, G) and (G,), float32
    members : ndarray of shape (n, G), float32
        Groups of the rows of the fit; probabilities where they are not known.
    """

    coef: np.ndarray
    intercept: np.ndarray
    members: np.ndarray

    @classmethod
    def fit(cls, kernels: _Kernels, rows: Rows, index: np.ndarray, alpha: float) -> _Router:
        count = len(kernels.support)
        groups = np.ones((len(index), 1), np.float32) if rows.groups is None else rows.groups[index]
        groups = groups[:, groups.any(axis=0)]
        if groups.shape[1] < 2:
            alone = np.ones((len(index), 1), np.float32)
            return cls(np.zeros((count, 1), np.float32), np.zeros(1, np.float32), alone)
        known = groups.any(axis=1)
        basis, coef = None, np.zeros((count, groups.shape[1]), np.float32)
        if kernels.exact:
            space = Kernel(kernels.inner[np.ix_(known, known)])
        else:
            basis = Basis(kernels.inner)
            space = Features(basis.features(kernels.fitted[known]))
        solver = SoftmaxRegression(space, groups[known], rows.weights[index][known])
        for step in (1000, 100, 10, 1):
            solver.solve(step * alpha, gap=1e-2 if step > 1 else 1e-3)
        coef[known if basis is None else slice(None)] = (
            solver.coef if basis is None else basis.coefficients(solver.coef)
        )
        router = cls(coef, solver.intercept.astype(np.float32), groups)
        if known.all():
            return router
        members = groups.copy()
        members[~known] = router.route(kernels.fitted[~known])
        return dataclasses.replace(router, members=members)

    def route(self, kernel: np.ndarray) -> np.ndarray:
        """Return the probabilities of the groups for a kernel (m, M), shape (m, G)."""
        return softmax((multiply(kernel, self.coef) + self.intercept).astype(np.float64))

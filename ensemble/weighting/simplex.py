"""Convex optimisation over weights that are non-negative and sum to one.

The log-loss of an average is convex in the weights: arithmetic averaging needs
only the matrix Q (N, M) of each model's probability of the true class, geometric
averaging the log-probabilities. Both are minimised by sequential quadratic
programming as in mixSQP (Kim, Carbonetto, Stephens and Anitescu, "A fast algorithm
for maximum likelihood estimation of mixture proportions using sequential quadratic
programming", J. Comput. Graph. Stat. 2020): each step solves an M x M quadratic
programme exactly by an active-set method, then halves the step until the loss falls.

Every answer carries a certificate. By convexity no weights at all are better by more
than max_v <gradient, w - v> over all weights v that are allowed. Without a pull or a
bound this is max_m mean(Q[:, m] / (Q w)) - 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ..metrics import EPSILON

__all__ = ["Solution", "certificate", "minimise_log_loss", "minimise_log_loss_geometric"]

# The loop aims lower than the 1e-8 that is promised.
TARGET_GAP = 1e-10
# Above this many rows a sample of them gives the starting point.
ROWS_FOR_WARM_START = 8000
# Log-probabilities of this many (row, class) cells are worked on at once.
CELLS_AT_ONCE = 1 << 18

Derivatives = tuple[float, np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Solution:
    """Weights and what is known of them.

    Attributes
    ----------
    weights : ndarray of shape (M,)
        Non-negative, sum 1.
    loss : float
        Mean log-loss at the weights, in nats, without the pull.
    certificate : float
        The objective (loss plus pull) at the optimum is at most this much lower.
    iterations : int
    """

    weights: np.ndarray
    loss: float
    certificate: float
    iterations: int


def minimise_log_loss(
    true: np.ndarray,
    l2: float = 0.0,
    upper: float = 1.0,
    importance: np.ndarray | None = None,
) -> Solution:
    """Find the weights of an arithmetic average with the least log-loss.

    Parameters
    ----------
    true : ndarray of shape (N, M)
        Each model's probability of the true class. Values below 1e-15 count as 1e-15.
    l2 : float
        Adds ``l2 * sum((w - 1/M)**2)`` to the loss: a pull to equal weights.
    upper : float
        No weight is larger than this; at least 1/M.
    importance : ndarray of shape (N,), optional
        What each row counts, non-negative; equal without it. Divided by its sum.

    Returns
    -------
    Solution
    """
    # One row for each model, in memory too: that is how sums over rows are fast.
    by_model = np.array(np.asarray(true).T, dtype=np.float64, order="C")
    np.maximum(by_model, EPSILON, out=by_model)
    # A factor for a row only shifts the loss; rows near 1 keep the ratios exact.
    top = by_model.max(axis=0)
    by_model /= top
    models, rows = by_model.shape
    share = np.full(rows, 1 / rows) if importance is None else importance / np.sum(importance)
    shift = -float(share @ np.log(top))
    start = np.full(models, 1 / models)
    if rows <= ROWS_FOR_WARM_START:
        found = _in_full(by_model, share, l2, upper, start)
    else:
        some = np.random.default_rng(0).choice(rows, rows // 16, replace=False)
        part = _arithmetic(by_model[:, some], share[some] / share[some].sum(), l2)
        start = _minimise(part, start, upper, 1e-5).weights
        if l2 == 0 and upper == 1 and 2 * np.count_nonzero(start) <= models:
            found = _by_support(by_model, share, start)
        else:
            # An inner start: what the sample ruled out must be able to come back.
            found = _in_full(by_model, share, l2, upper, 0.999 * start + 0.001 / models)
    loss = shift - float(share @ np.log(found.weights @ by_model))
    return dataclasses.replace(found, loss=loss)


def minimise_log_loss_geometric(
    probabilities: np.ndarray, y: np.ndarray, l2: float = 0.0, upper: float = 1.0
) -> Solution:
    """Find the weights of a geometric average with the least log-loss.

    The average is p_c proportional to prod_m p_mc^w_m. With the weights' sum fixed at 1
    its log-loss is convex: a log-sum-exp less a linear term.

    Parameters
    ----------
    probabilities : ndarray of shape (M, N, C)
        Values below 1e-15 count as 1e-15.
    y : ndarray of int, shape (N,)
    l2, upper : float
        As in `minimise_log_loss`.
    """
    logs = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), EPSILON))
    models = len(logs)
    start = np.full(models, 1 / models)
    found = _minimise(_geometric(logs, np.asarray(y), l2), start, upper, TARGET_GAP)
    loss = _geometric(logs, np.asarray(y), 0.0)(found.weights, False)[0]
    return dataclasses.replace(found, loss=loss)


def certificate(true: np.ndarray, weights: np.ndarray) -> float:
    """Bound how much lower any arithmetic average's log-loss could be: max_m mean(Q_m / Qw) - 1.

    `weights` are divided by their sum first. Needs nothing but Q and the weights, so
    anybody can check an answer.
    """
    true = np.maximum(np.asarray(true, dtype=np.float64), EPSILON)
    weights = np.asarray(weights, dtype=np.float64)
    blended = true @ (weights / weights.sum())
    return float((true / blended[:, None]).mean(axis=0).max() - 1)


def _in_full(
    by_model: np.ndarray, share: np.ndarray, l2: float, upper: float, start: np.ndarray
) -> Solution:
    # Curvature in single precision costs half and changes the path, not the answer.
    kind = np.float32 if by_model.size > 1 << 18 else np.float64
    found = _minimise(_arithmetic(by_model, share, l2, kind), start, upper, TARGET_GAP)
    if found.certificate > 10 * TARGET_GAP and kind is np.float32:
        found = _minimise(_arithmetic(by_model, share, l2), found.weights, upper, TARGET_GAP)
    return found


def _by_support(by_model: np.ndarray, share: np.ndarray, start: np.ndarray) -> Solution:
    """Solve over the models in `start`; add those that would help until none does.

    Most of many models end with no weight: leaving them out of the curvature is what
    makes large problems fast. The certificate is over all models.
    """
    chosen = np.flatnonzero(start)
    weights, iterations = start, 0
    while True:
        inner = 0.999 * weights[chosen] / weights[chosen].sum() + 0.001 / len(chosen)
        found = _in_full(by_model[chosen], share, 0.0, 1.0, inner)
        iterations += found.iterations
        weights = np.zeros(len(by_model))
        weights[chosen] = found.weights
        gain = by_model @ (share / (found.weights @ by_model[chosen])) - 1
        gap = max(float(gain.max()), 0.0)
        missing = np.setdiff1d(np.flatnonzero(gain > TARGET_GAP), chosen)
        if gap <= 10 * TARGET_GAP or not len(missing):
            return Solution(weights, np.nan, gap, iterations)
        # The most useful first: many of the others fall away once these are in.
        missing = missing[np.argsort(-gain[missing])][: max(4, len(chosen))]
        chosen = np.union1d(chosen, missing)


def _arithmetic(
    by_model: np.ndarray, share: np.ndarray, l2: float, kind: type = np.float64
) -> Callable[[np.ndarray, bool], Derivatives]:
    models, rows = by_model.shape
    rough = by_model.astype(kind, copy=False)
    step = max(256, CELLS_AT_ONCE // models)

    def evaluate(weights: np.ndarray, derivatives: bool) -> Derivatives:
        blended = weights @ by_model
        away = weights - 1 / models
        with np.errstate(divide="ignore", invalid="ignore"):
            value = l2 * away @ away - float(share @ np.log(blended))
        if not derivatives:
            return value, _NOTHING, _NOTHING
        gradient = 2 * l2 * away - by_model @ (share / blended)
        scale = (np.sqrt(share) / blended).astype(kind, copy=False)
        hessian = 2 * l2 * np.eye(models)
        # In parts that stay in the processor's cache.
        for begin in range(0, rows, step):
            part = slice(begin, begin + step)
            ratios = rough[:, part] * scale[part]
            hessian += ratios @ ratios.T
        return value, gradient, hessian

    return evaluate


def _geometric(
    logs: np.ndarray, y: np.ndarray, l2: float
) -> Callable[[np.ndarray, bool], Derivatives]:
    models, rows, classes = logs.shape
    own = logs[:, np.arange(rows), y].mean(axis=1)
    step = max(1, CELLS_AT_ONCE // classes)

    def evaluate(weights: np.ndarray, derivatives: bool) -> Derivatives:
        away = weights - 1 / models
        value = l2 * away @ away - own @ weights
        gradient = 2 * l2 * away - own
        hessian = 2 * l2 * np.eye(models)
        for begin in range(0, rows, step):
            part = logs[:, begin : begin + step]
            mixed = np.tensordot(weights, part, axes=1)
            top = mixed.max(axis=1, keepdims=True)
            share = np.exp(mixed - top)
            total = share.sum(axis=1, keepdims=True)
            value += float(np.sum(top + np.log(total))) / rows
            if not derivatives:
                continue
            share /= total
            mean = (part * share).sum(axis=2)
            gradient = gradient + mean.sum(axis=1) / rows
            spread = (part - mean[:, :, None]) * np.sqrt(share)
            spread = spread.reshape(models, -1)
            hessian = hessian + spread @ spread.T / rows
        return value, gradient, hessian

    return evaluate


def _minimise(
    evaluate: Callable[[np.ndarray, bool], Derivatives],
    weights: np.ndarray,
    upper: float,
    target: float,
    most: int = 200,
) -> Solution:
    """Run the SQP loop until the gap is below `target` or no step makes the loss fall."""
    best, gap, iteration = weights, np.inf, 0
    for iteration in range(1, most + 1):  # noqa: B007
        value, gradient, hessian = evaluate(weights, True)
        now = _gap(gradient, weights, upper)
        if now < gap:
            best, gap = weights, now
        if now <= target:
            break
        ridge = 1e-12 * max(np.trace(hessian) / len(weights), 1e-12)
        hessian = hessian + ridge * np.eye(len(weights))
        goal = _minimise_quadratic(hessian, gradient - hessian @ weights, upper, weights)
        step = goal - weights
        slope = gradient @ step
        size = 1.0
        while size > 1e-10:
            trial = weights + size * step
            if evaluate(trial, False)[0] <= value + 1e-4 * size * slope:
                break
            size *= 0.5
        else:
            # At the limit of the arithmetic: a full step may still narrow the gap.
            trial = goal
            if _gap(evaluate(trial, True)[1], trial, upper) >= gap:
                break
        weights = trial
    return Solution(_tidied(best, upper), np.nan, max(float(gap), 0.0), iteration)


def _gap(gradient: np.ndarray, weights: np.ndarray, upper: float) -> float:
    """Return max <gradient, w - v> over v >= 0 that sum to 1 and stay below `upper`."""
    full = min(int(np.floor(1 / upper + 1e-12)), len(weights))
    least = np.sort(gradient)
    lowest = upper * least[:full].sum()
    if full < len(weights):
        lowest += (1 - upper * full) * least[full]
    gap = gradient @ weights - lowest
    return float(gap) if np.isfinite(gap) else np.inf


def _tidied(weights: np.ndarray, upper: float) -> np.ndarray:
    weights = np.clip(weights, 0, upper)
    return weights / weights.sum()


def _minimise_quadratic(
    hessian: np.ndarray, linear: np.ndarray, upper: float, start: np.ndarray
) -> np.ndarray:
    """Minimise x'Hx/2 + linear'x over 0 <= x <= upper, sum x = 1, by a primal active set.

    Nocedal and Wright, "Numerical Optimization", algorithm 16.3, from a feasible `start`.
    """
    x = np.clip(start, 0, upper)
    x = x / x.sum()
    low, high = x <= 1e-15, x >= upper - 1e-15
    scale = np.abs(linear).max() + np.abs(hessian).max()
    for _ in range(20 * len(x)):
        free = np.flatnonzero(~(low | high))
        gradient = hessian @ x + linear
        step = np.zeros_like(x)
        if len(free) > 1:
            step[free] = _step_on_sum_zero(hessian[np.ix_(free, free)], gradient[free])
        if np.abs(step).max() > 1e-15:
            with np.errstate(divide="ignore", invalid="ignore"):
                room = np.where(step < 0, -x / step, np.where(step > 0, (upper - x) / step, np.inf))
            room[low | high] = np.inf
            block = int(np.argmin(room))
            if room[block] >= 1:
                x = x + step
            else:
                x = x + room[block] * step
                low[block], high[block] = step[block] < 0, step[block] > 0
                x[block] = 0.0 if low[block] else upper
                continue
            gradient = hessian @ x + linear
        # At the least value on the free weights: let go of the bound that hinders most.
        if not _release(gradient, free, low, high, 1e-14 * scale):
            break
    return x


def _release(
    gradient: np.ndarray, free: np.ndarray, low: np.ndarray, high: np.ndarray, slack: float
) -> bool:
    wants_up = np.where(low, gradient, np.inf)
    wants_down = np.where(high, gradient, -np.inf)
    rising, falling = int(np.argmin(wants_up)), int(np.argmax(wants_down))
    if not len(free):
        if not wants_up[rising] < wants_down[falling] - slack:
            return False
        low[rising] = high[falling] = False
        return True
    level = float(np.mean(gradient[free]))
    gain_up, gain_down = level - wants_up[rising], wants_down[falling] - level
    if max(gain_up, gain_down) <= slack:
        return False
    if gain_up >= gain_down:
        low[rising] = False
    else:
        high[falling] = False
    return True


def _step_on_sum_zero(hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    size = len(gradient)
    system = np.ones((size + 1, size + 1))
    system[:size, :size] = hessian
    system[size, size] = 0
    try:
        step = np.linalg.solve(system, np.append(-gradient, 0))[:size]
    except np.linalg.LinAlgError:
        step = np.linalg.lstsq(system, np.append(-gradient, 0), rcond=None)[0][:size]
    return step - step.mean()


_NOTHING = np.empty(0)

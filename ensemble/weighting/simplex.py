"""Convex optimisation over weights that are non-negative and sum to one.

The log-loss of an average is convex in the weights: arithmetic averaging needs
only the matrix Q (N, M) of each model's probability of the true class, geometric
averaging the log-probabilities. Both are minimised by sequential quadratic
programming as in mixSQP (Kim, Carbonetto, Stephens and Anitescu, "A fast algorithm
for maximum likelihood estimation of mixture proportions using sequential quadratic
programming", J. Comput. Graph. Stat. 2020): each step solves an M x M quadratic
programme by SciPy's non-negative least squares, then halves the step until the loss
falls.

Every answer carries a certificate. By convexity no weights at all are better by more
than max_v <gradient, w - v> over all weights v that are allowed. Without a pull or a
bound this is max_m mean(Q[:, m] / (Q w)) - 1.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls

from ..metrics import EPSILON

# The loop aims lower than the 1e-8 that is promised.
TARGET_GAP = 1e-10
_MOST_ITERATIONS = 100
# Above this many rows a sample of them gives the starting point.
ROWS_FOR_WARM_START = 8000
# Log-probabilities of this many (row, class) cells are worked on at once.
CELLS_AT_ONCE = 1 << 18
# How much the sum of the weights counts in a least-squares problem.
SUM_WEIGHT = 1e5

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
    start: np.ndarray | None = None,
    enough: float = np.inf,
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
    start : ndarray of shape (M,), optional
        Weights to begin with; equal ones, or those of a sample of many rows, without.
    enough : float
        Stop as soon as loss less certificate is as high as this: what only asks whether some
        loss can be reached needs no optimum.
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
    equal = np.full(models, 1 / models)
    if start is None and rows > ROWS_FOR_WARM_START:
        some = np.random.default_rng(0).choice(rows, rows // 16, replace=False)
        part = _arithmetic(by_model[:, some], share[some] / share[some].sum(), l2)
        start = _minimise(part, equal, upper, 1e-5).weights
    # An inner start: what has no weight yet must be able to come back.
    start = equal if start is None else 0.999 * start + 0.001 * equal
    evaluate = _arithmetic(by_model, share, l2)
    found = _minimise(evaluate, start, upper, TARGET_GAP, enough - shift)
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


def _arithmetic(
    by_model: np.ndarray, share: np.ndarray, l2: float
) -> Callable[[np.ndarray, bool], Derivatives]:
    models, rows = by_model.shape
    step = max(256, CELLS_AT_ONCE // models)

    def evaluate(weights: np.ndarray, derivatives: bool) -> Derivatives:
        blended = weights @ by_model
        away = weights - 1 / models
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(l2 * away @ away - share @ np.log(blended))
        if not derivatives:
            return value, _NOTHING, _NOTHING
        gradient = 2 * l2 * away - by_model @ (share / blended)
        scale = np.sqrt(share) / blended
        hessian = 2 * l2 * np.eye(models)
        # In parts that stay in the processor's cache.
        for begin in range(0, rows, step):
            part = slice(begin, begin + step)
            ratios = by_model[:, part] * scale[part]
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
    enough: float = np.inf,
) -> Solution:
    """Run the SQP loop until the gap is below `target` or no step makes the loss fall.

    Or until no weights can reach a loss below `enough`.
    """
    best, gap, iteration = weights, np.inf, 0
    for iteration in range(1, _MOST_ITERATIONS + 1):  # noqa: B007
        value, gradient, hessian = evaluate(weights, True)
        now = _gap(gradient, weights, upper)
        if now < gap:
            best, gap = weights, now
        if now <= target or value - now >= enough:
            break
        goal = _minimise_quadratic(hessian, gradient - hessian @ weights, upper)
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


def _minimise_quadratic(hessian: np.ndarray, linear: np.ndarray, upper: float) -> np.ndarray:
    """Minimise x'Hx/2 + linear'x over 0 <= x <= upper, sum x = 1.

    With H = LL' this is the least squares of L'x + L^-1 linear; the sum is one more row
    that counts heavily (Van Loan, SIAM J. Numer. Anal. 1985), and so is x + s = upper with
    slack s >= 0 for each. Which bounds hold is taken from that answer; the free weights are
    then solved for with the sum as a constraint.
    """
    size = len(linear)
    scale = max(float(np.trace(hessian)) / size, 1e-300)
    hessian = hessian + 1e-12 * scale * np.eye(size)
    root = cholesky(hessian, lower=True)
    heavy = SUM_WEIGHT * np.sqrt(scale)
    rows = np.vstack([root.T, np.full(size, heavy)])
    target = np.append(-solve_triangular(root, linear, lower=True), heavy)
    if upper < 1:
        bound = heavy * np.eye(size)
        rows = np.block([[rows, np.zeros_like(rows)], [bound, bound]])
        target = np.append(target, np.full(size, heavy * upper))
    x = nnls(rows, target, maxiter=50 * rows.shape[1])[0][:size]
    return _polished(hessian, linear, np.minimum(x, upper), upper)


def _polished(hessian: np.ndarray, linear: np.ndarray, x: np.ndarray, upper: float) -> np.ndarray:
    """Solve for the weights between the bounds exactly, with the sum as a constraint."""
    free = np.flatnonzero((x > 0) & (x < upper))
    if not len(free):
        return _tidied(x, upper)
    system = np.ones((len(free) + 1, len(free) + 1))
    system[:-1, :-1] = hessian[np.ix_(free, free)]
    system[-1, -1] = 0
    # A step from x, whose size is that of the error: rounding hardly matters then.
    right = np.append(-(linear + hessian @ x)[free], 1 - x.sum())
    try:
        moved = x[free] + np.linalg.solve(system, right)[:-1]
    except np.linalg.LinAlgError:
        return _tidied(x, upper)
    if moved.min() < 0 or moved.max() > upper:
        return _tidied(x, upper)
    x[free] = moved
    return x


_NOTHING = np.empty(0)

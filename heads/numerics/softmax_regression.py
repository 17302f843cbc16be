"""Multinomial logistic regression, linear or with a kernel, along a path of penalties.

The minimum of

    sum_i w_i * cross-entropy(target_i, softmax(f_i)) + alpha / 2 * |f|^2

is sought by L-BFGS (Nocedal 1980), where ``f = Z A + b`` for features Z and ``|f|`` is the length
of A, or ``f = K A + b`` for a kernel matrix K and the inner product of two functions is ``A' K B``.
With a kernel one product with K is all that an iteration needs; the line search needs none. The
largest eigenvalues are taken out by a low-rank preconditioner. The penalty makes the objective
strongly convex, so the gradient's length bounds how far it is above its minimum, and so does
the objective itself, which is above 0: that is what `gap` asks for.
"""

import dataclasses

import numpy as np
from scipy.optimize import minimize

from ...core.softmax import softmax
from .products import multiply

_MEMORY, _RANK, _STALLED, _MOST_ITERATIONS = 8, 64, 8, 200
# Where the objective itself is small, so must be its distance from the minimum.
_NEAR = 0.05


def log_loss(logits: np.ndarray, targets: np.ndarray, shares: np.ndarray) -> float:
    """Return the weighted sum of the cross-entropy of ``softmax(logits)``.

    Parameters
    ----------
    logits, targets : ndarray of shape (N, C)
        Rows of `targets` sum to 1.
    shares : ndarray of shape (N,)
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    rows = np.log(np.exp(shifted).sum(axis=1)) - (shifted * targets).sum(axis=1)
    return float(shares @ rows)


def prior_shift(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return what to add to logits so that classes are as frequent as in the targets, shape (C,).

    That of the least log-loss: a fit of the intercepts alone. Where weights of classes changed a
    fit it takes them out of the odds, as far as they are in there: of rows that are nearly told
    apart, little is, and the logarithms of the weights (King and Zeng 2001) would be too much.

    Parameters
    ----------
    logits, targets : ndarray of shape (N, C)
        Rows of `targets` sum to 1.
    weights : ndarray of shape (N,)
    """
    shares = weights / weights.sum()
    wanted = shares @ targets

    def loss(shift: np.ndarray) -> tuple[float, np.ndarray]:
        return log_loss(logits + shift, targets, shares), shares @ softmax(logits + shift) - wanted

    shift = minimize(loss, np.zeros(len(wanted)), jac=True, method="L-BFGS-B").x
    return shift - shift.mean()


class Kernel:
    """Functions ``K A`` of the rows of a kernel matrix.

    Parameters
    ----------
    matrix : ndarray of shape (N, N), float32
        The mean of its diagonal is of the order of 1.
    """

    def __init__(self, matrix: np.ndarray) -> None:
        self._matrix = matrix
        self.size = len(matrix)

    def image(self, A: np.ndarray) -> np.ndarray:
        """Return what A's inner products are taken with."""
        return multiply(self._matrix, A)

    def logits(self, direction: "_Direction") -> np.ndarray:
        """Return the function's values at the rows."""
        return direction.KA

    def gradient(self, error: np.ndarray) -> np.ndarray:
        """Return the gradient by the function for one by its values."""
        return error

    spread = image


class Features:
    """Linear functions ``Z A`` of feature rows.

    Parameters
    ----------
    matrix : ndarray of shape (N, D), float32
        The mean squared length of a row is of the order of 1.
    """

    def __init__(self, matrix: np.ndarray) -> None:
        self._matrix = matrix
        self.size = matrix.shape[1]

    def image(self, A: np.ndarray) -> np.ndarray:
        """Return what A's inner products are taken with: itself."""
        return A

    def logits(self, direction: "_Direction") -> np.ndarray:
        """Return the function's values at the rows."""
        return multiply(self._matrix, direction.A)

    def gradient(self, error: np.ndarray) -> np.ndarray:
        """Return the gradient by the function for one by its values."""
        return multiply(self._matrix.T, error)

    def spread(self, A: np.ndarray) -> np.ndarray:
        """Return ``Z' Z A``, of which the largest eigenvalues are wanted."""
        return multiply(self._matrix.T, multiply(self._matrix, A))


@dataclasses.dataclass
class _Direction:
    """A function or a change of one: coefficients, their image, intercepts."""

    A: np.ndarray
    KA: np.ndarray
    b: np.ndarray

    def __sub__(self, other: "_Direction") -> "_Direction":
        return _Direction(self.A - other.A, self.KA - other.KA, self.b - other.b)

    def times(self, factor: float) -> "_Direction":
        number = np.float32(factor)
        return _Direction(self.A * number, self.KA * number, self.b * factor)

    def add(self, factor: float, other: "_Direction") -> None:
        number = np.float32(factor)
        self.A = self.A + number * other.A
        self.KA = self.KA + number * other.KA
        self.b = self.b + factor * other.b

    def dot(self, other: "_Direction") -> float:
        inner = np.einsum("ij,ij->", self.A, other.KA, dtype=np.float64)
        return float(inner + self.b @ other.b)


class SoftmaxRegression:
    """A solver that keeps its solution as a start for the next penalty.

    Parameters
    ----------
    targets : ndarray of shape (N, C)
        Rows that sum to 1.
    weights : ndarray of shape (N,), above 0
    own : ndarray of shape (N,), optional
        Weights by which the intercept is corrected after each solution; see `prior_shift`.

    Attributes
    ----------
    iterations : int
        In all.
    """

    def __init__(
        self,
        space: Kernel | Features,
        targets: np.ndarray,
        weights: np.ndarray,
        own: np.ndarray | None = None,
    ) -> None:
        self._space, self._own = space, own
        self._shift: np.ndarray | float = 0.0
        self._targets = np.asarray(targets, np.float64)
        self._shares = np.asarray(weights / weights.sum(), np.float64)
        count, classes = self._targets.shape
        prior = (self._shares @ self._targets + 0.5 / count) / (1 + 0.5 * classes / count)
        intercept = np.log(prior)
        zeros = np.zeros((space.size, classes), np.float32)
        self._at = _Direction(zeros, zeros.copy(), intercept - intercept.mean())
        self.iterations = 0
        self._find_largest(min(_RANK, space.size // 4))

    @property
    def coef(self) -> np.ndarray:
        """A, shape (N or D, C), float32."""
        return self._at.A

    @property
    def intercept(self) -> np.ndarray:
        """B, shape (C,); corrected."""
        return self._at.b + self._shift

    def solve(self, alpha: float, gap: float = 1e-3) -> "SoftmaxRegression":
        """Go to the minimum for the penalty `alpha`.

        Parameters
        ----------
        gap : float, default 1e-3
            How far the objective may be above its minimum.
        """
        self._alpha = alpha
        self._at.KA = self._space.image(self._at.A)
        logits = self._logits(self._at)
        gradient, chances = self._gradient(logits)
        steps: list[tuple[_Direction, _Direction, float]] = []
        objective: list[float] = []
        for _ in range(_MOST_ITERATIONS):
            objective.append(self._objective(chances))
            near = min(gap, _NEAR * objective[-1])
            if gradient.dot(gradient) / (2 * alpha) < near or objective[-1] < 1e-6:
                break
            if len(objective) > _STALLED and objective[-1 - _STALLED] - objective[-1] < near / 50:
                # As near as float32 comes.
                break
            direction = self._direction(gradient, chances, steps)
            change = self._logits(direction)
            length = self._line_search(logits, change, direction)
            if length == 0 and not steps:
                # What rounding leaves of the gradient leads nowhere.
                break
            if length == 0:
                steps = []
                continue
            step = direction.times(length)
            self._at.add(1.0, step)
            logits += length * change
            before = gradient
            gradient, chances = self._gradient(logits)
            difference = gradient - before
            curvature = step.dot(difference)
            self.iterations += 1
            if curvature > 1e-14:
                steps = [*steps[1 - _MEMORY :], (step, difference, 1 / curvature)]
            else:
                steps = []
        if self._own is not None:
            self._shift = prior_shift(logits, self._targets, self._own)
        return self

    def _objective(self, chances: np.ndarray) -> float:
        logs = np.log(np.maximum(chances, 1e-300))
        penalty = np.einsum("ij,ij->", self._at.A, self._at.KA, dtype=np.float64)
        loss = -self._shares @ np.einsum("ij,ij->i", logs, self._targets)
        return float(loss + 0.5 * self._alpha * penalty)

    def _logits(self, at: _Direction) -> np.ndarray:
        return self._space.logits(at).astype(np.float64) + at.b

    def _gradient(self, logits: np.ndarray) -> tuple[_Direction, np.ndarray]:
        chances = softmax(logits)
        error = (chances - self._targets) * self._shares[:, None]
        A = self._space.gradient(error.astype(np.float32))
        A = A + np.float32(self._alpha) * self._at.A
        return _Direction(A, self._space.image(A), error.sum(axis=0)), chances

    def _find_largest(self, rank: int) -> None:
        """Find the largest eigenvalues of K and their vectors, by two subspace iterations.

        Halko, Martinsson and Tropp 2011, "Finding structure with randomness".
        """
        self._largest = None
        if rank < 1:
            return
        rng = np.random.default_rng(7)
        size = self._space.size
        basis = rng.standard_normal((size, min(rank + 8, size)), np.float32)
        for _ in range(2):
            basis = np.linalg.qr(self._space.spread(basis))[0]
        spread = self._space.spread(basis)
        values, vectors = np.linalg.eigh((basis.T @ spread).astype(np.float64))
        order = np.argsort(-values)[:rank]
        vectors = basis @ vectors[:, order].astype(np.float32)
        image = self._space.image(vectors)
        self._largest = (np.maximum(values[order], 1e-12), vectors, image)

    def _direction(self, gradient, chances, steps) -> _Direction:
        """Return minus the inverse Hessian, as the last steps know it, times the gradient."""
        found = gradient.times(1.0)
        shares = []
        for step, difference, inverse in reversed(steps):
            share = inverse * step.dot(found)
            found.add(-share, difference)
            shares.append(share)
        slope = 2 * float(self._shares @ (chances * (1 - chances)).mean(axis=1))
        found = self._preconditioned(found, slope)
        if steps:
            step, difference, inverse = steps[-1]
            length = inverse * difference.dot(self._preconditioned(difference, slope))
            found = found.times(1 / max(length, 1e-12))
        for (step, difference, inverse), share in zip(steps, reversed(shares), strict=True):
            found.add(share - inverse * difference.dot(found), step)
        return found.times(-1.0)

    def _preconditioned(self, of: _Direction, slope: float) -> _Direction:
        """Apply the inverse of ``slope / N * K + alpha``, where K is its largest part."""
        per_row = slope / len(self._targets)
        if self._largest is None:
            return _Direction(of.A / np.float32(self._alpha), of.KA / np.float32(self._alpha), of.b)
        values, vectors, image = self._largest
        rest = self._alpha + per_row * values[-1]
        damping = (per_row * values + self._alpha - rest) / (per_row * values + self._alpha)
        part = (damping[:, None] * (vectors.T @ of.A)).astype(np.float32)
        inverse = np.float32(1 / rest)
        return _Direction(
            (of.A - vectors @ part) * inverse,
            (of.KA - image @ part) * inverse,
            of.b / max(slope, 1e-3),
        )

    def _line_search(self, logits, change: np.ndarray, direction: _Direction) -> float:
        """Return a step length that makes the objective less, and its slope a tenth if it can.

        0 if there is none.
        """
        targets, shares, alpha = self._targets, self._shares, self._alpha
        cross = np.einsum("ij,ij->", self._at.A, direction.KA, dtype=np.float64)
        square = np.einsum("ij,ij->", direction.A, direction.KA, dtype=np.float64)

        def slope_at(length: float) -> tuple[float, np.ndarray]:
            chances = softmax(logits + length * change)
            error = np.einsum("ij,ij->i", chances - targets, change)
            return float(shares @ error + alpha * (cross + length * square)), chances

        first, _ = slope_at(0.0)
        if not first < 0:
            return 0.0
        # The slope grows along the way, the objective being convex: its zero is bracketed.
        low, high, length = 0.0, np.inf, 1.0
        for _ in range(30):
            slope, chances = slope_at(length)
            if abs(slope) <= -0.1 * first:
                return length
            low, high = (length, high) if slope < 0 else (low, length)
            mean = np.einsum("ij,ij->i", chances, change)
            spread = np.einsum("ij,ij,ij->i", chances, change, change) - mean**2
            newton = length - slope / max(shares @ spread + alpha * square, 1e-30)
            if low < newton < min(high, 10 * length):
                length = float(newton)
            else:
                length = 4 * length if high == np.inf else 0.5 * (low + high)
        return low

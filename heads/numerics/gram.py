"""Inner products of power-scaled rows: one matrix for every fit on parts of the rows."""

import dataclasses

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from ...core.errors import HeadError
from ...core.float16 import widen
from ..rows import Rows
from .products import multiply
from .scaling import power_rows

# To so many rows all inner products are kept (400 MB); above, those with so many of them.
EXACT_ROWS, LANDMARKS = 10_000, 4_000
_BLOCK, _HALVES = 1024, 512
# On the diagonal of a kernel, of its mean. Log-loss on 3,409 photographs with 900 landmarks moves
# by less than 0.00005 from the first to the third (benchmarks/notes/heads.md).
_JITTERS = (1e-4, 1e-3, 1e-2, 1e-1)
# Rows whose centred squared length is a smaller part of what it was are equal but for rounding.
_ROUNDING = 1e-6
# Enough for a median.
_MEASURED = 400


@dataclasses.dataclass(frozen=True)
class Gram:
    """Inner products of all rows with some of them.

    Attributes
    ----------
    products : ndarray of shape (N, M), float32
    columns : ndarray of int, shape (M,)
        The rows that the columns are products with; all of them where ``M == N``.
    squares : ndarray of shape (N,), float32
        Squared length of each row.
    """

    products: np.ndarray
    columns: np.ndarray
    squares: np.ndarray

    @property
    def exact(self) -> bool:
        """Whether the products with all rows are there."""
        return len(self.columns) == len(self.products)

    def landmarks(self, fitted: np.ndarray) -> np.ndarray:
        """Return the positions, among `columns`, of those that are in `fitted`."""
        return np.flatnonzero(np.isin(self.columns, fitted))

    def part(self, index: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return a copy of the products of the rows at `index` with the columns at `places`."""
        return self.products[index[:, None], places]


def solution_rows(count: int) -> np.ndarray:
    """Return which of `count` rows may be in a solution: all, or a part drawn by position alone."""
    if count <= EXACT_ROWS:
        return np.arange(count)
    return np.sort(np.random.default_rng(9).permutation(count)[:LANDMARKS])


def power_gram(rows: Rows) -> Gram:
    """Return the inner products of the power-scaled rows, made once.

    Where there are many rows, the columns are a part of the rows that their positions alone
    decide: a fit takes those among its own rows as landmarks.
    """
    return rows.derived("power gram", _power_gram)


def _power_gram(rows: Rows) -> Gram:
    scaled = power_rows(rows)
    count = len(scaled)
    squares = np.empty(count, np.float32)
    for top in range(0, count, _BLOCK):
        part = scaled[top : top + _BLOCK].astype(np.float32)
        squares[top : top + _BLOCK] = np.einsum("ij,ij->i", part, part)
    if count <= EXACT_ROWS:
        wide = np.empty(scaled.shape, np.float32)
        widen(scaled, wide)
        return Gram(all_products(wide), solution_rows(count), squares)
    columns = solution_rows(count)
    right = np.empty((len(columns), scaled.shape[1]), np.float32)
    widen(scaled[columns], right)
    products = np.empty((count, len(columns)), np.float32)
    for top in range(0, count, _BLOCK):
        left = np.empty((len(scaled[top : top + _BLOCK]), scaled.shape[1]), np.float32)
        widen(scaled[top : top + _BLOCK], left)
        multiply(left, right.T, products[top : top + _BLOCK])
    return Gram(products, columns, squares)


def all_products(Z: np.ndarray) -> np.ndarray:
    """Return ``Z @ Z.T`` of float32 rows, little more than half of which is computed."""
    count = len(Z)
    products = np.empty((count, count), np.float32)
    for top in range(0, count, _HALVES):
        block = slice(top, min(top + _HALVES, count))
        multiply(Z[block], Z[top:].T, products[block, top:])
        products[block.stop :, block] = products[block, block.stop :].T
    return products


def centred(
    inner: np.ndarray, across: np.ndarray, shares: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Turn inner products into those of rows from which the mean is taken, and scale them.

    Parameters
    ----------
    inner : ndarray of shape (n, n)
        Products of the rows of a fit; overwritten.
    across : ndarray of shape (m, n)
        Of other rows with them; overwritten.
    shares : ndarray of shape (n,)
        Weights of the rows in their mean; they sum to 1.

    Returns
    -------
    inner, across
        So scaled that the mean squared length of a row is 1; zeros where all rows are equal.
    factor : float
        What the products were multiplied by.
    """
    shares = shares.astype(np.float32)
    before = float(shares @ inner.diagonal())
    mean = inner @ shares
    level = np.float32(shares @ mean)
    across -= (across @ shares)[:, None]
    across -= mean - level
    inner -= mean
    inner -= (mean - level)[:, None]
    length = float(shares @ inner.diagonal())
    if length <= max(_ROUNDING * before, 1e-12):
        # Scaled up, what is left would be no kernel.
        inner[:], across[:] = 0, 0
        return inner, across, 1.0
    factor = 1 / length
    inner *= np.float32(factor)
    across *= np.float32(factor)
    return inner, across, factor


def gaussian(inner: np.ndarray, left: np.ndarray, right: np.ndarray, gamma: float) -> np.ndarray:
    """Turn inner products into ``exp(-gamma * squared distance)``, in place.

    Parameters
    ----------
    inner : ndarray of shape (m, n)
    left, right : ndarray of shape (m,) and (n,)
        Squared lengths.
    """
    inner *= np.float32(2 * gamma)
    inner -= (np.float32(gamma) * left)[:, None]
    inner -= np.float32(gamma) * right
    np.minimum(inner, 0, out=inner)
    return np.exp(inner, out=inner)


def median_gamma(inner: np.ndarray, squares: np.ndarray, width: float) -> float:
    """Return ``1 / (2 s**2)``, where s is `width` times the median distance of some rows.

    Parameters
    ----------
    inner : ndarray of shape (n, n)
        Inner products.
    squares : ndarray of shape (n,)
        Squared lengths.
    """
    some = slice(None, None, max(1, len(squares) // _MEASURED))
    square = squares[some, None] + squares[some] - 2 * inner[some, some]
    distances = square[np.triu_indices(len(square), 1)]
    median = float(np.median(distances)) if len(distances) else 0.0
    # Rows that are all the same have no distance.
    return 1 / (2 * width**2 * median) if median > 1e-6 else 1.0


def _root(kernel: np.ndarray) -> np.ndarray:
    """Return the Cholesky factor of a kernel with a little more on its diagonal.

    Centring and equal rows make kernels singular, and products of float32 are then rounded to
    either side of zero (by some 1e-4 with 3,000 landmarks): what is added grows until it holds.
    """
    level = max(float(kernel.diagonal().mean()), 1e-12)
    for jitter in _JITTERS:
        padded = kernel + np.float32(jitter * level) * np.eye(len(kernel), dtype=np.float32)
        try:
            return cholesky(padded, lower=True, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            continue
    raise HeadError(
        "the inner products of the features make no kernel",
        "look for features that are huge beside the others: `icecore cache verify CACHE`",
    )


class Basis:
    """Landmark rows as features: Nyström's approximation of a kernel.

    Williams and Seeger 2001, "Using the Nyström method to speed up kernel machines".

    Parameters
    ----------
    kernel : ndarray of shape (m, m)
        Of the landmarks with each other.
    """

    def __init__(self, kernel: np.ndarray) -> None:
        self.root = _root(kernel)

    def features(self, kernel: np.ndarray) -> np.ndarray:
        """Return features (n, m) whose inner products approximate the kernel.

        Parameters
        ----------
        kernel : ndarray of shape (n, m), float32
            Of the rows with the landmarks; overwritten by the features: of many rows it is what
            takes most of the memory.
        """
        for top in range(0, len(kernel), _BLOCK):
            part = kernel[top : top + _BLOCK]
            part[:] = solve_triangular(self.root, part.T, lower=True, check_finite=False).T
        return kernel

    def coefficients(self, weights: np.ndarray) -> np.ndarray:
        """Return the weights (m, C) of the landmarks' kernels for weights of the features."""
        return solve_triangular(self.root, weights, lower=True, trans="T", check_finite=False)

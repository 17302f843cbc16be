"""Ridge regression from few, very wide rows, with its predictions out of fold.

Everything is done with the rows' Gram matrix; the penalty is chosen out of fold for each
target. Rows are kept in half precision, and are read in blocks of columns.
"""

import dataclasses

import numpy as np

FOLDS = 5
# Of the largest eigenvalue of the centred Gram matrix.
PENALTIES = 10.0 ** np.arange(-6, 1.25, 0.5)
_COLUMNS = 8192


@dataclasses.dataclass(frozen=True)
class Linear:
    """``x @ weights + intercept``.

    Attributes
    ----------
    weights : ndarray, shape (D, K), float32
    intercept : ndarray, shape (K,), float32
    """

    weights: np.ndarray
    intercept: np.ndarray

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return (N, K) of rows (N, D), which may be in half precision."""
        return rows.astype(np.float32) @ self.weights + self.intercept


def gram(rows: np.ndarray) -> np.ndarray:
    """Return ``rows @ rows.T`` (N, N) in double precision, of rows (N, D) without their mean."""
    total = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], _COLUMNS):
        block = rows[:, start : start + _COLUMNS].astype(np.float32)
        block -= block.mean(axis=0)
        total += block @ block.T
    return total


@dataclasses.dataclass(frozen=True)
class _Dual:
    """A fit on some of the rows.

    Attributes
    ----------
    chosen : ndarray of int
        The rows.
    coefficients : ndarray, shape (len(chosen), K)
        They sum to zero for each target.
    intercept : ndarray, shape (K,)
        For rows without the mean of all.
    """

    chosen: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray

    def predict(self, products: np.ndarray) -> np.ndarray:
        """Predict from the products (M, N) with all rows."""
        return products[:, self.chosen] @ self.coefficients + self.intercept


class Ridge:
    """Ridge regression of several targets on rows that fall into folds.

    Parameters
    ----------
    rows : ndarray, shape (N, D)
        Float16.
    products : ndarray, shape (N, N)
        Their `gram`.
    folds : ndarray of int, shape (N,)
        0 to `FOLDS` - 1; rows of one image are in one fold.
    targets : ndarray, shape (N, K)
    used : ndarray of bool, shape (N,), optional
        The rows that have targets; all if None.

    Attributes
    ----------
    held_out : ndarray, shape (N, K)
        What is predicted of each row by the rows of other folds.
    """

    def __init__(
        self,
        rows: np.ndarray,
        products: np.ndarray,
        folds: np.ndarray,
        targets: np.ndarray,
        used: np.ndarray | None = None,
    ) -> None:
        self._rows = rows
        used = np.ones(len(rows), bool) if used is None else used
        spans = [np.flatnonzero(used & (folds != fold)) for fold in range(FOLDS)]
        spectra = [_spectrum(products, span) for span in spans]
        found = np.empty((len(PENALTIES), *targets.shape))
        for fold, (span, spectrum) in enumerate(zip(spans, spectra)):
            out = np.flatnonzero(folds == fold)
            for index in range(len(PENALTIES)):
                each = np.full(targets.shape[1], index)
                dual = _solve(products, span, spectrum, targets, each)
                found[index, out] = dual.predict(products[out])
        errors = ((found - targets) ** 2)[:, used].mean(axis=1)
        self._best = errors.argmin(axis=0)
        self.held_out = np.stack([found[b, :, k] for k, b in enumerate(self._best)], axis=1)
        everything = np.flatnonzero(used)
        self._duals = [
            _solve(products, span, spectrum, targets, self._best)
            for span, spectrum in zip(spans, spectra)
        ]
        whole = _spectrum(products, everything)
        self._duals.append(_solve(products, everything, whole, targets, self._best))

    def models(self) -> list[Linear]:
        """Return the model without each fold, and at last the model of all rows."""
        count, width = len(self._rows), self._duals[0].coefficients.shape[1]
        spread = np.zeros((count, len(self._duals) * width), np.float32)
        for place, dual in enumerate(self._duals):
            spread[dual.chosen, place * width : (place + 1) * width] = dual.coefficients
        weights = np.empty((self._rows.shape[1], spread.shape[1]), np.float32)
        shift = np.zeros(spread.shape[1])
        for start in range(0, len(weights), _COLUMNS):
            block = self._rows[:, start : start + _COLUMNS].astype(np.float32)
            weights[start : start + _COLUMNS] = block.T @ spread
            shift += block.mean(axis=0) @ weights[start : start + _COLUMNS]
        models = []
        for place, dual in enumerate(self._duals):
            span = slice(place * width, (place + 1) * width)
            intercept = (dual.intercept - shift[span]).astype(np.float32)
            models.append(Linear(np.ascontiguousarray(weights[:, span]), intercept))
        return models


def _spectrum(products: np.ndarray, span: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inner = products[np.ix_(span, span)]
    mean = inner.mean(axis=0)
    values, vectors = np.linalg.eigh(inner - mean - mean[:, None] + mean.mean())
    return np.maximum(values, 0), vectors


def _solve(products, span, spectrum, targets: np.ndarray, penalties: np.ndarray) -> _Dual:
    values, vectors = spectrum
    mean = targets[span].mean(axis=0)
    rotated = vectors.T @ (targets[span] - mean)
    scale = max(values.max(), 1e-12)
    shrunk = rotated / (values[:, None] + scale * PENALTIES[penalties])
    coefficients = vectors @ shrunk
    # Rows that are equal leave a constant in the null space.
    coefficients -= coefficients.mean(axis=0)
    intercept = mean - products[np.ix_(span, span)].mean(axis=0) @ coefficients
    return _Dual(span, coefficients, intercept)

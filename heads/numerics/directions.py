"""Coordinates of power-scaled rows on directions that a fit's own rows span."""

import dataclasses

import numpy as np

from ...core.float16 import widen
from ..rows import Rows
from .gram import Basis, Gram, power_gram
from .products import multiply
from .scaling import combined, power_rows

# Chosen on draws of 900 to 2,700 rows and of four kinds of labels: see benchmarks/notes/heads.md.
DIRECTIONS = 896
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Directions:
    """Orthonormal directions, and where all rows lie along them.

    Attributes
    ----------
    coordinates : ndarray of shape (N, r), float32
        Of all rows, power-scaled; the power-scaled rows themselves where they are no wider than
        `DIRECTIONS`.
    own : ndarray of int, shape (n,)
        Rows of the fit that the directions are made of.
    mix : ndarray of shape (n, r), float32, or None
        How; None where the features are their own directions.
    """

    coordinates: np.ndarray
    own: np.ndarray
    mix: np.ndarray | None

    def weights(self, rows: Rows, matrix: np.ndarray | None = None) -> np.ndarray:
        """Return weights of power-scaled features for weights of coordinates.

        Parameters
        ----------
        matrix : ndarray of shape (r, H), float32, optional
            Those of the coordinates; the result for the unit matrix are the directions.

        Returns
        -------
        ndarray of shape (D, H), float32
        """
        if self.mix is None:
            unit = np.eye(self.coordinates.shape[1], dtype=np.float32)
            return unit if matrix is None else matrix
        mix = self.mix if matrix is None else multiply(self.mix, matrix)
        return combined(power_rows(rows), self.own, mix)


def directions_of(rows: Rows, index: np.ndarray) -> Directions:
    """Return directions near the principal ones of the rows at `index`, and of no other row.

    They are those of one step of subspace iteration that starts from some of these rows, picked by
    their positions alone (Halko, Martinsson and Tropp 2011, "Finding structure with randomness");
    of up to `DIRECTIONS` rows they span all.
    """
    if not power_gram(rows).exact:
        # They would take more memory than time.
        return _directions(rows, index)
    return rows.of_fit("directions", index, _directions)


def _directions(rows: Rows, index: np.ndarray) -> Directions:
    gram = power_gram(rows)
    columns = index if gram.exact else gram.landmarks(index)
    own = gram.columns[columns]
    if rows.features.shape[1] <= DIRECTIONS:
        return Directions(rows.derived("wide power rows", _wide), own, None)
    inner = gram.part(own, columns)
    if len(own) <= DIRECTIONS:
        basis = Basis(inner)
        mix = basis.features(np.eye(len(own), dtype=np.float32))
        return Directions(_image(gram, columns, mix), own, mix)
    order = np.random.default_rng(9).permutation(len(rows))[own]
    some = np.sort(np.argsort(order)[:DIRECTIONS])
    across = np.ascontiguousarray(inner[:, some])
    start = Basis(inner[np.ix_(some, some)]).features(across)
    start = Basis(multiply(start.T, start)).features(start)
    image = _image(gram, columns, start)
    basis = Basis(multiply(start.T, image[own]))
    return Directions(basis.features(image), own, basis.features(start))


def _wide(rows: Rows) -> np.ndarray:
    scaled = power_rows(rows)
    wide = np.empty(scaled.shape, np.float32)
    widen(scaled, wide)
    return wide


def _image(gram: Gram, columns: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the products of all rows with those of the columns, times `matrix`."""
    count = len(gram.products)
    found = np.empty((count, matrix.shape[1]), np.float32)
    for top in range(0, count, _BLOCK):
        block = np.arange(top, min(top + _BLOCK, count))
        multiply(gram.part(block, columns), matrix, found[top : top + _BLOCK])
    return found

"""Ways of joining several feature sets beyond putting them side by side.

Each is an ordinary scikit-learn transformer on the concatenated matrix; `widths`
says how many columns each set has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import PolynomialCountSketch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from icecore.core.errors import HeadError

__all__ = ["BilinearSketch", "ScaleSets", "SumOfProjections"]


class _PerSet(TransformerMixin, BaseEstimator):
    """Base: splits the columns into their sets."""

    def __sklearn_tags__(self):
        """Say that the result is float32, whatever comes in."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _check(self, X, reset: bool) -> np.ndarray:
        if not reset:
            check_is_fitted(self)
        return validate_data(self, X, dtype=np.float32, reset=reset)

    def _slices(self) -> list[slice]:
        widths: Sequence[int] = self.widths if self.widths is not None else [self.n_features_in_]
        if sum(widths) != self.n_features_in_ or min(widths) < 1:
            raise HeadError(
                f"the feature sets have {' + '.join(map(str, widths))} columns, but the matrix "
                f"has {self.n_features_in_}",
                "give the width of each set, in order",
            )
        edges = np.cumsum([0, *widths])
        return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


class ScaleSets(_PerSet):
    """Scale each feature set on its own.

    Parameters
    ----------
    widths : sequence of int, optional
        Columns of each set; one set by default.
    method : {"rms", "standard", "l2", "power", "whiten"}, default "rms"
        "rms" divides a set by one number; "standard" gives each column mean 0 and
        variance 1; "l2" gives each row of a set length 1; "power" takes signed square
        roots, then "l2"; "whiten" projects a set on its principal components with
        equal variance.
    components : int, default 256
        Components of "whiten", at most.
    random_state : int or None
        Of "whiten".
    """

    def __init__(self, widths=None, method="rms", components=256, random_state=None):
        self.widths = widths
        self.method = method
        self.components = components
        self.random_state = random_state

    def fit(self, X, y=None):
        """Measure what the method needs."""
        X = self._check(X, reset=True)
        methods = ("rms", "standard", "l2", "power", "whiten")
        if self.method not in methods:
            raise HeadError(f"method is '{self.method}'", f"choose one of {', '.join(methods)}")
        self.parts_ = []
        for columns in self._slices():
            part = X[:, columns]
            if self.method == "whiten":
                count = min(self.components, *part.shape)
                pca = PCA(count, whiten=True, random_state=self.random_state)
                self.parts_.append(pca.fit(part))
            elif self.method == "rms":
                spread = float(np.sqrt(part.var(axis=0, dtype=np.float64).mean()))
                self.parts_.append((0.0, spread or 1.0))
            elif self.method == "standard":
                deviation = part.std(axis=0, dtype=np.float64)
                deviation[deviation < 1e-12] = 1
                self.parts_.append((part.mean(axis=0), deviation))
            else:
                self.parts_.append(None)
        return self

    def transform(self, X):
        """Return the scaled sets side by side, float32."""
        X = self._check(X, reset=False)
        done = []
        for columns, known in zip(self._slices(), self.parts_, strict=True):
            part = X[:, columns]
            if self.method == "whiten":
                done.append(known.transform(part))
            elif self.method in ("rms", "standard"):
                done.append((part - known[0]) / known[1])
            else:
                done.append(_unit_rows(_signed_root(part) if self.method == "power" else part))
        return np.concatenate(done, axis=1).astype(np.float32)


class SumOfProjections(_PerSet):
    """Project each set to one width by a random matrix and add the results.

    Parameters
    ----------
    widths : sequence of int, optional
    components : int, default 1024
    random_state : int or None
    """

    def __init__(self, widths=None, components=1024, random_state=None):
        self.widths = widths
        self.components = components
        self.random_state = random_state

    def fit(self, X, y=None):
        """Draw the projections."""
        X = self._check(X, reset=True)
        rng = check_random_state(self.random_state)
        self.projections_ = [
            # A fixed size on purpose, also where it is larger than a set.
            rng.standard_normal((columns.stop - columns.start, self.components)).astype(np.float32)
            / np.float32(np.sqrt(self.components))
            for columns in self._slices()
        ]
        return self

    def transform(self, X):
        """Return the sum, float32 of shape (N, components)."""
        X = self._check(X, reset=False)
        pairs = zip(self._slices(), self.projections_, strict=True)
        return sum(X[:, columns] @ known for columns, known in pairs)


class BilinearSketch(_PerSet):
    """Compact bilinear pooling: a count sketch of all products of two features.

    The degree-2 tensor sketch of the concatenation (Pham and Pagh 2013; Gao et al.
    2016, "Compact bilinear pooling"), signed root and unit length after it, as the
    latter propose. By scikit-learn's PolynomialCountSketch.

    Parameters
    ----------
    widths : sequence of int, optional
        Each set is first given rows of unit length, so that none drowns the others.
    components : int, default 4096
    random_state : int or None
    """

    def __init__(self, widths=None, components=4096, random_state=None):
        self.widths = widths
        self.components = components
        self.random_state = random_state

    def fit(self, X, y=None):
        """Draw the hash functions."""
        X = self._check(X, reset=True)
        sketch = PolynomialCountSketch(
            degree=2, n_components=self.components, random_state=self.random_state
        )
        self.sketch_ = sketch.fit(self._balanced(X[:1]))
        return self

    def transform(self, X):
        """Return the sketches, float32 of shape (N, components)."""
        X = self._check(X, reset=False)
        done = [
            _unit_rows(_signed_root(self.sketch_.transform(self._balanced(X[top : top + 1024]))))
            for top in range(0, len(X), 1024)
        ]
        return np.concatenate(done).astype(np.float32)

    def _balanced(self, X: np.ndarray) -> np.ndarray:
        return np.concatenate([_unit_rows(X[:, columns]) for columns in self._slices()], axis=1)


def _signed_root(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.sqrt(np.abs(values))


def _unit_rows(values: np.ndarray) -> np.ndarray:
    length = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    return values / np.maximum(length, 1e-30)[:, None]

"""The rows that heads learn from: features, targets and weights, with what is derived from them."""

import dataclasses
import hashlib
import threading
from collections.abc import Callable
from typing import Any, Self

import numpy as np


@dataclasses.dataclass(frozen=True)
class Rows:
    """Feature rows with what they are rows of.

    Heads, folds and tasks hand this value on. Every fit names the rows it may see by their
    positions, so that fits on parts share what belongs to single rows or to pairs of them.

    Attributes
    ----------
    features : ndarray of shape (N, D), float16 or float32
        Feature sets side by side; the mean over the views where an image has several.
    targets : ndarray of shape (N, C), float32
        Rows that sum to 1: one-hot labels, or soft ones.
    weights : ndarray of shape (N,)
        Of each row in the loss; rows of weight 0 count as absent.
    classes : ndarray of shape (C,)
        Names of the columns of `targets`, sorted.
    sets : tuple of int
        Widths of the feature sets that lie side by side; they sum to D.
    groups : ndarray of shape (N, G), float32, or None
        Group of each row, one-hot; a row of zeros where it is not known.
    class_weights : ndarray of shape (C,) or None
        What fits multiply the weight of each class's rows by. Intercepts are then corrected, so
        that probabilities are those of classes as they occur.
    """

    features: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    classes: np.ndarray
    sets: tuple[int, ...]
    groups: np.ndarray | None = None
    class_weights: np.ndarray | None = None
    _memory: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    _lock: Any = dataclasses.field(default_factory=threading.RLock, repr=False, compare=False)

    def __reduce__(self) -> tuple:
        """Travel without what was derived."""
        fields = [one.name for one in dataclasses.fields(self) if not one.name.startswith("_")]
        return type(self), tuple(getattr(self, name) for name in fields)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def codes(self) -> np.ndarray:
        """Column of the likeliest class of each row, shape (N,)."""
        return self.targets.argmax(axis=1)

    def present(self, index: np.ndarray) -> np.ndarray:
        """Return the columns of the classes that the rows at `index` have."""
        return np.flatnonzero(self.targets[index].any(axis=0))

    def shares(self, index: np.ndarray) -> np.ndarray:
        """Return the targets of the rows at `index` for `present` classes; rows sum to 1."""
        targets = self.targets[index][:, self.present(index)]
        return targets / targets.sum(axis=1, keepdims=True)

    def fit_weights(self, index: np.ndarray) -> np.ndarray:
        """Return the weights of the rows at `index` in a fit: their own times their class's."""
        weights = self.weights[index]
        if self.class_weights is None:
            return weights
        return weights * self.class_weights[self.codes[index]]

    def own_weights(self, index: np.ndarray) -> np.ndarray | None:
        """Return the weights that intercepts are corrected by; None where those of fits are."""
        return None if self.class_weights is None else self.weights[index]

    def of_fit(self, name: str, index: np.ndarray, make: Callable[[Self, np.ndarray], Any]) -> Any:
        """Return ``make(self, index)``, made once for all fits on the rows at `index`.

        It may depend on these rows alone; each other row has a part in what is said of itself.
        """
        digest = hashlib.sha256(np.ascontiguousarray(index, np.int64).tobytes()).hexdigest()
        return self._once(f"{name} {digest}", lambda own: make(own, index))

    def derived(self, name: str, make: Callable[[Self], Any]) -> Any:
        """Return ``make(self)``, made once.

        What is made here is seen by every fit, so entry i may depend on row i alone, and entry
        (i, j) on rows i and j: anything more would tell a fit about rows it must not see.
        """
        return self._once(name, make)

    def _once(self, name: str, make: Callable[[Self], Any]) -> Any:
        with self._lock:
            lock, found = self._memory.setdefault(name, (threading.RLock(), []))
        # Fits beside this one wait for what they need themselves, and for nothing else.
        with lock:
            if not found:
                found.append(make(self))
            return found[0]

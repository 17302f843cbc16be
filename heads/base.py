"""What all heads share: checks of their inputs, open settings, and files without pickle.

A saved head is a folder: ``head.json`` says what it is, ``weights.npz`` holds
its arrays. Both may come from strangers, so every field and shape is checked
before it is used, and nothing in them is executed.
"""

import inspect
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..core.errors import HeadError, enumerate_some
from ..core.files import publish_json
from ..core.hardware import installed_memory
from ..core.npz_files import write_npz
from .crossfit import choose, judge
from .folds import FEWEST_FOLDS, deal_folds
from .parallel import each
from .rows import Rows
from .saved import FORMAT, HeadFiles, plain_settings
from .settings import Allowed, check_settings, require_memory

_ROWS_AT_ONCE = 4096
# Sums of squares of larger ones leave float32.
_LARGEST_FEATURE, _LARGEST_WEIGHT = 1e15, 1e15
# Squares of much smaller numbers are none in float32: heads would learn nothing, in silence.
_SMALLEST_FEATURES = 1e-15
_FOLDS = 5


class Head(ClassifierMixin, BaseEstimator):
    """Base of the heads: a scikit-learn classifier that chooses its settings and saves itself.

    A kind of head sets `kind`, `recipe` and `allowed` (what its settings may be), and implements
    `_fit`, `_probabilities`, `_state` and `_restore`. A setting that is ``"auto"`` is open:
    `choices` lists what it may become, and it is chosen out of fold, by `fit` among its own rows,
    by the training of a run in the way of `icecore.heads.crossfit`. Where many choices share
    work, `predict_path` is overridden.
    """

    kind: ClassVar[str] = ""
    # Raised whenever the same settings and rows give another head: heads of older runs are
    # then fitted again.
    recipe: ClassVar[int] = 1
    # The setting that is a penalty of the mean loss: a value between two that were tried is chosen.
    penalty: ClassVar[str] = ""
    allowed: ClassVar[Mapping[str, Allowed]] = {}
    # Whether `predict_path` judges settings by heads that are no simpler than the final one.
    judged_whole: ClassVar[bool] = True

    def choices(self) -> list[dict[str, Any]]:
        """Return the settings that are open, from the plainest on; one empty dict for none."""
        return [{}]

    def grid(self, **values: Sequence) -> list[dict[str, Any]]:
        """Return all combinations of `values` for those settings that are "auto"."""
        free = {name: some for name, some in values.items() if getattr(self, name) == "auto"}
        return [dict(zip(free, one)) for one in itertools.product(*free.values())]

    def further_choices(self, count: int, seed: int) -> list[list[dict[str, Any]]]:
        """Return up to `count` lists of further settings for a search, drawn with a seed.

        Those in one list share work.
        """
        return []

    def searched(self, count: int, seed: int) -> list[list[dict[str, Any]]]:
        """Return `further_choices` without the settings that were given, and each list once."""
        found: list[list[dict[str, Any]]] = []
        given = self.given()
        for choices in self.further_choices(count, seed):
            part = [{n: v for n, v in one.items() if n not in given} for one in choices]
            if part not in [*found, [{}]]:
                found.append(part)
        return found

    def given(self) -> set[str]:
        """Return the settings that are not their defaults."""
        defaults = {n: p.default for n, p in inspect.signature(type(self)).parameters.items()}
        return {name for name, value in self.get_params().items() if value != defaults[name]}

    def _fit(self, rows: Rows, index: np.ndarray) -> None:
        """Fit to the rows at `index`, whose classes are `classes_`; nothing is open any more."""
        raise NotImplementedError

    def _fit_and_predict(self, rows: Rows, index: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        """Fit to the rows at `index`, return probabilities of those at `unseen`.

        Overridden where that takes less than a head for any row.
        """
        self._fit(rows, index)
        return self._probabilities(rows.features[unseen])

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities, shape (N, C), of checked rows."""
        raise NotImplementedError

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        raise NotImplementedError

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        raise NotImplementedError

    def _memory(self, rows: Rows) -> tuple[dict[str, Any], int]:
        """Return the settings that set the memory of a fit, if any does, and its least bytes."""
        return {}, 0

    def check_settings(self) -> None:
        """Raise `HeadError` if a setting is out of range; all are named."""
        check_settings(self.kind, self.get_params(), self.allowed)

    def require_memory(self, rows: Rows) -> None:
        """Raise `HeadError` if a fit on so many rows would take more memory than there is."""
        settings, needed = self._memory(rows)
        require_memory(self.kind, settings, needed, installed_memory())

    def fit(self, X, y, sample_weight=None):
        """Fit to feature rows; open settings are chosen by folds of them.

        Parameters
        ----------
        X : array of shape (N, D)
            float16 stays float16 in memory; anything else becomes float32.
        y : array of shape (N,)
        sample_weight : array of shape (N,), optional
            A row of weight 0 counts as absent.

        Returns
        -------
        self

        Raises
        ------
        HeadError
            Fewer than two classes, NaN or infinite features, or settings out of range.
        """
        self.check_settings()
        rows = self._rows(X, y, sample_weight)
        # Settings are judged by smaller heads.
        self.require_memory(rows)
        choices = self.choices()
        choice = choices[0]
        if len(choices) > 1 and len(rows) >= FEWEST_FOLDS:
            keys = [str(number) for number in range(len(rows))]
            dealt = deal_folds(keys, rows.codes, _FOLDS, 0)
            choice = choose([judge(self, rows, dealt, choices)])
        fitted = clone(self).set_params(**choice).fit_rows(rows, np.arange(len(rows)))
        self.__dict__ |= {name: value for name, value in vars(fitted).items() if _is_state(name)}
        self.chosen_ = choice
        return self

    def fit_rows(self, rows: Rows, index: np.ndarray) -> Self:
        """Fit to the rows of weight above 0 at `index`; no setting is open any more.

        `classes_` are those that these rows have.
        """
        self._fit(rows, self._begun(rows, index))
        return self

    def fit_and_predict(self, rows: Rows, index: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        """Return how the head, fitted as by `fit_rows`, predicts the rows at `unseen`.

        That is all it is for: it may be left without what other rows are predicted by.
        """
        require_finite(rows.features[unseen])
        return self._fit_and_predict(rows, self._begun(rows, index), unseen)

    def _begun(self, rows: Rows, index: np.ndarray) -> np.ndarray:
        """Check and note what a fit is of; return the rows of weight above 0 at `index`."""
        self.check_settings()
        self.require_memory(rows)
        _require_usable(rows.features[index])
        index = index[rows.weights[index] > 0]
        self.classes_ = rows.classes[rows.present(index)]
        self.n_features_in_ = rows.features.shape[1]
        return index

    def predict_path(
        self, rows: Rows, fitted: np.ndarray, judged: np.ndarray, choices: Sequence[dict]
    ) -> np.ndarray:
        """Return how heads fitted on the rows at `fitted` predict those at `judged`.

        Returns
        -------
        ndarray of shape (len(choices), len(judged), C)
            For each choice of settings; columns are the classes of the rows at `fitted`. NaN for a
            choice that was not tried, since these rows say that it does not pay.
        """

        def table(choice: dict) -> np.ndarray:
            head = clone(self).set_params(**choice).fit_rows(rows, fitted)
            return head._probabilities(rows.features[judged])

        return np.array(each(table, choices))

    def predict_proba(self, X):
        """Return class probabilities, float64 of shape (N, C), columns as in `classes_`."""
        return self._probabilities(self._check_features(X))

    def predict(self, X):
        """Return the most probable class of each row of `X`, shape (N,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_log_proba(self, X):
        """Return the natural logarithms of `predict_proba`, shape (N, C)."""
        return np.log(np.maximum(self.predict_proba(X), np.finfo(np.float64).tiny))

    def save(self, folder: str | os.PathLike) -> None:
        """Write the fitted head to `folder`: ``head.json`` and its arrays.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            The head is not fitted.
        """
        check_is_fitted(self)
        folder = Path(folder)
        fields, arrays = self._state()
        write_npz(folder / "weights.npz", arrays)
        publish_json(
            folder / "head.json",
            {
                "format": FORMAT,
                "kind": self.kind,
                "recipe": self.recipe,
                "classes": self.classes_.tolist(),
                "features": int(self.n_features_in_),
                "settings": plain_settings(self.get_params()),
                "fitted": fields,
            },
        )

    @property
    def power_sets(self) -> tuple[int, ...]:
        """Widths of the feature sets that the fitted head power-scales; empty if it does not."""
        scaled = getattr(self, "scaling_", None) == "power"
        return self.sets_ if scaled else ()

    @property
    def seed_of_fit(self) -> int:
        """Seed of everything random, drawn from `random_state`."""
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _rows(self, X, y, sample_weight) -> Rows:
        """Return checked training rows; X is float16 or float32."""
        X, y = validate_data(
            self, X, y, dtype=[np.float32, np.float16], ensure_all_finite=False, order="C"
        )
        require_finite(X)
        check_classification_targets(y)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if weights.min() < 0 or not weights.sum() > 0 or weights.max() > _LARGEST_WEIGHT:
            raise HeadError(
                f"sample_weight goes from {weights.min():g} to {weights.max():g}",
                f"weights are from 0 to {_LARGEST_WEIGHT:.0e}, and not all zero",
            )
        used = weights > 0
        classes, codes = np.unique(y[used], return_inverse=True)
        if len(classes) < 2:
            raise HeadError(
                f"all {len(codes)} training rows have one class, '{classes[0]}'",
                "a classifier needs rows of at least two classes",
            )
        X = X if used.all() else X[used]
        targets = np.eye(len(classes), dtype=np.float32)[codes]
        sets = getattr(self, "sets", None) or (X.shape[1],)
        if sum(sets) != X.shape[1]:
            raise HeadError(
                f"sets = {tuple(sets)} are {sum(sets)} features in all, and X has {X.shape[1]}",
                "give the widths of the feature sets that lie side by side",
            )
        return Rows(X, targets, weights[used], classes, tuple(sets))

    def _check_features(self, X):
        check_is_fitted(self)
        X = validate_data(
            self,
            X,
            dtype=[np.float32, np.float16],
            ensure_all_finite=False,
            order="C",
            reset=False,
        )
        require_finite(X)
        return X


def _is_state(name: str) -> bool:
    return name.endswith("_") and not name.startswith("_")


def require_finite(X: np.ndarray) -> None:
    """Raise `HeadError`, naming the rows, if `X` holds NaN, infinity or what comes near it."""
    bad: list[int] = []
    for top in range(0, len(X), _ROWS_AT_ONCE):
        part = X[top : top + _ROWS_AT_ONCE]
        if _surely_finite(part):
            continue
        # No comparison with NaN is true.
        chunk = (np.abs(part) <= _LARGEST_FEATURE).all(axis=1)
        if not chunk.all():
            bad += (np.flatnonzero(~chunk) + top).tolist()
    if bad:
        found = X[bad]
        kind = "NaN or infinity"
        if np.isfinite(found).all():
            kind = f"numbers up to {np.abs(found).max():.2g}, beyond {_LARGEST_FEATURE:.0e},"
        raise HeadError(
            f"Input X contains {kind} in {len(bad)} of {len(X)} rows: {enumerate_some(bad)}",
            "leave those rows out, or extract their features again",
        )


def _require_usable(X: np.ndarray) -> None:
    """Raise `HeadError` if `X` is not finite, or all of it is too small to reckon with."""
    require_finite(X)
    # The smallest number of float16 is 6e-8.
    if X.dtype == np.float16 or not X.size:
        return
    largest = max(float(X.max()), -float(X.min()))
    if 0 < largest < _SMALLEST_FEATURES:
        raise HeadError(
            f"Input X contains no numbers above {largest:.2g}, and below {_SMALLEST_FEATURES:.0e} "
            "heads learn nothing",
            "take features of a usual size, or multiply these by a power of ten",
        )


def _surely_finite(X: np.ndarray) -> bool:
    """Return whether float16 rows are finite, by their bits; False where it is not known."""
    if X.dtype != np.float16 or not X.flags.c_contiguous or not X.size:
        return False
    # Infinity and NaN have the largest bits, in numbers of either sign; as signed integers
    # the positive ones are above all others, as unsigned ones the negative.
    limit = 0x7C00
    return int(X.view(np.int16).max()) < limit and int(X.view(np.uint16).max()) < limit + 0x8000

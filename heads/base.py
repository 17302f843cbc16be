"""What all heads share: checks of their inputs, input scaling, and files without pickle.

A saved head is a folder: ``head.json`` says what it is, ``weights.npz`` holds
its arrays. Both may come from strangers, so every field and shape is checked
before it is used, and nothing in them is executed.
"""

from __future__ import annotations

import json
import numbers
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..core.errors import HeadError, MissingFileError, enumerate_some
from ..core.files import publish, publish_json
from .lanes import widen
from .stack_parts import Scaling

__all__ = ["Head", "measure_scaling", "require_finite"]

FORMAT = 1
LARGEST_JSON = 16 * 2**20
# Bounds what a stranger's file can make us allocate: 2**31 float32 are 8 GiB.
LARGEST_ARRAY = 2**31
SCALINGS = ("none", "rms", "standard")
_ROWS_AT_ONCE = 4096
# Few enough to stay in the processor's cache while they are measured.
_ROWS_MEASURED = 64


class Head(ClassifierMixin, BaseEstimator):
    """Base of the heads: a scikit-learn classifier that can save itself.

    Subclasses set `kind`, fit through `_check_training` and store their state
    through `_state` and `_restore`.
    """

    kind: ClassVar[str] = ""

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
        write_arrays(folder / "weights.npz", arrays)
        publish_json(
            folder / "head.json",
            {
                "format": FORMAT,
                "kind": self.kind,
                "classes": self.classes_.tolist(),
                "features": int(self.n_features_in_),
                "settings": plain_settings(self.get_params()),
                "fitted": fields,
            },
        )

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        raise NotImplementedError

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        raise NotImplementedError

    def _check_training(self, X, y, sample_weight, targets=None):
        """Return X (float16 or float32), class codes, row weights; set the fitted basics."""
        X, y = validate_data(
            self, X, y, dtype=[np.float32, np.float16], ensure_all_finite=False, order="C"
        )
        require_finite(X)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise HeadError(
                f"all {len(y)} training rows have one class, '{self.classes_[0]}'",
                "a classifier needs rows of at least two classes",
            )
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if weights.min() < 0 or not weights.sum() > 0:
            raise HeadError(
                f"sample_weight goes from {weights.min():g} to {weights.max():g}",
                "weights must not be negative, and not all zero",
            )
        return X, codes, weights

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

    def _encode(self, y) -> np.ndarray:
        """Return the class codes of `y`, refusing classes the training rows lack."""
        y = np.asarray(y)
        codes = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        strange = self.classes_[codes] != y
        if strange.any():
            raise HeadError(
                f"the validation rows have classes that the training rows lack: "
                f"{enumerate_some(sorted({str(name) for name in y[strange]}))}",
                "leave those rows out of validation",
            )
        return codes

    def predict(self, X):
        """Return the most probable class of each row of `X`, shape (N,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_log_proba(self, X):
        """Return the natural logarithms of `predict_proba`, shape (N, C)."""
        return np.log(np.maximum(self.predict_proba(X), np.finfo(np.float64).tiny))


class HeadFiles:
    """Checked access to a saved head's folder.

    Parameters
    ----------
    folder : pathlib.Path

    Raises
    ------
    MissingFileError
        There is no head.json.
    HeadError
        head.json is not what it should be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / "head.json"
        if not path.is_file():
            raise MissingFileError(f"{path} is not there", "give the folder of a saved head")
        if path.stat().st_size > LARGEST_JSON:
            raise self.refuse("head.json is larger than 16 MiB")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise self.refuse(f"head.json is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise self.refuse("head.json is not a JSON object")
        self.content: dict[str, Any] = content
        version = self.field(content, "format", int)
        if version != FORMAT:
            raise self.refuse(f"head.json has format {version}; this icecore reads {FORMAT}")
        self.kind = self.field(content, "kind", str)
        self.settings = self.field(content, "settings", dict)
        self.fitted = self.field(content, "fitted", dict)
        self.features = self.field(content, "features", int)
        self.classes = self._classes()
        if not 1 <= self.features <= 2**24:
            raise self.refuse(f"head.json has {self.features} features")

    def refuse(self, what: str) -> HeadError:
        """Return the error that says what is wrong with this folder."""
        return HeadError(f"the head in {self.folder} cannot be used: {what}", "train it again")

    def field(self, content: Mapping[str, Any], name: str, kind: type) -> Any:
        """Return ``content[name]`` if it is a `kind`."""
        value = content.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.refuse(f"head.json has {name} = {value!r:.60}, not {kind.__name__}")
        return value

    def arrays(self, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, np.ndarray]:
        """Return the arrays of weights.npz: float32, finite, of the `shapes` (None: any)."""
        path = self.folder / "weights.npz"
        if not path.is_file():
            raise self.refuse("weights.npz is not there")
        found: dict[str, np.ndarray] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > 4 * LARGEST_ARRAY:
                    raise self.refuse("weights.npz unpacks to more than 8 GiB")
            with np.load(path, allow_pickle=False) as stored:
                if set(stored.files) != set(shapes):
                    raise self.refuse(
                        f"weights.npz has {enumerate_some(sorted(stored.files))}, "
                        f"not {enumerate_some(sorted(shapes))}"
                    )
                for name in shapes:
                    found[name] = stored[name]
        except HeadError:
            raise
        # zipfile and numpy answer a damaged archive with many kinds of error.
        except Exception as error:
            raise self.refuse(f"weights.npz is not readable ({error})") from error
        for name, shape in shapes.items():
            array = found[name]
            fits = len(array.shape) == len(shape) and all(
                want is None or want == have for want, have in zip(shape, array.shape, strict=True)
            )
            if array.dtype != np.float32 or not fits:
                raise self.refuse(
                    f"weights.npz has {name} of {array.dtype} {array.shape}, not float32 {shape}"
                )
            if not np.isfinite(array).all():
                raise self.refuse(f"{name} in weights.npz is not finite")
        return found

    def _classes(self) -> np.ndarray:
        names = self.field(self.content, "classes", list)
        kinds = {type(name) for name in names}
        if len(names) < 2 or len(kinds) != 1 or not kinds <= {str, int, float, bool}:
            raise self.refuse("its classes are not two or more names (or numbers)")
        try:
            classes = np.array(names)
        except (OverflowError, ValueError) as error:
            raise self.refuse(f"its classes are not usable: {error}") from error
        if len(np.unique(classes)) != len(names) or (np.unique(classes) != classes).any():
            raise self.refuse("its classes repeat or are not in order")
        return classes


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as NPZ, atomically.

    `numpy.savez` would pickle objects, and has no way to forbid it before NumPy 2.1.
    """
    with publish(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            # A fixed date makes equal arrays equal files.
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON can hold them; a generator given as seed becomes null."""
    plain: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, (bool, str)) or value is None:
            plain[name] = value
        elif isinstance(value, numbers.Integral):
            plain[name] = int(value)
        elif isinstance(value, numbers.Real):
            plain[name] = float(value)
        else:
            plain[name] = None
    return plain


def require_finite(X: np.ndarray) -> None:
    """Raise `HeadError`, naming the rows, if `X` holds NaN or infinity."""
    bad: list[int] = []
    for top in range(0, len(X), _ROWS_AT_ONCE):
        part = X[top : top + _ROWS_AT_ONCE]
        if _surely_finite(part):
            continue
        chunk = np.isfinite(part).all(axis=1)
        if not chunk.all():
            bad += (np.flatnonzero(~chunk) + top).tolist()
    if bad:
        raise HeadError(
            f"Input X contains NaN or infinity in {len(bad)} of {len(X)} rows: "
            f"{enumerate_some(bad)}",
            "leave those rows out, or extract their features again",
        )


def _surely_finite(X: np.ndarray) -> bool:
    """Return whether float16 rows are finite, by their bits; False where it is not known."""
    if X.dtype != np.float16 or not X.flags.c_contiguous or not X.size:
        return False
    # Infinity and NaN have the largest bits, in numbers of either sign; as signed integers
    # the positive ones are above all others, as unsigned ones the negative.
    limit = 0x7C00
    return int(X.view(np.int16).max()) < limit and int(X.view(np.uint16).max()) < limit + 0x8000


def measure_scaling(X: np.ndarray, name: str, weights: np.ndarray | None = None) -> Scaling | None:
    """Return the input scaling called `name`, measured on `X`.

    Parameters
    ----------
    X : ndarray of shape (N, D)
    name : {"none", "rms", "standard"}
        "rms" divides everything by the root mean square of the centred features,
        one number; "standard" gives every feature mean 0 and variance 1.
    weights : ndarray of shape (N,), optional
        A row of weight 2 counts twice.
    """
    if name == "none":
        return None
    if name not in SCALINGS:
        raise HeadError(f"scaling is '{name}'", f"choose one of {', '.join(SCALINGS)}")
    weights = np.ones(len(X)) if weights is None else weights
    rows = np.flatnonzero(weights)
    total = np.zeros(X.shape[1])
    squares = np.zeros(X.shape[1])
    # The first row is near enough to the mean to keep the sums small.
    origin = X[rows[0]].astype(np.float64).astype(np.float32)
    space = np.empty((_ROWS_MEASURED, X.shape[1]), np.float32)
    for top in range(0, len(rows), _ROWS_MEASURED):
        picked = rows[top : top + _ROWS_MEASURED]
        part = space[: len(picked)]
        widen(X[picked], part)
        part -= origin
        shares = weights[picked].astype(np.float32)
        total += shares @ part
        part *= part
        squares += shares @ part
    count = weights.sum(dtype=np.float64)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    if name == "standard":
        # A constant feature says nothing: it is centred to zero and stays there.
        deviation = np.sqrt(variance)
        floor = 1e-6 * np.maximum(np.abs(origin), 1e-30)
        factor = np.where(deviation > floor, 1 / np.maximum(deviation, 1e-30), 0)
        return Scaling((mean + origin).astype(np.float32), factor.astype(np.float32))
    spread = float(np.sqrt(variance.mean()))
    factor = 1 / spread if spread > 0 else 1.0
    return Scaling(np.zeros(1, np.float32), np.array([factor], np.float32))

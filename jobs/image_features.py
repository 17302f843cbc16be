"""Frozen features as a step of a scikit-learn pipeline."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .. import features
from ..cache import FeatureCache
from ..core.errors import ManifestError, enumerate_some
from ..core.folders import scratch_folder
from ..manifest import Manifest, Sample


class ImageFeatures(TransformerMixin, BaseEstimator):
    """Images in, rows of frozen features out; what is in the cache is not computed again.

    Parameters
    ----------
    cache : path-like
        Folder of the cache; made if it is not there.
    backbones : str or sequence of str
        Specs, ``source:name[@resolution]``; several stand side by side.
    options : ExtractOptions, optional

    Attributes
    ----------
    feature_sets_ : list of str
        Fingerprints of the feature sets, in the order of the columns.
    n_features_out_ : int

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> model = make_pipeline(icecore.ImageFeatures("cache", [network]), LogisticRegression())
    >>> model.fit(paths, labels).predict(paths[:2]).shape
    (2,)
    """

    def __init__(self, cache, backbones, options=None):
        self.cache = cache
        self.backbones = backbones
        self.options = options

    def fit(self, X: Sequence[Any], y=None) -> Self:
        """Compute the features of `X` that the cache lacks; nothing is learnt from them.

        Parameters
        ----------
        X : sequence of path-like, PIL image or uint8 array of shape (H, W, 3)
        y : ignored

        Raises
        ------
        ManifestError
            Images are not there, are none or cannot be read; all are named.
        """
        self._rows(X)
        return self

    def transform(self, X: Sequence[Any]) -> np.ndarray:
        """Return the features of `X`, float32 of shape (N, D); see `fit`."""
        check_is_fitted(self, "feature_sets_")
        keys = self._rows(X)
        store = FeatureCache(self.cache)
        sets = {one.fingerprint: one for one in store.sets()}
        return np.concatenate(
            [sets[print_].matrix(keys).astype(np.float32) for print_ in self.feature_sets_], axis=1
        )

    def fit_transform(self, X: Sequence[Any], y=None) -> np.ndarray:
        """Return the features of `X`, as `fit` and `transform` do."""
        return self.fit(X).transform(X)

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Return a name for each column: the spec and a number."""
        check_is_fitted(self, "feature_sets_")
        return np.array(self._names, dtype=object)

    def _rows(self, X: Sequence[Any]) -> list[str]:
        """Extract what is missing and return the row key of each image."""
        if isinstance(X, str | os.PathLike) or not hasattr(X, "__len__") or not len(X):
            raise ManifestError(
                "ImageFeatures needs a sequence of images", "give a list of paths or of pictures"
            )
        with scratch_folder() as scratch:
            paths = [_path_of(image, place, scratch) for place, image in enumerate(X)]
            strange = [
                f"item {place} is {_described(image)}"
                for place, (image, path) in enumerate(zip(X, paths))
                if not path
            ]
            if strange:
                raise ManifestError(
                    f"{len(strange)} of {len(paths)} items are no images: "
                    f"{enumerate_some(strange)}",
                    "give paths, uint8 arrays of shape (height, width, 3), or PIL images of whole "
                    "numbers up to 255 (or 65535 in mode I;16)",
                )
            samples = tuple(Sample(id=path, path=path) for path in dict.fromkeys(paths))
            specs = [self.backbones] if isinstance(self.backbones, str) else self.backbones
            manifest = Manifest(samples, "the images")
            report = features.extract(manifest, self.cache, specs, self.options)
        if report.failures:
            named = [f"{failure.id}: {failure.reason}" for failure in report.failures]
            raise ManifestError(
                f"{len(named)} of {len(samples)} images cannot be read: {enumerate_some(named)}",
                "leave them out, or mend them",
            )
        self._remember(report)
        digests = {identity: sample.digest for identity, sample in report.manifest.images.items()}
        return [digests[path] for path in paths]

    def _remember(self, report) -> None:
        self.feature_sets_ = [one["fingerprint"] for one in report.sets]
        self._names = [
            f"{one['spec']}_{column}" for one in report.sets for column in range(one["dim"])
        ]
        self.n_features_out_ = len(self._names)


def _described(image: Any) -> str:
    if isinstance(image, np.ndarray):
        return f"an array of {image.dtype} of shape {image.shape}"
    mode = getattr(image, "mode", None)
    return f"of type {type(image).__name__}{f' in mode {mode}' if mode else ''}"


def _path_of(image: Any, place: int, scratch: Path) -> str:
    """Return where an image is, writing it if it is in memory; nothing if it is none."""
    if isinstance(image, str | os.PathLike):
        return os.path.abspath(image)
    path = scratch / f"{place}.png"
    return str(path) if features.write_png(image, path) else ""

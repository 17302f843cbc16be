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
from ..core.arguments import typed
from ..core.errors import FingerprintError, ImageError, ManifestError, enumerate_some
from ..core.folders import scratch_folder
from ..core.places import absolute
from ..features import BackboneSpec, ExtractOptions, ExtractReport
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
        report, _ = self._rows(X)
        self.feature_sets_ = _fingerprints(report)
        self._names = [
            f"{one['spec']}_{column}" for one in report.sets for column in range(one["dim"])
        ]
        self.n_features_out_ = len(self._names)
        return self

    def transform(self, X: Sequence[Any]) -> np.ndarray:
        """Return the features of `X`, float32 of shape (N, D); see `fit`.

        Raises
        ------
        FingerprintError
            The network or the options are not those of `fit`.
        """
        check_is_fitted(self, "feature_sets_")
        report, keys = self._rows(X)
        if _fingerprints(report) != self.feature_sets_:
            raise FingerprintError(
                f"the features of {enumerate_some(one['spec'] for one in report.sets)} are made "
                "otherwise now than when the step was fitted: its network, options or precision "
                "have changed",
                "fit it anew, and what learnt from its features; or restore what was changed",
            )
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

    def _rows(self, X: Sequence[Any]) -> tuple[ExtractReport, list[str]]:
        """Extract what is missing; return how, and the row key of each image."""
        if isinstance(X, str | os.PathLike) or not hasattr(X, "__len__") or not len(X):
            raise ManifestError(
                "ImageFeatures needs a sequence of images", "give a list of paths or of pictures"
            )
        with scratch_folder() as scratch:
            paths = _written(X, scratch)
            samples = tuple(Sample(id=path, path=path) for path in dict.fromkeys(paths))
            specs = [self.backbones] if isinstance(self.backbones, str) else self.backbones
            images = Manifest(samples, "the images")
            report = self._extracted(images, self.cache, specs, self.options)
        if report.failures:
            named = [f"{failure.id}: {failure.reason}" for failure in report.failures]
            raise ManifestError(
                f"{len(named)} of {len(samples)} images cannot be read: {enumerate_some(named)}",
                "leave them out, or mend them",
            )
        digests = {identity: sample.digest for identity, sample in report.manifest.images.items()}
        return report, [digests[path] for path in paths]

    @typed
    def _extracted(
        self,
        images: Manifest,
        cache: str | os.PathLike,
        backbones: Sequence[str | BackboneSpec],
        options: ExtractOptions | None,
    ) -> ExtractReport:
        return features.extract(images, cache, backbones, options)


def _fingerprints(report: ExtractReport) -> list[str]:
    return [one["fingerprint"] for one in report.sets]


def _written(X: Sequence[Any], scratch: Path) -> list[str]:
    """Return where each image is; those in memory are written."""
    paths, strange = [], []
    for place, image in enumerate(X):
        try:
            paths.append(_path_of(image, place, scratch))
            reason = "" if paths[-1] else _described(image)
        except ImageError as error:
            reason = f"{_described(image)}: {error.message}"
        if reason:
            strange.append(f"item {place} is {reason}")
    if strange:
        raise ManifestError(
            f"{len(strange)} of {len(X)} items are no images: {enumerate_some(strange)}",
            "give paths, uint8 arrays of shape (height, width, 3), or PIL images of whole "
            "numbers up to 255 (or 65535 in mode I;16)",
        )
    return paths


def _described(image: Any) -> str:
    if isinstance(image, np.ndarray):
        return f"an array of {image.dtype} of shape {image.shape}"
    mode = getattr(image, "mode", None)
    named = f" in mode {mode}" if isinstance(mode, str) else ""
    return f"of type {type(image).__name__}{named}"


def _path_of(image: Any, place: int, scratch: Path) -> str:
    """Return where an image is, writing it if it is in memory; nothing if it is none."""
    if isinstance(image, str | os.PathLike):
        return absolute(image)
    path = scratch / f"{place}.png"
    return str(path) if features.write_png(image, path) else ""

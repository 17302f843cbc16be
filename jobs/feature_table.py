"""Features and labels as arrays, for whoever fits models of their own."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..cache import FeatureCache
from ..core.arguments import typed
from ..core.columns import Columns
from ..core.errors import ManifestError, enumerate_some
from ..manifest import Manifest
from .samples import as_extracted, digested, keys_in_all, no_features


class FeatureTable(NamedTuple):
    """Rows of features with what is known of them.

    Attributes
    ----------
    X : ndarray of shape (N, D), float32
    y : ndarray of str, shape (N,)
        Labels, empty where they are not known.
    ids : ndarray of str, shape (N,)
    """

    X: np.ndarray
    y: np.ndarray
    ids: np.ndarray

    def columns(self) -> Columns:
        """Return a table for pandas, polars and Arrow: ``id``, ``label``, ``f0``, ``f1``, ..."""
        features = {f"f{number}": column for number, column in enumerate(self.X.T)}
        return Columns(id=self.ids, label=self.y, **features)

    def __repr__(self) -> str:
        rows, width = self.X.shape
        return f"FeatureTable of {rows} rows: X ({rows}, {width}) {self.X.dtype}, y, ids"


@typed
def load_features(
    cache: str | os.PathLike,
    data: str | os.PathLike | Manifest,
    task: str | None = None,
    split: str | None = None,
    features: str | Sequence[str] | None = None,
) -> FeatureTable:
    """Return ``X, y, ids`` of the images of a task and a split.

    Parameters
    ----------
    cache : path-like
    data : path-like or Manifest
        As for `train`. Images without features are left out.
    task : str, optional
        Needed where the data has several.
    split : {"train", "validation", "test"}, optional
        All rows, if None.
    features : str or sequence of str, optional
        Feature sets, side by side in this order; all of the cache if None.

    Raises
    ------
    ManifestError
        There is no such task or split, or the data has several tasks and none is named.
    CacheError
        No image has features.

    Examples
    --------
    >>> X, y, ids = icecore.load_features("cache", "photos", split="train")
    """
    store = FeatureCache(cache)
    names = [features] if isinstance(features, str) else features
    sets = store.sets() if names is None else store.find_all(names)
    samples = digested(store, as_extracted(store, data, labels_required=False))
    if task is None and len(samples.tasks) == 1:
        (task,) = samples.tasks
    if task not in samples.tasks:
        there = enumerate_some(samples.tasks, 10)
        found = f"{len(samples.tasks)} tasks" if task is None else f"no task '{task}'"
        raise ManifestError(f"{samples.source} has {found}", f"name one of: {there}")
    rows = [one for one in samples if one.task == task]
    splits = {one.split for one in rows}
    if split is not None and split not in splits:
        there = enumerate_some(sorted(one or "none" for one in splits))
        raise ManifestError(
            f"no image of {samples.source} is of the split '{split}'",
            f"give another one; the splits of its images: {there}",
        )
    have = keys_in_all(sets)
    asked = [one for one in rows if split in (None, one.split)]
    rows = [one for one in asked if one.digest in have]
    if not rows:
        raise no_features(asked, samples.source, store)
    keys = [one.digest for one in rows]
    X = np.concatenate([one.matrix(keys) for one in sets], axis=1)
    return FeatureTable(X, np.array([one.label for one in rows]), np.array([s.id for s in rows]))

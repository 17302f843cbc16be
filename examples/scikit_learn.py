"""Use the cache with scikit-learn directly: cross-validate a classifier on cached features.

Run it after `icecore demo`:

    python examples/scikit_learn.py demo-run/cache demo-run/cache/manifests/data.csv
"""

from __future__ import annotations

import sys

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from icecore import manifest
from icecore.cache import FeatureCache


def main(cache_folder: str, table: str) -> None:
    """Print the accuracy of each task on features of all backbones side by side."""
    cache = FeatureCache(cache_folder)
    specs = [feature_set.name for feature_set in cache.sets()]
    known = set(cache.ids(specs[0]))
    samples = manifest.read(table)
    for task in samples.tasks:
        rows = [s for s in samples.select(task) if s.label and s.digest in known]
        features = cache.matrix(specs, [s.digest for s in rows])
        labels = [s.label for s in rows]
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
        scores = cross_val_score(model, features, labels, cv=3)
        print(f"{task}: accuracy {scores.mean():.3f} on {len(rows)} images")


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    elif len(sys.argv) < 3:
        sys.exit(__doc__)
    else:
        main(*sys.argv[1:])

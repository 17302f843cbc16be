"""icecore: frozen features once, heads many times, blended with tuned weights.

Three jobs, each also a command: `extract` turns images into a feature cache, `train` fits
heads on it, `blend` weighs their probabilities; `predict` and `bundle` use what came out.
Importing this package loads nothing else, and no job loads a deep-learning framework that it
does not use.

Examples
--------
>>> import icecore
>>> icecore.extract(photos, "cache", [network]).computed
6
>>> cache = icecore.FeatureCache("cache")
>>> cache.matrix([network_in_cache], cache.ids(network_in_cache)).shape
(6, 6)
"""

from __future__ import annotations

from .core.lazy_door import open_door

__version__ = "0.1.0"

# Where each public name lies, and what it is called there; it is imported when first used.
_PLACES = {
    "AuditOptions": (".auditing", "AuditOptions"),
    "AuditOutputs": (".jobs", "AuditOutputs"),
    "BlendOptions": (".ensemble", "BlendOptions"),
    "BlendOutputs": (".jobs", "BlendOutputs"),
    "CompareOptions": (".ensemble", "CompareOptions"),
    "DetectorOptions": (".features", "DetectorOptions"),
    "ExtractOptions": (".features", "ExtractOptions"),
    "FeatureCache": (".cache", "FeatureCache"),
    "ImageFeatures": (".jobs", "ImageFeatures"),
    "ProgressListener": (".features", "ProgressListener"),
    "PredictOptions": (".jobs", "PredictOptions"),
    "TrainOptions": (".heads", "TrainOptions"),
    "audit": (".jobs", "audit"),
    "blend": (".jobs", "blend"),
    "bundle": (".jobs", "bundle"),
    "compare": (".jobs", "compare"),
    "extract": (".jobs", "extract"),
    "extract_bar": (".cli.progress", "extract_bar"),
    "load_features": (".jobs", "load_features"),
    "open_run": (".runs", "open_run"),
    "predict": (".jobs", "predict"),
    "read_manifest": (".manifest", "read"),
    "train": (".jobs", "train"),
    "train_bar": (".cli.progress", "train_bar"),
}
__all__ = list(_PLACES)
open_door(__name__, _PLACES)

"""The jobs as functions: each reads what a user brings and calls one room after another.

The command line is a thin layer over these; scripts and notebooks call them directly.
"""

from ..core.lazy_door import open_door

# A command loads what its own job needs, and no more.
_PLACES = {
    "AuditOptions": ("..auditing", "AuditOptions"),
    "AuditOutputs": (".audit", "AuditOutputs"),
    "BlendOptions": ("..ensemble", "BlendOptions"),
    "BlendOutputs": (".blend", "BlendOutputs"),
    "BlendReport": (".blend", "BlendReport"),
    "BlendResult": ("..ensemble", "BlendResult"),
    "ClusterOptions": ("..features", "ClusterOptions"),
    "CompareOptions": ("..ensemble", "CompareOptions"),
    "DetectorOptions": ("..features", "DetectorOptions"),
    "ExtractOptions": ("..features", "ExtractOptions"),
    "ExtractReport": ("..features", "ExtractReport"),
    "FeatureTable": (".feature_table", "FeatureTable"),
    "FitRegionsOptions": (".regions", "FitRegionsOptions"),
    "Finding": (".doctor_checks", "Finding"),
    "ImageFeatures": (".image_features", "ImageFeatures"),
    "LEVELS": (".doctor_checks", "LEVELS"),
    "PredictOptions": (".predict", "PredictOptions"),
    "PredictReport": (".predict", "PredictReport"),
    "ProgressListener": ("..features", "ProgressListener"),
    "TrainEvent": ("..heads", "TrainEvent"),
    "TrainOptions": ("..heads", "TrainOptions"),
    "TrainResult": ("..heads", "TrainResult"),
    "apply_audit": (".audit", "apply_audit"),
    "audit": (".audit", "audit"),
    "audit_text": ("..auditing", "audit_text"),
    "blend": (".blend", "blend"),
    "bundle": (".bundle", "bundle"),
    "compare": (".compare", "compare"),
    "comparison_text": ("..ensemble", "comparison_text"),
    "dry_run": (".dry_run", "dry_run"),
    "examine": (".doctor", "examine"),
    "export": (".export", "export"),
    "export_labels": (".label_tasks", "export_labels"),
    "extract": (".extract", "extract"),
    "fit_regions": (".regions", "fit_regions"),
    "load_features": (".feature_table", "load_features"),
    "model_card": (".card", "model_card"),
    "predict": (".predict", "predict"),
    "prune": (".prune", "prune"),
    "repair_cache": (".upkeep", "repair_cache"),
    "result_text": ("..ensemble", "result_text"),
    "train": (".train", "train"),
    "verify_cache": (".upkeep", "verify_cache"),
}
__all__ = list(_PLACES)
open_door(__name__, _PLACES)

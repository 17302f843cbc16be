"""The jobs with their types; see ``__init__.py``."""

from ..auditing import AuditOptions, audit_text
from ..ensemble import (
    BlendOptions,
    BlendResult,
    CompareOptions,
    comparison_text,
    result_text,
)
from ..features import (
    ClusterOptions,
    DetectorOptions,
    ExtractOptions,
    ExtractReport,
    ProgressListener,
)
from ..heads import TrainEvent, TrainOptions, TrainResult
from .audit import AuditOutputs, apply_audit, audit
from .blend import BlendOutputs, BlendReport, blend
from .bundle import bundle
from .card import model_card
from .compare import compare
from .doctor import examine
from .doctor_checks import LEVELS, Finding
from .dry_run import dry_run
from .export import export
from .extract import extract
from .feature_table import FeatureTable, load_features
from .image_features import ImageFeatures
from .label_tasks import export_labels
from .predict import PredictOptions, PredictReport, predict
from .prune import prune
from .regions import FitRegionsOptions, fit_regions
from .train import train
from .upkeep import repair_cache, verify_cache

__all__ = [
    "AuditOptions",
    "AuditOutputs",
    "BlendOptions",
    "BlendOutputs",
    "BlendReport",
    "BlendResult",
    "ClusterOptions",
    "CompareOptions",
    "DetectorOptions",
    "ExtractOptions",
    "ExtractReport",
    "FeatureTable",
    "FitRegionsOptions",
    "Finding",
    "ImageFeatures",
    "LEVELS",
    "PredictOptions",
    "PredictReport",
    "ProgressListener",
    "TrainEvent",
    "TrainOptions",
    "TrainResult",
    "apply_audit",
    "audit",
    "audit_text",
    "blend",
    "bundle",
    "compare",
    "comparison_text",
    "dry_run",
    "examine",
    "export",
    "export_labels",
    "extract",
    "fit_regions",
    "load_features",
    "model_card",
    "predict",
    "prune",
    "repair_cache",
    "result_text",
    "train",
    "verify_cache",
]

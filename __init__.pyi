"""The public names with their types; see ``__init__.py``."""

from .auditing import AuditOptions
from .cache import FeatureCache
from .cli.progress import extract_bar, train_bar
from .ensemble import BlendOptions, CompareOptions
from .features import DetectorOptions, ExtractOptions, ProgressListener
from .heads import TrainOptions
from .jobs.audit import AuditOutputs, audit
from .jobs.blend import BlendOutputs, blend
from .jobs.bundle import bundle
from .jobs.compare import compare
from .jobs.extract import extract
from .jobs.feature_table import load_features
from .jobs.image_features import ImageFeatures
from .jobs.predict import PredictOptions, predict
from .jobs.train import train
from .manifest import read as read_manifest
from .runs import open_run

__all__ = [
    "AuditOptions",
    "AuditOutputs",
    "BlendOptions",
    "BlendOutputs",
    "CompareOptions",
    "DetectorOptions",
    "ExtractOptions",
    "FeatureCache",
    "ImageFeatures",
    "PredictOptions",
    "ProgressListener",
    "TrainOptions",
    "audit",
    "blend",
    "bundle",
    "compare",
    "extract",
    "extract_bar",
    "load_features",
    "open_run",
    "predict",
    "read_manifest",
    "train",
    "train_bar",
]
__version__: str

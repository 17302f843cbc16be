"""Heads: feature matrices and labels in, fitted classifiers and probability files out."""

from ..core.bootstrap import mean_interval
from .base import Head
from .kinds.external import ExternalHead
from .kinds.grouped import GroupedHead
from .kinds.kernel import KernelHead
from .kinds.logistic import LogisticHead
from .kinds.ridge import RidgeHead
from .mlp.classifier import MLPClassifier
from .predict import load_task_head, predict_proba, predict_routes, require_trusted, require_width
from .registry import HEAD_KINDS, load_head, make_head
from .rows import Rows
from .training.options import TrainOptions
from .training.results import TrainEvent, TrainResult
from .training.train import train

__all__ = [
    "ExternalHead",
    "GroupedHead",
    "HEAD_KINDS",
    "Head",
    "KernelHead",
    "LogisticHead",
    "MLPClassifier",
    "RidgeHead",
    "Rows",
    "TrainEvent",
    "TrainOptions",
    "TrainResult",
    "mean_interval",
    "load_head",
    "load_task_head",
    "make_head",
    "predict_proba",
    "predict_routes",
    "require_trusted",
    "require_width",
    "train",
]

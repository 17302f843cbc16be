"""Heads: feature matrices and labels in, fitted classifiers and probability files out."""

from ..core.statistics import bootstrap_interval
from .base import Head
from .kinds.external import ExternalHead
from .kinds.lightgbm import LightGBMHead
from .kinds.logistic import LogisticHead
from .kinds.neighbours import NeighboursHead
from .kinds.ridge import RidgeHead
from .mlp.classifier import MLPClassifier
from .mlp.member import Member, Outcome
from .mlp.stack import fit_stack
from .predict import load_task_head, predict_proba, view_use
from .registry import HEAD_KINDS, load_head, make_head
from .training.options import TrainOptions
from .training.plan import ModelPlan, plan_models
from .training.results import MemberProgress, ModelResult, TaskResult, TrainEvent, TrainResult
from .training.scores import score
from .training.train import train

__all__ = [
    "ExternalHead",
    "HEAD_KINDS",
    "Head",
    "LightGBMHead",
    "LogisticHead",
    "MLPClassifier",
    "Member",
    "MemberProgress",
    "ModelPlan",
    "ModelResult",
    "NeighboursHead",
    "Outcome",
    "RidgeHead",
    "TaskResult",
    "TrainEvent",
    "TrainOptions",
    "TrainResult",
    "bootstrap_interval",
    "fit_stack",
    "load_head",
    "load_task_head",
    "make_head",
    "plan_models",
    "predict_proba",
    "score",
    "train",
    "view_use",
]

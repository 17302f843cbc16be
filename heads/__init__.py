"""Heads: feature matrices and labels in, fitted classifiers and probability files out."""

from ..core.statistics import bootstrap_interval
from ..runs.run import Run, RunTask, load_run
from .base import Head
from .boosting import LightGBMHead
from .external import ExternalHead
from .fusion import BilinearSketch, ScaleSets, SumOfProjections
from .logistic import LogisticHead
from .mlp import MLPClassifier
from .neighbours import NeighboursHead
from .options import TrainOptions
from .plan import ModelPlan, plan_models
from .predict import load_task_head, predict_proba, view_use
from .registry import HEAD_KINDS, load_head, make_head
from .results import MemberProgress, ModelResult, TaskResult, TrainEvent, TrainResult
from .ridge import RidgeHead
from .scores import score
from .stack import Member, Outcome, fit_stack
from .train import train

__all__ = [
    "BilinearSketch",
    "ScaleSets",
    "SumOfProjections",
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
    "Run",
    "RunTask",
    "TaskResult",
    "TrainEvent",
    "TrainOptions",
    "TrainResult",
    "bootstrap_interval",
    "fit_stack",
    "load_head",
    "load_run",
    "load_task_head",
    "make_head",
    "plan_models",
    "predict_proba",
    "score",
    "train",
    "view_use",
]

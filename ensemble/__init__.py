"""Weights for averages of probabilities, with metrics, a proof and a report."""

from __future__ import annotations

from .blend import BlendResult, TaskBlend, TaskWeights, blend_files, blend_run, load_blend
from .join import TaskData, join_task, join_tasks
from .labels import read_labels
from .metrics import METRICS, Metric
from .report import render_report, write_report
from .simplex import Solution, certificate, minimise_log_loss, minimise_log_loss_geometric
from .weights import Blender, combine, find_weights

__all__ = [
    "METRICS",
    "BlendResult",
    "Blender",
    "Metric",
    "Solution",
    "TaskBlend",
    "TaskData",
    "TaskWeights",
    "blend_files",
    "blend_run",
    "certificate",
    "combine",
    "find_weights",
    "join_task",
    "join_tasks",
    "load_blend",
    "minimise_log_loss",
    "minimise_log_loss_geometric",
    "read_labels",
    "render_report",
    "write_report",
]

"""Weights for averages of probabilities, with metrics, a proof and a report."""

from __future__ import annotations

from .blend import blend_files, blend_run
from .estimate import Estimate, estimate
from .joining.foreign import read_tables
from .joining.join import TaskData, join_task, join_tasks
from .joining.labels import read_labels
from .metrics import METRICS, Metric
from .options import ANSWERS, BlendOptions, parse_size
from .report.markdown import render_markdown, write_markdown
from .report.page import render_report, write_report
from .report.plots import write_plots
from .report.text import result_text
from .result import BlendResult, TaskBlend
from .saved import TaskWeights, load_blend
from .submission import FORMATS, final_tables, write_final
from .weighting.averaging import Recipe, combine
from .weighting.blender import Blender, find_weights
from .weighting.calibration import Calibration
from .weighting.choosing import Chooser, Reason
from .weighting.costs import read_costs
from .weighting.groups import parse_groups
from .weighting.simplex import Solution, certificate, minimise_log_loss, minimise_log_loss_geometric
from .weighting.stacking import Stacker
from .weighting.subsets import Choice, Costs, best_subset, pareto_front

__all__ = [
    "ANSWERS",
    "FORMATS",
    "METRICS",
    "BlendOptions",
    "BlendResult",
    "Blender",
    "Calibration",
    "Choice",
    "Chooser",
    "Costs",
    "Estimate",
    "Metric",
    "Reason",
    "Recipe",
    "Solution",
    "Stacker",
    "TaskBlend",
    "TaskData",
    "TaskWeights",
    "best_subset",
    "blend_files",
    "blend_run",
    "certificate",
    "combine",
    "estimate",
    "final_tables",
    "find_weights",
    "join_task",
    "join_tasks",
    "load_blend",
    "minimise_log_loss",
    "minimise_log_loss_geometric",
    "pareto_front",
    "parse_groups",
    "parse_size",
    "read_costs",
    "read_labels",
    "read_tables",
    "render_markdown",
    "render_report",
    "result_text",
    "write_final",
    "write_markdown",
    "write_plots",
    "write_report",
]

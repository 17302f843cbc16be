"""Weights for averages of probabilities, with metrics, a proof and a report."""

from __future__ import annotations

from .averaging import Recipe, combine
from .blend import BlendOptions, blend_files, blend_run
from .costs import parse_size, read_costs
from .estimate import Estimate, estimate
from .groups import parse_groups
from .join import TaskData, join_task, join_tasks
from .labels import read_labels
from .markdown import render_markdown, write_markdown
from .metrics import METRICS, Metric
from .plots import write_plots
from .report import render_report, write_report
from .result import BlendResult, TaskBlend
from .saved import TaskWeights, load_blend
from .simplex import Solution, certificate, minimise_log_loss, minimise_log_loss_geometric
from .sources import read_tables
from .stacking import Stacker
from .submission import final_tables, write_final
from .subsets import Choice, Costs, best_subset, pareto_front
from .temperature import apply_temperatures, find_temperatures
from .weights import Blender, find_weights

__all__ = [
    "METRICS",
    "BlendOptions",
    "BlendResult",
    "Blender",
    "Choice",
    "Costs",
    "Estimate",
    "Metric",
    "Recipe",
    "Solution",
    "Stacker",
    "TaskBlend",
    "TaskData",
    "TaskWeights",
    "apply_temperatures",
    "best_subset",
    "blend_files",
    "blend_run",
    "certificate",
    "combine",
    "estimate",
    "final_tables",
    "find_temperatures",
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
    "write_final",
    "write_markdown",
    "write_plots",
    "write_report",
]

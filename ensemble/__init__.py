"""Weights for averages of probabilities, with metrics, a proof and a report."""

from .answer_sheet import data_folders
from .answers import (
    AnswerOptions,
    Answers,
    WrittenAnswers,
    class_shares,
    final_answers,
    require_sheet_fits,
    wanted_rows,
    write_answers,
)
from .blend import blend_sources, save_blend
from .comparison.compare import CompareOptions, Comparison, compare_runs
from .comparison.page import render_comparison
from .comparison.text import (
    comparison_csv,
    comparison_latex,
    comparison_markdown,
    comparison_text,
)
from .estimate import estimate
from .joining.foreign import read_tables
from .joining.join import TaskData, join_task, join_tasks
from .joining.labels import read_labels
from .metrics import METRICS
from .options import ANSWERS, BlendOptions, parse_size, require_answer
from .report.groups import groups_view
from .report.markdown import render_markdown, write_markdown
from .report.page import write_report
from .report.text import result_text
from .result import BlendResult
from .saved import TaskWeights, load_saved
from .submission import FORMATS, TaskAnswers, require_form_fits
from .weighting.averaging import combine
from .weighting.blender import Blender, find_weights
from .weighting.calibration import Calibration
from .weighting.costs import read_costs
from .weighting.groups import parse_groups
from .weighting.recommendation import Chooser
from .weighting.simplex import certificate
from .weighting.stacking import Stacker
from .weighting.subsets import Costs, pareto_front

__all__ = [
    "ANSWERS",
    "FORMATS",
    "METRICS",
    "AnswerOptions",
    "Answers",
    "BlendOptions",
    "BlendResult",
    "Blender",
    "Calibration",
    "Chooser",
    "CompareOptions",
    "Comparison",
    "Costs",
    "Stacker",
    "TaskAnswers",
    "TaskData",
    "TaskWeights",
    "WrittenAnswers",
    "blend_sources",
    "certificate",
    "class_shares",
    "combine",
    "data_folders",
    "compare_runs",
    "comparison_csv",
    "comparison_latex",
    "comparison_markdown",
    "comparison_text",
    "estimate",
    "final_answers",
    "find_weights",
    "groups_view",
    "join_task",
    "join_tasks",
    "load_saved",
    "pareto_front",
    "parse_groups",
    "parse_size",
    "read_costs",
    "read_labels",
    "read_tables",
    "render_comparison",
    "render_markdown",
    "require_answer",
    "require_form_fits",
    "require_sheet_fits",
    "result_text",
    "save_blend",
    "wanted_rows",
    "write_answers",
    "write_markdown",
    "write_report",
]

"""Run folders and probability files: one reader and one writer each."""

from .csv_columns import ID_COLUMNS
from .decisions import holds_decisions
from .probabilities import LARGEST_FILE, read_probabilities, write_probabilities
from .run import RUN_FORMAT, Run, open_run, write_run
from .run_json import RunTask, file_digests, require_backbones
from .table import (
    MENDINGS,
    ProbabilityTable,
    class_column,
    column_class,
    mended,
    sum_tolerance,
)

__all__ = [
    "ID_COLUMNS",
    "LARGEST_FILE",
    "MENDINGS",
    "RUN_FORMAT",
    "ProbabilityTable",
    "Run",
    "RunTask",
    "class_column",
    "column_class",
    "file_digests",
    "holds_decisions",
    "mended",
    "open_run",
    "read_probabilities",
    "require_backbones",
    "sum_tolerance",
    "write_probabilities",
    "write_run",
]

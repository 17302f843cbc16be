"""Run folders and probability files: one reader and one writer each."""

from .probabilities import (
    LARGEST_FILE,
    ProbabilityTable,
    read_probabilities,
    write_probabilities,
)
from .run import Run, RunTask, load_run, read_run, run_tables

__all__ = [
    "LARGEST_FILE",
    "ProbabilityTable",
    "Run",
    "RunTask",
    "load_run",
    "read_probabilities",
    "read_run",
    "run_tables",
    "write_probabilities",
]

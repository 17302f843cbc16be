"""The command line: options in, one call into a job, its answer printed."""

from .main import cli, main

__all__ = ["cli", "main"]

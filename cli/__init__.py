"""The command line: options in, one call into a job, its answer printed."""

from .interrupts import ends_quietly as _ends_quietly

# Loading takes the first half second of a command, and nothing is to be kept of it yet.
with _ends_quietly():
    from .main import cli, main

__all__ = ["cli", "main"]

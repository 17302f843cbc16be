"""What the command line shows: progress, tables and one-line errors."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table

__all__ = [
    "errors",
    "failures_text",
    "finish",
    "print_json",
    "print_table",
    "random_weights_warning",
]

EXIT_UNREADABLE = 3

errors = Console(stderr=True, highlight=False)


def print_json(content: object) -> None:
    """Print `content` as JSON on standard output."""
    click.echo(json.dumps(content, indent=1, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Print a table on standard output; columns of numbers are set to the right."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(_is_number(row[index]) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    # As wide as the content when it goes into a file or a pipe.
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=200)
    console.print(table)


def failures_text(failures: Sequence) -> str:
    """List unreadable images with their reasons."""
    lines = [f"{len(failures)} images could not be used:"]
    return "\n".join([*lines, *(f"  {failure.id}: {failure.reason}" for failure in failures)])


def random_weights_warning(what: str) -> None:
    """Say loudly that results mean nothing."""
    errors.print(
        f"warning: {what} come from RANDOM weights: the network knows nothing", style="bold red"
    )


def finish(failures: Sequence, quiet_list: bool) -> None:
    """List images that could not be used, and end with the status that says so."""
    if failures:
        if not quiet_list:
            click.echo(failures_text(failures), err=True)
        sys.exit(EXIT_UNREADABLE)


def _is_number(value: object) -> bool:
    """Tell numbers, also those already written out with a unit: ``25.6 M``."""
    return (
        isinstance(value, int | float) or re.fullmatch(r"[\d.e+-]+ ?[MGs]?", str(value)) is not None
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return str(value)

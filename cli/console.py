"""What the command line shows: progress, tables and one-line errors."""

import functools
import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

import click

from ..core.errors import counted, escaped
from ..core.text import in_blocks
from ..manifest import passed_over_text

EXIT_UNREADABLE = 3
# Longer lines are hard to read, however wide the terminal.
_WIDEST = 100
# Longer words in a table may be folded, but not into shorter pieces.
_LEAST_FOLDED = 10


@functools.cache
def terminal():
    """Return rich's console on standard error."""
    from rich.console import Console  # It takes a tenth of a second to load, for those who watch.

    return Console(stderr=True, highlight=False)


def is_watched() -> bool:
    """Tell whether somebody sees standard error as it comes: on a terminal or in a notebook."""
    if not (sys.stderr.isatty() or "IPython" in sys.modules):
        return False
    return terminal().is_terminal or terminal().is_jupyter


def echo(text: object = "", err: bool = False) -> None:
    """Print a line or several; what a terminal would obey, in a stranger's name, is escaped."""
    click.echo(fitted(escaped(str(text), keep="\n\t"), err), err=err)


def fitted(text: str, err: bool = False) -> str:
    """Break long sentences for a terminal; leave tables, and what goes to a pipe, as they are."""
    if not (sys.stderr if err else sys.stdout).isatty():
        return text
    return "\n".join(
        line if "  " in line.strip() else _filled(line, _margin(line) + "  ")
        for line in text.split("\n")
    )


def table_width() -> int:
    """Return how wide tables on standard output may be: as the terminal; 0, any, in a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def json_text(content: object) -> str:
    """Write JSON; what a terminal would obey is escaped as JSON does it."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    if text.replace("\n", "").isprintable():
        return text
    return json.dumps(content, indent=1)


def print_json(content: object) -> None:
    """Print `content` as JSON on standard output."""
    click.echo(json_text(content))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], keys: int | None = None
) -> None:
    """Print a table on standard output; columns of numbers are set to the right.

    Where a terminal is too narrow, cells are folded, or its columns, but for the first `keys`,
    stand below one another; where it is too narrow for words, each row becomes a paragraph.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [
        bool(rows) and all(_is_number(row[index]) for row in rows) for index in range(len(columns))
    ]
    if keys or not sys.stdout.isatty():
        # A row a line, however long: what goes to a pipe is for grep, and is never cut.
        right = {index for index, is_numeric in enumerate(numeric) if is_numeric}
        echo("\n".join(in_blocks([columns, *cells], right, keys or 1, table_width())))
        return
    least = [
        max(_longest_word([name]), min(_longest_word(column), _LEAST_FOLDED))
        for name, column in zip(columns, zip(*cells) if cells else [()] * len(columns))
    ]
    if sum(least) + 2 * (len(least) - 1) > shutil.get_terminal_size().columns:
        for row in cells:
            pairs = zip(columns, row)
            echo("\n".join(wrap(f"{name}: {cell}", "  ") for name, cell in pairs) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column, right, width in zip(columns, numeric, least):
        table.add_column(
            column, justify="right" if right else "left", min_width=width, overflow="fold"
        )
    for row in cells:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def failures_text(failures: Sequence) -> str:
    """List unreadable images with their reasons."""
    lines = [f"{counted(len(failures), 'image')} could not be used:"]
    named = (f"  {escaped(failure.id)}: {escaped(failure.reason)}" for failure in failures)
    return "\n".join([*lines, *named])


def print_notes(manifest) -> None:
    """Say on standard error what of the data was passed over, and what looks wrong with it."""
    if passed := passed_over_text(manifest.passed_over):
        echo(f"note: {passed}", err=True)
    for note in manifest.notes():
        echo(f"warning: {escaped(note)}", err=True)


def print_repaired(lines: Sequence[str], then: str) -> None:
    """Say on standard error what was put right in a cache, and what becomes of what was lost."""
    if lines:
        echo(f"the cache was damaged; {then}:", err=True)
    for line in lines:
        echo(f"  {line}", err=True)


def random_weights_warning(source: str) -> None:
    """Say loudly that results mean nothing."""
    warn(f"{source} come from RANDOM weights: the network has learnt nothing")


def warn(text: str) -> None:
    """Say loudly, on standard error, what must not be overlooked."""
    click.secho(fitted(f"warning: {escaped(text)}", err=True), err=True, fg="red", bold=True)


def wrap(text: str, indent: str = "") -> str:
    """Fit `text` to a terminal, lines after the first indented; leave it whole in a pipe."""
    return _filled(text, indent) if sys.stdout.isatty() else text


def _margin(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _filled(text: str, indent: str) -> str:
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    return textwrap.fill(
        text.lstrip(),
        max(width, len(indent) + 10),
        initial_indent=_margin(text),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def finish(failures: Sequence, quiet_list: bool) -> None:
    """List images that could not be used, and end with the status that says so."""
    if failures:
        if not quiet_list:
            echo(failures_text(failures), err=True)
        sys.exit(EXIT_UNREADABLE)


def _longest_word(texts: Iterable[str]) -> int:
    return max((len(word) for text in texts for word in text.split()), default=0)


def _is_number(value: object) -> bool:
    """Tell numbers, also those already written out with a unit: ``25.6 M``."""
    return (
        isinstance(value, int | float) or re.fullmatch(r"[\d.e+-]+ ?[MGs]?", str(value)) is not None
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return escaped(str(value))

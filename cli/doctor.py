"""The command ``icecore doctor``."""

import dataclasses
import sys

import click

from ..core.errors import escaped
from . import console, progress
from .options import A_PATH, as_json

_COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}
_MARGIN = " " * 9


@click.command()
@click.option(
    "--cache",
    type=A_PATH,
    help="Also check this feature cache, or the place where one is to be made.",
)
@as_json
def doctor(cache, as_json) -> None:
    """Check everything that the jobs need, and say how to fix what is wrong.

    Every engine that is installed runs a small network. The exit status is 1 if there is a
    problem: something that is installed does not work. A note concerns some uses only.

    \b
    Examples:
      icecore doctor
      icecore doctor --cache cache --json
    """
    from ..jobs import LEVELS, examine

    with progress.spinner("looking at {}", quiet=as_json) as tell:
        findings = examine(cache, on_progress=tell)
    counts = {level: sum(one.level == level for one in findings) for level in LEVELS}
    if as_json:
        listed = [dataclasses.asdict(one) for one in findings]
        console.print_json({"ok": not counts["problem"], "counts": counts, "findings": listed})
    else:
        for one in findings:
            _print_finding(one)
        notes, problems = (
            f"{counts[name]} {name}" + "s" * (counts[name] != 1) for name in ("note", "problem")
        )
        console.echo(f"{counts['ok']} ok, {notes}, {problems}")
    if counts["problem"]:
        sys.exit(1)


def _print_finding(one) -> None:
    level, rest = f"{one.level:<{len(_MARGIN)}}", _MARGIN + "  "
    text = escaped(console.wrap(f"{level}{one.area}: {one.text}", rest), keep="\n")
    # Colours are put on what is escaped already; click leaves them away where no terminal is.
    click.echo(click.style(one.level, fg=_COLOURS[one.level]) + text[len(one.level) :])
    if one.fix:
        fix = escaped(console.wrap(f"{_MARGIN}fix: {one.fix}", rest), keep="\n")
        click.echo(_MARGIN + click.style(fix.removeprefix(_MARGIN), bold=True))

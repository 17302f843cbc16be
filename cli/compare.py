"""The command ``icecore compare``."""

import click

from . import console, progress
from .idle import refuse_idle
from .options import A_PATH, SEED, as_json, quiet


@click.command()
@click.argument("sources", nargs=-1, required=True, type=A_PATH)
@click.option(
    "-o",
    "--out",
    "outs",
    multiple=True,
    type=A_PATH,
    help="Write a page, a table or both: FILE.html, .csv, .md, .tex, .json. May be repeated.",
)
@click.option(
    "--labels",
    type=A_PATH,
    help="Judge by these labels: of probability files, or corrected ones in place of the runs'.",
)
@click.option(
    "--metric",
    default="accuracy",
    help="Test differences of this metric: accuracy, log_loss, map, mrr and others.",
)
@click.option(
    "--cost",
    type=click.Choice(["multiply_adds", "latency_ms", "size_bytes", "parameters", "dimension"]),
    help="Mark the Pareto-best of this cost [default: the first that is known of all models].",
)
@click.option("--align", is_flag=True, help="Compare the rows that all models have.")
@click.option("--seed", default=0, type=SEED, help="Seed for bootstrap draws.")
@as_json
@quiet
def compare(sources, outs, labels, as_json, quiet, **given) -> None:
    """Compare networks and heads: what each is worth, what it costs, what is noise.

    SOURCES are folders of runs of the same data; probability files may be among them.

    \b
    Examples:
      icecore compare run
      icecore compare run1 run2 -o compare.html -o table.tex
      icecore compare a.csv b.csv --labels labels.csv --metric log_loss
      icecore compare before after --labels corrected.csv
    """
    from .. import jobs

    if len(sources) == 1:
        refuse_idle({"--align": "needs several SOURCES"})
    given["cost"] = given["cost"] or ""
    with progress.spinner("comparing", as_json or quiet):
        found = jobs.compare(sources, labels, jobs.CompareOptions(**given), outs)
    if as_json:
        console.print_json(found.to_json())
        return
    if found.random_weights:
        console.random_weights_warning("features of these runs")
    console.echo(jobs.comparison_text(found, console.table_width()))
    for out in outs:
        console.echo(f"{out.suffix.lstrip('.')}: {out}")

"""The command ``icecore blend``."""

from __future__ import annotations

from pathlib import Path

import click

from . import console
from .options import answer_option, as_json, excel_option

__all__ = ["blend"]

_OUTPUTS = ("out", "form", "answer", "report", "markdown", "plots", "excel")


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Write the final probabilities of the test rows to this file; FILE.json gets the answers.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "npz", "h5", "parquet", "kaggle", "fashionai"]),
    help="Write them in this format [default: the one that the ending of --out names].",
)
@answer_option
@excel_option
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Take the labels for probability files from a CSV with id,label, or from a data set.",
)
@click.option(
    "--metric",
    default="log_loss",
    show_default=True,
    help="Tune for this metric: log_loss, accuracy, map, mrr, basic_precision and others.",
)
@click.option(
    "--mean",
    type=click.Choice(["arithmetic", "geometric"]),
    default="arithmetic",
    show_default=True,
    help="Average probabilities, or their logarithms.",
)
@click.option(
    "--l2",
    type=float,
    default=0.0,
    show_default=True,
    help="Penalise the squared distance of the weights from equal ones by this factor.",
)
@click.option(
    "--upper",
    type=float,
    default=1.0,
    show_default=True,
    help="Give no model a larger weight than this.",
)
@click.option(
    "--calibrate/--no-calibrate",
    default=True,
    show_default=True,
    help="Calibrate the recommended answer, where that helps.",
)
@click.option(
    "--groups",
    default="",
    metavar="A,B;C|each",
    help="Give these groups of classes weights of their own.",
)
@click.option("--share", is_flag=True, help="Tune one set of weights for all tasks.")
@click.option("--max-models", type=int, help="Use at most this many models.")
@click.option(
    "--max-size", metavar="SIZE", help="Use backbones of at most this size in all, as 600MB."
)
@click.option(
    "--max-latency",
    type=float,
    metavar="MS",
    help="Use models that take at most this many milliseconds for an image in all.",
)
@click.option(
    "--costs",
    type=click.Path(path_type=Path),
    help="Take the sizes and latencies that runs do not have from this JSON table.",
)
@click.option(
    "--stacking",
    multiple=True,
    type=click.Choice(["logistic", "lightgbm"]),
    help="Also train a model of this kind on all probabilities, and compare it with the averages.",
)
@click.option(
    "--mend",
    type=click.Choice(["refuse", "renormalise", "softmax"]),
    default="refuse",
    show_default=True,
    help="Refuse, renormalise or softmax rows of files that are not probabilities.",
)
@click.option("--align", is_flag=True, help="Use only the rows and classes that all files have.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed for folds, searches and draws."
)
@click.option("--report", type=click.Path(path_type=Path), help="Write the report as HTML.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the report as Markdown.")
@click.option(
    "--plots", type=click.Path(path_type=Path), help="Write the plots as PNG into this folder."
)
@as_json
def blend(sources, labels, as_json, **given) -> None:
    """Tune the weights of an average of probabilities, and recommend an answer.

    SOURCES is the folder of a run, or probability files (CSV with id,<class>,...; NPZ; HDF5;
    Parquet) from anywhere with their --labels.

    \b
    Examples:
      icecore blend run
      icecore blend run --metric map --json
      icecore blend run -o submission.csv --format kaggle
      icecore blend a.csv b.csv c.npz --labels labels.csv --report report.html
    """
    from .. import jobs

    outputs = jobs.BlendOutputs(**{name: given.pop(name) for name in _OUTPUTS})
    result, report = jobs.blend(sources, labels, jobs.BlendOptions(**given), outputs)
    if as_json:
        console.print_json(result.to_json())
        return
    console.echo(jobs.result_text(result))
    if report is not None:
        console.echo(f"report: {report}")

"""The command ``icecore blend``."""

import click

from . import console, progress
from .help_groups import grouped
from .idle import beside, refuse_idle
from .options import A_PATH, SEED, as_json, quiet, written_options

_OUTPUTS = ("out", "answer", "save", "report", "markdown")
_OUTPUTS += ("form", "sample", "incomplete", "excel")

_GROUPS = {
    "The answer": "--answer --format --sample --incomplete --excel --save",
    "Files from elsewhere": "--labels --mend --align",
    "Weights": "--metric --mean --l2 --upper --calibrate --groups --share --stacking --seed",
    "Budget": "--backbones-max --max-size --max-latency --costs",
    "Reports": "--report --markdown --details",
}


@click.command(cls=grouped(_GROUPS))
@click.argument("sources", nargs=-1, required=True, type=A_PATH)
@click.option(
    "-o",
    "--out",
    type=A_PATH,
    help="Write the final probabilities of the test rows to this file; FILE.json gets weights and "
    "scores instead.",
)
@click.option(
    "--answer",
    type=click.Choice(["recommended", "clean", "given", "tuned", "average"]),
    default="recommended",
    help="Write this answer, and save it as the one that predict takes: what is recommended; the "
    "same for images whose labels will be right (clean), or wrong as often as those learnt from "
    "(given); the tuned weights; or the plain average.",
)
@written_options
@click.option(
    "--save/--no-save",
    default=None,
    help="Keep blend.json and report.html in the first run, for predict and bundle [default: save, "
    "unless there is --json without -o].",
)
@click.option(
    "--labels",
    type=A_PATH,
    help="Take the labels for probability files from a CSV with id,label, or from a data set.",
)
@click.option(
    "--metric",
    default="log_loss",
    help="Tune for this metric: log_loss, accuracy, map, micro_map, mrr, balanced_accuracy, "
    "macro_f1, brier, ece, top_5, fashionai_ap or basic_precision.",
)
@click.option(
    "--mean",
    type=click.Choice(["arithmetic", "geometric"]),
    default="arithmetic",
    help="Average probabilities, or their logarithms.",
)
@click.option(
    "--l2",
    default=0.0,
    help="Penalise the squared distance of the weights from equal ones by this factor.",
)
@click.option("--upper", default=1.0, help="Give no model a larger weight than this.")
@click.option(
    "--calibrate/--no-calibrate",
    default=True,
    help="Calibrate the recommended answer, where that helps.",
)
@click.option(
    "--groups",
    default="",
    show_default=False,
    metavar="A,B;C|each",
    help="Give these groups of classes weights of their own.",
)
@click.option("--share", is_flag=True, help="Tune one set of weights for all tasks.")
@click.option(
    "--backbones-max",
    type=click.IntRange(max=10**6),
    metavar="N",
    help="Use at most this many networks, over all tasks together.",
)
@click.option(
    "--max-size",
    metavar="SIZE",
    help="Use networks of at most this size in all, over all tasks together, as 600MB.",
)
@click.option(
    "--max-latency",
    type=float,
    metavar="MS",
    help="Use networks that take at most this many milliseconds for an image in all.",
)
@click.option(
    "--costs",
    type=A_PATH,
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
    help="Refuse, renormalise or softmax rows of files that are not probabilities.",
)
@click.option("--align", is_flag=True, help="Use only the rows and classes that all files have.")
@click.option("--seed", default=0, type=SEED, help="Seed for folds, searches and draws.")
@click.option("--report", type=A_PATH, help="Write the report as HTML.")
@click.option("--markdown", type=A_PATH, help="Write the report as Markdown.")
@click.option(
    "--details",
    is_flag=True,
    help="Also print every answer's intervals, what each number has seen, and the certificate.",
)
@as_json
@quiet
def blend(sources, labels, as_json, quiet, details, **given) -> None:
    """Tune the weights of an average of probabilities, and recommend an answer.

    SOURCES are folders of runs, and probability files (CSV with id,<class>,...; NPZ; HDF5;
    Parquet; submissions) from anywhere; rows are joined by id. Files alone need --labels.

    \b
    Examples:
      icecore blend run
      icecore blend run --metric map --json
      icecore blend run -o submission.csv
      icecore blend run-whole run-cut other.csv --backbones-max 2 --max-size 600MB
      icecore blend a.csv b.csv c.npz --labels labels.csv --report report.html
    """
    from .. import jobs

    refuse_idle(
        ({} if len(sources) > 1 else {"--align": "needs several SOURCES"})
        | ({"--mend": "needs a probability file"} if all(p.is_dir() for p in sources) else {})
        | (beside("--json", ["--details"]) if as_json else {})
    )
    outputs = {name: given.pop(name) for name in _OUTPUTS}
    if outputs["save"] is None:
        outputs["save"] = not as_json or outputs["out"] is not None
    options = jobs.BlendOptions(**given)
    with progress.spinner("tuning weights, and estimating what they are worth", as_json or quiet):
        report = jobs.blend(sources, labels, options, jobs.BlendOutputs(**outputs))
    if report.written is not None and report.written.warning:
        console.warn(report.written.warning)
    if as_json:
        files = [str(path) for path in report.files]
        console.print_json({**report.result.to_json(), "files": files})
        return
    console.echo(jobs.result_text(report.result, details, console.table_width()))
    if len(report.result.runs) > 1 and outputs["save"]:
        first, *others = map(str, report.result.runs.values())
        console.echo(f"\npredict and bundle with {first} go through {', '.join(others)} too")
    if report.written is not None:
        console.echo(f"{report.written.path}: {report.written.text}")
    if report.files:
        console.echo(f"written: {', '.join(map(str, report.files))}")

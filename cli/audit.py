"""The command ``icecore audit``."""

import click

from ..core.errors import counted
from . import console
from .idle import beside, refuse_idle
from .options import A_PATH, DATA, SEED, as_json, quiet

_NOT_WITH_APPLY = (
    "SOURCE --new --features --report --decisions --similarity --agreement --pictures --seed"
).split()


@click.command()
@click.argument("source", required=False, type=DATA)
@click.option(
    "--data",
    type=DATA,
    help="Audit these images and labels [default: those of the run, or of the cache].",
)
@click.option(
    "--new",
    type=DATA,
    help="Compare these images, which have features in the cache, with those of DATA.",
)
@click.option(
    "--features",
    multiple=True,
    metavar="SPEC",
    help="Use this feature set of the cache. The option may be repeated [default: all].",
)
@click.option(
    "--report",
    type=A_PATH,
    help="Write the HTML page here [default: RUN/audit.html; none for a cache].",
)
@click.option(
    "--decisions",
    type=A_PATH,
    help="Write the table to act on here [default: RUN/audit.csv; none for a cache].",
)
@click.option(
    "--apply",
    "applied",
    type=A_PATH,
    help="Make a new table of DATA by the actions in this table of decisions, and end.",
)
@click.option("-o", "--out", type=A_PATH, help="Write the table that --apply makes here.")
@click.option(
    "--similarity",
    default=0.5,
    help="Compare the pixels of pairs of images from this cosine of their features on.",
)
@click.option(
    "--agreement",
    default=0.65,
    help="Take two images for one photograph from this correlation of fine structure on.",
)
@click.option(
    "--pictures",
    default=4000,
    help="Open at most this many files to learn of brightness, size and the like.",
)
@click.option("--seed", default=0, type=SEED, help="Seed for folds, samples and draws.")
@quiet
@as_json
def audit(source, data, new, report, decisions, applied, out, quiet, as_json, **given) -> None:
    """Find what is wrong with the data: leaks, wrong labels, shortcuts, drift.

    SOURCE is the folder of a run, or a cache. Nothing of the data is changed: --apply makes
    a new table from the table of decisions, whose column `action` you have filled in.

    \b
    Examples:
      icecore audit run
      icecore audit cache --data photos --report audit.html --decisions audit.csv
      icecore audit --data photos --apply audit.csv -o clean.csv
    """
    from .. import jobs
    from ..cache import pulled

    if applied is not None:
        refuse_idle(beside("--apply", _NOT_WITH_APPLY))
        _apply(data, applied, out, as_json)
        return
    if source is None:
        raise click.UsageError("give a run or a cache, or a table of decisions with --apply")
    if out is not None:
        raise click.UsageError(
            "-o is for the table that --apply writes; --report names the page, --decisions the CSV"
        )
    source = pulled(source)
    run = (source / "run.json").is_file() and not as_json
    outputs = jobs.AuditOutputs(
        report or (source / "audit.html" if run else None),
        decisions or (source / "audit.csv" if run else None),
    )
    progress = None if quiet or as_json else _progress()
    found = jobs.audit(source, data, new, jobs.AuditOptions(**given), outputs, progress)
    if as_json:
        console.print_json(found.to_json())
        return
    console.echo(jobs.audit_text(found))
    for title, path in (("report", outputs.report), ("decisions", outputs.decisions)):
        if path is not None:
            console.echo(f"{title}: {path}")
    if outputs.decisions is not None:
        console.echo(
            f"next: fill in its column action, then icecore audit --data DATA --apply "
            f"{outputs.decisions} -o TABLE.csv"
        )


def _apply(data, applied, out, as_json: bool) -> None:
    from .. import jobs

    if data is None or out is None:
        raise click.UsageError("--apply needs --data and -o")
    counts = jobs.apply_audit(data, applied, out)
    if as_json:
        console.print_json(counts)
        return
    console.echo(
        f"{counted(counts['rows'], 'row')}; {counts['dropped']} dropped, {counts['relabelled']} "
        f"relabelled, {counts['moved']} moved to another split"
    )
    console.echo(f"table: {out}")
    if counts["relabelled"] or counts["doubted"]:
        console.warn(
            "where models said which labels to change or to leave out, scores on the others "
            "flatter: compare runs on test rows that were left as they were"
        )


def _progress():
    def show(done: int, total: int) -> None:
        if console.is_watched() and (done == total or done % 50 == 0):
            click.echo(f"\rpictures {done}/{total}" + ("\n" if done == total else ""), err=True,
                       nl=False)  # fmt: skip

    return show

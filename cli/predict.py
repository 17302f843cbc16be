"""`icecore predict`."""

import contextlib
import dataclasses

import click

from ..core.errors import counted
from ..core.interrupts import keeps_finished
from . import console, progress
from .help_groups import grouped
from .idle import beside, refuse_idle
from .options import (
    A_PATH,
    DATA,
    answer_option,
    as_json,
    box_options,
    engine_options,
    quiet,
    table_options,
    take_data,
    take_detector,
    written_options,
)

_GROUPS = {
    "The answer": "--answer --format --sample --incomplete --excel",
    "Boxes": "--boxes --whole --detector --detect-class --detect-box --detect-threshold",
    "Tables": "--path-column --label-column --skip-bad-rows",
    "How it is computed": "--engine --device --precision-compute --accept-error --batch-size "
    "--workers --weights-dir --cache",
}


@click.command(cls=grouped(_GROUPS))
@click.argument("run", type=A_PATH)
@click.argument("images", type=DATA)
@click.option("-o", "--out", required=True, type=A_PATH, help="Write the answers to this file.")
@click.option("--cache", type=A_PATH, help="Keep the new features in this cache.")
@click.option(
    "--precision-compute",
    type=click.Choice(["trained", "f32", "tf32", "bf16", "fp16", "auto"]),
    default="trained",
    help="Compute in this precision; trained is that of the features the heads were trained on.",
)
@written_options
@box_options
@table_options
@click.option(
    "--whole", is_flag=True, help="Predict whole images, also with a run that was trained on boxes."
)
@answer_option
@engine_options
@as_json
@quiet
def predict(run, images, out, as_json, quiet, **options) -> None:
    """Predict IMAGES with the backbones, heads and weights of RUN.

    Where the blend of RUN joins several runs, all of them are gone through. IMAGES may be a
    contest's folder: its question.csv or sample_submission.csv says what the file looks like.

    \b
    Examples:
      icecore predict run new-photos -o answers.csv
      icecore predict run rank -o submission.csv
      icecore predict run photo.jpg -o answer.csv --weights-dir models
    """
    from .. import jobs

    if options["boxes"] is not None:
        refuse_idle(beside("--boxes", ["--whole"]))
    images = take_data(images, options)
    options["detector"] = take_detector(options)
    # Without a cache the rows lie in a folder that goes with the command.
    kept = keeps_finished() if options["cache"] else contextlib.nullcontext()
    with kept, progress.extract_bar(quiet or as_json) as listener:
        report = jobs.predict(run, images, out, jobs.PredictOptions(**options), listener)
    console.print_notes(report.manifest)
    console.print_repaired(report.repaired, "other rows that were lost want an extract")
    if report.random_weights:
        console.random_weights_warning("these answers")
    if report.written.warning:
        console.warn(report.written.warning)
    if as_json:
        fields = {f.name: getattr(report, f.name) for f in dataclasses.fields(report)}
        fields["failures"] = [dataclasses.asdict(failure) for failure in report.failures]
        del fields["manifest"]
        fields["written"] = dataclasses.asdict(report.written) | {
            "path": str(out),
            "sheet": report.written.sheet and str(report.written.sheet),
        }
        console.print_json(fields)
    else:
        how = "; ".join(f"{task}: {answer}" for task, answer in report.answers.items())
        if len(report.answers) == 1:
            how = f"answered by {next(iter(report.answers.values()))}"
        boxed = f" ({report.boxed} cut to their boxes)" if report.boxed else ""
        console.echo(f"{counted(report.images, 'image')}{boxed}, {how}; {report.written.text}")
        for note in report.notes:
            console.echo(f"note: {note}")
        console.echo(f"written: {out}")
    console.finish(report.failures, quiet_list=as_json)

"""The command line: arguments in, one call into a job, its answer printed.

Exit status: 0 all done; 1 an error, said in one line with what to do; 2 wrong
usage; 3 done, but some images could not be read; 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click

from . import __version__, console
from .cli_backbones import backbones
from .cli_blend import blend
from .cli_cache import cache
from .cli_doctor import doctor
from .cli_options import answer_option, as_json, box_options, engine_options, quiet, take_detector
from .cli_train import train
from .cli_weights import weights
from .core.errors import IcecoreError

__all__ = ["cli", "main"]

EXIT_UNREADABLE = 3
_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="icecore")
def cli() -> None:
    """Frozen image features once, heads in seconds, blended with tuned weights.

    \b
    The three jobs:
      icecore extract photos -o cache -b onnx:efficientnet_lite0.onnx
      icecore train cache --data photos -o run
      icecore blend run
    """


for _command in (train, blend, cache, weights, doctor, backbones):
    cli.add_command(_command)


@cli.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    "cache",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the cache; made if it is not there.",
)
@click.option(
    "-b",
    "--backbone",
    "backbones",
    multiple=True,
    required=True,
    metavar="SPEC",
    help="gluon:NAME[@RESOLUTION], mxnet:NAME, onnx:FILE or gluon-file:PREFIX; give it once for "
    "each backbone.",
)
@click.option(
    "--fit",
    type=click.Choice(["crop", "pad", "squash"]),
    default="crop",
    show_default=True,
    help="How an image meets a square input.",
)
@click.option(
    "--layer",
    metavar="NAME",
    help="Layer to take features from [default: the classifier's input]; "
    "icecore backbones --layers SPEC lists them.",
)
@click.option(
    "--pool",
    type=click.Choice(["avg", "max", "avgmax", "gem"]),
    default="avg",
    show_default=True,
    help="How height and width are pooled.",
)
@click.option(
    "--views",
    default="center",
    show_default=True,
    metavar="center|flip|ten|eighteen|random:K",
    help="Squares of each image; flip+random:8 joins two kinds.",
)
@click.option(
    "--resize-margin",
    type=float,
    metavar="SHARE",
    help="By how much of the crop's side the resized short side exceeds it "
    "[default: 0.143 for ten and eighteen, else the backbone's own].",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of random views.")
@box_options
@click.option(
    "--precision",
    type=click.Choice(["float16", "float32", "bfloat16"]),
    default="float16",
    show_default=True,
    help="Of the stored features.",
)
@click.option(
    "--precision-compute",
    type=click.Choice(["f32", "bf16", "fp16", "auto"]),
    default="f32",
    show_default=True,
    help="In which the engine computes; auto takes the fastest on this hardware.",
)
@click.option(
    "--weights",
    default="pretrained",
    show_default=True,
    metavar="pretrained|random:SEED",
    help="Random weights know nothing; they are for trials.",
)
@click.option("--paranoid", is_flag=True, help="Digest every file again, even if unchanged.")
@engine_options
@as_json
@quiet
def extract(data, cache, backbones, as_json, quiet, **options) -> None:
    """Turn the images of DATA into feature rows in a cache.

    DATA is a folder of class folders (with train/, validation/ and test/ above them, if you
    like), a CSV with path,label[,split], a FashionAI root or a Kaggle folder. Only what the
    cache lacks is computed, so an interrupted run goes on where it was.

    \b
    Examples:
      icecore extract photos -o cache -b onnx:models/efficientnet_lite0.onnx
      icecore extract photos -o cache -b gluon:resnet152_v2 -b gluon:inceptionv3 \\
          -b gluon:densenet201 --weights-dir ~/weights
      icecore extract table.csv -o cache -b gluon:efficientnet_lite0 --fit pad
      icecore extract photos -o cache -b gluon:resnet152_v2 --views ten
      icecore extract photos -o cache -b gluon:resnet50_v2 --layer stage3_activation11 --pool gem
      icecore extract photos -o cache -b gluon:resnet152_v2 --views center+random:8 --seed 1
      icecore extract photos -o cache -b gluon:resnet152_v2 --boxes boxes.csv \\
          --detector gluoncv:ssd_512_resnet50_v1_coco --detect-class person
    """
    from . import jobs

    with console.extract_bar(quiet or as_json) as callbacks:
        report = jobs.extract(
            data, cache, backbones, detector=take_detector(options), **options, **callbacks
        )
    if as_json:
        fields = {f.name: getattr(report, f.name) for f in dataclasses.fields(report)}
        fields["failures"] = [dataclasses.asdict(failure) for failure in report.failures]
        del fields["manifest"]
        console.print_json(fields)
    else:
        _print_extracted(report, cache)
    _finish(report.failures, quiet_list=as_json)


@cli.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write the table as CSV.")
@as_json
def manifest(data, out, as_json) -> None:
    """Show what icecore makes of DATA, as one table of samples.

    \b
    Examples:
      icecore manifest photos
      icecore manifest fashionai -o table.csv
    """
    from .manifest.layouts import read

    table = read(data)
    if out is not None:
        table.write(out)
    summary = table.summary()
    if as_json:
        console.print_json(summary)
        return
    columns = ("task", "split", "images", "labelled", "classes")
    console.print_table(columns, [[row[name] for name in columns] for row in summary])
    if out is not None:
        click.echo(f"table: {out}")


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="CSV of answers.")
@click.option(
    "--cache", type=click.Path(path_type=Path), help="Keep the new features in this cache."
)
@click.option(
    "--precision-compute",
    type=click.Choice(["trained", "f32", "bf16", "fp16", "auto"]),
    default="trained",
    show_default=True,
    help="In which the engine computes; trained: as the features that the heads know.",
)
@box_options
@answer_option
@engine_options
@as_json
@quiet
def predict(run, images, out, as_json, quiet, **options) -> None:
    """Predict IMAGES with the backbones, heads and weights of RUN.

    \b
    Examples:
      icecore predict run new-photos -o answers.csv
      icecore predict run photo.jpg -o answer.csv --weights-dir models
    """
    from . import jobs

    with console.extract_bar(quiet or as_json) as callbacks:
        report = jobs.predict(
            run, images, out, detector=take_detector(options), **options, **callbacks
        )
    if report.random_weights:
        console.random_weights_warning("these answers")
    if as_json:
        fields = dataclasses.asdict(report)
        console.print_json(fields)
    else:
        how = "tuned weights" if report.blended else "the plain average"
        click.echo(f"{report.images} images, {how}: {out}")
    _finish(report.failures, quiet_list=as_json)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="ONNX file.")
@click.option(
    "--weights-dir",
    type=click.Path(path_type=Path),
    help="Folder to look for weights and ONNX files first.",
)
@answer_option
@as_json
def bundle(run, out, weights_dir, answer, as_json) -> None:
    """Write RUN as one ONNX file: backbones, heads and weights.

    \b
    Example:
      icecore bundle run -o model.onnx
    """
    from . import jobs

    found = jobs.bundle(run, out, weights_dir=weights_dir, answer=answer)
    if as_json:
        console.print_json(found)
        return
    for name, square in found["inputs"].items():
        side = square["input_size"][1]
        click.echo(f"input {name}: uint8 (N, {side}, {side}, 3)")
    for name, task in found["outputs"].items():
        click.echo(f"output {name}: float32 (N, {len(task['classes'])})")
    click.echo(f"{found['bytes'] / 1e6:.1f} MB: {out}")
    if found["random_weights"]:
        console.random_weights_warning("this bundle's answers")


@cli.command()
@click.option(
    "-o",
    "--out",
    default="demo-run",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for everything the demo makes.",
)
@click.option("--images", type=int, default=300, show_default=True, help="Images to draw.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the drawing and training.")
@as_json
@quiet
def demo(out, images, seed, as_json, quiet) -> None:
    """Draw a small data set and run all three jobs on it.

    \b
    Examples:
      icecore demo
      icecore demo --out demo-run --images 600 --seed 1
    """
    from . import demo as demos
    from . import jobs

    with console.extract_bar(quiet or as_json) as callbacks:
        result = demos.run_demo(out, images=images, seed=seed, **callbacks)
    if as_json:
        console.print_json(result.blend.to_json())
        return
    click.echo(console.failures_text(result.extracted.failures))
    click.echo()
    click.echo(jobs.result_text(result.blend))
    click.echo(f"\nreport: {out / 'report.html'}")


def _print_extracted(report, cache: Path) -> None:
    columns = ("feature set", "rows", "dim", "engine", "weights")
    rows = [[s["spec"], s["rows"], s["dim"], s["engine"], s["weights"]] for s in report.sets]
    console.print_table(columns, rows)
    rate = report.computed / report.seconds if report.seconds and report.computed else 0.0
    click.echo(
        f"{report.images} images, {report.unique} different; {report.computed} computed in "
        f"{report.seconds:.1f} s ({rate:.1f} images/s; decoding {report.decoding_share:.0%}, "
        f"computing {report.computing_share:.0%})"
    )
    if report.boxed:
        click.echo(
            f"{report.boxed} images cut to their boxes, {report.images - report.boxed} whole"
        )
    click.echo(f"cache: {cache}")
    if report.repaired:
        click.echo("damage in the cache was found, and what it took computed again:", err=True)
        for line in report.repaired:
            click.echo(f"  {line}", err=True)
    if report.random_weights:
        console.random_weights_warning("these features")


def _finish(failures: list, quiet_list: bool) -> None:
    if failures:
        if not quiet_list:
            click.echo(console.failures_text(failures), err=True)
        sys.exit(EXIT_UNREADABLE)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; turn icecore's errors into one line and a status."""
    try:
        cli(arguments, prog_name="icecore", standalone_mode=False)
    except IcecoreError as error:
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.exit(0)
    except OSError as error:
        place = error.filename2 or error.filename or "the output"
        click.echo(f"error: {place}: {error.strerror or error}", err=True)
        click.echo("  check that the place exists, is of that kind, and may be written", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; what was finished is kept, the same command goes on", err=True)
        sys.exit(_INTERRUPTED)

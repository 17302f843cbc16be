"""`icecore extract`: options in, one call into the job, its answer printed."""

import dataclasses
from pathlib import Path

import click

from ..core.errors import counted
from ..core.interrupts import keeps_finished
from ..core.stores import is_url
from . import console, progress
from .help_groups import grouped
from .idle import beside, refuse_idle
from .options import (
    DATA,
    SEED,
    as_json,
    box_options,
    engine_options,
    quiet,
    table_options,
    take_data,
    take_detector,
)

_GROUPS = {
    "Features": "--layer --pool --precision --weights --weights-dir",
    "Squares of an image": "--fit --decode --views --resize-margin --seed",
    "Boxes": "--boxes --detector --detect-class --detect-box --detect-threshold",
    "Tables": "--path-column --label-column --skip-bad-rows",
    "How it is computed": "--engine --device --precision-compute --accept-error --batch-size "
    "--workers",
    "Several machines": "--ray --ray-workers --ray-cpus --only-writer",
}


@click.command(cls=grouped(_GROUPS))
@click.argument("data", type=DATA)
@click.option(
    "-o",
    "--out",
    "cache",
    required=True,
    type=DATA,
    help="Put the rows into the cache in this folder or below this URL of a store; it is made if "
    "it is not there.",
)
@click.option(
    "-b",
    "--backbone",
    "backbones",
    multiple=True,
    required=True,
    metavar="SPEC",
    help="Use this network: gluon:NAME[@RESOLUTION], mxnet:NAME, timm:NAME, onnx:FILE or "
    "gluon-file:PREFIX. Give the option once for each backbone.",
)
@click.option(
    "--fit",
    type=click.Choice(["crop", "pad", "squash"]),
    default="crop",
    help="Crop, pad or squash an image to the square that the network takes.",
)
@click.option(
    "--decode",
    type=click.Choice(["fast", "full"]),
    default="fast",
    help="Decode JPEGs at a half, a quarter or an eighth of their sides where that leaves twice "
    "the pixels that the network takes, or in full.",
)
@click.option(
    "--layer",
    metavar="NAME",
    help="Take the features from this layer; icecore backbones --layers SPEC lists them. Of "
    "timm's transformers: tokens, or tokens:last-N of so many blocks [default: the classifier's "
    "input].",
)
@click.option(
    "--pool",
    type=click.Choice(["avg", "max", "avgmax", "gem", "none", "cls", "mean", "cls+mean"]),
    default="avg",
    help="Pool height and width in this way, or a transformer's tokens (cls, mean, cls+mean; "
    "avg stands for what its authors evaluate with).",
)
@click.option(
    "--views",
    default="center",
    metavar="center|flip|ten|eighteen|random:K",
    help="Cut these squares from each image; flip+random:8 joins two kinds.",
)
@click.option(
    "--resize-margin",
    type=float,
    metavar="SHARE",
    help="Resize the short side to exceed the crop's side by this share "
    "[default: 0.143 for ten and eighteen, else the backbone's own].",
)
@click.option("--seed", default=0, type=SEED, help="Seed for the random views.")
@box_options
@table_options
@click.option(
    "--precision",
    type=click.Choice(["float16", "float32", "bfloat16"]),
    default="float16",
    help="Store the features in this precision.",
)
@click.option(
    "--precision-compute",
    type=click.Choice(["f32", "tf32", "bf16", "fp16", "auto"]),
    default="f32",
    help="Compute in this precision; auto takes the fastest on this hardware.",
)
@click.option(
    "--weights",
    default="pretrained",
    metavar="pretrained|random:SEED",
    help="Use pretrained weights, or random ones, which know nothing and serve only for trials.",
)
@click.option(
    "--paranoid",
    is_flag=True,
    help="Hash every file again, even if its size and time are unchanged.",
)
@click.option(
    "--only-writer",
    is_flag=True,
    help="Write to a store that knows no conditional requests: no other machine writes there.",
)
@click.option(
    "--ray",
    metavar="local|auto|ADDRESS",
    help="Compute with Ray: in processes on this machine, in the cluster that it is in, or in the "
    "one at ADDRESS, whose nodes share the images and the cache.",
)
@click.option(
    "--ray-workers",
    default="1",
    metavar="N|MIN:MAX",
    help="Compute with this many Ray processes; a range lets Ray add and remove some.",
)
@click.option(
    "--ray-cpus",
    type=int,
    metavar="N",
    help="Let each Ray process decode and compute on this many processors; one of each node should "
    "stay free for Ray [default: 1].",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Compute some images in a folder of their own, and say how many rows are missing and "
    "how long they would take and how large they would be.",
)
@engine_options
@as_json
@quiet
def extract(data, cache, backbones, dry_run, as_json, quiet, **options) -> None:
    """Turn the images of DATA into feature rows in a cache.

    DATA is a folder of class folders (with train/, validation/ and test/ above them, if you
    like), a CSV with path,label[,split], a FashionAI root, a Kaggle folder, or any folder of
    images: only train needs labels. Only what the cache lacks is computed, so an interrupted
    run continues where it stopped.

    \b
    Examples:
      icecore extract photos -o cache -b onnx:models/efficientnet_lite0.onnx
      icecore extract photos -o cache -b gluon:resnet152_v2 -b gluon:inceptionv3 \\
          -b gluon:densenet201 --weights-dir ~/weights
      icecore extract table.csv -o cache -b gluon:efficientnet_lite0 --fit pad
      icecore extract photos -o cache -b gluon:resnet152_v2 --views ten
      icecore extract photos -o cache -b gluon:resnet50_v2 --layer stage3_activation11 --pool gem
      icecore extract photos -o cache -b gluon:resnet152_v2 --views center+random:8 --seed 1
      icecore extract photos -o cache -b gluon:resnet152_v2 --ray auto --ray-workers 2:8
      icecore extract s3://bucket/photos -o s3://bucket/cache -b gluon:resnet152_v2
      icecore extract photos -o cache -b gluon:resnet152_v2 --boxes boxes.csv \\
          --detector onnx:yolov8n.onnx --detect-class person
    """
    from .. import jobs
    from ..cache import folder_of_cache

    _refuse_idle(cache, dry_run, options["views"])
    data = take_data(data, options)
    options["detector"] = take_detector(options)
    options["cluster"] = _cluster(jobs, options)
    if dry_run:
        _print_cost(jobs, (data, cache, backbones, jobs.ExtractOptions(**options)), as_json, quiet)
        return
    with keeps_finished(), progress.extract_bar(quiet or as_json) as listener:
        report = jobs.extract(data, cache, backbones, jobs.ExtractOptions(**options), listener)
    console.print_notes(report.manifest)
    if as_json:
        fields = {f.name: getattr(report, f.name) for f in dataclasses.fields(report)}
        fields["failures"] = [dataclasses.asdict(failure) for failure in report.failures]
        del fields["manifest"]
        console.print_json(fields)
    else:
        _print_extracted(report, cache, folder_of_cache(cache))
    console.finish(report.failures, quiet_list=as_json)


def _refuse_idle(cache: Path | str, dry_run: bool, views: str) -> None:
    refuse_idle(
        ({} if "random" in views else {"--seed": "needs --views random:K"})
        | ({} if is_url(cache) else {"--only-writer": "needs a cache in a store (-o URL)"})
        | (beside("--dry-run", ("--ray", "--only-writer", "--paranoid")) if dry_run else {})
    )


def _print_cost(jobs, arguments: tuple, as_json: bool, quiet: bool) -> None:
    with progress.extract_bar(quiet or as_json) as listener:
        cost = jobs.dry_run(*arguments, listener)
    if as_json:
        console.print_json(dataclasses.asdict(cost))
        return
    hours = cost.hours
    different = "" if cost.unique is None else f", {cost.unique} different"
    about = "about " if cost.estimated else ""
    time = f"{60 * hours:.1f} minutes" if hours < 1 else f"{hours:.1f} hours"
    console.echo(
        f"{about}{counted(cost.images, 'image')}{different}, {cost.missing} without rows\n"
        f"{cost.images_per_second:.1f} images/s, measured on {cost.measured} of them\n"
        f"about {time} and {cost.gigabytes:.3f} GB; nothing was written"
    )


def _cluster(jobs, options: dict):
    """Take the options of a cluster out of all options."""
    address, workers, cpus = (options.pop(f"ray{name}") for name in ("", "_workers", "_cpus"))
    if address is None:
        if workers != "1" or cpus is not None:
            raise click.UsageError("--ray-workers and --ray-cpus need --ray local or an address")
        return None
    least, colon, most = workers.partition(":")
    if not least.isdecimal() or (colon and not most.isdecimal()):
        raise click.UsageError(f"--ray-workers {workers}: write a number, or two as in 2:8")
    return jobs.ClusterOptions(address, int(least), int(most if colon else least), cpus or 1)


def _error_text(one: dict) -> str:
    error = one["relative_error"]
    measured = "" if error is None else f"{error:.0e}"
    return f"{measured} {one['compute_precision']}".strip()


def _print_extracted(report, cache: Path | str, folder: Path) -> None:
    columns = ("feature set", "rows", "dim", "engine", "rel. error", "weights")
    rows = [
        [s["spec"], s["rows"], s["dim"], s["engine"], _error_text(s), s["weights"]]
        for s in report.sets
    ]
    console.print_table(columns, rows)
    # A cluster's workers keep their clocks to themselves: no share is better than a wrong one.
    shares = (
        f"; side by side: decoding {report.decoding_share:.0%} of the time, computing "
        f"{report.computing_share:.0%}"
        if report.computing_share
        else ""
    )
    done = (
        f"{counted(report.images, 'image')}, {report.unique} different; {report.computed} computed"
    )
    if report.computed and report.seconds:
        rate = report.computed / report.seconds
        done += f" in {report.seconds:.1f} s ({rate:.1f} images/s{shares})"
    console.echo(done)
    if report.boxed:
        console.echo(
            f"{counted(report.boxed, 'image')} cut to their boxes, "
            f"{report.images - report.boxed} whole"
        )
        if report.boxes and Path(report.boxes).is_relative_to(folder):
            console.echo(f"boxes were found: correct {report.boxes} where they are wrong")
    if pages := report.several_pages:
        others = f" and {len(pages) - 1} more hold" if len(pages) > 1 else " holds"
        console.echo(f"note: {pages[0]}{others} several pages; the first is taken", err=True)
    for one in report.sets:
        if one["layer"]:
            console.echo(f"{one['spec']}: {one['layer']}")
    for one in report.sets:
        if one["instead_of"]:
            taken = f"{one['engine']} in {one['compute_precision']} is taken"
            console.echo(f"note: {one['instead_of']}; {taken}", err=True)
    for note in report.notes:
        console.echo(f"note: {note}", err=True)
    kept = f" (what this machine needs of it is in {folder})" if is_url(cache) else ""
    console.echo(f"cache: {cache}{kept}")
    console.print_repaired(report.repaired, "what was lost is computed again")
    if report.random_weights:
        console.random_weights_warning("these features")

"""The command ``icecore train``."""

import dataclasses
import sys
from pathlib import Path

import click

from ..core.errors import counted, enumerate_some, escaped
from ..core.interrupts import interrupted_status
from ..core.json_files import setting_value
from . import console
from .help_groups import grouped
from .options import A_PATH, DATA, SEED, as_json, quiet, table_options, take_data
from .progress import train_bar

_GROUPS = {
    "Models": "--features --head --set --search --search-seconds --class-weight",
    "Rows that are scored": "--validation --folds --repeats --refit --seed",
    "Classes and groups": "--maybe --min-class-count --drop-class --groups --group-labels",
    "Several machines": "--ray",
    "Data": "--path-column --label-column --skip-bad-rows --allow-missing",
}


@click.command(cls=grouped(_GROUPS))
@click.argument("cache", type=DATA)
@click.option(
    "--data",
    required=True,
    type=DATA,
    help="Take the labels from the data that was extracted, or from CACHE/manifests/NAME.csv.",
)
@table_options
@click.option(
    "-o", "--out", "run", required=True, type=A_PATH, help="Write the run to this folder."
)
@click.option(
    "--features",
    multiple=True,
    metavar="SPEC[+SPEC...]|each|pairs|all",
    help="Train on these feature sets side by side; on each alone; on all pairs; or on all "
    "together. The option may be repeated [default: all].",
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="KIND[,NAME=VALUE]...",
    help="Fit this kind of head: kernel, logistic, mlp, lightgbm, ridge, neighbours, grouped or "
    "module:Class, with settings if need be, as in mlp,width=512. The option may be repeated, "
    "also for one kind with several settings.",
)
@click.option(
    "--validation",
    type=click.Choice(["folds", "holdout"]),
    default="folds",
    help="Tune weights on every labelled image, predicted by heads that did not see its fold "
    "(folds), or on the validation split, by heads that know the training split alone (holdout).",
)
@click.option("--folds", default=5, help="Deal the rows into this many folds, 3 or more.")
@click.option("--repeats", default=1, help="Deal the rows into folds this many times, and average.")
@click.option(
    "--search",
    default=0,
    metavar="N",
    help="Try up to N further settings of each kind of head, and more kinds, out of fold.",
)
@click.option(
    "--search-seconds", type=float, metavar="S", help="End the search after this many seconds."
)
@click.option(
    "--refit",
    type=click.Choice(["all", "train"]),
    default="all",
    help="With --validation holdout, fit the final heads on all labelled images or on the training "
    "split alone.",
)
@click.option(
    "--maybe",
    default=0.0,
    metavar="WEIGHT",
    help="Count FashionAI's letter m as a soft label of this weight, 0 to 1.",
)
@click.option(
    "--min-class-count",
    default=0,
    metavar="N",
    help="Drop classes with fewer training images; they get probability 0.",
)
@click.option(
    "--drop-class",
    "drop_classes",
    multiple=True,
    metavar="TASK=NAME",
    help="Drop this class from training; it gets probability 0. The option may be repeated.",
)
@click.option(
    "--allow-missing",
    is_flag=True,
    help="Train also where more than a tenth of the images have no features.",
)
@click.option(
    "--class-weight",
    type=click.Choice(["balanced"]),
    help="Give every class the same total weight in fits; probabilities stay those of classes as "
    "they occur.",
)
@click.option(
    "--groups",
    is_flag=True,
    help="Also fit a head that learns a function for each group of images (the table's column "
    "group), and finds the group of a new image itself.",
)
@click.option(
    "--group-labels",
    type=A_PATH,
    help="Take the groups from a CSV with the columns id and group; it may name some of the "
    "images. Implies --groups.",
)
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="KIND.NAME=VALUE",
    help="Change a setting of a kind of head, for instance mlp.width=512.",
)
@click.option("--seed", default=0, type=SEED, help="Seed for everything random.")
@click.option(
    "--ray",
    metavar="local|auto|ADDRESS",
    help="Fit with Ray, each fold of each model by itself: in processes on this machine, in the "
    "cluster that it is in, or in the one at ADDRESS.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace the run that is there; heads that would come out the same are kept.",
)
@as_json
@quiet
def train(cache, data, run, given, as_json, quiet, **options) -> None:
    """Fit heads on the features in CACHE.

    Without --features and --head it fits a kernel machine, a logistic regression and an MLP on
    all feature sets side by side. It needs no deep-learning framework.

    \b
    Examples:
      icecore train cache --data photos -o run
      icecore train cache --data cache/manifests/photos.csv -o run --folds 10 --seed 1
      icecore train cache --data photos -o run --head lightgbm \\
          --features gluon:inceptionv3+gluon:densenet201
      icecore train cache --data photos -o run --search 16 --search-seconds 120
    """
    from .. import jobs

    data = take_data(data, options, labels_required=True)
    if not isinstance(data, (Path, str)):
        console.print_notes(data)
    options["features"] = list(options["features"]) or None
    options["heads"] = list(options["heads"]) or None
    options["settings"] = _settings(given)
    options["groups"] = options["groups"] or options["group_labels"] is not None
    try:
        with train_bar(quiet or as_json) as update:
            result = jobs.train(cache, data, run, jobs.TrainOptions(**options), update)
    except KeyboardInterrupt:
        console.echo(f"interrupted; {run} is as it was", err=True)
        sys.exit(interrupted_status())
    if as_json:
        console.print_json(dataclasses.asdict(result) | {"run": str(result.run)})
    else:
        _print_trained(result)
    if result.interrupted:
        _print_interrupted(result)
        sys.exit(interrupted_status())
    if result.failed:
        sys.exit(1)


def _print_interrupted(result) -> None:
    count = sum(len(task.models) for task in result.tasks)
    console.echo(
        f"interrupted: {counted(count, 'model was', 'models were')} finished and kept; the "
        "same command with --overwrite trains the rest",
        err=True,
    )


def _settings(given: tuple[str, ...]) -> dict[str, dict]:
    settings: dict[str, dict] = {}
    for text in given:
        name, equals, value = text.partition("=")
        kind, dot, setting = name.rpartition(".")
        if not (equals and dot and kind and setting):
            raise click.UsageError(f"--set {text}: write KIND.NAME=VALUE, as in mlp.width=512")
        of_kind = settings.setdefault(kind, {})
        if setting in of_kind:
            raise click.UsageError(f"--set says {kind}.{setting} twice: say it once")
        of_kind[setting] = setting_value(value)
    return settings


def _print_trained(result) -> None:
    names = [name for name in result.tasks[0].models[0].scores if not name.endswith("_interval")]
    rows = [
        [
            task.task,
            model.name,
            *(_score(model.scores, name) for name in names),
            f"{model.seconds:.1f}",
            _settings_text(model.chosen),
        ]
        for task in result.tasks
        for model in task.models
    ]
    titles = [f"{name.replace('_', '-')} [95%]" for name in names]
    console.print_table(["task", "model", *titles, "seconds", "chosen"], rows, keys=2)
    for source in dict.fromkeys(task.validation for task in result.tasks):
        console.echo(f"scores are {_source_text(source)}")
    for task in result.tasks:
        _print_task(task)
    if result.left_out:
        count = counted(len(result.left_out), "image was", "images were")
        named = enumerate_some(map(escaped, result.left_out))
        console.echo(f"{count} left out, unreadable or without features: {named}")
    for task, reason in result.failed.items():
        console.echo(f"error: {task} was not trained: {reason}", err=True)
    console.echo(f"run: {result.run}\nnext: icecore blend {result.run}")


def _source_text(validation: str) -> str:
    if validation == "split":
        return "of the validation split, which no head has seen"
    folds = validation.removeprefix("out-of-fold, ")
    return f"out of fold ({folds}): each row is predicted by heads that have not seen it"


def _print_task(task) -> None:
    for model in task.models:
        found = model.chosen
        if found and found["log_loss"] < found["default"]:
            console.echo(
                f"{task.task}: {model.name}: the search gained: log-loss {found['log_loss']:.4f} "
                f"on rows left out, against {found['default']:.4f} of the best without it"
            )
    if task.groups:
        _print_groups(task.task, task.groups)
    for warning in task.warnings:
        console.echo(f"warning: {task.task}: {warning}", err=True)


def _print_groups(task: str, groups: dict) -> None:
    """Print how well groups are told apart and whether heads of their own help."""
    sizes = ", ".join(f"{name} ({count} images)" for name, count in groups["images"].items())
    unknown = (
        f", {counted(groups['unknown'], 'image')} of unknown group" if groups["unknown"] else ""
    )
    router = groups["router"]
    low, high = router["accuracy_interval"]
    console.echo(
        f"{task}: groups {sizes}{unknown}; the features tell the group of an image with accuracy "
        f"{router['accuracy']:.4f} [{low:.3f}, {high:.3f}] out of fold"
    )
    gain = groups["gain"]
    own, common = gain["model"], gain["against"]
    rows = [
        [name, groups["rows"][name], f"{loss[own]:.4f}", f"{loss[common]:.4f}"]
        for name, loss in groups["log_loss"].items()
    ]
    console.print_table(["group", "rows", f"{own} log-loss", f"{common} log-loss"], rows)
    low, high = gain["interval"]
    verdict = "knowing the group does not help beyond noise"
    if low > 0:
        verdict = "knowing the group helps beyond noise"
    elif high < 0:
        verdict = "knowing the group hurts beyond noise"
    console.echo(
        f"{task}: {verdict}: {own} gains {gain['log_loss']:+.4f} in log-loss over {common}, 95% "
        f"interval {low:+.4f} to {high:+.4f}"
    )


def _settings_text(chosen: dict | None) -> str:
    """Say what was chosen out of fold, and among how many."""
    if not chosen:
        return ""
    settings = ", ".join(f"{name}={_plain(value)}" for name, value in chosen["settings"].items())
    return f"{settings or 'its own settings'}; {chosen['tried']} tried"


def _plain(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _score(scores: dict, name: str) -> str:
    interval = scores.get(f"{name}_interval")
    bounds = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return f"{scores[name]:.4f}{bounds}"

"""The command ``icecore train``."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click

from . import console
from .options import as_json, quiet
from .train_display import train_display

__all__ = ["train"]

_INTERRUPTED = 130


@click.command()
@click.argument("cache", type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Labels: what was extracted, or CACHE/manifests/NAME.csv.",
)
@click.option(
    "-o", "--out", "run", required=True, type=click.Path(path_type=Path), help="Folder of the run."
)
@click.option(
    "--features",
    multiple=True,
    metavar="SPEC[+SPEC...]",
    help="Feature sets side by side; give it once for each combination.",
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="KIND",
    help="mlp, logistic, lightgbm, ridge, neighbours or module:Class; may be repeated.",
)
@click.option(
    "--folds",
    type=int,
    default=5,
    show_default=True,
    help="Out-of-fold predictions where there is no validation split.",
)
@click.option(
    "--repeats",
    type=int,
    default=1,
    show_default=True,
    help="How often the rows are dealt into folds anew.",
)
@click.option(
    "--search",
    type=int,
    default=0,
    metavar="N",
    help="Try N settings of the MLP by successive halving first.",
)
@click.option(
    "--search-fits",
    type=float,
    metavar="F",
    help="Budget of the search, in whole fits; a third of N without one.",
)
@click.option("--search-seconds", type=float, metavar="S", help="Budget of the search, in seconds.")
@click.option(
    "--nested",
    is_flag=True,
    help="Search again for each fold (without a validation split's rows): honest scores.",
)
@click.option(
    "--refit",
    type=click.Choice(["train", "all"]),
    default="train",
    show_default=True,
    help="all: the final head learns from the validation split, too.",
)
@click.option(
    "--maybe",
    type=float,
    default=0.0,
    metavar="WEIGHT",
    help="Weight of FashionAI's letter m as a soft label, 0 to 1.",
)
@click.option(
    "--min-class-count",
    type=int,
    default=0,
    metavar="N",
    help="Drop classes with fewer training images; they get probability 0.",
)
@click.option(
    "--class-weight", type=click.Choice(["balanced"]), help="balanced: every class weighs the same."
)
@click.option(
    "--view-training",
    type=click.Choice(["random", "mean", "first"]),
    default="random",
    show_default=True,
    help="Several views: learn from a random one each epoch (the MLP), their mean, or the first.",
)
@click.option(
    "--view-mean",
    type=click.Choice(["features", "probabilities", "first"]),
    default="features",
    show_default=True,
    help="Several views: what a prediction averages over them.",
)
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="KIND.NAME=VALUE",
    help="Setting of a kind of head, for instance mlp.width=512.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace the run that is there; heads that would come out the same are kept.",
)
@as_json
@quiet
def train(cache, data, run, given, as_json, quiet, **options) -> None:
    """Fit heads on the features in CACHE.

    Without --features and --head: an MLP on each feature set, an MLP and a logistic regression
    on all of them side by side. Needs no deep-learning framework.

    \b
    Examples:
      icecore train cache --data photos -o run
      icecore train cache --data cache/manifests/photos.csv -o run --folds 10 --seed 1
      icecore train cache --data photos -o run --head lightgbm \\
          --features gluon:inceptionv3+gluon:densenet201
      icecore train cache --data photos -o run --head mlp --search 32 --search-seconds 60 --nested
    """
    from .. import jobs

    options["features"] = list(options["features"]) or None
    options["heads"] = list(options["heads"]) or None
    options["settings"] = _settings(given)
    try:
        with train_display(quiet or as_json) as update:
            result = jobs.train(cache, data, run, progress=update, **options)
    except KeyboardInterrupt:
        click.echo(f"interrupted before anything was finished; {run} is as it was", err=True)
        sys.exit(_INTERRUPTED)
    if as_json:
        console.print_json(dataclasses.asdict(result) | {"run": str(result.run)})
    else:
        _print_trained(result)
    if result.interrupted:
        _print_interrupted(result)
        sys.exit(_INTERRUPTED)
    if result.failed:
        sys.exit(1)


def _print_interrupted(result) -> None:
    models = [model for task in result.tasks for model in task.models]
    partly = [model.name for model in models if model.interrupted]
    said = f"interrupted: {len(models) - len(partly)} models were finished and are kept"
    if partly:
        said += f", {partly[0]} as it was at its best epoch so far"
    click.echo(f"{said}; the same command with --overwrite trains the rest", err=True)


def _settings(given: tuple[str, ...]) -> dict[str, dict]:
    settings: dict[str, dict] = {}
    for text in given:
        name, equals, value = text.partition("=")
        kind, dot, setting = name.rpartition(".")
        if not (equals and dot and kind and setting):
            raise click.UsageError(f"--set {text}: write KIND.NAME=VALUE, as in mlp.width=512")
        try:
            settings.setdefault(kind, {})[setting] = json.loads(value)
        except json.JSONDecodeError:
            settings[kind][setting] = value
    return settings


def _print_trained(result) -> None:
    names = [name for name in result.tasks[0].models[0].scores if not name.endswith("_interval")]
    rows = [
        [task.task, model.name, *(_score(model.scores, name) for name in names), model.seconds]
        for task in result.tasks
        for model in task.models
    ]
    titles = [f"{name.replace('_', '-')} [95%]" for name in names]
    console.print_table(["task", "model", *titles, "seconds"], rows)
    for task in result.tasks:
        source = task.validation
        if source.startswith("split"):
            source = f"validation {source}"
        click.echo(f"{task.task}: scores on {source} predictions")
        for warning in task.warnings:
            click.echo(f"warning: {task.task}: {warning}", err=True)
    if result.left_out:
        click.echo(f"{len(result.left_out)} images without features were left out")
    for task, reason in result.failed.items():
        click.echo(f"error: {task} was not trained: {reason}", err=True)
    click.echo(f"run: {result.run}\nnext: icecore blend {result.run}")


def _score(scores: dict, name: str) -> str:
    interval = scores.get(f"{name}_interval")
    bounds = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return f"{scores[name]:.4f}{bounds}"

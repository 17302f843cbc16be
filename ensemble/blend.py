"""Tune the weights of a run, or of probability files from anywhere, and compare."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..core.errors import ProbabilityError
from ..core.files import publish_json, sha256_file
from ..manifest import Sample
from ..runs import open_run
from .estimate import Estimate, estimate
from .joining.foreign import read_tables, unique_models
from .joining.join import TEST, TUNING, TaskData, join_tasks
from .joining.labels import read_labels
from .metrics import get_metric
from .options import ANSWERS, BlendOptions
from .report.analysis import conflicting_labels
from .report.page import write_report
from .result import BlendResult, TaskBlend, score_splits, tuning_kind
from .weighting.blender import Blender
from .weighting.choosing import Chooser
from .weighting.costs import read_costs, run_costs
from .weighting.notes import data_notes, true_class
from .weighting.stacking import Stacker
from .weighting.subsets import Costs, pareto_front

__all__ = ["blend_files", "blend_run"]

DEFAULTS = BlendOptions()
# Larger searches than this are not repeated for an estimate or a front.
MOST_CELLS = 4_000_000
MOST_FRONT_MODELS = 20


def blend_run(
    run: str | os.PathLike, options: BlendOptions = DEFAULTS, write: bool = True
) -> BlendResult:
    """Tune the weights of every task of a run; write ``blend.json`` and ``report.html`` there.

    Parameters
    ----------
    run : path-like
        Folder that training wrote.
    options : BlendOptions
    write : bool
        False leaves the folder as it is.

    Raises
    ------
    MissingFileError, RunError, ProbabilityError
        The folder is no run or lacks files, or its files do not belong together.
    """
    opened = open_run(run)
    run, tables, samples = opened.path, opened.tables(), opened.samples().samples
    files = [opened.probability_file(table.task, table.model) for table in tables]
    inputs = {
        file.relative_to(run).as_posix(): sha256_file(file)
        for file in [*files, run / "samples.csv"]
    }
    result = _blend(join_tasks(tables, samples), samples, options, inputs, opened.about)
    if write:
        # The report first: whoever finds blend.json finds its report too.
        write_report(result, run / "report.html")
        publish_json(run / "blend.json", result.to_file())
    return result


def blend_files(
    paths: Sequence[str | os.PathLike],
    labels: str | os.PathLike,
    options: BlendOptions = DEFAULTS,
    report: str | os.PathLike | None = None,
) -> BlendResult:
    """Tune weights for probability files from anywhere.

    Parameters
    ----------
    paths : sequence of path-like
        CSV, NPZ, HDF5 or Parquet files or submissions, one for each model.
    labels : path-like
        What `read_labels` reads: a table of ids and labels.
    options : BlendOptions
    report : path-like, optional
        Where to write the HTML page.
    """
    if not paths:
        raise ProbabilityError("no probability files were given", "give one file for each model")
    read = [(Path(path), table) for path in paths for table in read_tables(path, options.mend)]
    tables = unique_models(read)
    inputs = {str(path): sha256_file(path) for path in paths}
    samples = read_labels(labels)
    if Path(labels).is_file():
        inputs[str(labels)] = sha256_file(labels)
    result = _blend(join_tasks(tables, samples, options.align), samples, options, inputs, {})
    if report is not None:
        write_report(result, report)
    return result


def _blend(
    tasks: list[TaskData],
    samples: Sequence[Sample],
    options: BlendOptions,
    inputs: dict[str, str],
    about: dict,
) -> BlendResult:
    blended = [
        _blend_task(data, options, about, _others_true(tasks, data) if options.share else ())
        for data in tasks
    ]
    metric = get_metric(options.metric).name
    return BlendResult(blended, metric, options.seed, inputs, about, conflicting_labels(samples))


def _others_true(tasks: list[TaskData], data: TaskData) -> tuple[np.ndarray, ...]:
    """Return the true class's probabilities (N, M) of the other tasks' tuning rows."""
    if len({each.models for each in tasks}) > 1:
        raise ProbabilityError(
            "the tasks do not have the same models, so that they cannot share weights",
            "train every task with the same heads, or leave --share away",
        )
    rows = [(each, each.rows(TUNING)) for each in tasks if each is not data]
    return tuple(true_class(each.probabilities[:, own], each.y[own]) for each, own in rows)


def _blend_task(
    data: TaskData, options: BlendOptions, about: dict, beside: tuple[np.ndarray, ...]
) -> TaskBlend:
    costs = read_costs(options.costs) if options.costs else run_costs(about, data.task)
    rows = data.rows(TUNING)
    own, y = data.probabilities[:, rows], data.y[rows]
    blender = Blender(options, data.models, data.classes, costs, beside)
    chooser = Chooser(blender).fit(own, y, data.letters_of(rows), data.images_of(rows))
    fitted = chooser.blender_
    ids = [data.ids[index] for index in rows]
    notes = [*data.notes, *data_notes(own, y, data.models, ids, data.classes)]
    # The blender's own notes on the data name rows and models by number.
    notes += [note for note in fitted.notes_ if note not in data_notes(own, y)]
    validation = str(about.get("tasks", {}).get(data.task, {}).get("validation", ""))
    recipes = {answer: chooser.recipes_[answer] for answer in ANSWERS}
    return TaskBlend(
        data=data,
        metric=get_metric(options.metric).name,
        recipes=recipes,
        reason=chooser.reason_,
        certificate=fitted.certificate_,
        method=fitted.method_,
        models={
            model: score_splits(data, table)
            for model, table in zip(data.models, data.probabilities)
        },
        scores={
            answer: score_splits(data, recipe.apply(data.probabilities))
            for answer, recipe in recipes.items()
        },
        notes=notes,
        validation=validation,
        estimate=_estimate(data, fitted, notes, tuning_kind(validation)),
        fronts=_fronts(data, own, y, costs),
    )


def _estimate(data: TaskData, blender: Blender, notes: list[str], kind: str) -> Estimate | None:
    """Return the honest estimate, or None with a note where it cannot be had."""
    options = blender.options
    if not options.honest:
        return None
    nested = not len(data.rows(TEST))
    if nested and len(np.unique(data.images_of(data.rows(TUNING)))) < 10:
        notes.append("too few tuning rows for an honest estimate: fewer than 10 images")
        return None
    if nested and blender.certificate_ is None and data.probabilities.size > MOST_CELLS:
        notes.append(
            "no honest estimate: the search is too long to be repeated in cross-validation, and "
            "there are no labelled test rows"
        )
        return None
    others = {f"stacking, {each}": Stacker(each, seed=options.seed) for each in options.stacking}
    return estimate(data, blender, others, kind=kind)


def _fronts(data: TaskData, own: np.ndarray, y: np.ndarray, costs: Costs) -> dict[str, list]:
    if not 1 < len(data.models) <= MOST_FRONT_MODELS or own[:, :, 0].size > MOST_CELLS // 10:
        return {}
    fronts = {}
    true = true_class(own, y)
    for kind in ("models", "size", "latency"):
        try:
            costs.require(data.models, kind)
        except ProbabilityError:
            continue
        fronts[kind] = pareto_front(true, data.models, costs, kind)
    return fronts

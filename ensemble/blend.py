"""Tune the weights of a run, or of probability files from anywhere, and compare."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..core.errors import ProbabilityError
from ..core.files import publish_json, sha256_file
from ..manifest import Sample
from ..runs import open_run
from . import metrics
from .estimate import estimate
from .joining.foreign import read_tables, unique_models
from .joining.join import TEST, TUNING, TaskData, join_tasks
from .joining.labels import read_labels
from .report.analysis import conflicting_labels
from .result import BlendResult, TaskBlend, score_splits
from .weighting.averaging import combine
from .weighting.blender import Blender
from .weighting.costs import read_costs, run_costs
from .weighting.groups import parse_groups
from .weighting.notes import data_notes, true_class
from .weighting.simplex import Solution, minimise_log_loss
from .weighting.stacking import Stacker
from .weighting.subsets import Costs, pareto_front

__all__ = ["BlendOptions", "blend_files", "blend_run"]

# Larger searches than this are not repeated for an estimate or a front.
MOST_CELLS = 4_000_000
MOST_FRONT_MODELS = 20


@dataclasses.dataclass(frozen=True)
class BlendOptions:
    """Everything that can be asked of a blend.

    Attributes
    ----------
    metric : str or callable
        What to tune for: a name in `icecore.ensemble.METRICS`.
    mean : {"arithmetic", "geometric"}
    l2, upper : float
        Pull to equal weights and largest weight, as in `Blender`.
    temperature : bool
        Scale each model by a temperature first.
    groups : str
        Class groups with weights of their own: ``"a,b;c"``, or ``each``; empty for none.
    max_models, max_size, max_latency : float, optional
        Budgets: a number of models, bytes, milliseconds for one image.
    costs : path-like, optional
        A table for `read_costs`; a run's own records are used without it.
    share : bool
        One set of weights for all tasks (log-loss, arithmetic): the mean of the tasks'
        log-losses is minimised.
    honest : bool
        Estimate on rows that no choice has seen, with intervals and a recommendation.
    stacking : sequence of str
        Stackers to compare with: ``logistic``, ``lightgbm``.
    seed : int
    """

    metric: str = "log_loss"
    mean: str = "arithmetic"
    l2: float = 0.0
    upper: float = 1.0
    temperature: bool = False
    groups: str = ""
    max_models: float | None = None
    max_size: float | None = None
    max_latency: float | None = None
    costs: str | os.PathLike | None = None
    share: bool = False
    honest: bool = True
    stacking: Sequence[str] = ()
    seed: int = 0

    @property
    def budgets(self) -> dict[str, float]:
        """Budgets that were given, by the kind of cost."""
        named = {"models": self.max_models, "size": self.max_size, "latency": self.max_latency}
        return {kind: limit for kind, limit in named.items() if limit is not None}


def blend_run(
    run: str | os.PathLike,
    metric: str = "log_loss",
    seed: int = 0,
    write: bool = True,
    **options,
) -> BlendResult:
    """Tune the weights of every task of a run; write ``blend.json`` and ``report.html`` there.

    Parameters
    ----------
    run : path-like
        Folder that training wrote.
    metric : str
        What to tune for: a name in `icecore.ensemble.METRICS`.
    seed : int
        Of searches that are not convex, folds and draws.
    write : bool
        False leaves the folder as it is.
    **options
        Further fields of `BlendOptions`.

    Raises
    ------
    MissingFileError, RunError, ProbabilityError
        The folder is no run or lacks files, or its files do not belong together.
    """
    chosen = BlendOptions(metric=metric, seed=seed, **options)
    opened = open_run(run)
    run, tables, samples = opened.path, opened.tables(), opened.samples().samples
    files = [opened.probability_file(table.task, table.model) for table in tables]
    inputs = {
        file.relative_to(run).as_posix(): sha256_file(file)
        for file in [*files, run / "samples.csv"]
    }
    result = _blend(join_tasks(tables, samples), samples, chosen, inputs, opened.about)
    if write:
        from .report.page import write_report

        # The report first: whoever finds blend.json finds its report too.
        write_report(result, run / "report.html")
        publish_json(run / "blend.json", result.to_file())
    return result


def blend_files(
    paths: Sequence[str | os.PathLike],
    labels: str | os.PathLike,
    metric: str = "log_loss",
    seed: int = 0,
    align: bool = False,
    mend: str = "refuse",
    report: str | os.PathLike | None = None,
    **options,
) -> BlendResult:
    """Tune weights for probability files from anywhere.

    Parameters
    ----------
    paths : sequence of path-like
        CSV, NPZ, HDF5 or Parquet files or submissions, one for each model.
    labels : path-like
        What `read_labels` reads: a table of ids and labels.
    metric, seed, options
        As in `blend_run`.
    align : bool
        Make files of unequal ids or classes fit instead of refusing them.
    mend : {"refuse", "renormalise", "softmax"}
        What to do with rows that are no probabilities; see `read_tables`.
    report : path-like, optional
        Where to write the HTML page.
    """
    if not paths:
        raise ProbabilityError("no probability files were given", "give one file for each model")
    chosen = BlendOptions(metric=metric, seed=seed, **options)
    read = [(Path(path), table) for path in paths for table in read_tables(path, mend)]
    tables = unique_models(read)
    inputs = {str(path): sha256_file(path) for path in paths}
    samples = read_labels(labels)
    if Path(labels).is_file():
        inputs[str(labels)] = sha256_file(labels)
    result = _blend(join_tasks(tables, samples, align), samples, chosen, inputs, {})
    if report is not None:
        from .report.page import write_report

        write_report(result, report)
    return result


def _blend(
    tasks: list[TaskData],
    samples: Sequence[Sample],
    options: BlendOptions,
    inputs: dict[str, str],
    about: dict,
) -> BlendResult:
    metric = metrics.get_metric(options.metric)
    shared = shared_weights(tasks, options) if options.share else None
    blended = [_blend_task(data, metric, options, about, shared) for data in tasks]
    conflicts = conflicting_labels(samples)
    return BlendResult(blended, metric.name, options.seed, inputs, about, conflicts)


def shared_weights(tasks: list[TaskData], options: BlendOptions) -> Solution:
    """Find the weights with the least mean, over tasks, of the log-loss of tuning rows."""
    faults = []
    if options.metric != "log_loss" or options.mean != "arithmetic":
        faults.append("shared weights go with log_loss and the arithmetic mean only")
    if options.budgets or options.temperature or options.groups:
        faults.append("shared weights go without budgets, temperatures and groups")
    if len({data.models for data in tasks}) > 1:
        faults.append("the tasks do not have the same models")
    if faults:
        raise ProbabilityError("; ".join(faults), "change these options, or do not share weights")
    true, importance = [], []
    for data in tasks:
        rows = data.rows(TUNING)
        true.append(true_class(data.probabilities[:, rows], data.y[rows]))
        importance.append(np.full(len(rows), 1 / len(rows)))
    return minimise_log_loss(
        np.concatenate(true), options.l2, options.upper, np.concatenate(importance)
    )


def _blend_task(
    data: TaskData,
    metric: metrics.Metric,
    options: BlendOptions,
    about: dict,
    shared: Solution | None,
) -> TaskBlend:
    costs = read_costs(options.costs) if options.costs else run_costs(about, data.task)
    rows = data.rows(TUNING)
    own, y = data.probabilities[:, rows], data.y[rows]
    blender = Blender(
        metric,
        options.mean,
        options.l2,
        options.upper,
        options.temperature,
        tuple(parse_groups(options.groups, data.classes).tolist()) if options.groups else None,
        options.budgets or None,
        costs,
        data.models,
        None if shared is None else tuple(shared.weights.tolist()),
        options.seed,
    ).fit(own, y, data.letters_of(rows))
    ids = [data.ids[index] for index in rows]
    notes = [*data.notes, *data_notes(own, y, data.models, ids, data.classes)]
    # The blender's own notes on the data name rows and models by number.
    notes += [note for note in blender.notes_ if note not in data_notes(own, y)]
    models = len(data.models)
    average = combine(data.probabilities, np.full(models, 1 / models), options.mean)
    return TaskBlend(
        data=data,
        metric=metric.name,
        recipe=blender.recipe_,
        certificate=blender.certificate_ if shared is None else shared.certificate,
        how=blender.how_ if shared is None else "convex optimum, shared by all tasks",
        models={
            model: score_splits(data, table)
            for model, table in zip(data.models, data.probabilities)
        },
        average=score_splits(data, average),
        tuned=score_splits(data, blender.predict_proba(data.probabilities)),
        notes=notes,
        validation=str(about.get("tasks", {}).get(data.task, {}).get("validation", "")),
        estimate=_estimate(data, blender, options, notes),
        fronts=_fronts(data, own, y, costs),
    )


def _estimate(data: TaskData, blender: Blender, options: BlendOptions, notes: list[str]):
    """Return the honest estimate, or None with a note where it cannot be had."""
    if not options.honest or len(data.models) == 1:
        return None
    nested = not len(data.rows(TEST))
    if nested and len(data.rows(TUNING)) < 10:
        notes.append("too few tuning rows for an honest estimate: fewer than 10")
        return None
    if nested and options.share:
        notes.append("no honest estimate: shared weights need labelled test rows for one")
        return None
    if nested and blender.certificate_ is None and data.probabilities.size > MOST_CELLS:
        notes.append(
            "no honest estimate: the search is too long to be repeated in cross-validation, and "
            "there are no labelled test rows"
        )
        return None
    others = {f"stacking, {kind}": Stacker(kind, seed=options.seed) for kind in options.stacking}
    return estimate(data, blender, others, seed=options.seed)


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

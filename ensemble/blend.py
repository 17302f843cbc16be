"""Tune the weights of a run, or of probability files from anywhere, and compare."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..core.blas import with_one_thread
from ..core.errors import ProbabilityError, RunError
from ..core.files import publish_json
from .answer_sheet import read_sheet
from .estimate import Estimate, Learning, estimate
from .joining.join import TEST, TUNING, TaskData, join_tasks, require_tuning_rows
from .joining.routes import with_routes
from .joining.sources import read_sources
from .metrics import get_metric
from .options import ANSWERS, BlendOptions
from .report.analysis import conflicting_labels
from .report.page import write_report
from .result import BlendResult, TaskBlend, score_splits, tuning_kind
from .weighting.averaging import Recipe
from .weighting.blender import Blender
from .weighting.costs import read_costs, run_costs
from .weighting.notes import data_notes, true_class
from .weighting.recommendation import Chooser
from .weighting.stacking import Stacker
from .weighting.subsets import KINDS, Candidates, Costs, pareto_front

DEFAULTS = BlendOptions()
# Larger searches than this are not repeated for an estimate or a front.
MOST_CELLS = 4_000_000
MOST_FRONT_MODELS = 20


@with_one_thread
def blend_sources(
    paths: Sequence[str | os.PathLike],
    labels: str | os.PathLike | None = None,
    options: BlendOptions = DEFAULTS,
    check: Callable[[Sequence[str]], None] | None = None,
    sheet: str | os.PathLike | None = None,
) -> BlendResult:
    """Tune weights for everything that runs and probability files hold; write nothing.

    Parameters
    ----------
    paths : sequence of path-like
        Folders of runs, and CSV, NPZ, HDF5 or Parquet files or submissions, one for each
        model. Rows are joined by id.
    labels : path-like, optional
        What `read_labels` reads: a table of ids and labels. Only without a run.
    options : BlendOptions
    check : callable, optional
        Is shown the names of the tasks before any weight is tuned, and may raise.
    sheet : path-like, optional
        A contest's sheet: rows that it asks for are test rows where files have no label of them.

    Raises
    ------
    MissingFileError, RunError, ProbabilityError
        A folder is no run or lacks files, or things do not belong together.
    """
    asked = read_sheet(sheet).rows if sheet is not None else ()
    sources = read_sources(paths, labels, options.mend, asked=asked)
    tasks = join_tasks(sources.tables, sources.samples, options.align)
    for data in tasks:
        require_tuning_rows(data)
    if check is not None:
        check([data.task for data in tasks])
    if options.share and len(tasks) == 1:
        raise ProbabilityError(
            f"there is one task, {tasks[0].task}, which has nobody to share weights with",
            "leave --share out",
        )
    tasks = [with_routes(data, sources.runs) for data in tasks]
    metric = get_metric(options.metric).name
    shared = _Shared(tasks, options, sources.about)
    blended = [_blend_task(data, options, shared) for data in tasks]
    shared.require_budget(blended)
    return BlendResult(
        blended,
        metric,
        options.seed,
        sources.inputs,
        sources.about,
        conflicting_labels(sources.samples),
        sources.samples,
        {name: run.path for name, run in sources.runs.items()},
    )


def save_blend(result: BlendResult, answer: str = "recommended") -> list[Path]:
    """Keep the answers in the folder of the first run, for predictions.

    Parameters
    ----------
    result : BlendResult
        Of one run or more.
    answer : {"recommended", "clean", "given", "tuned", "average"}
        Which answer predictions take.

    Returns
    -------
    list of Path
        The files that were written: ``report.html`` and ``blend.json``.
    """
    if not result.runs:
        raise RunError(
            "a blend of probability files alone has no run to be saved in",
            "write it to a file: -o NAME.json",
        )
    folder = next(iter(result.runs.values()))
    # The report first: whoever finds blend.json finds its report too.
    write_report(result, folder / "report.html")
    publish_json(folder / "blend.json", result.to_file(answer))
    return [folder / "report.html", folder / "blend.json"]


class _Shared:
    """What tasks share: prices, weights if so wished, and the budget of networks."""

    def __init__(self, tasks: Sequence[TaskData], options: BlendOptions, about: dict) -> None:
        self.tasks, self.options, self.about = tasks, options, about
        self._candidates: dict[str, Candidates] = {}

    def blender(self, data: TaskData) -> Blender:
        """Return the blender of one of the tasks, which knows of the others."""
        beside = self._others_true(data) if self.options.share else ()
        around = self._around(data) if self.options.budgets else ((), ())
        costs = self.costs(data)
        return Blender(self.options, data.models, data.classes, costs, beside, around)

    def costs(self, data: TaskData) -> Costs:
        """Return what the models of a task cost."""
        if self.options.costs:
            return read_costs(self.options.costs)
        return run_costs(self.about, data.task)

    def require_budget(self, blended: Sequence[TaskBlend]) -> None:
        """See that every answer, over all tasks together, is within the budget."""
        for answer in ANSWERS:
            used: dict[str, Costs] = {}
            for task in blended:
                costs, weights = self.costs(task.data), task.recipes[answer].used
                models = [name for name, there in zip(task.data.models, weights) if there]
                used |= dict.fromkeys(costs.parts(models), costs)
            for kind, limit in self.options.budgets.items():
                spent = next(iter(used.values())).of_parts(frozenset(used), kind)
                if spent > limit:
                    raise ProbabilityError(
                        f"the answer '{answer}' takes {kind} {spent:g} of {limit:g}",
                        "please report this",
                    )

    def _others_true(self, data: TaskData) -> tuple[np.ndarray, ...]:
        """Return the true class's probabilities (N, M) of the other tasks' tuning rows."""
        if len({each.models for each in self.tasks}) > 1:
            raise ProbabilityError(
                "the tasks do not have the same models, so that they cannot share weights",
                "train every task with the same heads, or leave --share away",
            )
        rows = [(each, each.rows(TUNING)) for each in self.tasks if each is not data]
        return tuple(true_class(each.probabilities[:, own], each.y[own]) for each, own in rows)

    def _around(self, data: TaskData) -> tuple[list[Candidates], list[Candidates]]:
        """Return the tasks before and after one: all choose the same networks together."""
        place = [each is data for each in self.tasks].index(True)
        before = [self._of_task(each) for each in self.tasks[:place]]
        return before, [self._of_task(each) for each in self.tasks[place + 1 :]]

    def _of_task(self, data: TaskData) -> Candidates:
        if data.task not in self._candidates:
            rows = data.rows(TUNING)
            own, y = data.probabilities[:, rows], data.y[rows]
            candidates = Candidates(true_class(own, y), data.models, self.costs(data))
            self._candidates[data.task] = candidates
        return self._candidates[data.task]


def _blend_task(data: TaskData, options: BlendOptions, shared: _Shared) -> TaskBlend:
    about, costs = shared.about, shared.costs(data)
    rows = data.rows(TUNING)
    own, y = data.probabilities[:, rows], data.y[rows]
    blender = shared.blender(data)
    chooser = Chooser(blender)
    chooser.fit(own, y, data.letters_of(rows), data.images_of(rows), data.routes_of(rows))
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
            model: score_splits(data, table, options.metric)
            for model, table in zip(data.models, data.probabilities)
        },
        scores={
            answer: score_splits(
                data, recipe.apply(data.probabilities, data.routes_of()), options.metric
            )
            for answer, recipe in recipes.items()
        },
        notes=notes,
        validation=validation,
        estimate=_estimate(
            data, fitted, notes, tuning_kind(validation), _learning(data, recipes, about)
        ),
        fronts=_fronts(data, own, y, costs),
    )


def _learning(data: TaskData, recipes: dict[str, Recipe], about: dict) -> Learning:
    """Return what more rows bring to the recommended answer, as the run says it of its heads.

    Heads of which nothing is said learn as the others do.
    """
    chosen = about.get("tasks", {}).get(data.task, {}).get("chosen") or {}
    said = np.zeros((len(data.models), 2))
    for place, model in enumerate(data.models):
        # A run may come from anybody.
        own = chosen.get(model, {}).get("learning")
        pair = [own.get(name) for name in ("gain", "excess")] if isinstance(own, dict) else [None]
        said[place] = pair if all(isinstance(one, float) for one in pair) else np.nan
    known = np.isfinite(said).all(axis=1)
    if not known.any():
        return Learning()
    weights = recipes["recommended"].weights[known]
    weights = weights if weights.sum() > 0 else np.ones(known.sum())
    gain, excess = np.maximum(weights @ said[known] / weights.sum(), 0).tolist()
    return Learning(gain, excess)


def _estimate(
    data: TaskData, blender: Blender, notes: list[str], kind: str, learning: Learning
) -> Estimate | None:
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
    return estimate(data, blender, others, kind=kind, learning=learning)


def _fronts(data: TaskData, own: np.ndarray, y: np.ndarray, costs: Costs) -> dict[str, list]:
    if not 1 < len(data.models) <= MOST_FRONT_MODELS or own[:, :, 0].size > MOST_CELLS // 10:
        return {}
    fronts = {}
    true = true_class(own, y)
    for kind in KINDS:
        try:
            costs.require(data.models, kind)
        except ProbabilityError:
            continue
        fronts[kind] = pareto_front(true, data.models, costs, kind)
    return fronts

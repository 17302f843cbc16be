"""Compare the models of runs: what each is worth, and what it costs."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...core.arguments import require_types
from ...core.blas import with_one_thread
from ...core.errors import ProbabilityError, RunError, counted, enumerate_some
from ...core.summary import summary
from ...runs import Run, open_run
from ..joining.join import TEST, TUNING, TaskData, join_tasks, require_judged_rows
from ..joining.sources import read_sources
from ..metrics import get_metric
from ..resampling import Difference, Scored, bootstrap_interval
from ..result import tuning_kind
from .significance import LEVEL, compare_pairs

# Kinds of cost, in the order in which they are looked for.
COSTS = ("multiply_adds", "latency_ms", "size_bytes", "parameters", "dimension")
SHOWN = ("accuracy", "log_loss", "map")


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """How to compare.

    Attributes
    ----------
    metric : str
        Differences and the Pareto front are of this metric.
    cost : str
        Cost of the Pareto front, one of `COSTS`; the first that is known of all models if empty.
    align : bool
        Compare the rows that all models have, where some lack rows.
    seed : int
        Of bootstrap draws.
    """

    metric: str = "accuracy"
    cost: str = ""
    align: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        require_types(self)
        get_metric(self.metric)
        if self.cost and self.cost not in COSTS:
            raise RunError(f"unknown cost '{self.cost}'", f"choose {', '.join(COSTS)}")


@dataclasses.dataclass(frozen=True)
class Line:
    """One model of a task.

    Attributes
    ----------
    networks : tuple of str
        Specs of the backbones that it needs; empty where they are not known.
    costs : dict of str to float
        What is known of `COSTS`, for one image.
    scores : dict of str to (float, float, float)
        Value and 95% bootstrap interval of each metric.
    pareto : bool
        No other model of the task is at least as good and costs less, or is better and costs no
        more.
    behind : Difference or None
        To the best model, p-value corrected; None for the best one itself.
    """

    model: str
    networks: tuple[str, ...]
    costs: dict[str, float]
    scores: dict[str, tuple[float, float, float]]
    pareto: bool
    behind: Difference | None

    @property
    def beyond_noise(self) -> bool:
        """Whether it is worse than the best model beyond noise."""
        return self.behind is not None and self.behind.p < LEVEL


@dataclasses.dataclass(frozen=True)
class TaskComparison:
    """The models of one task.

    Attributes
    ----------
    rows_of : str
        Which rows scored them: ``test``, ``out-of-fold``, ``validation``, ``tuning``.
    lines : list of Line
        Best first.
    pairs : dict of (str, str) to Difference
        Of every pair of models, p-values corrected for all of them.
    """

    task: str
    rows: int
    rows_of: str
    lines: list[Line]
    pairs: dict[tuple[str, str], Difference]
    notes: tuple[str, ...]

    __repr__ = summary


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes
    ----------
    tasks : list of TaskComparison
    metric : str
    cost : str
        Which cost the Pareto front is of; empty where no cost is known of all models.
    random_weights : bool
        Whether networks know nothing, so that scores mean nothing.
    sources : tuple of str
    """

    tasks: list[TaskComparison]
    metric: str
    cost: str
    random_weights: bool
    sources: tuple[str, ...]

    __repr__ = summary

    def to_json(self) -> dict:
        """Return everything as JSON types."""
        return {
            "metric": self.metric,
            "cost": self.cost,
            "random_weights": self.random_weights,
            "sources": list(self.sources),
            "tasks": [
                {
                    "task": task.task,
                    "rows": task.rows,
                    "rows_of": task.rows_of,
                    "models": [
                        dataclasses.asdict(line) | {"beyond_noise": line.beyond_noise}
                        for line in task.lines
                    ],
                    "pairs": [
                        {"first": one, "second": other} | dataclasses.asdict(difference)
                        for (one, other), difference in task.pairs.items()
                    ],
                    "notes": list(task.notes),
                }
                for task in self.tasks
            ],
        }


@with_one_thread
def compare_runs(
    paths: Sequence[str | os.PathLike],
    labels: str | os.PathLike | None,
    counted: Mapping[str, tuple[int, int | None]],
    options: CompareOptions,
) -> Comparison:
    """Compare the models of runs and probability files.

    Parameters
    ----------
    paths : sequence of path-like
        Folders of runs, and probability files.
    labels : path-like or None
        Of files alone, or in place of those that the runs have.
    counted : mapping of str to (int, int or None)
        Parameters and multiply-adds of one view, by the fingerprint of the feature set.
    options : CompareOptions

    Raises
    ------
    MissingFileError, RunError, ProbabilityError
        Something is not there, or runs are of different data.
    """
    if not options.align:
        folders = [open_run(path) for path in paths if Path(path).is_dir()]
        _require_same_data(folders, any_labels=labels is not None)
    sources = read_sources(paths, labels, "refuse", relabel=True)
    found = []
    for data in join_tasks(sources.tables, sources.samples, options.align, (TUNING, TEST)):
        require_judged_rows(data)
        costs = _costs(sources.about, data, counted)
        found.append((data, costs))
    cost = options.cost or _known_of_all([one for _, costs in found for one in costs.values()])
    tasks = [_compared(data, sources.about, costs, cost, options) for data, costs in found]
    names = tuple(str(path) for path in paths)
    return Comparison(tasks, options.metric, cost, bool(sources.about.get("random_weights")), names)


def _require_same_data(runs: Sequence[Run], any_labels: bool) -> None:
    rows = [{(s.task, s.id): "" if any_labels else s.label for s in run.samples()} for run in runs]
    for run, own in zip(runs[1:], rows[1:]):
        differing = sorted(id_ for _, id_ in rows[0].keys() ^ own.keys())
        torn = sorted(key[1] for key in rows[0].keys() & own.keys() if rows[0][key] != own[key])
        both = dict.fromkeys([*differing, *torn])
        if both:
            raise RunError(
                f"{runs[0].path} and {run.path} are runs of different data: "
                f"{counted(len(both), 'image')} "
                f"are in one of them only, or have other labels there ({enumerate_some(both, 3)})",
                "compare runs of the same images; --align compares those that all have, and "
                "--labels judges all by the same labels",
            )


def _costs(about: dict, data: TaskData, counted: Mapping) -> dict[str, dict]:
    """Return of each model its networks and its costs as far as they are known."""
    entries = {one["fingerprint"]: one for one in about.get("backbones", [])}
    needs = about.get("tasks", {}).get(data.task, {}).get("features", {})
    return {
        model: _model_cost(
            [entries[one] for one in needs.get(model, ()) if one in entries], counted
        )
        for model in data.models
    }


def _model_cost(entries: Sequence[dict], counted: Mapping) -> dict:
    """Add up the costs of a model's feature sets; a network that makes two counts once."""
    networks = {_weights(one): one for one in entries}
    found: dict = {"networks": tuple(dict.fromkeys(one["spec"] for one in entries))}
    if not entries:
        return found
    views = [len(one.get("record", {}).get("views") or ("center",)) for one in entries]
    known = [counted.get(one["fingerprint"], (None, None)) for one in entries]
    adds = [None if c[1] is None else v * c[1] for c, v in zip(known, views)]
    parameters = [counted.get(one["fingerprint"], (None,))[0] for one in networks.values()]
    columns = {
        "parameters": parameters,
        "multiply_adds": adds,
        "size_bytes": [one.get("size_bytes") for one in networks.values()],
        "latency_ms": [one.get("latency_ms") for one in entries],
        "dimension": [one.get("dim") for one in entries],
    }
    return found | {kind: sum(values) for kind, values in columns.items() if None not in values}


def _weights(entry: dict) -> str:
    record = entry.get("record") or {}
    return str((record.get("backbone") or {}).get("weights_digest") or entry["spec"])


def _known_of_all(models: Sequence[Mapping]) -> str:
    return next((kind for kind in COSTS if models and all(kind in one for one in models)), "")


def _compared(
    data: TaskData, about: dict, costs: dict[str, dict], cost: str, options: CompareOptions
) -> TaskComparison:
    validation = about.get("tasks", {}).get(data.task, {}).get("validation", "")
    rows, kind = data.rows(TEST), "test"
    if not len(rows):
        rows, kind = data.rows(TUNING), tuning_kind(validation)
    y, tables = data.y[rows], [table[rows] for table in data.probabilities]
    images, letters = data.images_of(rows), data.letters_of(rows)

    def scored(name: str) -> Scored:
        return Scored(get_metric(name), y, letters, images, options.seed)

    main = scored(options.metric)
    if main.metric.uses_letters and letters is None:
        raise ProbabilityError(
            f"the metric {options.metric} needs FashionAI letters, but the labels have none",
            "choose accuracy, map or log_loss",
        )
    order = np.argsort([-main.score(table) for table in tables], kind="stable").tolist()
    pairs = compare_pairs(main, [tables[number] for number in order])
    worth = [main.score(tables[number]) for number in order]
    prices = [costs[data.models[number]].get(cost) for number in order]
    lines, best = [], is_pareto(worth, prices)
    for place, number in enumerate(order):
        own = costs[data.models[number]]
        lines.append(
            Line(
                data.models[number],
                own["networks"],
                {kind: own[kind] for kind in COSTS if kind in own},
                _scores(tables[number], scored, options.metric),
                best[place],
                pairs[0, place] if place else None,
            )
        )
    named = {(lines[a].model, lines[b].model): one for (a, b), one in pairs.items()}
    return TaskComparison(data.task, len(rows), kind, lines, named, data.notes)


def _scores(table: np.ndarray, scored, metric: str) -> dict[str, tuple[float, float, float]]:
    found = {}
    for name in dict.fromkeys((*SHOWN, metric)):
        one = scored(name)
        value = one.metric.value(one.y, table, one.letters)
        found[name] = (value, *bootstrap_interval(one, table))
    return found


def is_pareto(worth: Sequence[float], prices: Sequence[float | None]) -> list[bool]:
    """Tell of each model whether none is at least as good for less, or better for no more.

    >>> is_pareto([0.9, 0.8, 0.8], [5, 3, 4])
    [True, True, False]
    """
    points = list(zip(worth, prices))
    return [
        price is not None
        and not any(
            cost is not None
            and (other >= value and cost <= price)
            and (other > value or cost < price)
            for other, cost in points
        )
        for value, price in points
    ]

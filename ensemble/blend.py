"""Tune the weights of a run, or of probability files from anywhere, and compare."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import manifest
from ..errors import MissingFileError, ProbabilityError, RunError, enumerate_some
from ..files import publish_json, sha256_file
from ..probabilities import ProbabilityTable, read_probabilities
from . import metrics
from .join import TEST, TUNING, TaskData, join_tasks
from .labels import read_labels
from .text import task_text
from .weights import Blender, combine, data_notes

__all__ = ["BlendResult", "TaskBlend", "TaskWeights", "blend_files", "blend_run", "load_blend"]

BLEND_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class TaskBlend:
    """The weights of one task and what they are worth.

    Attributes
    ----------
    data : TaskData
        The joined rows.
    metric, mean : str
        What the weights were tuned for, and the kind of average.
    weights : dict of str to float
        By model; sum 1.
    certificate : float or None
        No weights have a log-loss lower by more than this on the tuning rows.
    how : str
        How the weights were found.
    models : dict of str to dict
        ``{model: {"validation": {metric: value}, "test": {...}}}``; ``test`` only where
        there are labelled test rows.
    average, tuned : dict
        The same for the plain and for the tuned average.
    notes : list of str
        What a reader should know.
    validation : str
        How the tuning rows came about, as the run says: ``split`` or ``out-of-fold, ...``.
    """

    data: TaskData
    metric: str
    mean: str
    weights: dict[str, float]
    certificate: float | None
    how: str
    models: dict[str, dict]
    average: dict[str, dict]
    tuned: dict[str, dict]
    notes: list[str]
    validation: str = ""

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.data.task

    def table(self) -> np.ndarray:
        """Return the tuned average's probabilities, (N, C), in the order of ``data.ids``."""
        return combine(self.data.probabilities, np.array(list(self.weights.values())), self.mean)

    def to_json(self) -> dict:
        """Return the task's part of `BlendResult.to_json`."""
        return {
            "task": self.task,
            "classes": list(self.data.classes),
            "metric": self.metric,
            "mean": self.mean,
            "weights": self.weights,
            "certificate": self.certificate,
            "rows": {name: len(self.data.rows(name)) for name in (TUNING, TEST)},
            "models": self.models,
            "average": self.average,
            "tuned": self.tuned,
            "how": self.how,
            "notes": self.notes,
        }


@dataclasses.dataclass(frozen=True)
class BlendResult:
    """The answer of `blend_run` and `blend_files`.

    Attributes
    ----------
    tasks : list of TaskBlend
    metric : str
    seed : int
    inputs : dict of str to str
        SHA-256 of every file that went in, by its path.
    run : dict
        What ``run.json`` says; empty for files from elsewhere.
    """

    tasks: list[TaskBlend]
    metric: str
    seed: int
    inputs: dict[str, str]
    run: dict = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict:
        """Return ``{"tasks": [{"task", "weights", "models", "average", "tuned", ...}]}``."""
        return {"tasks": [task.to_json() for task in self.tasks]}

    def to_file(self) -> dict:
        """Return the content of ``blend.json``: `to_json` with seed and input digests."""
        from .. import __version__

        head = {"format": BLEND_FORMAT, "icecore": __version__, "metric": self.metric}
        return head | {"seed": self.seed, "inputs": self.inputs} | self.to_json()

    def text(self) -> str:
        """Return the comparison as plain text, for a terminal."""
        return "\n\n".join(task_text(task) for task in self.tasks)


@dataclasses.dataclass(frozen=True)
class TaskWeights:
    """Weights as a prediction needs them.

    Attributes
    ----------
    weights : dict of str to float
        By model; sum 1.
    mean : str
        ``arithmetic`` or ``geometric``.
    classes : tuple of str
        Names of the columns that were blended.
    """

    weights: dict[str, float]
    mean: str = "arithmetic"
    classes: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """Models with a weight above 0: no others need be computed."""
        return tuple(model for model, weight in self.weights.items() if weight > 0)

    def combine(self, probabilities: dict[str, np.ndarray]) -> np.ndarray:
        """Average ``{model: (N, C)}``; models of weight 0 may be left out."""
        missing = [model for model in self.needed if model not in probabilities]
        if missing:
            raise RunError(
                f"the blend needs probabilities of {enumerate_some(missing)}",
                "compute them, or tune the weights again without these models",
            )
        stacked = np.stack([probabilities[model] for model in self.needed])
        return combine(stacked, np.array([self.weights[m] for m in self.needed]), self.mean)


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
        Of searches that are not convex.
    write : bool
        False leaves the folder as it is.
    **options
        Further parameters of `Blender`.

    Raises
    ------
    MissingFileError, RunError, ProbabilityError
        The folder is no run or lacks files, or its files do not belong together.
    """
    run = Path(run)
    about = read_run(run)
    tables, inputs = _run_tables(run, about)
    samples = manifest.read(run / "samples.csv", labels_required=False).samples
    inputs["samples.csv"] = sha256_file(run / "samples.csv")
    result = _blend(join_tasks(tables, samples), metric, seed, inputs, about, options)
    if write:
        from .report import write_report

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
    report: str | os.PathLike | None = None,
    **options,
) -> BlendResult:
    """Tune weights for probability files from anywhere.

    Parameters
    ----------
    paths : sequence of path-like
        CSV, NPZ or HDF5 files, one for each model.
    labels : path-like
        What `read_labels` reads: a table of ids and labels.
    metric, seed, options
        As in `blend_run`.
    align : bool
        Make files of unequal ids or classes fit instead of refusing them.
    report : path-like, optional
        Where to write the HTML page.
    """
    if not paths:
        raise ProbabilityError("no probability files were given", "give one file for each model")
    tables = [read_probabilities(path) for path in paths]
    inputs = {str(path): sha256_file(path) for path in paths}
    samples = read_labels(labels)
    if Path(labels).is_file():
        inputs[str(labels)] = sha256_file(labels)
    result = _blend(join_tasks(tables, samples, align), metric, seed, inputs, {}, options)
    if report is not None:
        from .report import write_report

        write_report(result, report)
    return result


def load_blend(run: str | os.PathLike) -> dict[str, TaskWeights]:
    """Read the weights of each task from ``RUN/blend.json``.

    Raises
    ------
    MissingFileError
        The run was not blended.
    RunError
        The file is damaged or of another format.
    """
    path = Path(run) / "blend.json"
    if not path.is_file():
        raise MissingFileError(f"{path} is not there", "run 'icecore blend' on this folder first")
    content = _json(path)
    if content.get("format") != BLEND_FORMAT:
        raise RunError(
            f"{path} has the format {content.get('format')}, this version reads {BLEND_FORMAT}",
            "run 'icecore blend' on this folder again",
        )
    found = {}
    try:
        for task in content["tasks"]:
            weights = {str(name): float(value) for name, value in task["weights"].items()}
            if not weights or min(weights.values()) < 0 or abs(sum(weights.values()) - 1) > 1e-6:
                raise ValueError(f"weights {weights}")
            found[task["task"]] = TaskWeights(weights, task["mean"], tuple(task.get("classes", ())))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} is damaged: {error}", "run 'icecore blend' on this folder again"
        ) from error
    return found


def read_run(run: Path) -> dict:
    """Read and check ``run.json``."""
    if not run.is_dir():
        raise MissingFileError(f"{run} is not there", "give a folder that 'icecore train' wrote")
    lacking = [name for name in ("run.json", "samples.csv") if not (run / name).is_file()]
    if lacking:
        raise RunError(
            f"{run} is not a run: it lacks {enumerate_some(lacking)}",
            "give a folder that 'icecore train' wrote",
        )
    about = _json(run / "run.json")
    if not isinstance(about.get("tasks"), dict) or not about["tasks"]:
        raise RunError(f"{run}/run.json names no tasks", "train again")
    return about


def _run_tables(run: Path, about: dict) -> tuple[list[ProbabilityTable], dict[str, str]]:
    tables, inputs, absent = [], {}, []
    for task, entry in about["tasks"].items():
        for model in entry["models"]:
            name = f"{entry['folder']}/probabilities/{model}.npz"
            if not (run / name).is_file():
                absent.append(name)
                continue
            table = read_probabilities(run / name)
            tables.append(dataclasses.replace(table, task=task, model=model))
            inputs[name] = sha256_file(run / name)
    if absent:
        raise RunError(
            f"{run} lacks {len(absent)} probability files: {enumerate_some(absent)}", "train again"
        )
    if not tables:
        raise RunError(f"{run} has no models", "train again")
    return tables, inputs


def _blend(
    tasks: list[TaskData], metric: str, seed: int, inputs: dict, about: dict, options: dict
) -> BlendResult:
    found = metrics.get_metric(metric)
    origin = {task: str(e.get("validation", "")) for task, e in about.get("tasks", {}).items()}
    blended = [
        dataclasses.replace(
            _blend_task(data, found, seed, options), validation=origin.get(data.task, "")
        )
        for data in tasks
    ]
    return BlendResult(blended, found.name, seed, inputs, about)


def _blend_task(data: TaskData, metric: metrics.Metric, seed: int, options: dict) -> TaskBlend:
    rows = data.rows(TUNING)
    blender = Blender(metric, seed=seed, **options)
    own, y = data.probabilities[:, rows], data.y[rows]
    blender.fit(own, y, data.letters_of(rows))
    ids = [data.ids[index] for index in rows]
    notes = [*data.notes, *data_notes(own, y, data.models, ids, data.classes)]
    notes += [note for note in blender.notes_ if "certified" in note]
    average = combine(data.probabilities, np.full(len(own), 1 / len(own)), blender.mean)
    return TaskBlend(
        data=data,
        metric=metric.name,
        mean=blender.mean,
        weights=dict(zip(data.models, blender.weights_.tolist())),
        certificate=blender.certificate_,
        how=blender.how_,
        models={
            model: _scores(data, table) for model, table in zip(data.models, data.probabilities)
        },
        average=_scores(data, average),
        tuned=_scores(data, blender.predict_proba(data.probabilities)),
        notes=notes,
    )


def _scores(data: TaskData, table: np.ndarray) -> dict[str, dict]:
    """Score `table` (N, C) on the labelled rows of each split that has any."""
    scores = {}
    for split in (TUNING, TEST):
        rows = data.rows(split)
        if not len(rows):
            continue
        y, part, letters = data.y[rows], table[rows], data.letters_of(rows)
        scores[split] = {
            "log_loss": metrics.log_loss(y, part),
            "accuracy": metrics.accuracy(y, part),
            "map": metrics.macro_map(y, part),
        }
        if letters:
            extra = {
                "fashionai_ap": metrics.fashionai_ap(letters, part),
                "basic_precision": metrics.fashionai_basic_precision(letters, part),
            }
            # JSON has no NaN: a value that is not defined is null.
            scores[split] |= {k: None if np.isnan(v) else v for k, v in extra.items()}
    return scores


def _json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(f"{path} is not readable JSON: {error}", "make it again") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} does not hold a JSON object", "make it again")
    return content

"""The answers of a blend as they are kept in ``blend.json``, and as a prediction needs them."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import numpy as np

from ..core.errors import MissingFileError, RunError, enumerate_some
from ..core.files import sha256_file
from ..core.json_fields import JsonFields
from ..core.json_files import read_json
from ..runs import open_run
from .options import ANSWERS, MEANS
from .weighting.averaging import Recipe
from .weighting.calibration import Calibration

__all__ = ["BLEND_FORMAT", "TaskWeights", "load_blend"]

BLEND_FORMAT = 2
# A temperature of 0 divides by it, and a negative one turns ranks around.
_COLDEST = 1e-3
_AGAIN = "run 'icecore blend' on this folder again"


@dataclasses.dataclass(frozen=True)
class TaskWeights:
    """Weights of one task, by name.

    Attributes
    ----------
    weights : dict of str to float
        By model; finite, 0 or more, sum 1.
    mean : str
        ``arithmetic`` or ``geometric``.
    classes : tuple of str
        Names of the columns that were blended.
    groups : tuple of (tuple of str, dict of str to float)
        Classes of each group with its weights; empty if there are none.
    calibration : Calibration or None
        Temperature from 0.001 to 1000, share of wrong labels from 0 to below 1.
    answer : str
        Which answer these weights are, in words.

    Raises
    ------
    ValueError
        The numbers or names cannot be a blend; all faults are named.
    """

    weights: dict[str, float]
    mean: str = "arithmetic"
    classes: tuple[str, ...] = ()
    groups: tuple[tuple[tuple[str, ...], dict[str, float]], ...] = ()
    calibration: Calibration | None = None
    answer: str = ""

    def __post_init__(self) -> None:
        faults = _weight_faults(self.weights)
        if self.mean not in MEANS:
            faults.append(f"the mean is '{self.mean}', not one of {', '.join(MEANS)}")
        known = self.calibration or Calibration()
        if not _COLDEST <= known.temperature <= 1 / _COLDEST:
            faults.append(
                f"the temperature {known.temperature} is not from {_COLDEST:g} to {1 / _COLDEST:g}"
            )
        if not 0 <= known.wrong < 1:
            faults.append(f"the share of wrong labels {known.wrong} is not from 0 to below 1")
        named = [name for part, _ in self.groups for name in part]
        if self.groups and sorted(named) != sorted(self.classes):
            faults.append("the groups do not hold every class once")
        for _, weights in self.groups:
            faults += _weight_faults(weights)
            if set(weights) != set(self.weights):
                faults.append("the weights of a group name different models")
        if len(set(self.classes)) < len(self.classes):
            faults.append("a class is named twice")
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def recipe(self) -> Recipe:
        """The recipe for arrays, models in the order of `weights`."""
        names = list(self.weights)
        groups = by_group = None
        if self.groups:
            number = {name: i for i, (part, _) in enumerate(self.groups) for name in part}
            groups = np.array([number[name] for name in self.classes])
            by_group = np.array([[part[name] for name in names] for _, part in self.groups])
        weights = np.array([self.weights[name] for name in names])
        return Recipe(weights, self.mean, groups, by_group, self.calibration)

    @property
    def needed(self) -> tuple[str, ...]:
        """Models with a weight above 0: no others need be computed."""
        return tuple(name for name, used in zip(self.weights, self.recipe.used) if used)

    def combine(self, probabilities: dict[str, np.ndarray]) -> np.ndarray:
        """Average ``{model: (N, C)}``; models of weight 0 may be left out."""
        missing = [model for model in self.needed if model not in probabilities]
        if missing:
            raise RunError(
                f"the blend needs probabilities of {enumerate_some(missing)}",
                "compute them, or tune the weights again without these models",
            )
        stacked = np.stack([probabilities[model] for model in self.needed])
        return self.recipe.only_used().apply(stacked)


def load_blend(run: str | os.PathLike, answer: str = "recommended") -> dict[str, TaskWeights]:
    """Read the weights of each task from ``RUN/blend.json``.

    Parameters
    ----------
    run : path-like
        Folder of a run.
    answer : {"recommended", "clean", "tuned", "average"}

    Raises
    ------
    MissingFileError
        The run was not blended.
    RunError
        The file is damaged, of another format, or was made of another run: tasks, models,
        classes and the probability files that lie in the run are compared with what it says.
    """
    path = Path(run) / "blend.json"
    if not os.path.lexists(path):
        raise MissingFileError(f"{path} is not there", "run 'icecore blend' on this folder first")
    if answer not in ANSWERS:
        raise RunError(f"there is no answer '{answer}'", f"choose {', '.join(ANSWERS)}")
    content = JsonFields(read_json(path, RunError, _AGAIN), str(path), RunError, _AGAIN)
    if content.integer("format") != BLEND_FORMAT:
        raise RunError(
            f"{path} has the format {content.integer('format')}, this version reads {BLEND_FORMAT}",
            _AGAIN,
        )
    found = {}
    for task in content.items("tasks"):
        name = task.text("task")
        if name in found:
            raise content.refuse(f"names the task '{name}' twice")
        # All answers are read, so that a damaged one is noticed whichever is asked for.
        found[name] = {each: _task_weights(task, each) for each in ANSWERS}[answer]
    inputs = content.part("inputs")
    _require_of_run(path, found, {file: inputs.text(file) for file in inputs.content})
    return found


def _require_of_run(path: Path, found: dict[str, TaskWeights], inputs: dict[str, str]) -> None:
    """Raise `RunError` if the blend was made of another run than the one that it lies in."""
    run = path.parent
    tasks = open_run(run).tasks
    faults = []
    if set(tasks) != set(found):
        faults.append(f"its tasks are {enumerate_some(found)}, the run has {enumerate_some(tasks)}")
    for name in sorted(set(tasks) & set(found)):
        if set(tasks[name].models) != set(found[name].weights):
            faults.append(f"the models of the task '{name}' are others in the run")
        if tasks[name].classes != found[name].classes:
            faults.append(f"the classes of the task '{name}' are others in the run")
    changed = [
        name
        for name, digest in inputs.items()
        if (run / name).is_file() and sha256_file(run / name) != digest
    ]
    if changed:
        faults.append(f"files have changed since: {enumerate_some(changed)}")
    if faults:
        raise RunError(f"{path} does not belong to this run: {'; '.join(faults)}", _AGAIN)


def _task_weights(task: JsonFields, answer: str) -> TaskWeights:
    entry = task.part("answers").part(answer)
    words = {"tuned": "the tuned weights", "average": "the plain average"}
    groups = entry.items("groups") if entry.has("groups") else []
    try:
        return TaskWeights(
            entry.numbers("weights", 0),
            entry.text("mean"),
            task.names("classes"),
            tuple((part.names("classes"), part.numbers("weights", 0)) for part in groups),
            _calibration(entry),
            words.get(answer) or task.part("recommended").text("is"),
        )
    except ValueError as error:
        if isinstance(error, RunError):
            raise
        raise entry.refuse(f"cannot be a blend: {error}") from error


def _calibration(entry: JsonFields) -> Calibration | None:
    if not entry.has("calibration"):
        return None
    known = entry.part("calibration")
    return Calibration(known.number("temperature"), known.number("wrong_labels"))


def _weight_faults(weights: dict[str, float]) -> list[str]:
    values = list(weights.values())
    if not values or not all(math.isfinite(v) and v >= 0 for v in values):
        return [f"weights are not all finite and 0 or more: {weights}"]
    if abs(sum(values) - 1) > 1e-6:
        return [f"weights have the sum {sum(values):.6g}, not 1: {weights}"]
    return []

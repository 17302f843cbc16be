"""Weights as they are kept in ``blend.json``, and as a prediction needs them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from ..core.errors import MissingFileError, RunError, enumerate_some
from ..core.json_fields import JsonFields
from ..core.json_files import read_json
from .weighting.averaging import MEANS, Recipe

__all__ = ["BLEND_FORMAT", "TaskWeights", "load_blend"]

BLEND_FORMAT = 1
# A temperature of 0 divides by it, and a negative one turns ranks around.
LEAST_TEMPERATURE = 1e-3


@dataclasses.dataclass(frozen=True)
class TaskWeights:
    """Weights of one task, by name.

    Attributes
    ----------
    weights : dict of str to float
        By model; sum 1.
    mean : str
        ``arithmetic`` or ``geometric``.
    classes : tuple of str
        Names of the columns that were blended.
    temperatures : dict of str to float
        By model; empty if there are none.
    groups : tuple of (tuple of str, dict of str to float)
        Classes of each group with its weights; empty if there are none.
    recommended : str
        ``tuned`` or ``average``, as the honest estimate said; empty if there was none.
    """

    weights: dict[str, float]
    mean: str = "arithmetic"
    classes: tuple[str, ...] = ()
    temperatures: dict[str, float] = dataclasses.field(default_factory=dict)
    groups: tuple[tuple[tuple[str, ...], dict[str, float]], ...] = ()
    recommended: str = ""

    @property
    def recipe(self) -> Recipe:
        """The recipe for arrays, models in the order of `weights`."""
        names = list(self.weights)
        temperatures = groups = by_group = None
        if self.temperatures:
            temperatures = np.array([self.temperatures[name] for name in names])
        if self.groups:
            number = {name: i for i, (part, _) in enumerate(self.groups) for name in part}
            groups = np.array([number[name] for name in self.classes])
            by_group = np.array([[part[name] for name in names] for _, part in self.groups])
        weights = np.array([self.weights[name] for name in names])
        return Recipe(weights, self.mean, temperatures, groups, by_group)

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
    hint = "run 'icecore blend' on this folder again"
    if not os.path.lexists(path):
        raise MissingFileError(f"{path} is not there", "run 'icecore blend' on this folder first")
    content = JsonFields(read_json(path, RunError, hint), str(path), RunError, hint)
    if content.integer("format") != BLEND_FORMAT:
        raise RunError(
            f"{path} has the format {content.integer('format')}, this version reads {BLEND_FORMAT}",
            hint,
        )
    tasks = content.items("tasks")
    names = [task.text("task") for task in tasks]
    if not names or len(set(names)) < len(names):
        raise content.refuse("names no task, or one twice")
    return {name: _task_weights(task) for name, task in zip(names, tasks)}


def _task_weights(task: JsonFields) -> TaskWeights:
    mean = task.text("mean")
    if mean not in MEANS:
        raise task.refuse(f"has the mean '{mean}', not {' or '.join(MEANS)}")
    weights = _weights(task)
    temperatures: dict[str, float] = {}
    if task.has("temperatures"):
        temperatures = task.numbers("temperatures", LEAST_TEMPERATURE)
    groups = []
    if task.has("groups"):
        groups = [(part.names("classes"), _weights(part)) for part in task.items("groups")]
    recommended = ""
    if task.has("estimate"):
        recommended = task.part("estimate").text("recommended", "")
    classes = task.names("classes", 2)
    _require_fit(task, weights, temperatures, groups, classes)
    return TaskWeights(weights, mean, classes, temperatures, tuple(groups), recommended)


def _require_fit(task: JsonFields, weights, temperatures, groups, classes) -> None:
    """See that the parts of a blend name the same models and classes."""
    if temperatures and set(temperatures) != set(weights):
        raise task.refuse("has weights and temperatures of different models")
    if any(set(part) != set(weights) for _, part in groups):
        raise task.refuse("has groups with weights of different models")
    grouped = [name for part, _ in groups for name in part]
    if groups and sorted(grouped) != sorted(classes):
        raise task.refuse("has groups that do not hold every class once")


def _weights(task: JsonFields) -> dict[str, float]:
    weights = task.numbers("weights", 0)
    if not abs(sum(weights.values()) - 1) < 1e-6:
        raise task.refuse(f"has weights that do not sum to 1: {weights}")
    return weights

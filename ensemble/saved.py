"""Weights as they are kept in ``blend.json``, and as a prediction needs them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from ..core.errors import MissingFileError, RunError, enumerate_some
from ..core.json_files import read_json
from .weighting.averaging import MEANS, Recipe

__all__ = ["BLEND_FORMAT", "TaskWeights", "load_blend"]

BLEND_FORMAT = 1


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
    if not path.is_file():
        raise MissingFileError(f"{path} is not there", "run 'icecore blend' on this folder first")
    content = read_json(path, RunError, "run 'icecore blend' on this folder again")
    if content.get("format") != BLEND_FORMAT:
        raise RunError(
            f"{path} has the format {content.get('format')}, this version reads {BLEND_FORMAT}",
            "run 'icecore blend' on this folder again",
        )
    try:
        return {task["task"]: _task_weights(task) for task in content["tasks"]}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} is damaged: {error}", "run 'icecore blend' on this folder again"
        ) from error


def _task_weights(task: dict) -> TaskWeights:
    weights = _weights(task["weights"])
    if task["mean"] not in MEANS:
        raise ValueError(f"mean {task['mean']}")
    temperatures = {str(k): float(v) for k, v in (task.get("temperatures") or {}).items()}
    groups = tuple(
        (tuple(part["classes"]), _weights(part["weights"])) for part in task.get("groups") or ()
    )
    recommended = (task.get("estimate") or {}).get("recommended", "")
    found = TaskWeights(
        weights, task["mean"], tuple(task.get("classes", ())), temperatures, groups, recommended
    )
    # Names that do not fit together show here, not in the middle of a prediction.
    _ = found.recipe
    return found


def _weights(content: dict) -> dict[str, float]:
    weights = {str(name): float(value) for name, value in content.items()}
    if not weights or min(weights.values()) < 0 or not abs(sum(weights.values()) - 1) < 1e-6:
        raise ValueError(f"weights {weights}")
    return weights

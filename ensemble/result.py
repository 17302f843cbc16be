"""What blending answers: weights, scores of every answer, and how good they really are."""

from __future__ import annotations

import dataclasses

import numpy as np

from .. import __version__
from ..manifest import Sample
from . import metrics
from .estimate import Estimate
from .joining.join import TEST, TUNING, TaskData
from .saved import BLEND_FORMAT
from .weighting.averaging import Recipe, combine
from .weighting.subsets import Choice

__all__ = ["BlendResult", "TaskBlend", "score_splits"]


@dataclasses.dataclass(frozen=True)
class TaskBlend:
    """The weights of one task and what they are worth.

    Attributes
    ----------
    data : TaskData
        The joined rows.
    metric : str
        What the weights were tuned for.
    recipe : Recipe
        Weights, and temperatures and class groups where they were asked for.
    certificate : float or None
        No weights have an objective lower by more than this on the tuning rows.
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
    estimate : Estimate or None
        Scores on rows that no choice has seen.
    fronts : dict of str to list of Choice
        Pareto fronts of log-loss against cost, by the kind of cost.
    """

    data: TaskData
    metric: str
    recipe: Recipe
    certificate: float | None
    how: str
    models: dict[str, dict]
    average: dict[str, dict]
    tuned: dict[str, dict]
    notes: list[str]
    validation: str = ""
    estimate: Estimate | None = None
    fronts: dict[str, list[Choice]] = dataclasses.field(default_factory=dict)

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.data.task

    @property
    def mean(self) -> str:
        """Kind of average."""
        return self.recipe.mean

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each model; sum 1."""
        return dict(zip(self.data.models, self.recipe.weights.tolist()))

    def table(self) -> np.ndarray:
        """Return the tuned average's probabilities, (N, C), in the order of ``data.ids``."""
        return self.recipe.apply(self.data.probabilities)

    def average_table(self) -> np.ndarray:
        """Return the plain average's probabilities, (N, C)."""
        models = len(self.data.models)
        return combine(self.data.probabilities, np.full(models, 1 / models), self.mean)

    def to_json(self) -> dict:
        """Return the task's part of `BlendResult.to_json`."""
        temperatures = self.recipe.temperatures
        return {
            "task": self.task,
            "classes": list(self.data.classes),
            "metric": self.metric,
            "mean": self.mean,
            "weights": self.weights,
            "temperatures": None
            if temperatures is None
            else dict(zip(self.data.models, temperatures.tolist())),
            "groups": self._groups(),
            "certificate": self.certificate,
            "rows": {name: len(self.data.rows(name)) for name in (TUNING, TEST)},
            "models": self.models,
            "average": self.average,
            "tuned": self.tuned,
            "estimate": None if self.estimate is None else self.estimate.to_json(),
            "pareto": {
                kind: [_choice_json(choice) for choice in front]
                for kind, front in self.fronts.items()
            },
            "how": self.how,
            "notes": self.notes,
        }

    def _groups(self) -> list[dict] | None:
        if self.recipe.group_weights is None:
            return None
        return [
            {
                "classes": [
                    name for name, g in zip(self.data.classes, self.recipe.groups) if g == number
                ],
                "weights": dict(zip(self.data.models, weights.tolist())),
            }
            for number, weights in enumerate(self.recipe.group_weights)
        ]


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
    conflicts : list of list of Sample
        Images of one content (digest) that have different labels.
    """

    tasks: list[TaskBlend]
    metric: str
    seed: int
    inputs: dict[str, str]
    run: dict = dataclasses.field(default_factory=dict)
    conflicts: list[list[Sample]] = dataclasses.field(default_factory=list)

    def to_json(self) -> dict:
        """Return ``{"tasks": [{"task", "weights", "models", "average", "tuned", ...}]}``."""
        return {"tasks": [task.to_json() for task in self.tasks]}

    def to_file(self) -> dict:
        """Return the content of ``blend.json``: `to_json` with seed and input digests."""
        head = {"format": BLEND_FORMAT, "icecore": __version__, "metric": self.metric}
        return head | {"seed": self.seed, "inputs": self.inputs} | self.to_json()


def score_splits(data: TaskData, table: np.ndarray) -> dict[str, dict]:
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


def _choice_json(choice: Choice) -> dict:
    return {
        "models": list(choice.models),
        "weights": choice.weights,
        "log_loss": choice.loss,
        "cost": choice.cost,
        "certificate": choice.certificate,
        "exact": choice.exact,
    }

"""What training tells: events on the way, and the result."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

__all__ = ["ModelResult", "TaskResult", "TrainEvent", "TrainResult"]


@dataclasses.dataclass(frozen=True)
class TrainEvent:
    """How far training is; given to `train`'s ``progress`` after each epoch.

    Attributes
    ----------
    task, model : str
    done, total : int
        Models finished, and models in all.
    step : str
        "training", "fold 2 of 5", "all rows", or "done".
    epoch : int
    losses, best_losses : tuple of float
        Held-out log-loss now and at its best, of each head in training.
    """

    task: str
    model: str
    done: int
    total: int
    step: str
    epoch: int = 0
    losses: tuple[float, ...] = ()
    best_losses: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class ModelResult:
    """One trained model: name, feature specs, validation scores, seconds, taken over or not."""

    name: str
    features: tuple[str, ...]
    scores: dict[str, Any]
    seconds: float
    reused: bool = False


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """One trained task: where validation predictions come from, models, warnings."""

    task: str
    classes: tuple[str, ...]
    validation: str
    models: tuple[ModelResult, ...]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What `train` did.

    Attributes
    ----------
    run : pathlib.Path
    tasks : tuple of TaskResult
    failed : dict of str to str
        Why tasks could not be trained.
    left_out : tuple of str
        Ids of images without features (unreadable, or not extracted).
    interrupted : bool
        Training was stopped by Ctrl-C; the run holds the models finished until then.
    """

    run: Path
    tasks: tuple[TaskResult, ...]
    failed: dict[str, str]
    left_out: tuple[str, ...]
    interrupted: bool = False

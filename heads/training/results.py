"""What training tells: events on the way, and the result."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

__all__ = ["MemberProgress", "ModelResult", "TaskResult", "TrainEvent", "TrainResult"]


@dataclasses.dataclass(frozen=True)
class MemberProgress:
    """One of the heads that are trained together.

    Attributes
    ----------
    name : str
        "fold 2", or the settings that a search tries; empty if there is one only.
    epoch : int
        Epochs it has run.
    loss, best_loss : float or None
        Held-out log-loss now and at its best; None without held-out rows.
    best_epoch : int
    stopped : str
        Why it ended, see `Outcome`; empty while it is in training.
    """

    name: str
    epoch: int
    loss: float | None
    best_loss: float | None
    best_epoch: int
    stopped: str = ""


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
    members : tuple of MemberProgress
        The heads that are trained together.
    """

    task: str
    model: str
    done: int
    total: int
    step: str
    epoch: int = 0
    members: tuple[MemberProgress, ...] = ()


@dataclasses.dataclass(frozen=True)
class ModelResult:
    """One trained model: name, feature specs, validation scores, seconds.

    `reused`: it was taken over from the run before. `interrupted`: Ctrl-C ended its
    training, and the weights are the best until then.
    """

    name: str
    features: tuple[str, ...]
    scores: dict[str, Any]
    seconds: float
    reused: bool = False
    interrupted: bool = False


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

"""What training tells: events on the way, and the result."""

import dataclasses
from pathlib import Path
from typing import Any

from ...core.summary import summary


@dataclasses.dataclass(frozen=True)
class TrainEvent:
    """How far training is; given to `train`'s ``progress``.

    Attributes
    ----------
    task, model : str
    done, total : int
        Models finished, and models in all.
    step : str
        "settings", "folds", "all rows" or "done".
    part, parts : int
        How much of the step is done, and of how much.
    loss : float or None
        Least log-loss of the settings tried so far, on rows that the heads did not see.
    """

    task: str
    model: str
    done: int
    total: int
    step: str
    part: int = 0
    parts: int = 0
    loss: float | None = None


@dataclasses.dataclass(frozen=True)
class ModelResult:
    """One trained model.

    Attributes
    ----------
    name : str
    features : tuple of str
        Specs of its feature sets.
    scores : dict
        On the tuning rows, see `score`.
    seconds : float
    chosen : dict
        What was chosen out of fold, see `FittedModel`.
    reused : bool
        It was taken over from the run before.
    """

    name: str
    features: tuple[str, ...]
    scores: dict[str, Any]
    seconds: float
    chosen: dict[str, Any] = dataclasses.field(default_factory=dict)
    reused: bool = False


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """One trained task.

    Attributes
    ----------
    task : str
    classes : tuple of str
    validation : str
        Where the predictions of the tuning rows come from.
    models : tuple of ModelResult
    warnings : tuple of str
    groups : dict or None
        What heads of their own for groups of images bring, see `group_report`.
    """

    task: str
    classes: tuple[str, ...]
    validation: str
    models: tuple[ModelResult, ...]
    warnings: tuple[str, ...]
    groups: dict[str, Any] | None = None

    __repr__ = summary


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

    __repr__ = summary

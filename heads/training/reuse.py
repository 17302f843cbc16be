"""Take finished heads over from an earlier run if nothing they depend on changed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ... import __version__
from ...core.errors import IcecoreError
from ...runs import open_run
from ..registry import make_head
from .options import TrainOptions
from .plan import ModelPlan
from .task_data import TaskData

__all__ = ["EarlierRun", "model_key"]


def model_key(
    data: TaskData, plan: ModelPlan, fingerprints: Sequence[str], options: TrainOptions
) -> str:
    """Return a digest of everything a model's head and probabilities depend on."""
    about = {
        "icecore": __version__,
        "kind": plan.kind,
        "features": list(fingerprints),
        "options": _relevant(data, plan.kind, options),
        "classes": data.classes,
        "parts": [data.train.stop, data.validation.stop, data.test.stop],
        "rows": [(s.id, s.digest, s.label, s.letters) for s in data.samples],
    }
    text = json.dumps(about, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _relevant(data: TaskData, kind: str, options: TrainOptions) -> dict[str, Any]:
    """Return the options that this kind of head depends on, with these rows."""
    # With the defaults spelled out: a newer icecore may have others.
    settings = make_head(kind, **options.for_head(kind)).get_params()
    found = {**options.plain(), "settings": settings}
    split = data.validation.stop > data.validation.start
    unused = ("folds", "repeats") if split else ("refit",)
    if kind != "mlp":
        unused += ("search", "search_fits", "search_seconds", "nested", "maybe")
    found["view_training"] = options.view_use(1).for_head(kind).training
    return {name: value for name, value in found.items() if name not in unused}


class EarlierRun:
    """The run that is about to be replaced, if there is a readable one.

    Parameters
    ----------
    path : pathlib.Path
    """

    def __init__(self, path: Path) -> None:
        self._tasks: dict[str, Any] = {}
        try:
            run = open_run(path)
        except IcecoreError:
            return
        self._folders = {name: task.folder for name, task in run.tasks.items()}
        self._tasks = run.about["tasks"]

    def take(self, task: str, model: str, key: str, folder: Path) -> tuple[dict, float] | None:
        """Copy a model's files into the new task `folder`; return its scores and seconds."""
        entry = self._tasks.get(task, {})
        try:
            if entry["keys"][model] != key:
                return None
            scores, seconds = dict(entry["scores"][model]), float(entry["seconds"][model])
            old = self._folders[task]
            shutil.copytree(old / "heads" / model, folder / "heads" / model)
            (folder / "probabilities").mkdir(exist_ok=True)
            shutil.copy2(old / f"probabilities/{model}.npz", folder / "probabilities")
        except (KeyError, OSError, TypeError, ValueError):
            # Something is missing there: fit it again.
            shutil.rmtree(folder / "heads" / model, ignore_errors=True)
            return None
        return scores, seconds

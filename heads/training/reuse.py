"""Take finished heads over from an earlier run if nothing they depend on changed."""

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

# Raised whenever settings are chosen, or rows predicted, in another way than before.
PROTOCOL = 2


def model_key(
    data: TaskData, plan: ModelPlan, fingerprints: Sequence[str], options: TrainOptions
) -> str:
    """Return a digest of everything a model's head and probabilities depend on."""
    # With the defaults spelled out: a newer icecore may have others.
    head = make_head(plan.kind, **options.for_head(plan.kind))
    about: dict[str, Any] = {
        "icecore": __version__,
        "protocol": PROTOCOL,
        "kind": plan.kind,
        "recipe": head.recipe,
        "features": list(fingerprints),
        "options": {**options.plain(), "settings": head.get_params()},
        "choices": head.choices(),
        "classes": data.classes,
        "parts": [data.train.stop, data.validation.stop, data.test.stop],
        "rows": [(s.id, s.digest, s.label, s.letters, s.group) for s in data.samples],
    }
    if not head.further_choices(1, 0):
        about["options"].update(search=0, search_seconds=None)
    text = json.dumps(about, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class EarlierRun:
    """The run that is about to be replaced, if there is a readable one."""

    def __init__(self, path: Path) -> None:
        self._tasks: dict[str, Any] = {}
        try:
            run = open_run(path)
        except IcecoreError:
            return
        self._folders = {name: task.folder for name, task in run.tasks.items()}
        self._tasks = run.about["tasks"]

    def take(self, task: str, model: str, key: str, folder: Path) -> dict[str, Any] | None:
        """Copy a model's files into the new task `folder`; return what is known of it."""
        entry = self._tasks.get(task, {})
        try:
            if entry["keys"][model] != key:
                return None
            known = {
                "scores": dict(entry["scores"][model]),
                "seconds": float(entry["seconds"][model]),
                "chosen": dict(entry["chosen"][model]),
            }
            old = self._folders[task]
            shutil.copytree(old / "heads" / model, folder / "heads" / model)
            (folder / "probabilities").mkdir(exist_ok=True)
            shutil.copy2(old / f"probabilities/{model}.npz", folder / "probabilities")
        except (KeyError, OSError, TypeError, ValueError):
            # Something is missing there: fit it again.
            shutil.rmtree(folder / "heads" / model, ignore_errors=True)
            return None
        return known

"""Take finished heads over from an earlier run if nothing they depend on changed.

A key says what a head was fitted on, and anybody can write one into a run: a head is taken over
only if its files and scores are what this user's icecore wrote, to the digest.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import __version__
from ...core.errors import IcecoreError
from ...core.files import sha256_file
from ...core.npz_files import LARGEST_NPZ
from ...core.own_files import is_own, remember_own
from ...core.regular_files import require_regular
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
        "rows": [(s.id, s.digest, s.image, s.label, s.letters, s.group) for s in data.samples],
    }
    if not head.further_choices(1, 0):
        about["options"].update(search=0, search_seconds=None)
    text = json.dumps(about, sort_keys=True, ensure_ascii=False)
    # Names that are no UTF-8 are refused where the table is written.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def remember_head(folder: Path, model: str, key: str, known: Mapping[str, Any]) -> None:
    """Remember that this user fitted the head of this key, with its files and scores.

    Parameters
    ----------
    folder : pathlib.Path
        Of the task.
    model, key : str
    known : mapping
        ``scores`` and ``chosen``.
    """
    remember_own(_mark(folder, model, key, known))


def _mark(folder: Path, model: str, key: str, known: Mapping[str, Any]) -> bytes:
    files = [*sorted((folder / "heads" / model).iterdir()), folder / f"probabilities/{model}.npz"]
    for file in files:
        require_regular(file, os.lstat(file).st_mode)
    digests = [(file.name, sha256_file(file, LARGEST_NPZ)) for file in files]
    about = [key, known["scores"], known["chosen"], digests]
    return json.dumps(about, sort_keys=True).encode()


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
            if not is_own(_mark(old, model, key, known)):
                return None
            shutil.copytree(old / "heads" / model, folder / "heads" / model)
            (folder / "probabilities").mkdir(exist_ok=True)
            shutil.copy2(old / f"probabilities/{model}.npz", folder / "probabilities")
        except (IcecoreError, KeyError, OSError, TypeError, ValueError):
            # Something is missing there: fit it again.
            shutil.rmtree(folder / "heads" / model, ignore_errors=True)
            return None
        return known

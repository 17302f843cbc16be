"""Open a run and predict new rows with it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cache import differences
from ..core.errors import FingerprintError, MissingFileError, RunError, enumerate_some
from .base import Head
from .registry import load_head
from .task_data import load_features
from .view_rows import VIEW_MEANS, ViewUse

__all__ = ["Run", "RunTask", "load_run", "predict_proba"]

LARGEST_JSON = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class RunTask:
    """One task of a run.

    Attributes
    ----------
    name : str
    classes : tuple of str
        Order of the probability columns.
    models : tuple of str
    validation : str
        "split" or "out-of-fold, K folds".
    folder : pathlib.Path
    features : dict of str to tuple of str
        Fingerprints of each model's feature sets, in order.
    """

    name: str
    classes: tuple[str, ...]
    models: tuple[str, ...]
    validation: str
    folder: Path
    features: dict[str, tuple[str, ...]]

    def head(self, model: str) -> Head:
        """Load the head of `model`; its classes are among this task's."""
        head = load_head(self.folder / "heads" / model)
        strange = set(map(str, head.classes_)) - set(self.classes)
        if strange:
            raise RunError(
                f"the head {model} of the task '{self.name}' has other classes than the task: "
                f"{enumerate_some(sorted(strange))}",
                "train again",
            )
        return head


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder that `icecore.heads.train` wrote.

    Attributes
    ----------
    path : pathlib.Path
    seed : int
    random_weights : bool
    backbones : tuple of dict
        ``spec``, ``fingerprint``, ``dim`` and ``record`` of each feature set.
    tasks : dict of str to RunTask
    about : dict
        Everything in run.json.
    """

    path: Path
    seed: int
    random_weights: bool
    backbones: tuple[dict[str, Any], ...]
    tasks: dict[str, RunTask]
    about: dict[str, Any]

    def view_use(self, fingerprints: Sequence[str]) -> ViewUse:
        """Return how a model on these feature sets uses the views of their rows."""
        records = {entry["fingerprint"]: entry["record"] for entry in self.backbones}
        views = records[fingerprints[0]].get("views")
        count = len(views) if isinstance(views, list) and views else 1
        options = self.about.get("options", {})
        mean = options.get("view_mean", VIEW_MEANS[0])
        if mean not in VIEW_MEANS:
            raise RunError(
                f"{self.path}/run.json has view_mean {mean!r}, not {' or '.join(VIEW_MEANS)}",
                "train again",
            )
        return ViewUse(count, mean=mean)


def load_run(path: str | os.PathLike) -> Run:
    """Open the run in `path`.

    Raises
    ------
    MissingFileError
        There is no such folder.
    RunError
        It is not a run; the message says what is wrong with its run.json.
    """
    path = Path(path)
    if not path.is_dir():
        raise MissingFileError(f"{path} is not there", "give the folder that training wrote")
    file = path / "run.json"
    if not file.is_file():
        raise RunError(f"{path} is not a run: it has no run.json", "give a folder from training")
    if file.stat().st_size > LARGEST_JSON:
        raise RunError(f"{file} is larger than 256 MiB", "train again")
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise RunError(f"{file} is not JSON: {error}", "train again") from error
    try:
        return _checked(path, about)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            f"{file} lacks something or has it in another form: {error!r:.200}", "train again"
        ) from error


def predict_proba(
    run: Run,
    cache: Any,
    keys: Sequence[str],
    task: str,
    weights: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Return the weighted average of the models' probabilities.

    Parameters
    ----------
    run : Run
    cache : FeatureCache
        Its feature sets must be those the run was trained on, to the fingerprint.
    keys : sequence of str
        Row keys.
    task : str
    weights : mapping of model to weight, optional
        Need not sum to 1; models of weight 0 are not computed. Equal by default.

    Returns
    -------
    ndarray of shape (len(keys), C), columns as in ``run.tasks[task].classes``

    Raises
    ------
    RunError
        No such task or model, or the weights are unusable.
    FingerprintError
        The cache holds features that were made in another way; the fields are named.
    MissingRowsError
        Keys that the cache does not hold.
    """
    if task not in run.tasks:
        raise RunError(
            f"{run.path} has no task '{task}'", f"it has {enumerate_some(run.tasks, 20)}"
        )
    of_task = run.tasks[task]
    shares = _shares(of_task, weights)
    table = np.zeros((len(keys), len(of_task.classes)))
    loaded: dict[tuple[str, ...], np.ndarray] = {}
    for model, share in shares.items():
        prints = of_task.features[model]
        if prints not in loaded:
            loaded[prints] = load_features(_matching_sets(run, cache, prints), keys)
        head = of_task.head(model)
        use = run.view_use(prints)
        columns = [of_task.classes.index(str(name)) for name in head.classes_]
        if len(keys):
            table[:, columns] += share * use.predict_proba(head, loaded[prints])
    return table


def _shares(task: RunTask, weights: Mapping[str, float] | None) -> dict[str, float]:
    if weights is None:
        weights = dict.fromkeys(task.models, 1.0)
    unknown = sorted(set(weights) - set(task.models))
    if unknown:
        raise RunError(
            f"the weights name models that the task '{task.name}' lacks: {enumerate_some(unknown)}",
            f"it has {enumerate_some(task.models, 20)}",
        )
    values = np.array(list(weights.values()), dtype=np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or not values.sum() > 0:
        raise RunError(
            f"the weights of the task '{task.name}' are {enumerate_some(weights.values())}",
            "give numbers from 0, not all 0",
        )
    return {model: float(value / values.sum()) for model, value in weights.items() if value > 0}


def _matching_sets(run: Run, cache: Any, fingerprints: Sequence[str]) -> list[Any]:
    there = {one.fingerprint: one for one in cache.sets()}
    known = {entry["fingerprint"]: entry for entry in run.backbones}
    faults = []
    for wanted in fingerprints:
        if wanted in there:
            continue
        entry = known[wanted]
        rivals = [one for one in there.values() if one.spec == entry["spec"]]
        if not rivals:
            specs = enumerate_some([one.spec for one in there.values()]) or "nothing"
            faults.append(f"{entry['spec']} is not in the cache (it holds {specs})")
            continue
        changed = min((differences(one.record, entry["record"]) for one in rivals), key=len)
        faults.append(
            f"{entry['spec']} was made differently: "
            + enumerate_some(
                f"{name} is {_brief(ours)} in the cache and {_brief(theirs)} in the run"
                for name, ours, theirs in changed
            )
        )
    if faults:
        raise FingerprintError(
            f"the cache does not fit the run {run.path}: {'; '.join(faults)}",
            "extract these images with the backbones and settings of the run",
        )
    return [there[wanted] for wanted in fingerprints]


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _checked(path: Path, about: dict[str, Any]) -> Run:
    if about["format"] != 1:
        raise RunError(
            f"{path}/run.json has format {about['format']!r}; this icecore reads 1",
            "use the icecore that wrote it, or train again",
        )
    backbones = tuple(about["backbones"])
    known = {str(entry["fingerprint"]) for entry in backbones if entry["spec"] and entry["record"]}
    tasks = {}
    for name, entry in about["tasks"].items():
        features = {m: tuple(map(str, entry["features"][m])) for m in entry["models"]}
        strange = {print_ for prints in features.values() for print_ in prints} - known
        names = [entry["folder"], *entry["models"]]
        # The names become paths: a stranger's run.json must not lead elsewhere.
        outside = [n for n in names if Path(n).name != n or n in ("", ".", "..") or "\\" in n]
        if strange or outside:
            raise RunError(
                f"{path}/run.json is damaged: the task '{name}' refers to "
                f"{enumerate_some([*strange, *outside])}",
                "train again",
            )
        tasks[name] = RunTask(
            name,
            tuple(map(str, entry["classes"])),
            tuple(entry["models"]),
            str(entry["validation"]),
            path / entry["folder"],
            features,
        )
    return Run(path, int(about["seed"]), bool(about["random_weights"]), backbones, tasks, about)

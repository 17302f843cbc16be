"""Open a run and predict new rows with it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cache import differences
from ..core.errors import FingerprintError, HeadError, MissingFileError, RunError, enumerate_some
from ..runs import Run, RunTask
from .base import Head
from .kinds.external import FOREIGN_FILE
from .kinds.grouped import GroupedHead
from .registry import load_head
from .training.task_data import load_features


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
    places = {name: place for place, name in enumerate(of_task.classes)}
    loaded: dict[tuple[str, ...], np.ndarray] = {}
    for model, share in shares.items():
        prints = of_task.features[model]
        if prints not in loaded:
            loaded[prints] = load_features(_matching_sets(run, cache, prints), keys)
        head = load_task_head(of_task, model)
        columns = [places[str(name)] for name in head.classes_]
        if len(keys):
            table[:, columns] += share * _finite_probabilities(head, of_task, model, loaded[prints])
    return table


def predict_routes(run: Run, cache: Any, keys: Sequence[str], task: str, model: str) -> np.ndarray:
    """Return how likely each row is of each group of images, by a model that knows groups.

    Parameters
    ----------
    run, cache, keys, task
        As of `predict_proba`.
    model : str

    Returns
    -------
    ndarray of shape (len(keys), G)

    Raises
    ------
    RunError
        The model knows no groups.
    """
    of_task = run.tasks[task]
    head = load_task_head(of_task, model)
    if not isinstance(head, GroupedHead):
        raise RunError(f"'{model}' of {run.path} knows no groups of images", "blend again")
    if not keys:
        return np.empty((0, head.members_.shape[1]))
    features = load_features(_matching_sets(run, cache, of_task.features[model]), keys)
    require_width(head, of_task, model, features.shape[1])
    return head.route(features)


def require_width(head: Head, task: RunTask, model: str, width: int) -> None:
    """Raise `RunError` unless a head takes as many numbers as its feature sets have."""
    if width != head.n_features_in_:
        raise RunError(
            f"the head in {_head_folder(task, model)} takes {head.n_features_in_} numbers, and the "
            f"feature sets that run.json names for it have {width}",
            "train again",
        )


def _finite_probabilities(
    head: Head, task: RunTask, model: str, features: np.ndarray
) -> np.ndarray:
    """Predict; numbers so large that nothing can be told from them are an error."""
    require_width(head, task, model, features.shape[1])
    folder = _head_folder(task, model)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            found = head.predict_proba(features)
    except HeadError as error:
        raise HeadError(f"the head in {folder}: {error.message}", error.hint) from error
    if not np.isfinite(found).all():
        raise RunError(
            f"the head in {folder} gives probabilities that are not finite: "
            "its weights are damaged, or are not for these features",
            "train again",
        )
    return found


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
        rivals = [one for one in there.values() if one.name == entry["spec"]]
        if not rivals:
            specs = enumerate_some([one.name for one in there.values()]) or "nothing"
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


def load_task_head(task: RunTask, model: str) -> Head:
    """Load the head of `model`; its classes are among the task's."""
    folder = _head_folder(task, model)
    try:
        head = load_head(folder)
    except MissingFileError as error:
        # The run was named, not the head.
        raise RunError(error.message, "restore it, or train again") from error
    strange = set(map(str, head.classes_)) - set(task.classes)
    if strange:
        raise RunError(
            f"the head in {folder} has other classes than the task '{task.name}': "
            f"{enumerate_some(sorted(strange))}",
            "train again",
        )
    task.require_unchanged(path for path in sorted(folder.glob("*")) if path.is_file())
    return head


def require_trusted(run: Run, models: Mapping[str, Iterable[str]]) -> None:
    """Raise `HeadError` where a foreign classifier among these models, by task, may not be opened.

    The other kinds of heads, which open anywhere, are not looked at.
    """
    for name, of_task in models.items():
        task = run.tasks[name]
        for model in of_task:
            if (_head_folder(task, model) / FOREIGN_FILE).is_file():
                load_task_head(task, model)


def _head_folder(task: RunTask, model: str) -> Path:
    return task.folder / "heads" / model

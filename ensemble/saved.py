"""The answers of a blend as they are kept in ``blend.json``, and as a prediction needs them."""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import MissingFileError, RunError, enumerate_some, escaped
from ..core.files import json_text, sha256_bytes, sha256_file
from ..core.json_fields import JsonFields
from ..core.json_files import read_json
from ..core.npz_files import LARGEST_NPZ
from ..runs import Run, open_run
from .joining.sources import expected_models, model_in_run
from .options import ANSWERS, MEANS, require_answer
from .weighting.averaging import Recipe
from .weighting.calibration import Calibration

BLEND_FORMAT = 4
# A temperature of 0 divides by it, and a negative one turns ranks around.
_COLDEST = 1e-3
_SEAL = "sha256"
_OF_SYSTEM = ("/proc/", "/sys/", "/dev/")
_AGAIN = "run 'icecore blend' on this folder again"
PLAIN_AVERAGE = "the plain average"


@dataclasses.dataclass(frozen=True)
class TaskWeights:
    """Weights of one task, by name.

    Attributes
    ----------
    weights : dict of str to float
        By model; finite, 0 or more, sum 1.
    mean : str
        ``arithmetic`` or ``geometric``.
    classes : tuple of str
        Names of the columns that were blended.
    groups : tuple of (tuple of str, dict of str to float)
        Classes of each group with its weights; empty if there are none.
    calibration : Calibration or None
        Temperature from 0.001 to 1000, share of wrong labels from 0 to below 1.
    answer : str
        Which answer these weights are, in words.
    router : str
        The model that tells the group of an image, where `routed` has weights for each.
    routed : dict of str to dict of str to float
        Weights by group of images, in the order of the router's columns, and by model.

    Raises
    ------
    ValueError
        The numbers or names cannot be a blend; all faults are named.
    """

    weights: dict[str, float]
    mean: str = "arithmetic"
    classes: tuple[str, ...] = ()
    groups: tuple[tuple[tuple[str, ...], dict[str, float]], ...] = ()
    calibration: Calibration | None = None
    answer: str = ""
    router: str = ""
    routed: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = _weight_faults(self.weights)
        if bool(self.routed) != bool(self.router) or self.router not in ("", *self.weights):
            faults.append(f"'{self.router}' cannot tell groups of images apart")
        if self.mean not in MEANS:
            faults.append(f"the mean is '{self.mean}', not one of {', '.join(MEANS)}")
        known = self.calibration or Calibration()
        if not _COLDEST <= known.temperature <= 1 / _COLDEST:
            faults.append(
                f"the temperature {known.temperature} is not from {_COLDEST:g} to {1 / _COLDEST:g}"
            )
        if not 0 <= known.wrong < 1:
            faults.append(f"the share of wrong labels {known.wrong} is not from 0 to below 1")
        named = [name for part, _ in self.groups for name in part]
        if self.groups and sorted(named) != sorted(self.classes):
            faults.append("the groups do not hold every class once")
        for weights in [*(weights for _, weights in self.groups), *self.routed.values()]:
            faults += _weight_faults(weights)
            if set(weights) != set(self.weights):
                faults.append("the weights of a group name different models")
        if len(set(self.classes)) < len(self.classes):
            faults.append("a class is named twice")
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def recipe(self) -> Recipe:
        """The recipe for arrays, models in the order of `weights`."""
        names = list(self.weights)
        groups = by_group = None
        if self.groups:
            number = {name: i for i, (part, _) in enumerate(self.groups) for name in part}
            groups = np.array([number[name] for name in self.classes])
            by_group = np.array([[part[name] for name in names] for _, part in self.groups])
        weights = np.array([self.weights[name] for name in names])
        routed = [[part[name] for name in names] for part in self.routed.values()]
        by_kind = np.array(routed) if routed else None
        return Recipe(weights, self.mean, groups, by_group, self.calibration, by_kind)

    @property
    def needed(self) -> tuple[str, ...]:
        """Models with a weight above 0, and the router: no others need be computed."""
        return tuple(dict.fromkeys([*self._weighty, *filter(None, [self.router])]))

    @property
    def _weighty(self) -> list[str]:
        return [name for name, used in zip(self.weights, self.recipe.used) if used]

    def combine(
        self, probabilities: dict[str, np.ndarray], routes: np.ndarray | None = None
    ) -> np.ndarray:
        """Average ``{model: (N, C)}``; models of weight 0 may be left out.

        Parameters
        ----------
        probabilities : dict of str to ndarray
        routes : ndarray of shape (N, G)
            What the router says; only where there is one.
        """
        missing = [model for model in self._weighty if model not in probabilities]
        if missing:
            raise RunError(
                f"the blend needs probabilities of {enumerate_some(missing)}",
                "compute them, or tune the weights again without these models",
            )
        if self.router and (routes is None or routes.shape[1] != len(self.routed)):
            raise RunError(
                f"'{self.router}' does not tell the {len(self.routed)} groups of the blend apart",
                _AGAIN,
            )
        stacked = np.stack([probabilities[model] for model in self._weighty])
        return self.recipe.only_used().apply(stacked, routes)


@dataclasses.dataclass(frozen=True)
class SavedBlend:
    """What ``blend.json`` says of predictions.

    Attributes
    ----------
    tasks : dict of str to TaskWeights
    runs : dict of str to Run
        By the names that their models begin with; the name of a single run is empty.
    answer : str
        Which answer the weights are of.
    """

    tasks: dict[str, TaskWeights]
    runs: dict[str, Run]
    answer: str

    def origin(self, task: str, model: str) -> tuple[str, str] | None:
        """Return the run that a model is of and its name there, None for a file's model."""
        if model not in expected_models(self.runs, task):
            return None
        return model_in_run(self.runs, model)


def load_saved(run: str | os.PathLike, answer: str | None = None) -> SavedBlend:
    """Read ``RUN/blend.json``.

    Parameters
    ----------
    run : path-like
        Folder of a run.
    answer : {"recommended", "clean", "given", "tuned", "average"}, optional
        The one that was saved as the blend's answer, if None.

    Raises
    ------
    MissingFileError
        The run was not blended, or another run that its blend needs is not there.
    RunError
        The file is damaged, of another format, or was made of other runs: tasks, models,
        classes and the probability files that lie in the runs are compared with what it says.
    """
    path = Path(run) / "blend.json"
    if not os.path.lexists(path):
        raise MissingFileError(f"{path} is not there", "run 'icecore blend' on this folder first")
    require_answer(answer)
    content = JsonFields(read_json(path, RunError, _AGAIN), str(path), RunError, _AGAIN)
    if content.integer("format") != BLEND_FORMAT:
        raise RunError(
            f"{path} has the format {content.integer('format')}, this version reads {BLEND_FORMAT}",
            _AGAIN,
        )
    answer = answer or content.text("answer")
    if answer not in ANSWERS:
        raise content.refuse(f"has the answer '{answer}'")
    found = {}
    for task in content.items("tasks"):
        name = task.text("task")
        if name in found:
            raise content.refuse(f"names the task '{name}' twice")
        # All answers are read, so that a damaged one is noticed whichever is asked for.
        found[name] = {each: _task_weights(task, each) for each in ANSWERS}[answer]
    inputs, places = content.part("inputs"), content.part("runs")
    runs = {name: _run(path, places.text(name)) for name in places.content}
    if not runs or not os.path.samefile(next(iter(runs.values())).path, path.parent):
        raise content.refuse("does not name the run that it lies in first")
    _require_of_runs(path, found, runs, {file: inputs.text(file) for file in inputs.content})
    # Faults with a name were named; here words and numbers may contradict one another.
    if content.text(_SEAL) != _digest(content.content):
        raise content.refuse("was changed since it was written: it does not have its own digest")
    return SavedBlend(found, runs, answer)


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of ``blend.json`` with its own digest."""
    return content | {_SEAL: _digest(json.loads(json_text(content)))}


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps({key: content[key] for key in content if key != _SEAL}, sort_keys=True)
    return sha256_bytes(text.encode())


def _run(path: Path, place: str) -> Run:
    """Open a run that a blend names, seen from its own folder."""
    try:
        return open_run(path.parent / place)
    except (MissingFileError, RunError) as error:
        raise type(error)(
            f"{path} names a run that cannot be opened: {error.message}",
            f"put that run there, or {_AGAIN}",
        ) from error


def _require_of_runs(
    path: Path, found: dict[str, TaskWeights], runs: dict[str, Run], inputs: dict[str, str]
) -> None:
    """Raise `RunError` if the blend was made of other runs than those that it names."""
    tasks: dict[str, list[tuple[str, ...]]] = {}
    for run in runs.values():
        for name, task in run.tasks.items():
            tasks.setdefault(name, []).append(task.classes)
    faults = []
    if set(tasks) != set(found):
        faults.append(
            f"its tasks are {enumerate_some(found) or 'none'}, the run has {enumerate_some(tasks)}"
        )
    for name in sorted(set(tasks) & set(found)):
        here, there = expected_models(runs, name), set(found[name].weights)
        # Probability files from elsewhere are models, too.
        if here - there or (there - here and not _has_foreign(inputs, runs, path.parent)):
            faults.append(f"the models of the task '{name}' are others in the run")
        own, classes = tasks[name], found[name].classes
        same = (
            own == [classes]
            if len(own) == 1 and len(runs) == 1
            else set().union(*own) <= set(classes)
        )
        if not same:
            faults.append(f"the classes of the task '{name}' are others in the run")
    # A stranger's may name files of the system, some of which never end.
    places = {name: os.path.realpath(path.parent / name) for name in inputs}
    if strange := [name for name, place in places.items() if place.startswith(_OF_SYSTEM)]:
        faults.append(f"it names files of the system: {enumerate_some(strange)}")
        places = {}
    changed = [
        name
        for name, place in places.items()
        if os.path.isfile(place) and sha256_file(place, LARGEST_NPZ) != inputs[name]
    ]
    if changed:
        # No blend can be made of such runs: that one must be made again would lead nowhere.
        for run in runs.values():
            run.require_unchanged()
        faults.append(f"files have changed since: {enumerate_some(changed)}")
    known = {os.path.realpath(path.parent / name) for name in inputs}
    files = [file for run in runs.values() for file in run.files()]
    if lacking := [str(file) for file in files if os.path.realpath(file) not in known]:
        faults.append(f"it does not say what {enumerate_some(lacking)} held")
    if faults:
        raise RunError(f"{path} does not belong to this run: {'; '.join(faults)}", _AGAIN)


def _has_foreign(inputs: dict[str, str], runs: dict[str, Run], folder: Path) -> bool:
    """Tell whether files that are no part of the runs went in."""
    inside = [os.path.realpath(run.path) + os.sep for run in runs.values()]
    places = [os.path.realpath(folder / name) for name in inputs]
    return any(not place.startswith(tuple(inside)) for place in places)


def _task_weights(task: JsonFields, answer: str) -> TaskWeights:
    entry = task.part("answers").part(answer)
    groups = entry.items("groups") if entry.has("groups") else []
    routed = entry.part("routed") if entry.has("routed") else None
    kinds = routed.part("weights") if routed is not None else None
    weights = entry.numbers("weights", 0)
    try:
        return TaskWeights(
            weights,
            entry.text("mean"),
            task.names("classes"),
            tuple((part.names("classes"), part.numbers("weights", 0)) for part in groups),
            _calibration(entry),
            _words(task, answer, weights),
            "" if routed is None else routed.text("router"),
            {} if kinds is None else {name: kinds.numbers(name, 0) for name in kinds.content},
        )
    except ValueError as error:
        if isinstance(error, RunError):
            raise
        raise entry.refuse(f"cannot be a blend: {error}") from error


def _words(task: JsonFields, answer: str, weights: dict[str, float]) -> str:
    """Say in words which answer the weights are of, and how many models the average is of."""
    words = {"tuned": "the tuned weights", "average": PLAIN_AVERAGE}.get(answer)
    words = words or escaped(task.part("recommended").text("is"))
    used = sum(map(bool, weights.values()))
    if used < len(weights) and words.startswith(PLAIN_AVERAGE):
        of = f" of {used} of {len(weights)} models"
        words = f"{PLAIN_AVERAGE}{of}{words.removeprefix(PLAIN_AVERAGE)}"
    return words


def _calibration(entry: JsonFields) -> Calibration | None:
    if not entry.has("calibration"):
        return None
    known = entry.part("calibration")
    return Calibration(known.number("temperature"), known.number("wrong_labels"))


def _weight_faults(weights: dict[str, float]) -> list[str]:
    values = list(weights.values())
    if not values or not all(math.isfinite(v) and v >= 0 for v in values):
        return [f"weights are not all finite and 0 or more: {weights}"]
    if abs(sum(values) - 1) > 1e-6:
        return [f"weights have the sum {sum(values):.6g}, not 1: {weights}"]
    return []

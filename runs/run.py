"""Read the folder of a run."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from ..core.errors import MissingFileError, RunError, enumerate_some
from ..core.files import sha256_file
from ..core.json_files import read_json
from .probabilities import ProbabilityTable, read_probabilities

__all__ = ["LARGEST_JSON", "Run", "RunTask", "load_run", "read_run", "run_tables"]


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


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder that `icecore.heads.training.train` wrote.

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


def read_run(run: Path) -> dict:
    """Read the run.json of a run that is to be blended, and require that it names tasks."""
    if not run.is_dir():
        raise MissingFileError(f"{run} is not there", "give a folder that 'icecore train' wrote")
    lacking = [name for name in ("run.json", "samples.csv") if not (run / name).is_file()]
    if lacking:
        raise RunError(
            f"{run} is not a run: it lacks {enumerate_some(lacking)}",
            "give a folder that 'icecore train' wrote",
        )
    about = read_json(run / "run.json", RunError, "train again")
    if not isinstance(about.get("tasks"), dict) or not about["tasks"]:
        raise RunError(f"{run}/run.json names no tasks", "train again")
    return about


def run_tables(run: Path, about: dict) -> tuple[list[ProbabilityTable], dict[str, str]]:
    """Read the probability files of a run, with the digest of each."""
    tables, inputs, absent = [], {}, []
    names = [n for entry in about["tasks"].values() for n in (entry["folder"], *entry["models"])]
    # The names become paths: a stranger's run.json must not lead elsewhere.
    outside = [n for n in names if Path(n).name != n or n in ("", ".", "..") or "\\" in n]
    if outside:
        raise RunError(
            f"{run}/run.json names {enumerate_some(outside)}, which are no plain names",
            "train again",
        )
    for task, entry in about["tasks"].items():
        for model in entry["models"]:
            name = f"{entry['folder']}/probabilities/{model}.npz"
            if not (run / name).is_file():
                absent.append(name)
                continue
            table = read_probabilities(run / name)
            tables.append(dataclasses.replace(table, task=task, model=model))
            inputs[name] = sha256_file(run / name)
    if absent:
        raise RunError(
            f"{run} lacks {len(absent)} probability files: {enumerate_some(absent)}", "train again"
        )
    if not tables:
        raise RunError(f"{run} has no models", "train again")
    return tables, inputs

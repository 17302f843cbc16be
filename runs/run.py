"""The folder of a run: ``run.json``, ``samples.csv`` and the probabilities of each model.

Everything is checked when it is read, since a run may come from anybody: types and ranges
of all fields, names that become paths, and whether the files belong together.
"""

import dataclasses
import html
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..core.arguments import typed
from ..core.columns import Columns
from ..core.errors import MissingFileError, RunError, counted, enumerate_some
from ..core.files import publish_json, sha256_file
from ..core.json_fields import JsonFields
from ..core.json_files import read_json
from ..core.stores import is_url
from ..core.text import repeated
from ..manifest import Manifest, read
from .probabilities import read_probabilities
from .run_json import (
    HINT,
    RunTask,
    read_backbone,
    read_task,
    require_none_changed,
    require_rest,
)
from .table import ProbabilityTable

RUN_FORMAT = 1
_OF_HEADS = (".json", ".npz", ".skops")
_RESTORE = "restore it, or train again"


@dataclasses.dataclass(frozen=True, repr=False)
class Run:
    """A run folder that training wrote.

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
    boxed : int
        Rows that are the features of a box, not of a whole image.
    """

    path: Path
    seed: int
    random_weights: bool
    backbones: tuple[dict[str, Any], ...]
    tasks: dict[str, RunTask]
    about: dict[str, Any]
    boxed: int = 0

    def samples(self) -> Manifest:
        """Read the samples that the run was trained on.

        Raises
        ------
        MissingFileError, ManifestError
            ``samples.csv`` is not there or not readable.
        RunError
            It is not the one that was trained on.
        """
        path = self.path / "samples.csv"
        if not os.path.lexists(path):
            raise MissingFileError(f"{path} is not there", _RESTORE)
        if self._is_changed(path):
            raise RunError(
                f"{path} was changed since it was trained on (its digest is not that in run.json)",
                "restore it, or train again on the corrected table",
            )
        return read(path, labels_required=False)

    @typed
    def probability_file(self, task: str, model: str) -> Path:
        """Return where the probabilities of a model are."""
        return self._task(task).folder / "probabilities" / f"{model}.npz"

    @typed
    def head_files(self, task: str, model: str) -> list[Path]:
        """Return the files of a model's saved head; none where only its probabilities are kept."""
        folder = self._task(task).folder / "heads" / model
        return sorted(path for path in folder.glob("*") if path.is_file())

    @typed
    def probabilities(self, task: str, model: str) -> ProbabilityTable:
        """Read the held-out and test probabilities of a model.

        Raises
        ------
        MissingFileError, ProbabilityError
            The file is not there or not readable.
        RunError
            It has other classes than the run.
        """
        self._known(model, self._task(task).models, f"model of '{task}'")
        path = self.probability_file(task, model)
        table = read_probabilities(path)
        if table.model != model:
            raise RunError(f"{path} is of '{table.model}', not of '{model}'", _RESTORE)
        if table.classes != self.tasks[task].classes:
            there = enumerate_some(table.classes)
            raise RunError(f"{path} has other classes than run.json: {there}", HINT)
        self.tasks[task].require_unchanged([path])
        return dataclasses.replace(table, task=task, model=model)

    @typed
    def routes(self, task: str) -> ProbabilityTable | None:
        """Read how likely each row is of each group of images; None if there are no groups.

        Returns
        -------
        ProbabilityTable
            Its ``classes`` are the groups, its ``model`` the one that can tell new images' groups.

        Raises
        ------
        ProbabilityError, RunError
            The file is not readable, or names no model of the task.
        """
        own = self._task(task)
        path = own.folder / "routes.npz"
        if not os.path.lexists(path):
            if path.name in own.digests:
                raise RunError(f"{path} is not there, and run.json names it", _RESTORE)
            return None
        table = read_probabilities(path)
        if table.model not in self.tasks[task].models:
            raise RunError(f"{path} is of '{table.model}', which is no model of {task}", HINT)
        own.require_unchanged([path])
        return dataclasses.replace(table, task=task)

    def files(self) -> list[Path]:
        """Return the files of all models' probabilities and saved heads that are there.

        What systems leave in folders (``.DS_Store``, ``Thumbs.db``) is none of them.
        """
        names = [(task.name, model) for task in self.tasks.values() for model in task.models]
        heads = [file for name in names for file in self.head_files(*name)]
        files = [
            file for file in heads if file.suffix in _OF_HEADS and not file.name.startswith(".")
        ]
        return [*filter(os.path.lexists, (self.probability_file(*name) for name in names)), *files]

    def require_unchanged(self) -> None:
        """Raise `RunError` that names all files of the run that are not as training wrote them.

        Files that are not there are not missed.
        """
        samples, files = self.path / "samples.csv", self.files()
        changed = [samples] if samples.is_file() and self._is_changed(samples) else []
        for task in self.tasks.values():
            changed += task.changed(file for file in files if file.is_relative_to(task.folder))
        require_none_changed(changed)

    def tables(self) -> list[ProbabilityTable]:
        """Read the probabilities of every task and model.

        Raises
        ------
        RunError, ProbabilityError
            Files are absent (all are named), or one is not readable.
        """
        names = [(task.name, model) for task in self.tasks.values() for model in task.models]
        files = [self.probability_file(*name) for name in names]
        absent = [str(file.relative_to(self.path)) for file in files if _is_absent(file)]
        if absent:
            raise RunError(
                f"{self.path} lacks probability files: {enumerate_some(absent)}", _RESTORE
            )
        return [self.probabilities(*name) for name in names]

    def leaderboard(self) -> Columns:
        """Return the held-out scores of every model, by task, the lowest log-loss first.

        Returns
        -------
        Columns
            ``task``, ``model``, and one column for each score, None where it is not known.
        """
        rows = []
        for task in self.tasks.values():
            known = self.about["tasks"][task.name].get("scores", {})
            found = [(task.name, model, known.get(model, {})) for model in task.models]
            rows += sorted(found, key=lambda row: row[2].get("log_loss", np.inf))
        plain = (int, float)
        names = dict.fromkeys(k for *_, found in rows for k, v in found.items() if type(v) in plain)
        columns: dict[str, list] = {
            "task": [task for task, *_ in rows],
            "model": [model for _, model, _ in rows],
        }
        return Columns(columns | {n: [found.get(n) for *_, found in rows] for n in names})

    @typed
    def predictions(self, task: str | None = None, model: str | None = None) -> Columns:
        """Return what a model says of each row that it did not see, beside the label.

        Parameters
        ----------
        task, model : str, optional
            The first task, and the first model of the leaderboard, if None.

        Returns
        -------
        Columns
            ``id``, ``split``, ``label`` (empty where it is not known), ``predicted``, and the
            probability of each class.

        Raises
        ------
        RunError
            There is no such task or model; those that there are are named.
        """
        board = self.leaderboard()
        task = self._known(task or next(iter(self.tasks)), self.tasks, "task")
        models = [model for name, model in zip(board["task"], board["model"]) if name == task]
        model = self._known(model or models[0], models, "model")
        table = self.probabilities(task, model)
        labels = {one.id: one.label for one in self.samples().select(task)}
        columns = table.to_dict()
        own = {
            "id": columns.pop("id"),
            "split": columns.pop("split"),
            "label": [labels.get(identity, "") for identity in table.ids],
            "predicted": [table.classes[index] for index in table.probabilities.argmax(axis=1)],
        }
        return Columns(own | columns)

    def _is_changed(self, samples: Path) -> bool:
        wanted = self.about.get("samples_sha256")
        return wanted is not None and sha256_file(samples) != wanted

    def _task(self, name: str) -> RunTask:
        return self.tasks[self._known(name, self.tasks, "task")]

    def _known(self, name: str, names: Iterable[str], what: str) -> str:
        if name not in names:
            there = enumerate_some(names, 10)
            raise RunError(f"{self.path} has no {what} '{name}'", f"choose one of: {there}")
        return name

    def __repr__(self) -> str:
        random = "  of RANDOM weights" if self.random_weights else ""
        tasks = [
            f"  {one.name}: {counted(len(one.classes), 'class', 'classes')}, "
            f"validated by {one.validation}"
            for one in self.tasks.values()
        ]
        head = f"Run({str(self.path)!r}, seed={self.seed}){random}"
        return "\n".join([head, *tasks, repr(self.leaderboard())])

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(str(self.path))}</p>{self.leaderboard()._repr_html_()}"


@typed
def open_run(path: str | os.PathLike) -> Run:
    """Open the run in `path`.

    Raises
    ------
    MissingFileError
        There is no such folder.
    RunError
        It is not a run; the message says what is wrong with its run.json.
    """
    if is_url(path):
        raise MissingFileError(
            f"{os.fspath(path)} is a URL, and a run is opened from a folder",
            "copy it to this machine first, and give that folder",
        )
    path = Path(path)
    if not path.is_dir():
        what = "is no folder" if os.path.lexists(path) else "is not there"
        raise MissingFileError(f"{path} {what}", "give the folder that 'icecore train' wrote")
    file = path / "run.json"
    if not os.path.lexists(file):
        raise RunError(
            f"{path} is not a run: it has no run.json",
            "give the folder that 'icecore train' wrote",
        )
    about = JsonFields(read_json(file, RunError, HINT), str(file), RunError, HINT)
    if about.integer("format") != RUN_FORMAT:
        raise RunError(
            f"{file} has format {about.integer('format')}; this icecore reads {RUN_FORMAT}",
            "use the icecore that wrote it, or train again",
        )
    backbones = tuple(read_backbone(entry) for entry in about.items("backbones"))
    prints = [entry["fingerprint"] for entry in backbones]
    if len(known := set(prints)) < len(prints):
        raise RunError(
            f"{file} names {enumerate_some(repeated(prints))} twice in 'backbones'", HINT
        )
    tasks = {name: read_task(path, name, entry, known) for name, entry in about.parts("tasks")}
    if not tasks:
        raise RunError(f"{file} names no tasks", HINT)
    if repeated(task.folder.name.lower() for task in tasks.values()):
        raise RunError(f"{file} gives several tasks one folder", HINT)
    require_rest(about)
    seed, boxed = about.integer("seed", 0), about.integer("boxed", 0, default=0)
    return Run(path, seed, about.flag("random_weights"), backbones, tasks, about.content, boxed)


def write_run(path: str | os.PathLike, about: dict[str, Any]) -> None:
    """Write ``run.json`` into the folder `path`, atomically."""
    publish_json(Path(path) / "run.json", {**about, "format": RUN_FORMAT})


def _is_absent(file: Path) -> bool:
    # A folder that may not be looked into says nothing of what is in it.
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False

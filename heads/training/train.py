"""Train: cached features and a manifest in, a run folder out."""

import dataclasses
import functools
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import HeadError, enumerate_some
from ...core.files import sha256_file
from ...manifest import Manifest, apply_groups
from ...runs import (
    ProbabilityTable,
    file_digests,
    require_backbones,
    write_probabilities,
    write_run,
)
from ..kinds.grouped import GroupedHead
from ..parallel import Workers
from .fit import FittedModel, Watch, fit_model
from .groups import (
    group_notes,
    group_report,
    losses_of_both,
    route_out_of_fold,
    tasks_with_groups,
    write_routes,
)
from .missing import absent_keys
from .on_ray import workers_of
from .options import TrainOptions
from .plan import ModelPlan, plan_models, require_said_once
from .results import ModelResult, TaskResult, TrainEvent, TrainResult
from .reuse import EarlierRun, model_key, remember_head
from .run_folder import check_target, describe_inputs, replacing, task_folders
from .targets import dropped_notes, require_known_classes
from .task_data import TaskData, fold_warnings, task_data
from .task_features import TaskFeatures, holds_out

# How blending knows the rows that weights are tuned on.
TUNING = "validation"
DEFAULTS = TrainOptions()


def train(
    cache: Any,
    manifest: Manifest,
    out: str | os.PathLike,
    options: TrainOptions = DEFAULTS,
    progress: Callable[[TrainEvent], None] | None = None,
) -> TrainResult:
    """Train heads on cached features and write a run folder.

    Parameters
    ----------
    cache : FeatureCache
    manifest : Manifest
        With digests (the row keys of the cache).
    out : path-like
        The run folder. It appears when everything is finished, never half-written.
    options : TrainOptions
    progress : callable, optional
        Called with a `TrainEvent` after each step.

    Returns
    -------
    TrainResult
        Ctrl-C ends training early: the models finished until then are written, and the result
        says so. (An earlier run is not replaced by such a part; then, and if there is no
        model, the KeyboardInterrupt goes on.)

    Raises
    ------
    RunError
        `out` exists and may not be replaced.
    CacheError, ManifestError
        The cache has no such features, the table of groups is unusable, or the manifest has
        no digests or none of its images are in the cache.
    HeadError
        No task could be trained; the reasons are named. (If some can, the others
        are listed in the result.)
    """
    out = Path(out)
    check_target(out, options.overwrite)
    if options.group_labels is not None:
        manifest = apply_groups(manifest, options.group_labels)
    planned = _planned(cache, manifest, options)
    inputs = describe_inputs(cache, planned.sets, manifest, planned.left_out)
    require_backbones(inputs["backbones"], inputs["cache"])
    with replacing(out, options.overwrite) as folder:
        job = _Job(manifest, planned, options, folder, progress)
        job.earlier = EarlierRun(out) if options.overwrite else None
        with workers_of(options) as job.workers:
            done, failed = job.run()
        if job.interrupted and (not done or (out / "run.json").exists()):
            raise KeyboardInterrupt
        if not done:
            raise _nothing_trained(failed)
        manifest.write(folder / "samples.csv")
        write_run(folder, inputs | job.about(done, failed))
    results = tuple(result for result, _ in done)
    return TrainResult(out, results, failed, planned.left_out, job.interrupted)


@dataclasses.dataclass(frozen=True)
class _Planned:
    """Feature sets, the models to train on them, the keys that they lack, and of which images."""

    sets: Sequence[Any]
    plans: Sequence[ModelPlan]
    absent: set[str]
    left_out: tuple[str, ...]


def _planned(cache: Any, manifest: Manifest, options: TrainOptions) -> _Planned:
    sets, plans = plan_models(
        cache, options.features, options.heads, options.search > 0, options.groups
    )
    require_known_classes(manifest, options)
    kinds = sorted({plan.kind for plan in plans})
    if idle := sorted(options.settings.keys() - kinds):
        raise HeadError(
            f"settings for {enumerate_some(idle)}, and this training has {enumerate_some(kinds)}",
            "name that kind of head too (--head KIND), or leave its settings out",
        )
    require_said_once(plans, options)
    noted = cache.failures() if hasattr(cache, "failures") else []
    absent = absent_keys(sets, manifest, options.allow_missing, noted)
    left_out = dict.fromkeys(s.id for s in manifest if not s.digest or s.digest in absent)
    return _Planned(sets, plans, absent, tuple(left_out))


class _Job:
    def __init__(self, manifest, planned: _Planned, options, folder, progress) -> None:
        self.manifest, self.options = manifest, options
        self.sets, self.plans, self.absent = planned.sets, planned.plans, planned.absent
        self.folder, self.progress = folder, progress
        self.total, self.finished = len(manifest.tasks) * len(self.plans), 0
        # Tasks without groups do without; where none has any, that is an error.
        self.grouped = tasks_with_groups(manifest) if options.groups else set()
        self.earlier: EarlierRun | None = None
        self.started = time.monotonic()
        self.interrupted = False
        self.workers = Workers()

    def about(self, done: list[tuple[TaskResult, dict]], failed: dict[str, str]) -> dict:
        """Return what run.json says of the training, beside its inputs."""
        return {
            "seed": self.options.seed,
            "folds": self.options.folds,
            "samples_sha256": sha256_file(self.folder / "samples.csv"),
            "options": self.options.plain(),
            "tasks": {result.task: entry for result, entry in done},
            "failed": failed,
            "interrupted": self.interrupted,
        }

    def run(self) -> tuple[list[tuple[TaskResult, dict]], dict[str, str]]:
        """Train every task; return the trained ones with their run.json entry, and the failed."""
        done, failed, begun = [], {}, {}
        folders = task_folders(self.manifest.tasks)
        for task, folder in folders.items():
            try:
                begun[task] = self._begin(task, folder)
            except HeadError as error:
                failed[task] = _reason(error)
        for task in list(begun):
            try:
                trained = None if self.interrupted else self._train_task(begun.pop(task))
                if trained and trained[0].models:
                    done.append(trained)
                else:
                    failed[task] = "training was interrupted"
            except HeadError as error:
                failed[task] = _reason(error)
                shutil.rmtree(self.folder / folders[task], ignore_errors=True)
        return done, {task: failed[task] for task in folders if task in failed}

    def _begin(self, task: str, folder: str) -> "_Begun":
        """Sort a task's rows out, take over what an earlier run has, and have the rest fitted."""
        holdout, accept = self.options.validation == "holdout", self.options.min_class_count > 0
        data = task_data(self.manifest, task, self.absent, holdout, accept)
        options, plans = self.options, self.plans
        if self.grouped and task not in self.grouped:
            options = dataclasses.replace(options, groups=False, group_labels=None)
            plans = [plan for plan in plans if plan.kind != GroupedHead.kind]
            data.warnings.append("its images have no two groups: no head was fitted that knows any")
            self.finished += len(self.plans) - len(plans)
        features = TaskFeatures(data, self.sets, options)
        begun = _Begun(data, folder, features)
        for plan in plans:
            prints = [self.sets[index].fingerprint for index in plan.sets]
            key = model_key(data, plan, prints, plan.options(self.options))
            known = self._take_over(data, plan, key, self.folder / folder)
            fitting = functools.partial(self._fit, data, plan, features)
            begun.models.append((plan, key, known or self.workers.submit(fitting)))
        return begun

    def _train_task(self, begun: "_Begun") -> tuple[TaskResult, dict]:
        data, name = begun.data, begun.folder
        results: list[ModelResult] = []
        keys = {}
        try:
            for plan, key, found in begun.models:
                if isinstance(found, ModelResult):
                    result = found
                else:
                    result = self._fitted(data, plan, found(), self.folder / name)
                keys[plan.name] = key
                known = {"scores": result.scores, "chosen": result.chosen}
                remember_head(self.folder / name, plan.name, key, known)
                results.append(result)
                self.finished += 1
                self._tell(TrainEvent(data.task, plan.name, self.finished, self.total, "done"))
        except KeyboardInterrupt:
            self.interrupted = True
        holdout = holds_out(data, self.options)
        part = data.train if holdout else data.labelled
        warnings = [*data.warnings, *dropped_notes(data, part, self.options)]
        if self.options.validation == "holdout" and not holdout:
            warnings.append(
                "there is no validation split to hold out: all rows are scored out of fold"
            )
        warnings += fold_warnings(data, part, self.options.min_class_count)
        # Fewer are dealt where there are fewer different images.
        folds = min(self.options.folds, len(set(data.images(part))))
        origin = "split" if holdout else f"out-of-fold, {folds} folds"
        if not holdout and self.options.repeats > 1:
            origin += f", {self.options.repeats} times"
        groups = self._groups(data, begun.features, results, self.folder / name)
        warnings += group_notes(data) if groups else []
        result = TaskResult(
            data.task, data.classes, origin, tuple(results), tuple(warnings), groups
        )
        entry = {**self._entry(result, data, name), "keys": keys}
        return result, entry | {"sha256": file_digests(self.folder / name)}

    def _groups(
        self, data: TaskData, features: TaskFeatures, results: list[ModelResult], folder: Path
    ) -> dict | None:
        """Compare a head that knows groups, on the most features, with the same without them."""
        done = {result.name for result in results}
        plans = [plan for plan in self.plans if plan.name in done]
        knowing = [plan for plan in plans if plan.kind == GroupedHead.kind]
        own = max(knowing, key=lambda plan: len(plan.sets), default=None)
        if not self.options.groups or own is None:
            return None
        part = data.validation if holds_out(data, self.options) else data.labelled
        labelled, seed = features.of(own.sets), self.options.seed
        losses = losses_of_both(data, part, labelled, own, self.options, folder)
        told = route_out_of_fold(data, labelled.all, seed)
        write_routes(data, part, labelled, told, folder, own.name)
        return group_report(data, part, labelled.all, told, losses, seed)

    def _take_over(
        self, data: TaskData, plan: ModelPlan, key: str, folder: Path
    ) -> ModelResult | None:
        known = self.earlier and self.earlier.take(data.task, plan.name, key, folder)
        return ModelResult(plan.name, self._specs(plan), **known, reused=True) if known else None

    def _fit(self, data: TaskData, plan: ModelPlan, features: TaskFeatures) -> FittedModel:
        watch = Watch(self._reporter(data.task, plan), self._deadline())
        labelled = features.of(plan.sets)
        return fit_model(plan.kind, data, labelled, plan.options(self.options), watch)

    def _fitted(
        self, data: TaskData, plan: ModelPlan, fitted: FittedModel, folder: Path
    ) -> ModelResult:
        """Write a model to the run's folder, and say what became of it."""
        if fitted.constant:
            data.warnings.append(
                f"all training images have the same features for {plan.name}: "
                "it can only learn how frequent the classes are"
            )
        if fitted.advice:
            data.warnings.append(f"{plan.name}: {fitted.advice}")
        self._write(data, plan, fitted, folder)
        return ModelResult(
            plan.name, self._specs(plan), fitted.scores, fitted.seconds, fitted.chosen
        )

    def _deadline(self) -> float | None:
        """Return when the search of the next model ends: each has the same share of the time."""
        seconds = self.options.search_seconds
        if not seconds:
            return None
        return self.started + seconds * (self.finished + 1) / self.total

    def _specs(self, plan: ModelPlan) -> tuple[str, ...]:
        return tuple(self.sets[index].name for index in plan.sets)

    def _entry(self, result: TaskResult, data: TaskData, name: str) -> dict:
        return {
            "classes": list(result.classes),
            "models": [model.name for model in result.models],
            "validation": result.validation,
            "folder": name,
            "features": {
                plan.name: [self.sets[index].fingerprint for index in plan.sets]
                for plan in self.plans
            },
            "chosen": {model.name: model.chosen for model in result.models},
            "rows": {
                "train": data.train.stop,
                "validation": data.validation.stop - data.validation.start,
                "test": data.test.stop - data.test.start,
            },
            "scores": {model.name: model.scores for model in result.models},
            "seconds": {model.name: round(model.seconds, 3) for model in result.models},
            "warnings": list(result.warnings),
            "groups": result.groups,
        }

    def _write(self, data: TaskData, plan: ModelPlan, fitted: FittedModel, folder: Path) -> None:
        fitted.head.save(folder / "heads" / plan.name)
        part = data.validation if holds_out(data, self.options) else data.labelled
        splits = _splits(data, part, TUNING) + _splits(data, data.test, "test")
        table = ProbabilityTable(
            ids=tuple(sample.id for sample in [*data.samples[part], *data.samples[data.test]]),
            classes=data.classes,
            probabilities=np.concatenate([fitted.tuning, fitted.test]),
            splits=tuple(splits),
            model=plan.name,
            task=data.task,
        )
        write_probabilities(folder / "probabilities" / f"{plan.name}.npz", table)

    def _reporter(self, task: str, plan: ModelPlan):
        # Of models that are fitted at a time, only the ends are told.
        if self.progress is None or self.options.ray is not None:
            return None

        def report(step: str, part: int, parts: int, loss: float | None) -> None:
            self._tell(
                TrainEvent(task, plan.name, self.finished, self.total, step, part, parts, loss)
            )

        return report

    def _tell(self, event: TrainEvent) -> None:
        if self.progress is not None:
            self.progress(event)


@dataclasses.dataclass(frozen=True)
class _Begun:
    """A task that is being trained: each model with its key, and its result or what waits for it.

    Attributes
    ----------
    folder : str
        Name of its folder in the run.
    """

    data: TaskData
    folder: str
    features: TaskFeatures
    models: list[tuple[ModelPlan, str, ModelResult | Callable[[], FittedModel]]] = (
        dataclasses.field(default_factory=list)
    )


def _reason(error: HeadError) -> str:
    return error.message + (f" ({error.hint})" if error.hint else "")


def _splits(data: TaskData, part: slice, name: str) -> list[str]:
    """Return the split of each row for the probability file.

    Rows of the training split are left out of blends: so are held-out ones whose image heads
    know.
    """
    if part.start == 0:
        return [name] * part.stop
    return [name if fresh else "train" for fresh in data.fresh(part)]


def _nothing_trained(failed: Mapping[str, str]) -> HeadError:
    if len(failed) == 1:
        return HeadError(next(iter(failed.values())))
    reasons = enumerate_some([f"{task}: {why}" for task, why in failed.items()])
    return HeadError(f"none of the {len(failed)} tasks could be trained: {reasons}")

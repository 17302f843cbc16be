"""Train: cached features and a manifest in, a run folder out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import HeadError, ManifestError, enumerate_some
from ...core.files import sha256_file
from ...manifest import Manifest
from ...runs import ProbabilityTable, write_probabilities, write_run
from ..mlp.member import Outcome
from ..numerics.views import join_views
from .fit import FittedModel, fit_model
from .options import TrainOptions
from .plan import ModelPlan, plan_models
from .results import MemberProgress, ModelResult, TaskResult, TrainEvent, TrainResult
from .reuse import EarlierRun, model_key
from .run_folder import check_target, describe_inputs, replacing, task_folders
from .task_data import TaskData, fold_warnings, is_constant, load_features, task_data

__all__ = ["train"]


def train(
    cache: Any,
    manifest: Manifest,
    out: str | os.PathLike,
    features: Sequence[str] | None = None,
    heads: Sequence[str] | None = None,
    folds: int = 5,
    seed: int = 0,
    progress: Callable[[TrainEvent], None] | None = None,
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    overwrite: bool = False,
    **options: Any,
) -> TrainResult:
    """Train heads on cached features and write a run folder.

    Parameters
    ----------
    cache : FeatureCache
    manifest : Manifest
        With digests (the row keys of the cache).
    out : path-like
        The run folder. It appears when everything is finished, never half-written.
    features : sequence of str, optional
        Feature sets, those joined by ``+`` side by side; see `plan_models`.
    heads : sequence of str, optional
        Kinds of heads, see `HEAD_KINDS`.
    folds : int, default 5
        For tasks without a validation split.
    seed : int, default 0
    progress : callable, optional
        Called with a `TrainEvent` after each epoch.
    settings : mapping of head kind to settings, optional
        For instance ``{"mlp": {"width": 128}}``.
    overwrite : bool, default False
        Replace an earlier run at `out`. Heads of it are taken over, not fitted again,
        where nothing they depend on changed.
    **options
        Further fields of `TrainOptions`: repeats, maybe, min_class_count,
        class_weight, refit, search and its budgets, nested, view_training, view_mean.

    Returns
    -------
    TrainResult
        Ctrl-C ends training early: the models finished until then are written, an MLP in
        training with a validation split as it was at its best epoch, and the result says
        so. (An earlier run is not replaced by such a part; then, and if there is no
        model, the KeyboardInterrupt goes on.)

    Raises
    ------
    RunError
        `out` exists and may not be replaced.
    CacheError, ManifestError
        The cache has no such features, or the manifest has no digests or none of
        its images are in the cache.
    HeadError
        No task could be trained; the reasons are named. (If some can, the others
        are listed in the result.)
    """
    out = Path(out)
    settings = {kind: dict(given) for kind, given in (settings or {}).items()}
    options = TrainOptions(folds=folds, seed=seed, settings=settings, **options)
    check_target(out, overwrite)
    sets, plans = plan_models(cache, features, heads)
    absent = _absent_keys(sets, manifest)
    with replacing(out, overwrite) as folder:
        job = _Job(manifest, sets, plans, absent, options, folder, progress)
        job.earlier = EarlierRun(out) if overwrite else None
        done, failed = job.run()
        if job.interrupted and (not done or (out / "run.json").exists()):
            raise KeyboardInterrupt
        if not done:
            raise _nothing_trained(failed)
        left_out = tuple(dict.fromkeys(s.id for s in manifest if s.digest in absent))
        manifest.write(folder / "samples.csv")
        about = {
            **describe_inputs(cache, sets, manifest, left_out),
            "seed": seed,
            "folds": folds,
            "samples_sha256": sha256_file(folder / "samples.csv"),
            "options": options.plain(),
            "tasks": {result.task: entry for result, entry in done},
            "failed": failed,
            "interrupted": job.interrupted,
        }
        write_run(folder, about)
    results = tuple(result for result, _ in done)
    return TrainResult(out, results, failed, left_out, job.interrupted)


class _Job:
    def __init__(self, manifest, sets, plans, absent, options, folder, progress) -> None:
        self.manifest, self.sets, self.plans, self.absent = manifest, sets, plans, absent
        self.options, self.folder, self.progress = options, folder, progress
        self.total, self.finished = len(manifest.tasks) * len(plans), 0
        self.earlier: EarlierRun | None = None
        self.interrupted = False

    def run(self) -> tuple[list[tuple[TaskResult, dict]], dict[str, str]]:
        """Train every task; return the trained ones with their run.json entry, and the failed."""
        done, failed = [], {}
        folders = task_folders(self.manifest.tasks)
        for task in self.manifest.tasks:
            if self.interrupted:
                failed[task] = "training was interrupted"
                continue
            try:
                accept = self.options.min_class_count > 0
                data = task_data(self.manifest, task, self.absent, accept)
                trained = self._train_task(data, folders[task])
                if trained[0].models:
                    done.append(trained)
                else:
                    failed[task] = "training was interrupted"
            except HeadError as error:
                failed[task] = error.message + (f" ({error.hint})" if error.hint else "")
                shutil.rmtree(self.folder / folders[task], ignore_errors=True)
        return done, failed

    def _train_task(self, data: TaskData, name: str) -> tuple[TaskResult, dict]:
        matrices: list[np.ndarray] = []
        results: list[ModelResult] = []
        keys = {}
        try:
            for plan in self.plans:
                prints = [self.sets[index].fingerprint for index in plan.sets]
                keys[plan.name] = model_key(data, plan, prints, self.options)
                result = self._take_over(data, plan, keys[plan.name], self.folder / name)
                if result is None:
                    if not matrices:
                        matrices += [load_features([one], data.keys) for one in self.sets]
                    result = self._fit(data, plan, matrices, self.folder / name)
                results.append(result)
                if result.interrupted:
                    # It shall be fitted again when the training goes on.
                    del keys[plan.name]
                    raise KeyboardInterrupt
                self.finished += 1
                self._tell(TrainEvent(data.task, plan.name, self.finished, self.total, "done"))
        except KeyboardInterrupt:
            self.interrupted = True
        split = data.validation.stop > data.validation.start
        if not split:
            data.warnings += fold_warnings(data, self.options.min_class_count)
        origin = "split" if split else f"out-of-fold, {self.options.folds} folds"
        if not split and self.options.repeats > 1:
            origin += f", {self.options.repeats} times"
        if self.options.nested:
            origin += ", nested search"
        result = TaskResult(data.task, data.classes, origin, tuple(results), tuple(data.warnings))
        return result, {**self._entry(result, data, name), "keys": keys}

    def _take_over(
        self, data: TaskData, plan: ModelPlan, key: str, folder: Path
    ) -> ModelResult | None:
        found = self.earlier and self.earlier.take(data.task, plan.name, key, folder)
        return ModelResult(plan.name, self._specs(plan), *found, reused=True) if found else None

    def _fit(
        self, data: TaskData, plan: ModelPlan, matrices: list[np.ndarray], folder: Path
    ) -> ModelResult:
        views = len(self.sets[plan.sets[0]].views)
        joined = join_views([matrices[index] for index in plan.sets], views)
        if is_constant(joined[data.train]):
            data.warnings.append(
                f"all training images have the same features for {plan.name}: "
                "it can only learn how frequent the classes are"
            )
        reporter = self._reporter(data.task, plan)
        fitted = fit_model(plan.kind, data, joined, self.options, reporter, views)
        self._write(data, plan, fitted, folder)
        return ModelResult(
            plan.name,
            self._specs(plan),
            fitted.scores,
            fitted.seconds,
            interrupted=fitted.interrupted,
        )

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
            "rows": {
                "train": data.train.stop,
                "validation": data.validation.stop - data.validation.start,
                "test": data.test.stop - data.test.start,
            },
            "scores": {model.name: model.scores for model in result.models},
            "seconds": {model.name: round(model.seconds, 3) for model in result.models},
            "warnings": list(result.warnings),
        }

    def _write(self, data: TaskData, plan: ModelPlan, fitted: FittedModel, folder: Path) -> None:
        fitted.head.save(folder / "heads" / plan.name)
        split = data.validation.stop > data.validation.start
        tuning = data.samples[data.validation if split else data.train]
        test = data.samples[data.test]
        table = ProbabilityTable(
            ids=tuple(sample.id for sample in [*tuning, *test]),
            classes=data.classes,
            probabilities=np.concatenate([fitted.validation, fitted.test]),
            splits=("validation",) * len(tuning) + ("test",) * len(test),
            model=plan.name,
            task=data.task,
        )
        write_probabilities(folder / "probabilities" / f"{plan.name}.npz", table)

    def _reporter(self, task: str, plan: ModelPlan):
        if self.progress is None:
            return None

        def report(step: str, epoch: int, outcomes) -> None:
            members = tuple(map(_member_progress, outcomes))
            self._tell(TrainEvent(task, plan.name, self.finished, self.total, step, epoch, members))

        return report

    def _tell(self, event: TrainEvent) -> None:
        if self.progress is not None:
            self.progress(event)


def _member_progress(outcome: Outcome) -> MemberProgress:
    judged = bool(outcome.losses)
    return MemberProgress(
        outcome.name,
        len(outcome.train_losses),
        outcome.losses[-1] if judged else None,
        outcome.best_loss if judged else None,
        outcome.best_epoch,
        outcome.stopped,
    )


def _absent_keys(sets: Sequence[Any], manifest: Manifest) -> set[str]:
    bare = [sample.id for sample in manifest if not sample.digest]
    keys = {sample.digest for sample in manifest if sample.digest}
    if not keys:
        raise ManifestError(
            f"none of the {len(bare)} images of {manifest.source} has a digest",
            "fill them in with Manifest.with_digests before training",
        )
    absent: set[str] = set()
    for one in sets:
        absent |= keys - set(one.keys())
    if absent == keys:
        raise ManifestError(
            f"none of the {len(keys)} images of {manifest.source} has features in the cache",
            "run `icecore extract` on this data first, into this cache",
        )
    return absent


def _nothing_trained(failed: Mapping[str, str]) -> HeadError:
    if len(failed) == 1:
        return HeadError(next(iter(failed.values())))
    reasons = enumerate_some([f"{task}: {why}" for task, why in failed.items()])
    return HeadError(f"none of the {len(failed)} tasks could be trained: {reasons}")

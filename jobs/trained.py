"""What `predict` and `bundle` take from a run, or from all runs of its blend."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import ensemble
from ..cache import differences
from ..core.errors import BackboneError, FingerprintError, RunError, enumerate_some
from ..ensemble import TaskWeights
from ..features import BackboneSpec, FeatureSetRecord
from ..runs import Run, open_run


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run with what of it is needed.

    Attributes
    ----------
    run : Run
        Its backbones are those that the needed models take.
    models : dict of str to dict of str to str
        By task: the model's name in the blend, and in the run.
    """

    run: Run
    models: dict[str, dict[str, str]]


@dataclasses.dataclass(frozen=True)
class Trained:
    """All that is needed for answers.

    Attributes
    ----------
    runs : tuple of TrainedRun
        Those with a model that has weight.
    weights : dict of str to TaskWeights
    classes : dict of str to tuple of str
        Classes of each task.
    blended_runs : tuple of Run
        All runs of the blend.
    """

    runs: tuple[TrainedRun, ...]
    weights: dict[str, TaskWeights]
    classes: dict[str, tuple[str, ...]]
    blended_runs: tuple[Run, ...]


def open_trained(run: str | os.PathLike, answer: str | None = None) -> Trained:
    """Open a run with the weights of its blend, and the other runs that the blend joins.

    Parameters
    ----------
    run : path-like
        Without ``blend.json`` its models are averaged plainly.
    answer : {"recommended", "clean", "given", "tuned", "average"}, optional
        The one that was saved as the blend's answer, if None.

    Raises
    ------
    RunError
        There is no such answer, or a model with weight is of no run.
    """
    ensemble.require_answer(answer)
    first = open_run(run)
    if not os.path.lexists(Path(run) / "blend.json"):
        weights = {name: _plain_average(task.models) for name, task in first.tasks.items()}
        needed = {name: dict(zip(one.needed, one.needed)) for name, one in weights.items()}
        classes = {name: task.classes for name, task in first.tasks.items()}
        return Trained((TrainedRun(first, needed),), weights, classes, (first,))
    saved = ensemble.load_saved(run, answer)
    by_run: dict[str, dict[str, dict[str, str]]] = {name: {} for name in saved.runs}
    foreign = []
    for task, weights in saved.tasks.items():
        for model in weights.needed:
            origin = saved.origin(task, model)
            if origin is None:
                foreign.append(model if len(saved.tasks) == 1 else f"{task}: {model}")
            else:
                by_run[origin[0]].setdefault(task, {})[model] = origin[1]
    if foreign:
        raise RunError(
            f"the blend of {run} gives weight to files from elsewhere, which no network here can "
            f"compute: {enumerate_some(foreign)}",
            "blend the runs alone for predict and bundle: icecore blend RUN [RUN...]",
        )
    runs = tuple(
        TrainedRun(_restricted(saved.runs[name], models), models)
        for name, models in by_run.items()
        if models
    )
    classes = {name: one.classes for name, one in saved.tasks.items()}
    return Trained(runs, saved.tasks, classes, tuple(saved.runs.values()))


def _restricted(run: Run, models: dict[str, dict[str, str]]) -> Run:
    """Return a run with the backbones alone that some of its models take."""
    prints = {
        print_
        for task, names in models.items()
        for model in names.values()
        for print_ in run.tasks[task].features[model]
    }
    kept = tuple(one for one in run.backbones if one["fingerprint"] in prints)
    return dataclasses.replace(run, backbones=kept)


def _plain_average(models: Sequence[str]) -> TaskWeights:
    """Return equal weights, for a run that was not blended."""
    answer = f"the only model, {models[0]}" if len(models) == 1 else "the plain average"
    return TaskWeights(dict.fromkeys(models, 1 / len(models)), answer=answer)


def made_how(*runs: Run) -> FeatureSetRecord:
    """Return the record of the first feature set: but for the backbone, all are made so."""
    records = [_record(run, fields) for run in runs for fields in run.backbones]
    kinds = {
        "fit": {one.fit for one in records},
        "precision": {one.precision for one in records},
        "weights": {one.backbone.weights for one in records},
        "views": {one.views.text for one in records},
        "compute precision": {one.compute for one in records},
        "decoding": {one.decoding for one in records},
    }
    mixed = [
        f"{name} ({', '.join(sorted(there))})" for name, there in kinds.items() if len(there) > 1
    ]
    if mixed:
        raise RunError(
            f"features of different {enumerate_some(mixed)} are mixed",
            "train a run on feature sets of one kind; predict goes through several runs of a "
            "blend, each of a kind of its own, and a bundle takes one kind",
        )
    return records[0]


def _record(run: Run, fields: dict) -> FeatureSetRecord:
    """Return the record of a feature set of a run, which its fingerprint must be that of."""
    # A run may be here with some of its backbones.
    prints = [one["fingerprint"] for one in run.about["backbones"]]
    where = f"{run.path / 'run.json'}: backbones[{prints.index(fields['fingerprint'])}]"
    record = FeatureSetRecord.from_dict(fields["record"], f"{where}: record")
    if record.fingerprint != fields["fingerprint"]:
        raise RunError(
            f"{where}: the fingerprint is not that of the record",
            "restore run.json, or train again",
        )
    return record


def require_same(spec: str, trained_on: Mapping, found: Mapping) -> None:
    """Raise `FingerprintError` unless the records of a feature set, then and now, are one."""
    if fields := differences(trained_on, found):
        raise FingerprintError(
            f"{spec} is not the backbone that the run was trained on: it differs in "
            f"{enumerate_some(name for name, _, _ in fields)}",
            "bring back the files that it was trained with (--weights-dir names their folder), or "
            "extract and train again",
        )


def spec_text(feature_set: dict, weights_dir):
    """Return the spec of a feature set's backbone, with the layer its features come from."""
    record = FeatureSetRecord.from_dict(feature_set["record"])
    canonical = record.backbone.spec
    source = feature_set.get("source") or canonical
    try:
        spec = BackboneSpec.located(source, canonical, weights_dir)
    except BackboneError as error:
        raise RunError(
            f"run.json has the source {source!r} for {canonical}: {error.message}",
            "restore run.json, or train again",
        ) from error
    return dataclasses.replace(spec, layer=record.layer)

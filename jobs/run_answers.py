"""What the heads of a run say of new images: probabilities, and which group an image is of."""

import dataclasses
from pathlib import Path

import numpy as np

from .. import features, heads
from ..cache import FeatureCache, FeatureSet
from ..core.errors import counted, enumerate_some
from ..features import ExtractOptions, FeatureSetRecord
from ..manifest import Manifest
from ..runs import Run
from .trained import TrainedRun, require_same

# From this probability on the group of an image is called clear.
CLEAR = 0.75


@dataclasses.dataclass(frozen=True)
class RunAnswers:
    """What one run says: rows of each digest, for each task and model; groups for each task."""

    digests: dict[str, str]
    place: dict[str, int]
    tables: dict[str, dict[str, np.ndarray]]
    classes: dict[str, tuple[str, ...]]
    failures: list
    random_weights: bool
    boxed: int
    repaired: list[str]
    routes: dict[str, np.ndarray]
    groups: dict[str, tuple[str, ...]]


def answers_of_run(
    job: tuple[TrainedRun, list, ExtractOptions, Manifest],
    wanted: dict[str, str],
    folder: Path,
    progress,
) -> RunAnswers:
    """Extract new images as a run was made, and predict them.

    Parameters
    ----------
    job : (TrainedRun, list of specs, ExtractOptions, Manifest)
    wanted : dict of str to str
        The router of each task, as the blend names it; empty where it has none.
    folder : Path
        The cache of the new features.
    progress : ProgressListener or None
    """
    part, specs, how, manifest = job
    report = features.extract(manifest, folder, specs, how, progress)
    store = FeatureCache(folder)
    fitted = _reading(part.run, report.sets, {one.fingerprint: one for one in store.sets()})
    failed = {failure.id for failure in report.failures}
    digests = {i: s.digest for i, s in report.manifest.images.items() if i not in failed}
    keys = sorted(set(digests.values()))
    tables = {
        task: {
            name: heads.predict_proba(fitted, store, keys, task, {model: 1.0})
            for name, model in models.items()
        }
        for task, models in part.models.items()
    }
    groups, routers = {}, {}
    for task, models in part.models.items():
        told = part.run.routes(task)
        # Where no weights are routed, how clear the groups are is to be known all the same.
        if told is not None and told.model in models.values():
            groups[task], routers[task] = told.classes, told.model
        if wanted[task] in models:
            routers[task] = models[wanted[task]]
    routes = {
        task: heads.predict_routes(fitted, store, keys, task, model)
        for task, model in routers.items()
    }
    place = {key: index for index, key in enumerate(keys)}
    classes = {task: part.run.tasks[task].classes for task in part.models}
    return RunAnswers(
        digests=digests,
        place=place,
        tables=tables,
        classes=classes,
        failures=report.failures,
        random_weights=report.random_weights,
        boxed=report.boxed,
        repaired=report.repaired,
        routes=routes,
        groups=groups,
    )


def aligned(
    parts: list[RunAnswers], task: str, ids: list[str], classes: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Return each model's probabilities of `ids`, columns in the order of `classes`."""
    found = {}
    places = {name: place for place, name in enumerate(classes)}
    for part in parts:
        rows = [part.place[part.digests[identity]] for identity in ids]
        for model, table in part.tables.get(task, {}).items():
            whole = np.zeros((len(ids), len(classes)))
            whole[:, [places[name] for name in part.classes[task]]] = table[rows]
            found[model] = whole
    return found


def routes_of(parts: list[RunAnswers], task: str, ids: list[str]) -> np.ndarray | None:
    """Return the probabilities of groups of `ids`, None where the blend has no use for them."""
    for part in parts:
        if task in part.routes:
            return part.routes[task][[part.place[part.digests[identity]] for identity in ids]]
    return None


def group_notes(parts: list[RunAnswers], manifest: Manifest, ids: list[str]) -> list[str]:
    """Say which groups heads do not know, and of how many images the group is not clear."""
    notes = []
    for part in parts:
        for task, groups in part.groups.items():
            given = {sample.group for sample in manifest if sample.group} - set(groups)
            if given:
                notes.append(
                    f"{task}: the heads know the groups {enumerate_some(groups)}, and not "
                    f"{enumerate_some(sorted(given))}: the features tell which of them is likest"
                )
            routes = routes_of([part], task, ids)
            unclear = 0 if routes is None else int((routes.max(axis=1) < CLEAR).sum())
            if unclear:
                notes.append(
                    f"{task}: the group of {unclear} of {counted(len(ids), 'image')} is not clear "
                    f"(none of {enumerate_some(groups)} has {CLEAR:.0%}): they are answered by a "
                    "mixture"
                )
    return notes


def _reading(fitted: Run, sets: list[dict], there: dict[str, FeatureSet]) -> Run:
    """Let the heads of a run read `sets`, which may differ in the compute precision alone.

    Raises
    ------
    FingerprintError
        They differ in more: the backbone is another one now.
    """
    new, backbones = {}, []
    for one, made in zip(fitted.backbones, sets):
        record = FeatureSetRecord.from_dict(one["record"])
        record = dataclasses.replace(record, compute=made["compute_precision"])
        require_same(one["spec"], record.as_dict(), there[made["fingerprint"]].record)
        new[one["fingerprint"]] = record.fingerprint
        backbones.append({**one, "record": record.as_dict(), "fingerprint": record.fingerprint})
    tasks = {
        name: dataclasses.replace(
            task,
            features={
                model: tuple(new[print_] for print_ in prints)
                for model, prints in task.features.items()
                if set(prints) <= set(new)
            },
        )
        for name, task in fitted.tasks.items()
    }
    return dataclasses.replace(fitted, backbones=tuple(backbones), tasks=tasks)

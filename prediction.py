"""From a run to answers: predict new images, or bundle the run into one ONNX file."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from . import __version__
from . import manifest as manifests
from .cache import FeatureCache
from .core.errors import MissingFileError, RunError, enumerate_some
from .core.files import publish, publish_text
from .manifest.table import DEFAULT_TASK, Manifest

__all__ = ["PredictReport", "bundle", "predict"]


@dataclasses.dataclass(frozen=True)
class PredictReport:
    """What `predict` did.

    Attributes
    ----------
    images : int
        Images in the answers.
    failures : list
        Images that could not be read; their rows are empty.
    tasks : dict of str to tuple of str
        Classes of each task.
    blended : bool
        Whether tuned weights were used; else the plain average.
    random_weights : bool
        Whether a backbone has random weights.
    """

    images: int
    failures: list
    tasks: dict[str, tuple[str, ...]]
    blended: bool
    random_weights: bool


def predict(
    run: str | os.PathLike,
    images: str | os.PathLike,
    out: str | os.PathLike,
    *,
    answer: str = "tuned",
    cache: str | os.PathLike | None = None,
    weights_dir: str | os.PathLike | None = None,
    boxes: str | os.PathLike | None = None,
    detector=None,
    on_detect=None,
    precision_compute: str = "trained",
    **options,
) -> PredictReport:
    """Predict new images all the way: backbones, heads, weights.

    Parameters
    ----------
    run : path-like
        Folder that `train` wrote; with ``blend.json`` its weights are used, else the
        plain average.
    images : path-like
        An image, a folder of images, or anything that `icecore.manifest.read` reads.
    out : path-like
        CSV: ``id``, then for each task the predicted class and a column for each class
        (named ``task:class`` where there are several tasks). Rows of unreadable images
        are empty.
    answer : {"tuned", "average", "recommended"}
        Which average; ``recommended`` is what the honest estimate of the blend says.
    cache : path-like, optional
        Keep the new features here; a temporary folder if None.
    weights_dir : path-like, optional
        Where the backbones' weights or ONNX files are now.
    boxes : path-like, optional
        Table of the part of each image that counts, as for `icecore.jobs.extract`.
    detector, on_detect : optional
        As for `icecore.jobs.extract`.
    precision_compute : {"trained", "f32", "bf16", "fp16", "auto"}
        ``trained``: as the features that the heads were trained on. A machine that cannot
        may compute in another; the features then differ a little from those, see
        docs/engines.md.
    **options
        Of `icecore.features.extraction.extract`: engine, device, batch_size, workers, on_progress.
    """
    from . import features, heads

    fitted = heads.load_run(run)
    blends = _blends(run, answer)
    manifest = manifests.read(images, labels_required=False)
    given = {**options, "weights_dir": weights_dir}
    options["locate"] = features.box_locator(boxes, detector, on_detect, given)
    _require_writable(out)
    with tempfile.TemporaryDirectory(prefix="icecore-predict-") as scratch:
        folder = Path(cache) if cache is not None else Path(scratch) / "cache"
        report = _extract_as_trained(
            features, fitted, manifest, folder, weights_dir, precision_compute, options
        )
        fitted = _reading(fitted, report.sets)
        store = FeatureCache(folder)
        failed = {failure.id for failure in report.failures}
        digests = {i: s.digest for i, s in report.manifest.images.items() if i not in failed}
        keys = sorted(set(digests.values()))
        place = {key: index for index, key in enumerate(keys)}
        tables = {}
        for task in fitted.tasks:
            weights = blends.get(task) or _plain_average(fitted.tasks[task].models)
            found = {
                model: heads.predict_proba(fitted, store, keys, task, {model: 1.0})
                for model in weights.needed
            }
            tables[task] = weights.combine(found)
        store.close()
    rows = {identity: place[key] for identity, key in digests.items()}
    classes = {name: task.classes for name, task in fitted.tasks.items()}
    publish_text(out, _answers(report.manifest, rows, tables, classes))
    return PredictReport(
        images=len(rows),
        failures=report.failures,
        tasks=classes,
        blended=bool(blends),
        random_weights=report.random_weights,
    )


def bundle(
    run: str | os.PathLike,
    out: str | os.PathLike,
    *,
    answer: str = "tuned",
    weights_dir: str | os.PathLike | None = None,
) -> dict:
    """Write a run as one ONNX graph: squares in, the probabilities of each task out.

    Parameters
    ----------
    run : path-like
        Folder that `train` wrote; with ``blend.json`` its weights are used, else the
        plain average.
    out : path-like
        ONNX file.
    answer : {"tuned", "average", "recommended"}
        As for `predict`.
    weights_dir : path-like, optional
        Where the backbones' weights or ONNX files are now.

    Returns
    -------
    dict
        ``{"path", "bytes", "inputs", "outputs"}``; also in the file's metadata.

    Raises
    ------
    RunError
        The average has a head that is no chain of matrices (LightGBM, nearest
        neighbours), or is not a weighted sum of probabilities.
    FingerprintError
        A backbone is not the one that the heads were trained on.
    """
    from . import features, heads

    _require_writable(out)
    fitted = heads.load_run(run)
    blends = _blends(run, answer)
    fit, precision, weights, views, compute = _kind(fitted)
    if len(views) > 1:
        raise RunError(
            f"the run was trained on {len(views)} views of each image "
            f"({enumerate_some(views.names)}); a bundle takes one square of each",
            "extract with --views center and train again for a bundle; "
            "icecore predict makes all views",
        )
    request = features.WeightsRequest.parse(weights, weights_dir)
    specs = [_spec(one, weights_dir) for one in fitted.backbones]
    backbones = features.load_backbones(specs, "onnxruntime", request)
    _require_same(fitted, backbones, (fit, precision, views, compute))
    place = {one["fingerprint"]: index for index, one in enumerate(fitted.backbones)}
    tasks = [
        _bundled_task(features, heads, task, blends.get(name) or _plain_average(task.models), place)
        for name, task in fitted.tasks.items()
    ]
    random_weights = weights != "pretrained"
    about = {"icecore": __version__, "blended": bool(blends), "random_weights": random_weights}
    # The graph itself computes in float32, whatever the features were computed in.
    about["trained_on"] = {"compute_precision": compute, "precision": precision}
    model = features.build_bundle(backbones, tasks, fit, precision, about)
    with publish(out) as temporary:
        temporary.write_bytes(model.SerializeToString())
    note = json.loads(next(p.value for p in model.metadata_props if p.key == "icecore"))
    return {"path": str(out), "bytes": Path(out).stat().st_size} | note


def _bundled_task(features, heads, task, weights, place: dict[str, int]):
    if weights.mean != "arithmetic" or weights.temperatures or weights.groups:
        raise RunError(
            f"the blend of the task '{task.name}' is not a weighted sum of probabilities",
            "blend again without --mean geometric, --temperature and --groups",
        )
    column = {name: index for index, name in enumerate(task.classes)}
    bundled, refused = [], []
    for model in weights.needed:
        head = heads.load_task_head(task, model)
        layers = _layers(head)
        if layers is None:
            refused.append(model)
            continue
        bundled.append(
            features.BundledHead(
                weight=weights.weights[model],
                backbones=tuple(place[print_] for print_ in task.features[model]),
                layers=layers,
                columns=tuple(column[str(name)] for name in head.classes_),
            )
        )
    if refused:
        raise RunError(
            f"heads of the task '{task.name}' cannot be written as ONNX matrices: "
            f"{enumerate_some(refused)}",
            "train and blend a run of mlp and logistic heads for a bundle",
        )
    return features.BundledTask(task.name, task.classes, tuple(bundled))


def _layers(head) -> list | None:
    """Return a head's matrices, if ReLU between them and softmax at the end are all it does."""
    from .heads import LogisticHead, MLPClassifier

    if isinstance(head, MLPClassifier):
        return list(head.layers_)
    if isinstance(head, LogisticHead):
        return [(head.coef_, head.intercept_)]
    return None


def _require_same(fitted, backbones, how: tuple) -> None:
    from .cache import differences
    from .core.errors import FingerprintError
    from .features import feature_set_record

    for one, backbone in zip(fitted.backbones, backbones):
        ours = feature_set_record(backbone.record, *how, layer=backbone.layer)
        fields = differences(one["record"], ours)
        if fields:
            names = enumerate_some(name for name, _, _ in fields)
            raise FingerprintError(
                f"{backbone.record.spec} is not the backbone that the run was trained on: "
                f"{names} differ",
                "bring the same weights back, or extract and train again",
            )


def _blends(run: str | os.PathLike, answer: str = "tuned") -> dict:
    """Return the weights of the tasks whose answer is not the plain average."""
    from . import ensemble

    if answer not in ("tuned", "average", "recommended"):
        raise RunError(f"no answer '{answer}'", "choose tuned, average or recommended")
    try:
        blends = ensemble.load_blend(run)
    except MissingFileError:
        return {}
    if answer == "recommended":
        return {task: one for task, one in blends.items() if one.recommended != "average"}
    return blends if answer == "tuned" else {}


def _plain_average(models):
    from .ensemble import TaskWeights

    return TaskWeights(dict.fromkeys(models, 1 / len(models)))


def _kind(fitted) -> tuple:
    """Return fit, precision, weights, views and compute precision of all sets of a run."""
    from .features import Views

    records = [one["record"] for one in fitted.backbones]
    kinds = {(record["fit"], record["precision"]) for record in records}
    computes = {record.get("compute_precision", "f32") for record in records}
    weights = {record["backbone"]["weights"] for record in records}
    views = set(map(Views.from_record, records))
    if max(map(len, (kinds, weights, views, computes))) > 1:
        names = {one.text for one in views} if len(views) > 1 else set()
        raise RunError(
            "the run mixes features of different fit, precision, weights or views: "
            f"{enumerate_some(sorted(map(str, kinds | weights | names | computes)))}",
            "train a run on feature sets of one kind to predict with it",
        )
    return *kinds.pop(), weights.pop(), views.pop(), computes.pop()


def _extract_as_trained(
    features, fitted, manifest: Manifest, cache: Path, weights_dir, compute, options
):
    """Extract with the backbones, fit, views and precision that the heads were trained on."""
    fit, precision, weights, views, trained = _kind(fitted)
    specs = [_spec(one, weights_dir) for one in fitted.backbones]
    return features.extract(
        manifest,
        cache,
        specs,
        fit=fit,
        views=views,
        precision=precision,
        precision_compute=trained if compute == "trained" else compute,
        weights=weights,
        weights_dir=weights_dir,
        **options,
    )


def _reading(fitted, sets: list[dict]):
    """Let the heads of a run read `sets`, which may differ in the compute precision alone."""
    from .cache import fingerprint
    from .features.records.record import with_compute_precision

    new, backbones = {}, []
    for one, made in zip(fitted.backbones, sets):
        record = with_compute_precision(one["record"], made["compute_precision"])
        new[one["fingerprint"]] = fingerprint(record)
        backbones.append({**one, "record": record, "fingerprint": fingerprint(record)})
    tasks = {
        name: dataclasses.replace(
            task,
            features={
                model: tuple(new[print_] for print_ in prints)
                for model, prints in task.features.items()
            },
        )
        for name, task in fitted.tasks.items()
    }
    return dataclasses.replace(fitted, backbones=tuple(backbones), tasks=tasks)


def _spec(feature_set: dict, weights_dir):
    """Return the spec of a feature set's backbone, with the layer its features come from."""
    from .features import BackboneSpec, Layer

    spec = BackboneSpec.parse(_located(feature_set, weights_dir))
    text = feature_set["record"].get("layer", Layer().text)
    return dataclasses.replace(spec, layer=Layer.from_text(text))


def _located(feature_set: dict, weights_dir) -> str:
    """Return a spec that finds the backbone: ONNX files are where they were, or in weights_dir."""
    spec = feature_set["record"]["backbone"]["spec"]
    source = feature_set.get("source") or spec
    if spec.startswith("onnx:") and weights_dir is not None:
        name, _, resolution = spec.removeprefix("onnx:").partition("@")
        if (Path(weights_dir) / name).is_file():
            return f"onnx:{Path(weights_dir) / name}" + (f"@{resolution}" if resolution else "")
    return source


def _answers(
    manifest: Manifest,
    rows: dict[str, int],
    tables: dict[str, np.ndarray],
    classes: dict[str, tuple[str, ...]],
) -> str:
    single = list(tables) == [DEFAULT_TASK]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["id"]
    for task in tables:
        header += [task, *(name if single else f"{task}:{name}" for name in classes[task])]
    writer.writerow(header)
    for identity in manifest.images:
        line = [identity]
        for task, table in tables.items():
            if identity in rows:
                probabilities = table[rows[identity]]
                best = classes[task][int(probabilities.argmax())]
                line += [best, *(f"{p:.6f}" for p in probabilities)]
            else:
                line += [""] * (1 + len(classes[task]))
        writer.writerow(line)
    return text.getvalue()


def _require_writable(out: str | os.PathLike) -> None:
    """Find out before the work, not after it, that the answer has no place to go."""
    out = Path(os.path.abspath(out))
    if out.is_dir():
        raise RunError(f"{out} is a folder", "name a file for the answer")
    parent = out.parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise RunError(
            f"{out} cannot be written: {parent} does not allow it", "choose another place"
        )

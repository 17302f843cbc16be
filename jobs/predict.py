"""From a run to answers: predict new images, or bundle the run into one ONNX file."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import tempfile
from pathlib import Path

import numpy as np

from .. import features, heads
from .. import manifest as manifests
from ..cache import FeatureCache
from ..core.files import publish_text
from ..features import ExtractOptions, FeatureSetRecord, ProgressListener
from ..manifest import DEFAULT_TASK, Manifest
from ..runs import open_run
from .trained import made_how, plain_average, require_writable, saved_weights, spec_text

__all__ = ["PredictReport", "predict"]


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
    answers : dict of str to str
        What each task's answer is, in words: the plain average, the tuned weights, ...
    random_weights : bool
        Whether a backbone has random weights.
    """

    images: int
    failures: list
    tasks: dict[str, tuple[str, ...]]
    answers: dict[str, str]
    random_weights: bool


def predict(
    run: str | os.PathLike,
    images: str | os.PathLike,
    out: str | os.PathLike,
    *,
    answer: str = "recommended",
    cache: str | os.PathLike | None = None,
    weights_dir: str | os.PathLike | None = None,
    precision_compute: str = "trained",
    progress: ProgressListener | None = None,
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
    answer : {"recommended", "tuned", "average"}
        Which answer of the blend.
    cache : path-like, optional
        Keep the new features here; a temporary folder if None.
    weights_dir : path-like, optional
        Where the backbones' weights or ONNX files are now.
    precision_compute : {"trained", "f32", "bf16", "fp16", "auto"}
        ``trained``: as the features that the heads were trained on. A machine that cannot
        may compute in another; the features then differ a little from those, see
        docs/engines.md.
    progress : ProgressListener, optional
    **options
        Of `ExtractOptions`: engine, device, batch_size, workers, boxes, detector.
    """
    fitted = open_run(run)
    blends = saved_weights(run, answer)
    manifest = manifests.read(images, labels_required=False)
    options = _as_trained(fitted, precision_compute, {**options, "weights_dir": weights_dir})
    require_writable(out)
    with tempfile.TemporaryDirectory(prefix="icecore-predict-") as scratch:
        folder = Path(cache) if cache is not None else Path(scratch) / "cache"
        specs = [spec_text(one, weights_dir) for one in fitted.backbones]
        report = features.extract(manifest, folder, specs, options, progress)
        fitted = _reading(fitted, report.sets)
        store = FeatureCache(folder)
        failed = {failure.id for failure in report.failures}
        digests = {i: s.digest for i, s in report.manifest.images.items() if i not in failed}
        keys = sorted(set(digests.values()))
        place = {key: index for index, key in enumerate(keys)}
        tables, answers = {}, {}
        for task in fitted.tasks:
            weights = blends.get(task) or plain_average(fitted.tasks[task].models)
            found = {
                model: heads.predict_proba(fitted, store, keys, task, {model: 1.0})
                for model in weights.needed
            }
            tables[task] = weights.combine(found)
            answers[task] = weights.answer
    rows = {identity: place[key] for identity, key in digests.items()}
    classes = {name: task.classes for name, task in fitted.tasks.items()}
    publish_text(out, _answers(report.manifest, rows, tables, classes))
    return PredictReport(
        images=len(rows),
        failures=report.failures,
        tasks=classes,
        answers=answers,
        random_weights=report.random_weights,
    )


def _as_trained(fitted, compute: str, options: dict) -> ExtractOptions:
    """Extract with the fit, views, precision and weights that the heads were trained on."""
    made = made_how(fitted)
    return ExtractOptions(
        fit=made.fit,
        views=made.views,
        precision=made.precision,
        precision_compute=made.compute if compute == "trained" else compute,
        weights=made.backbone.weights,
        **options,
    )


def _reading(fitted, sets: list[dict]):
    """Let the heads of a run read `sets`, which may differ in the compute precision alone."""
    new, backbones = {}, []
    for one, made in zip(fitted.backbones, sets):
        record = FeatureSetRecord.from_dict(one["record"])
        record = dataclasses.replace(record, compute=made["compute_precision"])
        new[one["fingerprint"]] = record.fingerprint
        backbones.append({**one, "record": record.as_dict(), "fingerprint": record.fingerprint})
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

"""The job `predict`: from a run and new images to answers."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .. import features, heads
from .. import manifest as manifests
from ..cache import FeatureCache
from ..core.csv_files import write_csv
from ..core.errors import RunError
from ..ensemble import ANSWERS
from ..features import (
    ERROR_ALLOWED,
    DetectorOptions,
    ExtractOptions,
    FeatureSetRecord,
    ProgressListener,
)
from ..manifest import DEFAULT_TASK, Manifest
from ..runs import Run, class_column, open_run
from .trained import made_how, plain_average, require_writable, saved_weights, spec_text

__all__ = ["PredictOptions", "PredictReport", "predict"]


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
    boxed : int
        Images of which only a box was looked at.
    """

    images: int
    failures: list
    tasks: dict[str, tuple[str, ...]]
    answers: dict[str, str]
    random_weights: bool
    boxed: int = 0


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """How new images are to be predicted.

    Attributes
    ----------
    answer : {"recommended", "clean", "tuned", "average"}
        Which answer of the blend; without a blend it is the plain average.
    cache : path-like, optional
        Keep the new features here; in a temporary folder if None.
    weights_dir : path-like, optional
        Where the backbones' weights or ONNX files are now.
    precision_compute : {"trained", "f32", "bf16", "fp16", "auto"}
        ``trained``: as the features that the heads were trained on. A machine that cannot
        may compute in another; the features then differ a little from those, see
        docs/engines.md.
    boxes, detector, engine, device, batch_size, workers, accept_error
        As in `ExtractOptions`; errors that the features of the run had are accepted, too.
    excel : bool
        Put an apostrophe before cells that a spreadsheet would take for a formula.
    whole : bool
        Predict whole images, or squares that were cut before, also with a run that was trained
        on boxes.

    Raises
    ------
    RunError
        There is no such answer.
    BackboneError
        Some of the options of the extraction cannot be used; all of those are named.
    """

    answer: str = "recommended"
    cache: str | os.PathLike | None = None
    weights_dir: str | os.PathLike | None = None
    precision_compute: str = "trained"
    boxes: str | os.PathLike | None = None
    detector: DetectorOptions | None = None
    engine: str = "auto"
    device: str = "cpu"
    batch_size: int = 16
    workers: int | None = None
    accept_error: float | None = None
    excel: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise RunError(f"there is no answer '{self.answer}'", f"choose {', '.join(ANSWERS)}")
        self.extraction("f32" if self.precision_compute == "trained" else self.precision_compute)

    def extraction(
        self,
        compute: str,
        made: FeatureSetRecord | None = None,
        accept_error: float | None = None,
    ) -> ExtractOptions:
        """Return how to extract as `made` was: fit, views, precision and weights."""
        how = {"accept_error": accept_error if self.accept_error is None else self.accept_error}
        if made is not None:
            how |= {"fit": made.fit, "views": made.views, "precision": made.precision}
            how["weights"] = made.backbone.weights
        return ExtractOptions(
            precision_compute=compute,
            weights_dir=self.weights_dir,
            boxes=self.boxes,
            detector=self.detector,
            engine=self.engine,
            device=self.device,
            batch_size=self.batch_size,
            workers=self.workers,
            **how,
        )


DEFAULTS = PredictOptions()


def predict(
    run: str | os.PathLike,
    images: str | os.PathLike,
    out: str | os.PathLike,
    options: PredictOptions = DEFAULTS,
    progress: ProgressListener | None = None,
) -> PredictReport:
    """Predict new images all the way: backbones, heads, weights.

    Parameters
    ----------
    run : path-like
        Folder that `train` wrote; with ``blend.json`` its answer is used, else the
        plain average.
    images : path-like
        An image, a folder of images, or anything that `icecore.read_manifest` reads.
    out : path-like
        CSV: ``id``, then for each task the predicted class and a column for each class
        (named ``task:class`` where there are several tasks). Rows of unreadable images
        are empty.
    options : PredictOptions
    progress : ProgressListener, optional

    Examples
    --------
    >>> icecore.predict("run", photos, "answers.csv").answers
    {'label': 'the plain average'}
    """
    fitted = open_run(run)
    blends = saved_weights(run, options.answer)
    manifest = manifests.read(images, labels_required=False)
    made = made_how(fitted)
    compute = options.precision_compute
    compute = made.compute if compute == "trained" else compute
    how = options.extraction(compute, made, _accepted_error(fitted, made, compute))
    how = dataclasses.replace(how, boxes=_boxes(fitted, manifest, options))
    require_writable(out)
    specs = [spec_text(one, options.weights_dir) for one in fitted.backbones]
    with tempfile.TemporaryDirectory(prefix="icecore-predict-") as scratch:
        folder = Path(scratch) / "cache" if options.cache is None else Path(options.cache)
        report = features.extract(manifest, folder, specs, how, progress)
        fitted = _reading(fitted, report.sets)
        failed = {failure.id for failure in report.failures}
        digests = {i: s.digest for i, s in report.manifest.images.items() if i not in failed}
        keys = sorted(set(digests.values()))
        weights = {
            name: blends.get(name) or plain_average(task.models)
            for name, task in fitted.tasks.items()
        }
        tables = {
            name: _table(fitted, FeatureCache(folder), keys, name, weights[name])
            for name in fitted.tasks
        }
    place = {key: index for index, key in enumerate(keys)}
    rows = {identity: place[key] for identity, key in digests.items()}
    classes = {name: task.classes for name, task in fitted.tasks.items()}
    lines = _answers(list(report.manifest.images), rows, tables, classes)
    write_csv(out, lines, excel=options.excel)
    return PredictReport(
        images=len(rows),
        failures=report.failures,
        tasks=classes,
        answers={name: one.answer for name, one in weights.items()},
        random_weights=report.random_weights,
        boxed=report.boxed,
    )


def _boxes(fitted: Run, manifest: Manifest, options: PredictOptions) -> str | os.PathLike | None:
    """Return where the boxes of the new images come from.

    Raises
    ------
    RunError
        The heads know boxes alone, and nothing says what is to be cut out of these images.
    """
    boxed_already = any(sample.box for sample in manifest)
    if options.boxes is not None or options.whole or not fitted.boxed or boxed_already:
        return options.boxes
    raise RunError(
        f"{fitted.path} was trained on boxes ({fitted.boxed} rows of it), and nothing says which "
        "part of these images counts",
        "give their boxes with --boxes; or say --whole if they show that part and nothing else",
    )


def _accepted_error(fitted, made: FeatureSetRecord, compute: str) -> float | None:
    """Return the error to accept: the heads were trained on features that had the same."""
    if compute != made.compute or compute == "f32":
        return None
    known = [one.get("relative_error", 0.0) for one in fitted.backbones]
    # It depends a little on the processor.
    return max(ERROR_ALLOWED[compute], 1.5 * max(known))


def _table(fitted, store: FeatureCache, keys: list[str], task: str, weights) -> np.ndarray:
    """Return the answer of one task, a row for each key."""
    found = {
        model: heads.predict_proba(fitted, store, keys, task, {model: 1.0})
        for model in weights.needed
    }
    return weights.combine(found)


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
    images: list[str],
    rows: dict[str, int],
    tables: dict[str, np.ndarray],
    classes: dict[str, tuple[str, ...]],
) -> Iterator[list[str]]:
    """Yield the lines of the answer: a header, then one for each image."""
    single = list(tables) == [DEFAULT_TASK]
    header = ["id"]
    for task in tables:
        names = (class_column(name) if single else f"{task}:{name}" for name in classes[task])
        header += [task if single else class_column(task), *names]
    yield header
    for identity in images:
        line = [identity]
        for task, table in tables.items():
            if identity in rows:
                probabilities = table[rows[identity]]
                best = classes[task][int(probabilities.argmax())]
                line += [best, *(f"{p:.6f}" for p in probabilities)]
            else:
                line += [""] * (1 + len(classes[task]))
        yield line

"""The job `predict`: from a run and new images to answers."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from .. import ensemble, features, heads
from ..core.arguments import require_types, typed
from ..core.errors import RunError, counted
from ..core.folders import scratch_folder
from ..core.hardware import require_working_memory
from ..core.outputs import require_writable
from ..core.summary import summary
from ..ensemble import AnswerOptions, Answers, TaskAnswers, WrittenAnswers
from ..features import (
    ERROR_ALLOWED,
    DetectorOptions,
    ExtractOptions,
    FeatureSetRecord,
    ProgressListener,
)
from ..manifest import UNLABELLED, Manifest, Unread, apply_boxes, open_data, read_unread
from ..runs import Run
from .run_answers import RunAnswers, aligned, answers_of_run, group_notes, routes_of
from .samples import REGIONS_OF_A_RUN
from .trained import (
    Trained,
    made_how,
    open_trained,
    spec_text,
)


@dataclasses.dataclass(frozen=True)
class PredictReport:
    """What `predict` did.

    Attributes
    ----------
    images : int
        Images in the answers.
    manifest : Manifest
        What was predicted; its `passed_over` and `notes` say what was not.
    failures : list
        Images that could not be read.
    tasks : dict of str to tuple of str
        Classes of each task.
    answers : dict of str to str
        What each task's answer is, in words: the plain average, the tuned weights, ...
    random_weights : bool
        Whether a backbone has random weights.
    written : WrittenAnswers
        The file, and what its rows are.
    boxed : int
        Images of which only a box was looked at, by one run at least.
    notes : tuple of str
        What is to be known of the groups of these images.
    repaired : list of str
        What was put right in the cache that was given, a line each.
    """

    images: int
    manifest: Manifest
    failures: list
    tasks: dict[str, tuple[str, ...]]
    answers: dict[str, str]
    random_weights: bool
    written: WrittenAnswers
    boxed: int = 0
    notes: tuple[str, ...] = ()
    repaired: list[str] = dataclasses.field(default_factory=list)

    __repr__ = summary


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """How new images are to be predicted.

    Attributes
    ----------
    answer : {"recommended", "clean", "given", "tuned", "average"}, optional
        Which answer of the blend, by default the one that was saved as its answer; without
        a blend it is the plain average.
    cache : path-like, optional
        Keep the new features here; in a temporary folder if None.
    weights_dir : path-like, optional
        Where the backbones' weights or ONNX files are now.
    precision_compute : {"trained", "f32", "tf32", "bf16", "fp16", "auto"}
        ``trained``: as the features that the heads were trained on. A machine that cannot
        may compute in another; the features then differ a little from those, see
        docs/engines.md.
    boxes, detector, engine, device, batch_size, workers, accept_error
        As in `ExtractOptions`; errors that the features of the run had are accepted, too.
    form, sample, incomplete, excel
        As in `AnswerOptions`.
    whole : bool
        Predict whole images, or squares that were cut before, also with a run that was trained
        on boxes.

    Raises
    ------
    RunError, ProbabilityError
        There is no such answer, form, or way to fill in rows.
    BackboneError
        Some of the options of the extraction cannot be used; all of those are named.
    """

    answer: str | None = None
    cache: str | os.PathLike | None = None
    weights_dir: str | os.PathLike | None = None
    precision_compute: str = "trained"
    boxes: str | os.PathLike | None = None
    detector: DetectorOptions | None = None
    engine: str = "auto"
    device: str = "cpu"
    batch_size: int | None = None
    workers: int | None = None
    accept_error: float | None = None
    form: str | None = None
    sample: str | os.PathLike | None = None
    incomplete: str | None = None
    excel: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        require_types(self)
        ensemble.require_answer(self.answer)
        _ = self.written
        self.extraction("f32" if self.precision_compute == "trained" else self.precision_compute)

    @property
    def written(self) -> AnswerOptions:
        """How the answers are written."""
        return AnswerOptions(self.form, self.sample, self.incomplete, self.excel)

    def extraction(
        self,
        compute: str,
        made: FeatureSetRecord | None = None,
        accept_error: float | None = None,
    ) -> ExtractOptions:
        """Return how to extract as `made` was: fit, views, precision and weights."""
        how: dict[str, Any] = {
            "accept_error": accept_error if self.accept_error is None else self.accept_error
        }
        if made is not None:
            how |= {"fit": made.fit, "views": made.views, "precision": made.precision}
            how |= {"decode": made.decoding, "weights": made.backbone.weights}
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


@typed
def predict(
    run: str | os.PathLike,
    images: str | os.PathLike | Manifest,
    out: str | os.PathLike,
    options: PredictOptions = DEFAULTS,
    progress: ProgressListener | None = None,
) -> PredictReport:
    """Predict new images all the way: backbones, heads, weights.

    Parameters
    ----------
    run : path-like
        Folder that `train` wrote; with ``blend.json`` its saved answer is used, else the
        plain average. If the blend joins several runs, all of them are gone through.
    images : path-like
        An image, a folder of images, or anything that `icecore.read_manifest` reads, or gave.
    out : path-like
        The answers, see `icecore.ensemble.write_answers`.
    options : PredictOptions
    progress : ProgressListener, optional

    Raises
    ------
    RunError, ProbabilityError
        The run cannot predict, or a contest's sheet does not fit the answers. Nothing is
        written then.

    Examples
    --------
    >>> icecore.predict("run", photos, "answers.csv").answers
    {'label': 'the plain average'}
    """
    require_working_memory()
    trained = open_trained(run, options.answer)
    found = _opened(images, out, run, options)
    _require_trusted(trained)
    with scratch_folder() as scratch:
        folder = scratch / "cache" if options.cache is None else Path(options.cache)
        given, lost, repaired = _read_once(found, trained, out, options, folder, progress)
        manifest = _to_predict(given)
        tests = frozenset(sample.id for sample in given if sample.split == "test")
        empty = dataclasses.replace(_no_answers(trained, manifest, options), tests=tests)
        ensemble.require_sheet_fits(out, empty, options.written)
        parts = _answered(trained, manifest, options, folder, progress)
    failures = {one.id: one for part in parts for one in part.failures}
    failures |= {one.id: one for one in lost if one.id not in manifest.images}
    ids = [identity for identity in manifest.images if identity not in failures]
    answers = _combined(trained, empty, parts, ids)
    mended = [*repaired, *(line for part in parts for line in part.repaired)]
    return PredictReport(
        images=len(ids),
        manifest=dataclasses.replace(given, warnings=_of_images(given.warnings)),
        failures=list(failures.values()),
        tasks=trained.classes,
        answers={name: one.answer for name, one in trained.weights.items()},
        random_weights=any(part.random_weights for part in parts),
        written=ensemble.write_answers(out, answers, options.written),
        boxed=max((part.boxed for part in parts), default=0),
        notes=tuple(group_notes(parts, manifest, ids)),
        repaired=list(dict.fromkeys(mended)),
    )


def _require_trusted(trained: Trained) -> None:
    """Refuse what cannot be answered with, before hours of computing."""
    for part in trained.runs:
        of_run = {task: names.values() for task, names in part.models.items()}
        heads.require_trusted(part.run, of_run)


def _opened(
    images: str | os.PathLike | Manifest,
    out: str | os.PathLike,
    run: str | os.PathLike,
    options: PredictOptions,
) -> Manifest | Unread:
    """Return what there is to predict, none of which the answers may overwrite."""
    found = images if isinstance(images, Manifest) else open_data(images)
    known = found if isinstance(found, Manifest) else found.containers
    require_writable([out], (run, images, options.sample, options.boxes, *(s.path for s in known)))
    return found


def _read_once(
    images: Manifest | Unread,
    trained: Trained,
    out: str | os.PathLike,
    options: PredictOptions,
    folder: Path,
    progress: ProgressListener | None,
) -> tuple[Manifest, list, list[str]]:
    """Read containers while their images are computed for the first run.

    What failed, and what was put right in the cache, is returned beside them.

    Where a sheet or boxes say which images are meant, all are to be known before that.
    """
    if isinstance(images, Manifest):
        return images, [], []
    whole = images.containers
    (_, specs, how, _), *_ = _prepared(trained, whole, options)
    if options.sample is not None or options.form or how.boxes is not None:
        return read_unread(images, folder / "digests"), [], []
    ensemble.require_sheet_fits(out, _no_answers(trained, whole, options), options.written)
    report = features.extract(images, folder, specs, how, progress)
    bare = dict.fromkeys(report.manifest.images, "")
    return report.manifest.with_digests(bare), report.failures, report.repaired


def _of_images(warnings: tuple[str, ...]) -> tuple[str, ...]:
    """Return the warnings that matter where no labels are asked for."""
    return tuple(one for one in warnings if not one.startswith(UNLABELLED))


def _combined(trained: Trained, empty: Answers, parts: list[RunAnswers], ids: list[str]) -> Answers:
    """Return the answers for these images: what the runs say, by the weights of the blend."""
    tasks = {}
    for name, task in empty.tasks.items():
        tables, routes = aligned(parts, name, ids, task.classes), routes_of(parts, name, ids)
        table = trained.weights[name].combine(tables, routes)
        tasks[name] = dataclasses.replace(task, rows=dict(zip(ids, table)))
    return dataclasses.replace(empty, tasks=tasks)


def _no_answers(trained: Trained, manifest: Manifest, options: PredictOptions) -> Answers:
    """Return what is to be answered, with no answers yet."""
    samples = [sample for one in trained.blended_runs for sample in one.samples()]
    tasks = {
        name: TaskAnswers(name, classes, {}, ensemble.class_shares(samples, name, classes))
        for name, classes in trained.classes.items()
    }
    return Answers(tasks, _wanted(manifest, tasks, options), _folders(manifest))


def _to_predict(manifest: Manifest) -> Manifest:
    # Whatever they are elsewhere, here they are asked about.
    rows = tuple(dataclasses.replace(sample, split="test") for sample in manifest)
    return dataclasses.replace(manifest, samples=rows)


def _answered(
    trained: Trained,
    manifest: Manifest,
    options: PredictOptions,
    folder: Path,
    progress: ProgressListener | None,
) -> list[RunAnswers]:
    jobs = _prepared(trained, manifest, options)
    routers = {name: weights.router for name, weights in trained.weights.items()}
    return [answers_of_run(job, routers, folder, progress) for job in jobs]


def _prepared(trained: Trained, manifest: Manifest, options: PredictOptions) -> list[tuple]:
    """Return each run with its backbones, how its features are made, and the images for it."""
    prepared = []
    for part in trained.runs:
        made = made_how(part.run)
        compute = options.precision_compute
        compute = made.compute if compute == "trained" else compute
        how = options.extraction(compute, made, _accepted_error(part.run, made, compute))
        own, boxes = manifest, _boxes(part.run, manifest, options)
        if not part.run.boxed and len(trained.runs) > 1:
            # Boxes are for the runs of the blend that learnt from them.
            own, boxes = apply_boxes(manifest, dict.fromkeys(manifest.images)), None
        detector = None if boxes is None else how.detector
        how = dataclasses.replace(how, boxes=boxes, detector=detector)
        specs = [spec_text(one, options.weights_dir) for one in part.run.backbones]
        prepared.append((part, specs, how, own))
    return prepared


def _boxes(fitted: Run, manifest: Manifest, options: PredictOptions) -> str | os.PathLike | None:
    """Return where the boxes of the new images come from: a table, or the run's own region.

    Raises
    ------
    RunError
        The heads know boxes alone, and nothing says what is to be cut out of these images.
    """
    boxed_already = any(sample.box for sample in manifest)
    if options.boxes is not None or options.whole or not fitted.boxed or boxed_already:
        return options.boxes
    regions = fitted.path / REGIONS_OF_A_RUN
    if features.are_regions(regions):
        return regions
    raise RunError(
        f"{fitted.path} was trained on boxes ({counted(fitted.boxed, 'row')} of it), and nothing "
        "says which part of these images counts",
        "give their boxes with --boxes; or say --whole if they show that part and nothing else",
    )


def _wanted(manifest: Manifest, tasks: dict, options: PredictOptions) -> tuple:
    """Return the rows to answer: every task of every image, or what contest rows ask for."""
    if options.form == "fashionai":
        asked = ensemble.wanted_rows(manifest, tasks)
        if asked:
            return tuple(asked)
    return tuple((identity, task) for identity in manifest.images for task in tasks)


def _folders(manifest: Manifest) -> tuple[Path, ...]:
    own = [Path(manifest.source)] if os.path.isdir(manifest.source) else []
    return tuple(dict.fromkeys([*own, *ensemble.data_folders(manifest)]))


def _accepted_error(fitted: Run, made: FeatureSetRecord, compute: str) -> float | None:
    """Return the error to accept: the heads were trained on features that had the same."""
    if compute != made.compute or compute == "f32":
        return None
    known = [one.get("relative_error", 0.0) for one in fitted.backbones]
    # It depends a little on the processor.
    return max(ERROR_ALLOWED[compute], 1.5 * max(known))

"""The jobs as functions: each reads what a user brings and calls one room after another.

The command line is a thin layer over these; scripts and notebooks call them directly.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import manifest as manifests
from .cache import FeatureCache
from .digests import digest_manifest
from .errors import ManifestError, MissingFileError, RunError, enumerate_some
from .files import publish_json, publish_text
from .manifest import DEFAULT_TASK, Manifest

if TYPE_CHECKING:
    from .features import ExtractReport
    from .heads import TrainResult

__all__ = ["PredictReport", "blend", "extract", "predict", "prune", "train"]


def extract(data: str | os.PathLike, cache: str | os.PathLike, backbones, **options):
    """Extract the features of whatever `data` is into `cache`.

    Parameters
    ----------
    data : path-like
        What `icecore.manifest.read` reads.
    cache : path-like
        Folder of the cache.
    backbones : sequence of str
        Specs.
    **options
        Of `icecore.features.extract`.

    Returns
    -------
    ExtractReport

    Notes
    -----
    The table of samples with its digests is kept as ``CACHE/manifests/NAME.csv``, so
    that heads can be trained where the images are not.
    """
    from . import features

    manifest = manifests.read(data)
    report: ExtractReport = features.extract(manifest, cache, backbones, **options)
    name = Path(os.path.abspath(data)).stem or "data"
    report.manifest.write(Path(cache) / "manifests" / f"{name}.csv")
    return report


def train(
    cache: str | os.PathLike,
    data: str | os.PathLike,
    out: str | os.PathLike,
    *,
    on_digest: Callable[[int, int], None] | None = None,
    **options,
) -> TrainResult:
    """Train heads on cached features and the labels of `data`.

    Parameters
    ----------
    cache, data : path-like
        The cache, and the data it was extracted from: the same folder or table, or the
        table that `extract` left in ``CACHE/manifests``.
    out : path-like
        Folder of the run.
    on_digest : callable, optional
        Called with counts of files digested and in all.
    **options
        Of `icecore.heads.train`.
    """
    from . import heads

    store = FeatureCache(cache)
    memory = store.path / "digests.json"
    digested = digest_manifest(manifests.read(data), memory, progress=on_digest)
    return heads.train(store, digested.manifest, out, **options)


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
    cache: str | os.PathLike | None = None,
    weights_dir: str | os.PathLike | None = None,
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
    cache : path-like, optional
        Keep the new features here; a temporary folder if None.
    weights_dir : path-like, optional
        Where the backbones' weights or ONNX files are now.
    **options
        Of `icecore.features.extract`: engine, device, batch_size, workers, on_progress.
    """
    from . import ensemble, features, heads

    fitted = heads.load_run(run)
    try:
        blends = ensemble.load_blend(run)
    except MissingFileError:
        blends = {}
    manifest = manifests.read(images, labels_required=False)
    _refuse_to_overwrite_folder(out)
    with tempfile.TemporaryDirectory(prefix="icecore-predict-") as scratch:
        folder = Path(cache) if cache is not None else Path(scratch) / "cache"
        report = _extract_as_trained(features, fitted, manifest, folder, weights_dir, options)
        store = FeatureCache(folder)
        failed = {failure.id for failure in report.failures}
        digests = {i: s.digest for i, s in report.manifest.images.items() if i not in failed}
        keys = sorted(set(digests.values()))
        place = {key: index for index, key in enumerate(keys)}
        tables = {}
        for task in fitted.tasks:
            models = blends[task].needed if task in blends else fitted.tasks[task].models
            found = {
                model: heads.predict_proba(fitted, store, keys, task, {model: 1.0})
                for model in models
            }
            blend_of_task = blends.get(task) or ensemble.TaskWeights(
                dict.fromkeys(models, 1 / len(models))
            )
            tables[task] = blend_of_task.combine(found)
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


def _extract_as_trained(features, fitted, manifest: Manifest, cache: Path, weights_dir, options):
    """Extract with the backbones, fit and precision that the run's heads were trained on."""
    sets = fitted.backbones
    kinds = {(one["record"]["fit"], one["record"]["precision"]) for one in sets}
    weights = {one["record"]["backbone"]["weights"] for one in sets}
    if len(kinds) > 1 or len(weights) > 1:
        raise RunError(
            f"the run mixes features of different fit, precision or weights: "
            f"{enumerate_some(sorted(map(str, kinds | weights)))}",
            "train a run on feature sets of one kind to predict with it",
        )
    fit, precision = kinds.pop()
    specs = [_located(one, weights_dir) for one in sets]
    return features.extract(
        manifest,
        cache,
        specs,
        fit=fit,
        precision=precision,
        weights=weights.pop(),
        weights_dir=weights_dir,
        **options,
    )


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


def _refuse_to_overwrite_folder(out: str | os.PathLike) -> None:
    if Path(out).is_dir():
        raise RunError(f"{out} is a folder", "name a CSV file for the answers, such as answers.csv")



def blend(
    sources,
    labels: str | os.PathLike | None = None,
    *,
    out: str | os.PathLike | None = None,
    form: str | None = None,
    answer: str = "tuned",
    report: str | os.PathLike | None = None,
    markdown: str | os.PathLike | None = None,
    plots: str | os.PathLike | None = None,
    align: bool = False,
    mend: str = "refuse",
    max_size: str | float | None = None,
    **options,
):
    """Tune the weights of a run, or of probability files from elsewhere.

    Parameters
    ----------
    sources : sequence of path-like
        The folder of one run, or probability files.
    labels : path-like, optional
        Labels of probability files.
    out : path-like, optional
        ``.json``: the answer; else the final probabilities, in the format `form`.
    form, answer : str
        Of `icecore.ensemble.write_final` and `final_tables`.
    report, markdown, plots : path-like, optional
        Where to write the page, its Markdown form, and a folder of PNG files. For a run
        the page is in the run's folder anyway.
    align, mend
        Of `icecore.ensemble.blend_files`.
    max_size : str or float, optional
        Budget in bytes, or as ``600MB``.
    **options
        Of `icecore.ensemble.BlendOptions`.

    Returns
    -------
    result : BlendResult
    report : Path or None
        Where the HTML page is.
    """
    from . import ensemble

    sources = [Path(source) for source in sources]
    if isinstance(max_size, str):
        max_size = ensemble.parse_size(max_size)
    options["max_size"] = max_size
    _require_blendable(sources, labels)
    if sources[0].is_dir():
        result = ensemble.blend_run(sources[0], **options)
        page = sources[0] / "report.html"
        if report is not None:
            ensemble.write_report(result, report)
    else:
        result = ensemble.blend_files(
            sources, labels, align=align, mend=mend, report=report, **options
        )
        page = report
    if markdown is not None:
        ensemble.write_markdown(result, markdown)
    if plots is not None:
        ensemble.write_plots(result, plots)
    if out is not None:
        suffix = Path(out).suffix.lower()
        if form is None and suffix == ".json":
            publish_json(out, result.to_file())
        else:
            tables = ensemble.final_tables(result, answer)
            ensemble.write_final(out, tables, form or suffix.removeprefix(".") or "csv")
    return result, page


def _require_blendable(sources: list[Path], labels) -> None:
    folders = [source for source in sources if source.is_dir()]
    if folders and (len(sources) > 1 or labels is not None):
        others = [str(source) for source in sources if source != folders[0]] or ["--labels"]
        raise RunError(
            f"{folders[0]} is a run, and there is more: {enumerate_some(others)}",
            "blend one run, or probability files with --labels",
        )
    if not folders and labels is None:
        raise RunError(
            f"{enumerate_some(sources)}: probability files, but no labels to tune on",
            "add --labels: a CSV with id,label, or the data set itself",
        )


def prune(
    cache: str | os.PathLike,
    keep: str | os.PathLike | None = None,
    drop=(),
    *,
    dry_run: bool = True,
) -> dict:
    """Remove from `cache` rows of images that are not in the data `keep`, and the sets in `drop`.

    Returns
    -------
    dict
        Of `icecore.cache.prune`.

    Raises
    ------
    ManifestError
        Some images of `keep` cannot be read, so that their rows would be lost.
    """
    from .cache import prune as prune_cache

    store = FeatureCache(cache)
    keys = None
    if keep is not None:
        manifest = manifests.read(keep, labels_required=False)
        digested = digest_manifest(manifest, store.path / "digests.json")
        if digested.unreadable:
            raise ManifestError(
                f"{len(digested.unreadable)} images of {keep} cannot be read: "
                f"{enumerate_some(digested.unreadable)}",
                "restore them or take them out of the data, so that no row is removed by mistake",
            )
        keys = {sample.digest for sample in digested.manifest}
    return prune_cache(store, keys, list(drop), dry_run=dry_run)

"""The jobs as functions: each reads what a user brings and calls one room after another.

The command line is a thin layer over these; scripts and notebooks call them directly.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from . import manifest as manifests
from .cache import FeatureCache
from .core.errors import ManifestError, MissingFileError, RunError, enumerate_some
from .core.files import publish_json
from .ensemble import result_text
from .manifest.box import parse_box
from .manifest.box_table import apply_boxes
from .manifest.digests import digest_manifest
from .prediction import PredictReport, bundle, predict

if TYPE_CHECKING:
    from .features import DetectorOptions, ExtractReport
    from .heads import TrainResult

__all__ = [
    "PredictReport",
    "blend",
    "bundle",
    "extract",
    "predict",
    "prune",
    "result_text",
    "train",
]


def extract(
    data: str | os.PathLike,
    cache: str | os.PathLike,
    backbones,
    *,
    boxes: str | os.PathLike | None = None,
    detector: DetectorOptions | None = None,
    on_detect: Callable[[int, int], None] | None = None,
    **options,
):
    """Extract the features of whatever `data` is into `cache`.

    Parameters
    ----------
    data : path-like
        What `icecore.manifest.read` reads.
    cache : path-like
        Folder of the cache.
    backbones : sequence of str
        Specs.
    boxes : path-like, optional
        Table of the part of each image that counts, see `icecore.manifest.read_boxes`.
    detector : DetectorOptions, optional
        Find boxes for the images that the table lacks, and add them to it.
    on_detect : callable, optional
        Called with counts of images that the detector looked at and in all.
    **options
        Of `icecore.features.extraction.extract`.

    Returns
    -------
    ExtractReport

    Notes
    -----
    The table of samples with its digests is kept as ``CACHE/manifests/NAME.csv``, so
    that heads can be trained where the images are not.
    """
    from . import features

    locate = features.box_locator(boxes, detector, on_detect, options)
    report: ExtractReport = features.extract(
        manifests.read(data), cache, backbones, locate=locate, **options
    )
    _keep_manifest(Path(cache), Path(os.path.abspath(data)), report)
    return report


def _keep_manifest(cache: Path, data: Path, report) -> None:
    """Write the table to ``CACHE/manifests``, under a name that no other data set has."""
    folder = cache / "manifests"
    stem = data.stem if data.is_file() else data.name
    # Another data set of the same name gets a number.
    names = _table_names(folder)
    candidates = (stem if n == 1 else f"{stem}-{n}" for n in itertools.count(1))
    name = next(n for n in candidates if names.get(n, str(data)) == str(data))
    try:
        report.manifest.write(folder / f"{name}.csv")
        publish_json(folder / "sources.json", names | {name: str(data)})
    except OSError as error:
        # A cache that cannot be written may still be complete.
        if report.computed or error.errno not in (errno.EROFS, errno.EACCES):
            raise


def _table_names(folder: Path) -> dict[str, str]:
    """Return which data set each table in ``CACHE/manifests`` is of."""
    try:
        names = json.loads((folder / "sources.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return names if isinstance(names, dict) else {}


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
        Of `icecore.heads.training.train`.
    """
    from . import heads

    store = FeatureCache(cache)
    memory = store.path / "digests.json"
    digested = digest_manifest(_as_extracted(store, data), memory, progress=on_digest)
    return heads.train(store, digested.manifest, out, **options)


def _as_extracted(store: FeatureCache, data, *, labels_required: bool = True):
    """Read `data`, with the boxes that its last extraction into the cache was given."""
    manifest = manifests.read(data, labels_required=labels_required)
    folder = store.path / "manifests"
    names = _table_names(folder)
    name = next((n for n, source in names.items() if source == os.path.abspath(data)), None)
    if name is None or not (folder / f"{name}.csv").is_file():
        return manifest
    kept = manifests.read(folder / f"{name}.csv", labels_required=False).images
    boxes = {i: parse_box(kept[i].box) for i in manifest.images if i in kept and kept[i].box}
    return apply_boxes(manifest, boxes)


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
    absent = [str(source) for source in sources if not source.exists()]
    if absent:
        raise MissingFileError(
            f"{enumerate_some(absent)}: not there", "give a run's folder, or probability files"
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

    Unreadable images that are not in `keep` are forgotten too.

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
        manifest = _as_extracted(store, keep, labels_required=False)
        digested = digest_manifest(manifest, store.path / "digests.json")
        if digested.unreadable:
            raise ManifestError(
                f"{len(digested.unreadable)} images of {keep} cannot be read: "
                f"{enumerate_some(digested.unreadable)}",
                "restore them or take them out of the data, so that no row is removed by mistake",
            )
        keys = {sample.digest for sample in digested.manifest}
    found = prune_cache(store, keys, list(drop), dry_run=dry_run)
    if keep is not None and not dry_run:
        # A file that is no longer part of the data is no failure either.
        there = {os.path.abspath(sample.path) for sample in manifest}
        gone = [one for one in store.failures() if os.path.abspath(one["path"]) not in there]
        store.clear_failures([one["id"] for one in gone])
    return found

"""The demo: a small data set drawn on the spot, all three jobs on it, and what more can be known.

That is the part of an image that counts (regions) and the kind of image it is (groups); what
each is worth is measured on the drawings.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

from .. import jobs
from .. import manifest as manifests
from ..core.errors import ManifestError, enumerate_some
from ..jobs import BlendResult, ExtractReport, ProgressListener, TrainResult
from .dataset import DemoData, draw, draw_kinds

DEMO_BACKBONES = (
    "gluon:efficientnet_lite0",
    "gluon:efficientnet_lite1",
    "gluon:efficientnet_lite2",
)
# Regions and groups are shown with one network and one kind of head.
_ONE = DEMO_BACKBONES[:1]
_KINDS, _BOXES = 120, 60


@dataclasses.dataclass(frozen=True)
class RegionsGain:
    """What it brings to look at necks alone.

    Attributes
    ----------
    boxes : int
        Boxes that the region was learnt from, all in other images.
    mean_iou : float
        Of found and true boxes, out of fold.
    images : int
        Images of necklines.
    log_loss : tuple of float
        Out of fold: of the necks that were found, and of whole images.
    gain : tuple of float
        Its difference, and the bounds of the 95% interval.
    """

    boxes: int
    mean_iou: float
    images: int
    log_loss: tuple[float, float]
    gain: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class DemoResult:
    """What each step of the demo returned."""

    data: DemoData
    extracted: ExtractReport
    trained: TrainResult
    blend: BlendResult
    groups: dict[str, Any]
    regions: RegionsGain


def run_demo(
    out: str | os.PathLike,
    *,
    images: int = 300,
    seed: int = 0,
    progress: ProgressListener | None = None,
) -> DemoResult:
    """Draw garments, extract, train, blend and report below the folder `out`.

    Parameters
    ----------
    out : path-like
        Gets ``data/``, ``cache/``, and what a run has: ``run.json``, ``report.html``, ...
        The demo may be run again; what is there is used.
    images, seed : int
        Of the drawing; the seed is used for training, too.
    progress : ProgressListener, optional
        Of `icecore.jobs.extract`.
    """
    out = Path(out)
    there = [one.name for one in out.iterdir()] if out.is_dir() else []
    if there and "data" not in there and any(not name.startswith(".") for name in there):
        raise ManifestError(
            f"{out} holds {enumerate_some(sorted(there))}, and no demo", "name a new folder"
        )
    data = draw(images, seed, out / "data")
    extracted = jobs.extract(out / "data", out / "cache", DEMO_BACKBONES, progress=progress)
    run = out / "run"
    options = jobs.TrainOptions(seed=seed, overwrite=True)
    trained = jobs.train(out / "cache", out / "data", run, options)
    blend = jobs.blend([run], outputs=jobs.BlendOutputs(report=out / "report.html")).result
    options = dataclasses.replace(options, heads=("kernel",), features=_ONE)
    kinds = draw_kinds(_KINDS, _BOXES, seed, out / "kinds")
    groups = _show_groups(out, kinds, options)
    return DemoResult(data, extracted, trained, blend, groups, _show_regions(out, kinds, options))


def _show_groups(out: Path, kinds: Path, options: jobs.TrainOptions) -> dict[str, Any]:
    """Train with and without knowing the kinds of images; return what the run says of them."""
    jobs.extract(kinds, out / "kinds-cache", _ONE)
    options = dataclasses.replace(options, groups=True)
    (task,) = jobs.train(out / "kinds-cache", kinds, out / "kinds-run", options).tasks
    assert task.groups is not None
    return task.groups


def _show_regions(out: Path, kinds: Path, options: jobs.TrainOptions) -> RegionsGain:
    """Learn necks from images that are not judged; compare whole images with necks."""
    how = jobs.FitRegionsOptions(seed=options.seed, overwrite=True)
    boxes, necks = kinds.with_name("necks.csv"), out / "necks"
    learnt = jobs.fit_regions(kinds, boxes, _ONE[0], necks, how).regions.figures
    drawn = manifests.read(out / "data")
    seen = [one for one in drawn if one.task == "neckline_design_labels"]
    rows = tuple(dataclasses.replace(one, split="") for one in seen)
    data = dataclasses.replace(drawn, samples=rows)
    jobs.extract(data, out / "necks-cache", _ONE, jobs.ExtractOptions(fit="pad", boxes=necks))
    runs = [out / "necks-run", out / "whole-run"]
    for run, cache in zip(runs, (out / "necks-cache", out / "cache")):
        jobs.train(cache, data, run, options)
    (task,) = jobs.compare(runs, options=jobs.CompareOptions(metric="log_loss")).tasks
    loss = {line.model: line.scores["log_loss"][0] for line in task.lines}
    ((pair, gain),) = task.pairs.items()
    sign = 1 if pair[0].startswith("necks") else -1
    low, high = sorted((sign * gain.low, sign * gain.high))
    first, second = (loss[name] for name in sorted(loss))
    return RegionsGain(
        int(learnt["boxes"]),
        learnt["mean_iou"],
        task.rows,
        (first, second),
        (sign * gain.value, low, high),
    )

"""The demo: a small data set drawn on the spot, and all three jobs on it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from .. import jobs
from ..jobs import BlendResult, ExtractReport, ProgressListener, TrainResult
from .dataset import DemoData, draw

__all__ = ["DEMO_BACKBONES", "DemoData", "DemoResult", "draw", "run_demo"]

DEMO_BACKBONES = (
    "gluon:efficientnet_lite0",
    "gluon:efficientnet_lite1",
    "gluon:efficientnet_lite2",
)


@dataclasses.dataclass(frozen=True)
class DemoResult:
    """What each step of the demo returned."""

    data: DemoData
    extracted: ExtractReport
    trained: TrainResult
    blend: BlendResult


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
    data = draw(images, seed, out / "data")
    extracted = jobs.extract(out / "data", out / "cache", DEMO_BACKBONES, progress=progress)
    run = out / "run"
    options = jobs.TrainOptions(seed=seed, overwrite=True)
    trained = jobs.train(out / "cache", out / "data", run, options)
    blend = jobs.blend([run], outputs=jobs.BlendOutputs(report=out / "report.html")).result
    return DemoResult(data, extracted, trained, blend)

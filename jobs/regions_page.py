"""The page of a learnt region: how well it is found, and the pictures where it is not."""

from collections.abc import Mapping

import numpy as np

from .. import __version__
from ..features import Fitted, image_size
from ..pages import load_pillow, missing_reason, render_page, thumbnail

MOST_SHOWN = 12
_EDGE = 260
_BINS = np.linspace(0, 1, 11)


def regions_page(fitted: Fitted, paths: Mapping[str, str]) -> str:
    """Return the page as HTML that needs nothing else.

    Parameters
    ----------
    fitted : Fitted
    paths : mapping of sample id to path
    """
    learnt, regions = fitted.learnt, fitted.regions
    order = np.argsort(learnt.overlap, kind="stable")
    middle = len(order) // 2
    counts, _ = np.histogram(learnt.overlap, _BINS)
    return render_page(
        "icecore.jobs",
        "regions.html.j2",
        name=regions.name,
        figures=regions.figures,
        threshold=regions.threshold,
        learnt=len(learnt.ids),
        marked=fitted.marked,
        expected=float(learnt.scores.mean()),
        no_better=bool(learnt.overlap.mean() <= learnt.constant),
        bars=[
            (f"{low:.1f} to {high:.1f}", int(count), float(100 * count / max(counts.max(), 1)))
            for low, high, count in zip(_BINS, _BINS[1:], counts)
        ],
        worst=[_picture(fitted, index, paths) for index in order[:MOST_SHOWN]],
        usual=[_picture(fitted, index, paths) for index in order[middle : middle + 4]],
        unreadable=fitted.unreadable,
        thumbnails_missing=missing_reason(),
        backbone=regions.record.backbone.spec,
        layer=regions.record.layer.text,
        random_weights=regions.record.backbone.is_random,
        version=__version__,
    )


def _picture(fitted: Fitted, index: int, paths: Mapping[str, str]) -> dict:
    learnt, identity = fitted.learnt, fitted.learnt.ids[index]
    path, boxes = paths[identity], (learnt.truth[index], learnt.found[index])
    uri, reason = thumbnail(path, _EDGE, lambda small: _draw(small, path, boxes))
    return {
        "id": identity,
        "uri": uri,
        "reason": reason,
        "overlap": float(learnt.overlap[index]),
        "score": float(learnt.scores[index]),
        "whole": bool(learnt.scores[index] < fitted.regions.threshold),
    }


def _draw(small, path: str, boxes: tuple[np.ndarray, np.ndarray]) -> None:
    """Draw the true box and the one that was found."""
    # Boxes are in pixels of the upright image, which is decoded at a smaller scale here.
    size = image_size(path) or small.size
    scale = np.tile([small.width / size[0], small.height / size[1]], 2)
    pen = load_pillow().ImageDraw.Draw(small)
    for box, colour in zip(boxes, ("#1f9d55", "#e8590c")):
        x0, y0, x1, y1 = box * scale
        pen.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour, width=2)

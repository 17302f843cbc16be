"""The audit as one HTML page with pictures."""

import os
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from ..core.files import publish_text
from ..pages import missing_reason, render_page, thumbnail
from .result import Audit, TaskDoubts
from .text import (
    copies_text,
    doubts_text,
    drift_text,
    leak_text,
    shortcuts_text,
)

# 250 pictures of 120 pixels take about 1.5 MB.
_EDGE = 120
MOST_GROUPS, MOST_DOUBTS, MOST_ALIKE, MOST_OUTLIERS = 20, 36, 8, 24


def write_audit(audit: Audit, path: str | os.PathLike) -> None:
    """Write the page of `audit` to `path`, atomically."""
    publish_text(path, render_audit(audit))


def render_audit(audit: Audit) -> str:
    """Return the page of `audit` as HTML text."""
    disputed = {row for conflict in audit.conflicts for row in conflict.rows}
    groups = [g for g in audit.copies.groups if not g.leaks and disputed.isdisjoint(g.rows)]
    leaking = audit.leaking()
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    pairs = [(pair.first, pair.second) for pair in audit.copies.alike]
    return render_page(
        "icecore.auditing",
        "audit.html.j2",
        name=Path(audit.source).name,
        made=f"{made} by icecore {__version__}",
        cards=_cards(audit),
        copies=copies_text(audit).rstrip(":"),
        leaks=[(leak_text(leak), leak.low > 0) for leak in audit.leaks],
        leaking=[_group(audit, group.rows) for group in leaking[:MOST_GROUPS]],
        conflicts=[_group(audit, c.rows, c.labels) for c in audit.conflicts[:MOST_GROUPS]],
        repeated=[_group(audit, group.rows) for group in groups[:MOST_GROUPS]],
        alike=[_group(audit, rows) for rows in pairs[:MOST_ALIKE]],
        more={
            "leaking": len(leaking) - MOST_GROUPS,
            "conflicts": len(audit.conflicts) - MOST_GROUPS,
            "repeated": len(groups) - MOST_GROUPS,
            "alike": len(pairs),
            "outliers": len(audit.outliers) - MOST_OUTLIERS,
        },
        doubts=[_doubts(audit, found) for found in audit.doubts],
        outliers=[_picture(audit, row) for row in audit.outliers.tolist()[:MOST_OUTLIERS]],
        shortcuts=[{"text": shortcuts_text(one), "of": one} for one in audit.shortcuts],
        drift=[
            {
                "text": drift_text(one),
                "real": one.real,
                "new": one.new,
                "pictures": [_picture(audit, row) for row in one.strangest] if one.real else [],
            }
            for one in audit.drift
        ],
        notes=audit.notes,
        pictures_missing=missing_reason(),
        provenance=[
            ("audited", audit.source),
            ("seed", str(audit.seed)),
            ("pairs compared", f"{audit.copies.looked_at} by their pixels"),
        ],
    )


def _cards(audit: Audit) -> list[tuple[str, str, str]]:
    """Return title, number and explanation of what is wrong at a glance."""
    strong = sum(one.strong for found in audit.shortcuts for one in found.classes)
    doubtful = sum(len(found.doubts.rows) for found in audit.doubts)
    return [
        ("in several splits", str(len(audit.leaking())), "photographs; scores on them flatter"),
        ("different labels", str(len(audit.conflicts)), "photographs that have two"),
        ("doubtful labels", str(doubtful), "contradicted by models that had not seen them"),
        ("shortcuts", str(strong), "classes that a simple fact of the file tells"),
        ("drift", str(sum(one.real for one in audit.drift)), "kinds of images that differ"),
        ("like no other", str(len(audit.outliers)), "images"),
    ]


def _group(audit: Audit, rows: Iterable[int], labels: Iterable[str] | None = None) -> list[dict]:
    rows = list(rows)[:8]
    names = labels or [_labels(audit, row) for row in rows]
    return [_picture(audit, row) | {"label": name} for row, name in zip(rows, names)]


def _labels(audit: Audit, row: int) -> str:
    tasks = [found.rows for found in audit.doubts]
    return ", ".join(task.classes[task.y[row]] for task in tasks if task.y[row] >= 0)


def _picture(audit: Audit, row: int) -> dict:
    uri, reason = thumbnail(audit.images.paths[row], _EDGE)
    split = audit.images.splits[row]
    found = {"id": audit.images.ids[row], "image": uri, "reason": reason}
    return found | {"split": split, "label": ""}


def _doubts(audit: Audit, found: TaskDoubts) -> dict:
    labels = found.labels()
    return {
        "task": found.rows.task,
        "text": doubts_text(found),
        "more": len(labels) - len(labels[:MOST_DOUBTS]),
        "pictures": [_picture(audit, one.row) | one._asdict() for one in labels[:MOST_DOUBTS]],
        "pairs": _pairs(found),
    }


def _pairs(found: TaskDoubts, most: int = 12) -> list[tuple[str, str, int, float]]:
    """Return label, other class, doubtful rows and estimated wrong ones, most frequent first."""
    task, doubts = found.rows, found.doubts
    counts = Counter(zip(task.y[doubts.rows].tolist(), doubts.instead.tolist()))
    order = sorted(counts, key=lambda key: (-counts[key], key))[:most]
    return [
        (task.classes[a], task.classes[b], counts[a, b], float(doubts.joint[a, b]))
        for a, b in order
    ]

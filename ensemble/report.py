"""The report: one HTML page that needs nothing else, made from a blend.

The page asks for no file and no host: style and pictures are inside. Everything
that comes from data (ids, class names, reasons) is escaped by the template.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone

import numpy as np

from ..files import publish_text
from .join import TEST, TUNING
from .result import BlendResult, TaskBlend
from .text import certificate_text
from .thumbnails import missing_reason, thumbnail

__all__ = ["render_report", "write_report"]

MOST_MISTAKES = 12
SPLIT_TITLES = {TUNING: "validation", TEST: "test"}
METRIC_TITLES = {
    "log_loss": "log-loss",
    "accuracy": "accuracy",
    "map": "mAP",
    "fashionai_ap": "FashionAI AP",
    "basic_precision": "basic precision",
}


def write_report(result: BlendResult, path: str | os.PathLike) -> None:
    """Write the page of `result` to `path`, atomically."""
    publish_text(path, render_report(result))


def render_report(result: BlendResult) -> str:
    """Return the page of `result` as HTML text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("icecore.ensemble"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}%"
    page = environment.get_template("report.html.j2")
    return page.render(
        tasks=[_task_view(task, index) for index, task in enumerate(result.tasks)],
        run=result.run,
        random_weights=bool(result.run.get("random_weights")),
        failures=[_failure(entry) for entry in result.run.get("failures", [])],
        thumbnails_missing=missing_reason(),
        metric=result.metric,
        provenance=_provenance(result),
        inputs=result.inputs,
    )


def _provenance(result: BlendResult) -> list[tuple[str, str]]:
    from .. import __version__

    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    lines = [("made", f"{made} by icecore {__version__}"), ("seed of the blend", str(result.seed))]
    if result.run:
        lines.append(("seed of the training", str(result.run.get("seed", "not recorded"))))
        backbones = [_backbone(entry) for entry in result.run.get("backbones", [])]
        lines.append(("backbones", ", ".join(backbones) or "not recorded"))
    return lines


def _backbone(entry: object) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    return str(entry.get("spec") or entry.get("name") or entry)


def _failure(entry: object) -> tuple[str, str]:
    if not isinstance(entry, dict):
        return str(entry), ""
    return str(entry.get("id", "?")), str(entry.get("reason", ""))


def _task_view(task: TaskBlend, number: int) -> dict:
    splits = [split for split in (TUNING, TEST) if split in task.tuned]
    judged = splits[-1]
    rows = task.data.rows(judged)
    table = task.table()[rows]
    best = _best_single(task, judged)
    metrics = list(task.tuned[judged])
    return {
        "anchor": f"task-{number}",
        "task": task.task,
        "metrics": [METRIC_TITLES.get(name, name) for name in metrics],
        "splits": [(SPLIT_TITLES[split], len(task.data.rows(split))) for split in splits],
        "lines": _score_lines(task, splits, metrics),
        "weights": sorted(task.weights.items(), key=lambda entry: -entry[1]),
        "mean": task.mean,
        "metric": METRIC_TITLES.get(task.metric, task.metric),
        "certificate": certificate_text(task),
        "notes": task.notes,
        "judged": SPLIT_TITLES[judged],
        "headline": _headline(task, judged, best),
        "confusion": _confusion(task, rows, table),
        "mistakes": _mistakes(task, rows, table),
        "wrong": int((table.argmax(axis=1) != task.data.y[rows]).sum()),
        "rows": len(rows),
        "validation": task.validation,
    }


def _best_single(task: TaskBlend, judged: str) -> str:
    """Return the model that would be chosen alone: the best on the tuning rows."""
    return min(task.models, key=lambda name: task.models[name][TUNING]["log_loss"])


def _headline(task: TaskBlend, judged: str, best: str) -> list[dict]:
    entries = [
        ("tuned average", task.tuned[judged], True),
        ("plain average", task.average[judged], False),
        (f"best single model, {best}", task.models[best][judged], False),
    ]
    return [
        {"name": name, "accuracy": scores["accuracy"], "log_loss": scores["log_loss"], "main": main}
        for name, scores, main in entries
    ]


def _score_lines(task: TaskBlend, splits: list[str], metrics: list[str]) -> list[dict]:
    entries = [(name, scores, "model") for name, scores in task.models.items()]
    entries += [("plain average", task.average, "average"), ("tuned average", task.tuned, "tuned")]
    columns = [(split, metric) for split in splits for metric in metrics]
    best = {}
    for split, metric in columns:
        values = [scores[split].get(metric) for _, scores, _ in entries]
        known = [value for value in values if value is not None]
        best[split, metric] = (min if metric == "log_loss" else max)(known, default=None)
    return [
        {
            "name": name,
            "kind": kind,
            "weight": task.weights.get(name) if kind == "model" else None,
            "cells": [
                {
                    "value": scores[split].get(metric),
                    "best": scores[split].get(metric) == best[split, metric],
                    "first": metric == metrics[0],
                }
                for split, metric in columns
            ],
        }
        for name, scores, kind in entries
    ]


def _confusion(task: TaskBlend, rows: np.ndarray, table: np.ndarray) -> dict:
    """Count rows by true and predicted class, with a shade for each cell."""
    classes = task.data.classes
    y = task.data.y[rows]
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (y, table.argmax(axis=1)), 1)
    totals = counts.sum(axis=1)
    lines = []
    for index, name in enumerate(classes):
        share = counts[index] / max(totals[index], 1)
        cells = [
            {
                "count": int(counts[index, other]),
                "right": index == other,
                "shade": round(float(share[other]), 3),
                "predicted": classes[other],
            }
            for other in range(len(classes))
        ]
        recall = float(share[index]) if totals[index] else None
        lines.append({"name": name, "cells": cells, "total": int(totals[index]), "recall": recall})
    return {"classes": classes, "lines": lines}


def _mistakes(task: TaskBlend, rows: np.ndarray, table: np.ndarray) -> list[dict]:
    """Return the wrong rows with the lowest probability of the true class."""
    y = task.data.y[rows]
    predicted = table.argmax(axis=1)
    own = table[np.arange(len(rows)), y]
    wrong = np.flatnonzero(predicted != y)
    worst = wrong[np.argsort(own[wrong], kind="stable")][:MOST_MISTAKES]
    found = []
    for index in worst:
        uri, reason = thumbnail(task.data.paths[rows[index]])
        found.append(
            {
                "id": task.data.ids[rows[index]],
                "true": task.data.classes[y[index]],
                "true_probability": float(own[index]),
                "predicted": task.data.classes[predicted[index]],
                "probability": float(table[index].max()),
                "image": uri,
                "reason": reason,
            }
        )
    return found


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"

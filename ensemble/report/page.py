"""The report: one HTML page that needs nothing else, made from a blend.

The page asks for no file and no host: style, script and pictures are inside. Everything
that comes from data (ids, class names, reasons) is escaped by the template.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ... import __version__
from ...core.files import publish_text
from ...pages import (
    Pictures,
    front_plot,
    missing_reason,
    reliability_plot,
    render_page,
    ternary_plot,
)
from ..metrics import METRICS, title_of
from ..result import SPLITS, BlendResult, TaskBlend
from . import analysis
from .confusions import Gallery, confusion_view
from .groups import groups_view
from .text import (
    certificate_text,
    cost_text,
    recommended_text,
    seen_text,
    shown_splits,
)

MOST_MISTAKES = 12
MOST_BYTES = 2_700_000
COST_TITLES = {"networks": "number of networks", "size": "size in MB", "latency": "latency in ms"}


def write_report(result: BlendResult, path: str | os.PathLike) -> None:
    """Write the page of `result` to `path`, atomically."""
    publish_text(path, render_report(result))


def render_report(result: BlendResult) -> str:
    """Return the page of `result` as HTML text."""
    return render_page(
        "icecore.ensemble.report",
        "report.html.j2",
        name=_name(result),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        tasks=[
            _task_view(Gallery(task, Pictures(MOST_BYTES // len(result.tasks))), index)
            | {"kinds": groups_view(result.run, task)}
            for index, task in enumerate(result.tasks)
        ],
        random_weights=bool(result.run.get("random_weights")),
        failures=[(entry["id"], entry["reason"]) for entry in result.run.get("failures", [])],
        conflicts=[_conflict(group) for group in result.conflicts],
        thumbnails_missing=missing_reason(),
        provenance=_provenance(result),
        inputs=result.inputs,
    )


def _name(result: BlendResult) -> str:
    """Return what was blended: the names of the runs, or of the files from elsewhere."""
    names = [path.resolve().name for path in result.runs.values()]
    return " + ".join(names or [Path(path).name for path in result.inputs][:4])


def _provenance(result: BlendResult) -> list[tuple[str, str]]:
    lines = [("seed of the blend", str(result.seed))]
    if result.run:
        lines.append(("seed of the training", str(result.run.get("seed", "not recorded"))))
        backbones = [_backbone(entry) for entry in result.run.get("backbones", [])]
        lines.append(("backbones", ", ".join(backbones) or "not recorded"))
    for task in result.tasks:
        rows = ", ".join(
            f"{len(task.data.rows(SPLITS[key]))} {title}" for key, title in shown_splits(task)
        )
        lines.append((f"rows of {task.task}", f"{rows}; weights: {task.method}"))
    lines.append(("tables and plots", "scores of all labelled rows of the split that is named"))
    return lines


def _backbone(entry: object) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    name = str(entry.get("spec") or entry.get("name") or entry)
    license = entry.get("license")
    return f"{name} (weights: {license})" if isinstance(license, str) and license else name


def _conflict(group: list) -> dict:
    return {
        "task": group[0].task,
        "rows": [(sample.id, sample.label, sample.split or "no split") for sample in group],
    }


def _task_view(gallery: Gallery, number: int) -> dict:
    task = gallery.task
    splits = shown_splits(task)
    key, judged = splits[-1]
    rows = task.data.rows(SPLITS[key])
    y, table = task.data.y[rows], task.table()[rows]
    metrics = list(task.scores["tuned"][key])
    anchor = f"task-{number}"
    mistakes = _mistakes(gallery, rows, table)
    return {
        "anchor": anchor,
        "task": task.task,
        "metrics": [title_of(name) for name in metrics],
        "splits": [(title, len(task.data.rows(SPLITS[name]))) for name, title in splits],
        "lines": _score_lines(task, [name for name, _ in splits], metrics),
        "weights": sorted(task.weights.items(), key=lambda entry: -entry[1]),
        "weighs_groups": bool(task.group_weights),
        "calibration": task.calibration,
        "wrong_labels": task.wrong_labels,
        "groups": task.to_json()["answers"]["recommended"].get("groups", []),
        "metric": title_of(task.metric),
        "certificate": certificate_text(task),
        "notes": task.notes,
        "judged": judged,
        "headline": _headline(task, key),
        "recommended": recommended_text(task),
        "seen": seen_text(task),
        "estimate": _estimate(task),
        "classes": analysis.class_table(y, table, task.data.classes),
        "confusion": confusion_view(gallery, rows, y, table, anchor),
        "mistakes": mistakes,
        "reliability": reliability_plot(analysis.reliability_bins(y, table)),
        "fronts": _fronts(task),
        "ternary": _ternary(task),
        "wrong": int((table.argmax(axis=1) != y).sum()),
        "rows": len(rows),
        "validation": task.validation,
    }


def _headline(task: TaskBlend, judged: str) -> list[dict]:
    # The model that would be chosen alone is the best on the tuning rows.
    best = min(task.models, key=lambda name: task.models[name]["tuning"]["log_loss"])
    entries = [
        ("recommended", task.scores["recommended"][judged], True),
        ("plain average", task.scores["average"][judged], False),
        (f"best single model, {best}", task.models[best][judged], False),
    ]
    return [
        {"name": name, "accuracy": scores["accuracy"], "log_loss": scores["log_loss"], "main": main}
        for name, scores, main in entries
    ]


def _estimate(task: TaskBlend) -> dict | None:
    found = task.estimate
    if found is None:
        return None
    metrics = list(next(iter(found.scores.values())))
    return {
        "source": found.source,
        "sentence": found.sentence,
        "gain": found.gain_text,
        "good": found.learnt and not found.difference.high < 0,
        "metrics": [title_of(name) for name in metrics],
        "lines": [
            (answer, [scores[metric] for metric in metrics], found.seen[answer])
            for answer, scores in found.scores.items()
        ],
    }


def _score_lines(task: TaskBlend, splits: list[str], metrics: list[str]) -> list[dict]:
    entries = [(name, scores, "model") for name, scores in task.models.items()]
    entries += [
        ("plain average", task.scores["average"], "average"),
        ("tuned average", task.scores["tuned"], "average"),
        ("recommended", task.scores["recommended"], "tuned"),
    ]
    tuned = task.weights_of("tuned")
    columns = [(split, metric) for split in splits for metric in metrics]
    best = {}
    for split, metric in columns:
        values = [scores[split].get(metric) for _, scores, _ in entries]
        known = [value for value in values if value is not None]
        less = metric in METRICS and not METRICS[metric].higher_is_better
        best[split, metric] = (min if less else max)(known, default=None)
    return [
        {
            "name": name,
            "kind": kind,
            "weight": task.weights.get(name) if kind == "model" else None,
            "tuned": tuned.get(name) if kind == "model" else None,
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


def _mistakes(gallery: Gallery, rows: np.ndarray, table: np.ndarray) -> list[dict]:
    """Return the wrong rows with the lowest probability of the true class."""
    task = gallery.task
    y = task.data.y[rows]
    predicted = table.argmax(axis=1)
    own = table[np.arange(len(rows)), y]
    wrong = np.flatnonzero(predicted != y)
    worst = wrong[np.argsort(own[wrong], kind="stable")][:MOST_MISTAKES]
    return [
        gallery.picture(rows[index])
        | {
            "true": task.data.classes[y[index]],
            "true_probability": float(own[index]),
            "predicted": task.data.classes[predicted[index]],
            "probability": float(table[index].max()),
        }
        for index in worst
    ]


def _fronts(task: TaskBlend) -> list[dict]:
    found = []
    for kind, front in task.trade_offs.items():
        scale = 1e-6 if kind == "size" else 1
        points = [
            {
                "cost": choice.cost * scale,
                "loss": choice.loss,
                "tip": f"{cost_text(kind, choice.cost)}: log-loss {choice.loss:.4f}, "
                + ", ".join(f"{model} {choice.weights[model]:.2f}" for model in choice.models),
                "models": ", ".join(choice.models),
                "text": cost_text(kind, choice.cost),
            }
            for choice in front
        ]
        title = COST_TITLES[kind]
        exact = all(choice.exact for choice in front)
        plot = front_plot(points, title)
        found.append({"title": title, "plot": plot, "points": points, "exact": exact})
    return found


def _ternary(task: TaskBlend):
    plain = (
        task.metric in METRICS
        and task.mean == "arithmetic"
        and task.recipes["tuned"].groups is None
    )
    rows = task.data.rows(SPLITS["tuning"])
    if len(task.data.models) != 3 or not plain or len(rows) > 20_000:
        return None
    values = analysis.ternary_values(
        task.data.probabilities[:, rows], task.data.y[rows], task.metric, task.data.letters_of(rows)
    )
    steps = analysis.TERNARY_STEPS
    return ternary_plot(task.data.models, steps, values, task.recipes["tuned"].weights)

"""Plots as PNG files, with matplotlib where it is installed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from ...core.errors import MissingDependencyError
from ...core.files import publish
from ..result import SPLITS, BlendResult, TaskBlend
from . import analysis
from .text import shown_splits

__all__ = ["write_plots"]


def write_plots(result: BlendResult, folder: str | os.PathLike) -> list[Path]:
    """Write weights, confusion matrix, reliability and Pareto fronts of each task as PNG.

    Parameters
    ----------
    result : BlendResult
    folder : path-like
        Made if it is not there; files are ``<task>-<plot>.png``.

    Returns
    -------
    list of Path

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    figure_class, canvas = load_matplotlib()
    written = []
    for number, task in enumerate(result.tasks):
        # Names of tasks come from data; they become part of file names.
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", task.task).strip("-.") or f"task{number}"
        if len(result.tasks) > 1:
            name = f"{number}-{name}"
        for plot, draw in _plots(task).items():
            figure = figure_class(figsize=(6.4, 4.8), layout="constrained")
            canvas(figure)
            draw(figure.add_subplot())
            path = Path(folder) / f"{name}-{plot}.png"
            with publish(path) as temporary:
                figure.savefig(temporary, format="png", dpi=120)
            written.append(path)
    return written


def load_matplotlib() -> tuple:
    """Return matplotlib's figure and its canvas for files, or raise `MissingDependencyError`."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "plots need matplotlib, which is not installed",
            "pip install matplotlib; report.html has the same plots without it",
        ) from error
    return Figure, FigureCanvasAgg


def _plots(task: TaskBlend) -> dict:
    key, judged = shown_splits(task)[-1]
    rows = task.data.rows(SPLITS[key])
    y, table = task.data.y[rows], task.table()[rows]
    drawn = {
        "weights": lambda axes: _weights(axes, task),
        "confusion": lambda axes: _confusion(axes, task, y, table, judged),
        "reliability": lambda axes: _reliability(axes, y, table, judged),
    }
    for kind, front in task.fronts.items():
        drawn[f"pareto-{kind}"] = lambda axes, kind=kind, front=front: _front(axes, kind, front)
    return drawn


def _weights(axes, task: TaskBlend) -> None:
    names = sorted(task.weights, key=task.weights.get)
    axes.barh([_plain(name) for name in names], [task.weights[name] for name in names])
    axes.set_xlabel("weight")
    axes.set_title(_plain(task.task))


def _confusion(axes, task: TaskBlend, y, table, judged: str) -> None:
    counts = analysis.confusion_counts(y, table)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues")
    classes = [_plain(name) for name in task.data.classes]
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(classes)), classes)
    for (line, column), count in np.ndenumerate(counts):
        if count and len(classes) <= 30:
            colour = "white" if shares[line, column] > 0.5 else "black"
            axes.text(column, line, str(count), ha="center", va="center", fontsize=7, color=colour)
    axes.set_xlabel("predicted")
    axes.set_ylabel(f"true class, {judged} rows")


def _reliability(axes, y, table, judged: str) -> None:
    bins = analysis.reliability_bins(y, table)
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey")
    axes.plot([e["confidence"] for e in bins], [e["accuracy"] for e in bins], marker="o")
    axes.set_xlabel("confidence")
    axes.set_ylabel(f"share that is right, {judged} rows")


def _front(axes, kind: str, front) -> None:
    scale = 1e-6 if kind == "size" else 1
    costs = [choice.cost * scale for choice in front]
    axes.step(costs, [choice.loss for choice in front], where="post", marker="o")
    axes.set_xlabel({"size": "size in MB", "latency": "latency in ms"}.get(kind, kind))
    axes.set_ylabel("log-loss on the tuning rows")


def _plain(text: str) -> str:
    """Keep a dollar sign in a name from starting mathematics."""
    return text.replace("$", r"\$")

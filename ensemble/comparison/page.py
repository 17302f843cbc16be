"""A comparison as one HTML page: tables, accuracy against cost, a grid of tasks and models."""

from datetime import UTC, datetime
from pathlib import Path

from ... import __version__
from ...pages import render_page, scatter_plot
from ..metrics import METRICS
from .compare import COSTS, Comparison, TaskComparison, is_pareto
from .significance import LEVEL
from .text import COST_TITLES, cost_words, grid, noise_words, rows_words

# Plots want numbers that fit their axes.
_SCALES = {"parameters": (1e6, "parameters, M"), "multiply_adds": (1e9, "multiply-adds, G"),
           "size_bytes": (1e6, "size, MB"), "latency_ms": (1, "ms an image"),
           "dimension": (1, "dimension")}  # fmt: skip
_PLOTTED = ("multiply_adds", "latency_ms", "size_bytes")


def render_comparison(comparison: Comparison) -> str:
    """Return the page as HTML text."""
    names, tasks, cells = grid(comparison)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return render_page(
        "icecore.ensemble.comparison",
        "compare.html.j2",
        name=", ".join(Path(source).name for source in comparison.sources[:4]),
        made=f"{made} by icecore {__version__}",
        title=METRICS[comparison.metric].title,
        random_weights=comparison.random_weights,
        tasks=[_task(task, comparison, number) for number, task in enumerate(comparison.tasks)],
        grid={
            "tasks": tasks,
            "lines": [
                {"name": name, "cells": _shaded(values, cells, comparison)}
                for name, values in zip(names, cells)
            ],
        },
        provenance=[
            ("compared", ", ".join(comparison.sources)),
        ],
    )


def _task(task: TaskComparison, comparison: Comparison, number: int) -> dict:
    known = [kind for kind in COST_TITLES if any(kind in line.costs for line in task.lines)]
    metrics = list(task.lines[0].scores)
    return {
        "anchor": f"task-{number}",
        "task": task.task,
        "rows": rows_words(task, comparison),
        "notes": task.notes,
        "costs": [COST_TITLES[kind] for kind in known],
        "metrics": [METRICS[name].title for name in metrics],
        "lines": [
            {
                "model": line.model,
                "networks": ", ".join(line.networks),
                "pareto": line.pareto,
                "costs": [cost_words(kind, line.costs.get(kind)) for kind in known],
                "scores": [line.scores[name] for name in metrics],
                "noise": noise_words(line),
                "behind": line.beyond_noise,
            }
            for line in task.lines
        ],
        "plots": [plot for kind in _plotted(comparison) if (plot := _plot(task, comparison, kind))],
        "pairs": _pairs(task),
    }


def _plotted(comparison: Comparison) -> list[str]:
    first = [comparison.cost] if comparison.cost in COSTS else []
    return list(dict.fromkeys([*first, *_PLOTTED]))[:3]


def _plot(task: TaskComparison, comparison: Comparison, kind: str):
    scale, label = _SCALES[kind]
    there = [line for line in task.lines if kind in line.costs]
    if len(there) < 2:
        return None
    sign = 1 if METRICS[comparison.metric].higher_is_better else -1
    worth = [sign * line.scores[comparison.metric][0] for line in there]
    best = is_pareto(worth, [line.costs[kind] for line in there])
    points = []
    for line, on_front in zip(there, best):
        value, low, high = line.scores[comparison.metric]
        low, high = (low, high) if low == low else (value, value)
        points.append(
            {
                "x": line.costs[kind] / scale,
                "y": value,
                "low": low,
                "high": high,
                "name": str(1 + task.lines.index(line)),
                "tip": f"{line.model}: {value:.4f}, {cost_words(kind, line.costs[kind])}",
                "best": on_front,
            }
        )
    title = METRICS[comparison.metric].title
    return {"title": f"{title} against {COST_TITLES[kind]}",
            "plot": scatter_plot(points, label, title)}  # fmt: skip


def _pairs(task: TaskComparison) -> dict:
    """Return the difference of every pair: the model of the line less that of the column."""
    names = [line.model for line in task.lines]
    lines = []
    for one in names:
        cells = []
        for other in names:
            found = task.pairs.get((one, other))
            turned = task.pairs.get((other, one))
            either = found or turned
            value = found.value if found else -turned.value if turned else None
            p = either.p if either else None
            cells.append({"value": value, "beyond": p is not None and p < LEVEL, "p": p})
        lines.append({"name": one, "cells": cells})
    return {"names": names, "lines": lines}


def _shaded(values, cells, comparison: Comparison) -> list[dict]:
    """Shade each cell by its place between the worst and the best of its column."""
    higher = METRICS[comparison.metric].higher_is_better
    found = []
    for column, value in enumerate(values):
        known = [line[column] for line in cells if line[column] is not None]
        low, high = min(known), max(known)
        share = 0.0
        if value is not None and high > low:
            share = (value - low) / (high - low) if higher else (high - value) / (high - low)
        best = value is not None and value == (high if higher else low)
        found.append({"value": value, "shade": share, "best": best})
    return found

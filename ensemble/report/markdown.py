"""The report as Markdown, for people who live in terminals."""

import os

from ... import __version__
from ...core.files import publish_text
from ...core.text import markdown, markdown_table
from ..metrics import title_of
from ..result import SPLITS, BlendResult, TaskBlend
from . import analysis
from .groups import groups_view
from .text import (
    certificate_text,
    cost_text,
    recommended_text,
    seen_text,
    shown_splits,
    table_entries,
)

MOST_MISTAKES = 12


def write_markdown(result: BlendResult, path: str | os.PathLike) -> None:
    """Write `render_markdown` to `path`, atomically."""
    publish_text(path, render_markdown(result))


def render_markdown(result: BlendResult) -> str:
    """Return the report of `result` as Markdown; names from data are escaped."""
    lines = ["# icecore report", ""]
    if result.run.get("random_weights"):
        lines += ["**RANDOM WEIGHTS: at least one backbone carries random weights.**", ""]
    for task in result.tasks:
        lines += _task_lines(task)
        kinds = groups_view(result.run, task)
        if kinds:
            lines += ["### Groups of images", ""]
            lines += [f"- {markdown(sentence)}" for sentence in kinds["sentences"]] + [""]
            cells = [[name, str(n), *map(_number, losses)] for name, n, *losses in kinds["lines"]]
            lines += markdown_table(["group", "rows", *kinds["models"]], cells)
    if result.conflicts:
        lines += ["## Equal images with different labels", ""]
        for group in result.conflicts:
            rows = ", ".join(f"{markdown(s.id)} is {markdown(s.label)}" for s in group)
            lines.append(f"- {markdown(group[0].task)}: {rows}")
        lines.append("")
    failures = result.run.get("failures", [])
    if failures:
        lines += ["## Unreadable images", ""]
        lines += [f"- {markdown(f['id'])}: {markdown(f['reason'])}" for f in failures]
        lines.append("")
    lines += ["## Where the numbers come from", ""]
    lines.append(f"icecore {__version__}, seed {result.seed}; inputs with their SHA-256:")
    lines += ["", *(f"- {markdown(name)} `{digest}`" for name, digest in result.inputs.items())]
    return "\n".join(lines) + "\n"


def _task_lines(task: TaskBlend) -> list[str]:
    splits = shown_splits(task)
    metrics = list(task.scores["tuned"]["tuning"])
    lines = [f"## {markdown(task.task)}", ""]
    lines += markdown_table(
        [
            "model",
            "recommended",
            "tuned",
            *(f"{title} {title_of(m)}" for _, title in splits for m in metrics),
        ],
        [
            [name, *weights, *(_number(scores[s].get(m)) for s, _ in splits for m in metrics)]
            for name, weights, scores in table_entries(task)
        ],
    )
    lines += [f"{markdown(seen_text(task))}.", "", f"**{markdown(recommended_text(task))}.**", ""]
    if task.calibration:
        lines += [f"The recommended answer is {markdown(task.calibration)}.", ""]
    if task.wrong_labels:
        lines += [f"Wrong labels: {markdown(task.wrong_labels)}.", ""]
    lines += [f"{markdown(certificate_text(task))}.", ""]
    if task.estimate is not None:
        lines += [f"**{markdown(task.estimate.sentence)}.**", ""]
        lines += [f"{markdown(task.estimate.gain_text)}.", ""] if task.estimate.gain_text else []
    lines += [f"- {markdown(note)}" for note in task.notes] + ([""] if task.notes else [])
    for kind, front in task.trade_offs.items():
        lines += [f"### Least log-loss for a cost: {kind}", ""]
        lines += markdown_table(
            ["models", "cost", "log-loss"],
            [[", ".join(c.models), cost_text(kind, c.cost), f"{c.loss:.4f}"] for c in front],
        )
    return lines + _judged_lines(task, *splits[-1])


def _judged_lines(task: TaskBlend, key: str, judged: str) -> list[str]:
    rows = task.data.rows(SPLITS[key])
    y, table = task.data.y[rows], task.table()[rows]
    lines = [f"### Class by class, recommended answer, {judged} rows", ""]
    lines += markdown_table(
        ["class", "rows", "recall", "precision", "F1", "average precision"],
        [
            [
                e["name"],
                str(e["rows"]),
                *(_number(e[k]) for k in ("recall", "precision", "f1", "ap")),
            ]
            for e in analysis.class_table(y, table, task.data.classes)
        ],
    )
    pairs = analysis.confused_pairs(y, table, most_pairs=MOST_MISTAKES, most_rows=3)
    if pairs:
        classes = task.data.classes
        lines += [f"### Most frequent confusions, {judged} rows", ""]
        lines += markdown_table(
            ["true class", "taken for", "rows", "for example"],
            [
                [
                    classes[pair["true"]],
                    classes[pair["predicted"]],
                    str(pair["count"]),
                    ", ".join(task.data.ids[rows[row]] for row in pair["rows"]),
                ]
                for pair in pairs
            ],
        )
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"

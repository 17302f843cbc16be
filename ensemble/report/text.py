"""The result of a blend as plain text, for terminals, and as Markdown."""

from __future__ import annotations

from ..joining.join import TEST, TUNING
from ..result import BlendResult, TaskBlend

__all__ = ["METRIC_TITLES", "certificate_text", "cost_text", "result_text", "task_text"]

METRIC_TITLES = {
    "log_loss": "log-loss",
    "accuracy": "accuracy",
    "map": "mAP",
    "fashionai_ap": "FashionAI AP",
    "basic_precision": "basic precision",
}


def result_text(result: BlendResult) -> str:
    """Return the comparison as plain text, for a terminal."""
    return "\n\n".join(task_text(task) for task in result.tasks)


def task_text(task: TaskBlend) -> str:
    """Return the comparison of one task as a table of plain text."""
    splits = [split for split in (TUNING, TEST) if split in task.tuned]
    rows = {split: len(task.data.rows(split)) for split in splits}
    width = max(map(len, [*task.models, "plain average", "tuned average"]))
    lines = [
        f"{task.task}: {len(task.models)} models, {len(task.data.classes)} classes, "
        + ", ".join(f"{count} {split} rows" for split, count in rows.items()),
        f"{'':<{width}}  weight"
        + "".join(f"{split + ' log-loss':>22}  accuracy     mAP" for split in splits),
    ]
    entries = [(name, f"{task.weights[name]:.4f}", scores) for name, scores in task.models.items()]
    entries += [("plain average", "", task.average), ("tuned average", "", task.tuned)]
    for name, weight, scores in entries:
        cells = "".join(
            f"{scores[split]['log_loss']:>22.4f}{scores[split]['accuracy']:>10.4f}"
            f"{scores[split]['map']:>8.4f}"
            for split in splits
        )
        lines.append(f"{name:<{width}}  {weight:>6}{cells}")
    lines.append(f"tuned for {task.metric}, {task.mean} mean: {certificate_text(task)}")
    return "\n".join([*lines, *_estimate_lines(task), *(f"note: {note}" for note in task.notes)])


def certificate_text(task: TaskBlend) -> str:
    """Say in one line how good the weights provably are."""
    if task.certificate is None:
        return f"the best that the search found ({task.how}); there is no proof that it is the best"
    scope = "no weights have" if task.how == "convex optimum" else "no weights of that kind have"
    goal = "log-loss" if "pull" not in task.how else "log-loss plus pull"
    return (
        f"{task.how}, certificate {task.certificate:.1e}: {scope} a lower {goal} on the tuning "
        "rows by more than this"
    )


def cost_text(kind: str, cost: float) -> str:
    """Say a cost with its unit.

    >>> cost_text("size", 6e8)
    '600 MB'
    """
    if kind == "size":
        return f"{cost / 1e6:.0f} MB"
    if kind == "latency":
        return f"{cost:.1f} ms"
    return f"{cost:.0f}"


def _estimate_lines(task: TaskBlend) -> list[str]:
    if task.estimate is None:
        return []
    lines = [f"on rows that no choice has seen ({task.estimate.source}):"]
    for answer, scores in task.estimate.scores.items():
        cells = ", ".join(
            f"{name} {value:.4f} [{low:.4f}, {high:.4f}]"
            for name, (value, low, high) in scores.items()
        )
        lines.append(f"  {answer}: {cells}")
    return [*lines, task.estimate.sentence]

"""A comparison as text, CSV, Markdown and LaTeX."""

from ...core.csv_files import csv_line
from ...core.errors import counted
from ...core.text import in_blocks, markdown_table
from ..metrics import METRICS
from .compare import Comparison, Line, TaskComparison
from .significance import LEVEL

COST_TITLES = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "size_bytes": "size",
    "latency_ms": "ms an image",
    "dimension": "dimension",
}
_COLUMNS = ("parameters", "multiply_adds", "size_bytes", "latency_ms", "dimension")


def cost_words(kind: str, value: float | None) -> str:
    """Say a cost with its unit; empty where it is not known.

    >>> cost_words("parameters", 25.6e6), cost_words("multiply_adds", 4.1e9)
    ('25.6 M', '4.10 G')
    """
    if value is None:
        return ""
    if kind == "multiply_adds":
        return f"{value / 1e9:.2f} G" if value >= 1e7 else f"{value / 1e6:.2f} M"
    if kind == "parameters":
        return f"{value / 1e6:.1f} M" if value >= 1e5 else f"{value / 1e3:.1f} k"
    if kind == "size_bytes":
        return f"{value / 1e6:.1f} MB"
    return f"{value:.1f}" if kind == "latency_ms" else f"{value:.0f}"


def noise_words(line: Line) -> str:
    """Say whether a model is behind the best one.

    The difference is in the metric, more is better.
    """
    if line.behind is None:
        return "best"
    words = "behind" if line.beyond_noise else "within noise"
    return f"{words} ({0 - line.behind.value:+.4f}, p = {line.behind.p:.2g})"


def rows_words(task: TaskComparison, comparison: Comparison) -> str:
    """Say which rows were used, and how differences were tested."""
    title = METRICS[comparison.metric].title
    count = len(task.pairs)
    tested = (
        f"; differences of {title} are paired on the same rows, p-values corrected for "
        f"{counted(count, 'comparison')} (Holm, {LEVEL:.0%})"
    )
    front = (
        f"* marks the Pareto-best of {title} and {COST_TITLES[comparison.cost]}"
        if comparison.cost
        else "no cost is known of all models, so that no Pareto front is marked"
    )
    return (
        f"scores on {task.rows} {task.rows_of} rows, in brackets 95% bootstrap "
        f"intervals{tested if count else ''}; {front}"
    )


def comparison_text(comparison: Comparison, width: int = 0) -> str:
    """Return the tables as plain text, which fit a terminal of so many columns if it is known."""
    parts = []
    for task in comparison.tasks:
        head, rows = _table(task, comparison, _interval)
        parts += in_blocks([head, *rows], range(2, len(head) - 2), keys=2, width=width)
        parts.append(rows_words(task, comparison))
        parts += [f"note: {note}" for note in task.notes]
        parts.append("")
    return "\n".join(parts).rstrip()


def comparison_csv(comparison: Comparison) -> str:
    """Return one table of plain numbers, a line for each task and model."""
    metrics = _metrics(comparison)
    head = ["task", "model", "networks", *_COLUMNS]
    head += [part for name in metrics for part in (name, f"{name}_low", f"{name}_high")]
    lines: list[list] = [[*head, "pareto", "behind", "p", "beyond_noise", "rows", "rows_of"]]
    for task in comparison.tasks:
        for line in task.lines:
            behind = (line.behind.value, line.behind.p) if line.behind else ("", "")
            lines.append(
                [
                    task.task,
                    line.model,
                    " ".join(line.networks),
                    *(line.costs.get(kind, "") for kind in _COLUMNS),
                    *(number for name in metrics for number in line.scores[name]),
                    int(line.pareto),
                    *behind,
                    int(line.beyond_noise),
                    task.rows,
                    task.rows_of,
                ]
            )
    return "".join(csv_line(line) for line in lines)


def comparison_markdown(comparison: Comparison) -> str:
    """Return the tables as Markdown."""
    parts = []
    for task in comparison.tasks:
        head, rows = _table(task, comparison, _interval)
        parts += [*markdown_table(head, rows), rows_words(task, comparison) + ".", ""]
    names, tasks, cells = grid(comparison)
    if len(tasks) > 1:
        rows = [
            [name, *("" if value is None else f"{value:.4f}" for value in values)]
            for name, values in zip(names, cells)
        ]
        parts += markdown_table([METRICS[comparison.metric].title, *tasks], rows)
    return "\n".join(parts).rstrip() + "\n"


def comparison_latex(comparison: Comparison) -> str:
    """Return the tables as LaTeX, for the packages booktabs and nothing else."""
    parts = []
    for task in comparison.tasks:
        head, rows = _table(task, comparison, _half_width)
        shape = "ll" + "r" * (len(head) - 4) + "ll"
        parts += [r"\begin{tabular}{" + shape + "}", r"\toprule"]
        parts.append(" & ".join(map(_latex, head)) + r" \\")
        parts.append(r"\midrule")
        parts += [" & ".join(map(_latex, line)) + r" \\" for line in rows]
        parts += [r"\bottomrule", r"\end{tabular}", f"% {rows_words(task, comparison)}", ""]
    return "\n".join(parts)


def grid(
    comparison: Comparison,
) -> tuple[list[str], list[str], list[list[float | None]]]:
    """Return models, tasks, and the metric of each model (line) on each task (column)."""
    tasks = [task.task for task in comparison.tasks]
    names = list(dict.fromkeys(line.model for task in comparison.tasks for line in task.lines))
    value = {
        (line.model, task.task): line.scores[comparison.metric][0]
        for task in comparison.tasks
        for line in task.lines
    }
    return names, tasks, [[value.get((name, task)) for task in tasks] for name in names]


def _metrics(comparison: Comparison) -> list[str]:
    return list(comparison.tasks[0].lines[0].scores)


def _table(
    task: TaskComparison, comparison: Comparison, number
) -> tuple[list[str], list[list[str]]]:
    metrics = _metrics(comparison)
    known = [kind for kind in _COLUMNS if any(kind in line.costs for line in task.lines)]
    title = METRICS[comparison.metric].title
    head = ["task", "model", *(METRICS[name].title for name in metrics)]
    head += [*(COST_TITLES[kind] for kind in known), f"to the best {title}", "network"]
    rows = [
        [
            task.task,
            line.model + (" *" if line.pareto else ""),
            *(number(*line.scores[name]) for name in metrics),
            *(cost_words(kind, line.costs.get(kind)) for kind in known),
            noise_words(line),
            " + ".join(line.networks),
        ]
        for line in task.lines
    ]
    return head, rows


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.4f} [{low:.4f}, {high:.4f}]" if low == low else f"{value:.4f}"


def _half_width(value: float, low: float, high: float) -> str:
    return f"{value:.3f} ± {(high - low) / 2:.3f}" if low == low else f"{value:.3f}"


_LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "^": r"\^{}", "~": r"\~{}"}


def _latex(cell: str) -> str:
    return "".join(_LATEX.get(one, "\\" + one if one in "&%$#_{}" else one) for one in cell)

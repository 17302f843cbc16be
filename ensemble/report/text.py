"""The result of a blend as plain text, for terminals, and as Markdown."""

import math

from ...core.errors import counted
from ...core.text import in_blocks
from ..estimate import Estimate
from ..held_out import AVERAGE, PRIOR, RECOMMENDED, SINGLE, TUNED
from ..metrics import title_of
from ..result import SPLITS, BlendResult, TaskBlend
from .groups import routing_lines

_SCORES = ("log_loss", "accuracy", "map")


def result_text(result: BlendResult, details: bool = False, width: int = 0) -> str:
    """Return the comparison as plain text, for a terminal.

    Parameters
    ----------
    result : BlendResult
    details : bool
        Add the intervals of every answer, which rows each number has seen, and how good the
        weights provably are.
    width : int, default 0
        Columns of the terminal that tables are to fit; 0 where that is not known.
    """
    parts = [task_text(task, details, width) for task in result.tasks]
    if any(task.estimate for task in result.tasks):
        parts.append(
            "in brackets: 95% intervals; ±: the standard error of the difference from the first"
        )
    return "\n\n".join(parts)


def task_text(task: TaskBlend, details: bool = False, width: int = 0) -> str:
    """Return the comparison of one task as a table of plain text; see `result_text`."""
    lines = _table_lines(task, width)
    if details:
        lines.append(seen_text(task))
        lines.append(certificate_text(task))
    lines.append(recommended_text(task))
    lines += routing_lines(task)[: None if details else 1]
    if task.calibration:
        lines.append(f"the recommended answer is {task.calibration}")
    if task.wrong_labels:
        lines.append(f"wrong labels: {task.wrong_labels}")
    if task.estimate is not None:
        lines += _all_answers(task.estimate) if details else _recommended_answer(task.estimate)
    return "\n".join([*lines, *(f"note: {note}" for note in task.notes)])


def _table_lines(task: TaskBlend, width: int) -> list[str]:
    names = shown_splits(task)
    lines = [
        f"{task.task}: {counted(len(task.models), 'model')}, "
        f"{counted(len(task.data.classes), 'class', 'classes')}, "
        + ", ".join(
            counted(len(task.data.rows(SPLITS[name])), f"{title} row") for name, title in names
        ),
    ]
    metrics = list(dict.fromkeys((*_SCORES, task.metric)))
    head = ["", "recommended", "tuned"]
    for _, title in names:
        first, *others = map(title_of, metrics)
        head += [f"{title} {first}", *others]
    table = [head]
    for name, weights, scores in table_entries(task):
        numbers = (scores[key].get(metric) for key, _ in names for metric in metrics)
        table.append([name, *weights, *("" if n is None else f"{n:.4f}" for n in numbers)])
    return lines + in_blocks(table, range(1, len(head)), width=width)


def shown_splits(task: TaskBlend) -> list[tuple[str, str]]:
    """Return the keys of the scores that a task has, each with what its rows are called."""
    titles = {"tuning": task.tuning_kind, "test": "test"}
    return [(name, titles[name]) for name in SPLITS if name in task.scores["tuned"]]


def table_entries(task: TaskBlend) -> list[tuple[str, tuple[str, str], dict]]:
    """Return name, recommended and tuned weight, and scores of each model and answer."""
    ours, tuned = task.weights, task.weights_of("tuned")
    entries = [
        (name, (f"{ours[name]:.3f}", f"{tuned[name]:.3f}"), scores)
        for name, scores in task.models.items()
    ]
    titles = {"average": "plain average", "tuned": "tuned average", "recommended": "recommended"}
    if len(task.models) == 1:  # all are that model, but for a calibration
        del titles["average"], titles["tuned"]
    return entries + [(title, ("", ""), task.scores[name]) for name, title in titles.items()]


def seen_text(task: TaskBlend) -> str:
    """Say which rows the numbers of the table have seen."""
    first = {
        "out-of-fold": "out-of-fold rows were predicted by heads that had not seen them",
        "validation": "validation rows were predicted by heads that had not seen them",
        "tuning": "what the files' models were trained on is not known here",
    }[task.tuning_kind]
    text = f"{first}; the same {task.tuning_kind} rows tuned the weights"
    return text + ("; test rows were used for nothing" if "test" in task.scores["tuned"] else "")


def recommended_text(task: TaskBlend) -> str:
    """Say what is recommended, and why."""
    reason = task.reason
    text = f"recommended: {task.recommendation}"
    if not reason.rows:
        return text + (" (there are too few images for folds)" if len(task.models) > 1 else "")
    title = title_of(task.metric)
    kinds = sorted(reason.scores, key=lambda kind: kind != reason.kind)
    cells = [
        f"{kind} {reason.scores[kind]:.4f}"
        + ("" if kind == reason.kind else f" ± {reason.error[kind]:.4f}")
        for kind in kinds
    ]
    return (
        f"{text} ({title} of {reason.rows} {task.tuning_kind} rows, each by weights "
        f"tuned{' and calibrated' * reason.calibrated} without its fold: {', '.join(cells)})"
    )


def certificate_text(task: TaskBlend) -> str:
    """Say in one line how good the tuned weights provably are; others may be recommended."""
    metric = title_of(task.metric)
    tuned = f"tuned weights, for {metric}, {task.mean} mean"
    if task.certificate is None:
        return (
            f"{tuned}: the best that the search found ({task.method}); there is no proof that "
            "they are the best"
        )
    any_kind = task.method.removesuffix(", shared by all tasks") == "convex optimum"
    scope = "no weights have" if any_kind else "no weights of that kind have"
    goal = "log-loss" if "pull" not in task.method else "log-loss plus pull"
    return (
        f"{tuned}: {task.method}, certificate {task.certificate:.1e}; {scope} a lower {goal} on "
        "the tuning rows by more than this"
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


def _recommended_answer(found: Estimate) -> list[str]:
    lines = [f"on {found.rows_text}: {_scores_text(found.scores['recommended'])}"]
    asked = found.scores.keys() - {RECOMMENDED, TUNED, AVERAGE, SINGLE, PRIOR}
    lines += [f"{answer}: {_scores_text(found.scores[answer])}" for answer in sorted(asked)]
    lines += [found.gain_text] if found.gain_text else []
    gap = found.difference
    # That the plain average is no better than itself need not be said.
    if found.learnt and gap.value == gap.low == gap.high == 0:
        return lines
    return [*lines, found.sentence_on("these rows")]


def _all_answers(found: Estimate) -> list[str]:
    lines = [f"on {found.rows_text} ({found.source}):"]
    lines += [f"  {answer}: {_scores_text(scores)}" for answer, scores in found.scores.items()]
    if found.gain_text:
        lines.append(f"  ({found.gain_text})")
    for seen in dict.fromkeys(found.seen.values()):
        answers = [answer for answer, text in found.seen.items() if text == seen]
        lines.append(f"  ({', '.join(answers)}: {seen})")
    return [*lines, found.sentence_on("these rows")]


def _scores_text(scores: dict) -> str:
    return ", ".join(
        f"{title_of(name)} {value:.4f}"
        # There is none where the rows are too many to be drawn often.
        + (f" [{low:.4f}, {high:.4f}]" if math.isfinite(low) else "")
        for name, (value, low, high) in scores.items()
    )

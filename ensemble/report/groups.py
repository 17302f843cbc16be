"""The report's section on groups of images: what it brings to know them, as the run says."""

from ...core.errors import counted
from ..result import TaskBlend


def routing_lines(task: TaskBlend) -> list[str]:
    """Say what weights for each group of images bring, and which they are."""
    gain = task.reason.routing_gain
    if gain is None:
        return []
    rows = f"in log-loss on {task.tuning_kind} rows that these weights were not fitted on"
    if not task.group_weights:
        return [f"weights of its own for each group would not help ({gain:+.4f} {rows})"]
    lines = [f"each group has weights of its own, which gain {gain:+.4f} {rows}"]
    for group, weights in task.group_weights.items():
        shown = [f"{model} {weight:.3f}" for model, weight in weights.items() if weight >= 0.0005]
        lines.append(f"weights for {group}: {', '.join(shown)}")
    return lines


def groups_view(run: dict, task: TaskBlend) -> dict | None:
    """Return what a run and its blend say of the groups of images; None if the run says nothing.

    Returns
    -------
    dict
        ``sentences``, ``good`` (whether knowing groups helps beyond noise), the names of both
        ``models``, and ``lines``: group, rows, log-loss of each model.
    """
    found = (run.get("tasks") or {}).get(task.task, {}).get("groups")
    if not found:
        return None
    gain, router = found["gain"], found["router"]
    own, common, value = gain["model"], gain["against"], gain["log_loss"]
    low, high = gain["interval"]
    verdict = "does not help beyond noise"
    if low > 0 or high < 0:
        verdict = "helps beyond noise" if low > 0 else "hurts beyond noise"
    told, unknown = router["accuracy_interval"], found["unknown"]
    sentences = [
        f"knowing the group {verdict}: {own} gains {value:+.4f} in log-loss over {common}, 95% "
        f"interval {low:+.4f} to {high:+.4f}",
        f"the features tell the group of an image with accuracy {router['accuracy']:.4f} "
        f"[{told[0]:.4f}, {told[1]:.4f}], out of fold",
    ]
    if unknown:
        sentences.append(f"{counted(unknown, 'image')} of unknown group took part by what is told")
    sentences += routing_lines(task)
    lines = [
        (name, int(found["rows"].get(name, 0)), loss[own], loss[common])
        for name, loss in found["log_loss"].items()
    ]
    return {"sentences": sentences, "good": low > 0, "models": (own, common), "lines": lines}

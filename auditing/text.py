"""What an audit found, in words."""

from ..core.errors import counted, enumerate_some
from .drift import Drift
from .duplicates import Leak
from .result import Audit, TaskDoubts
from .shortcuts import Shortcut, Shortcuts

_MOST = 5


def audit_text(audit: Audit) -> str:
    """Return the findings as plain text, worst first."""
    ids = audit.images.ids
    lines = [copies_text(audit)]
    for group in audit.leaking()[:_MOST]:
        lines.append("  " + " = ".join(f"{ids[row]}" for row in group.rows))
    lines += [leak_text(leak) for leak in audit.leaks]
    if audit.conflicts:
        lines.append(f"{counted(len(audit.conflicts), 'photograph')} under different labels:")
        for conflict in audit.conflicts[:_MOST]:
            named = (f"{ids[row]} is {name}" for row, name in zip(conflict.rows, conflict.labels))
            lines.append(f"  {conflict.task}: {', '.join(named)}")
    for found in audit.doubts:
        lines.append(doubts_text(found))
        lines += _doubt_lines(audit, found)
    if len(audit.outliers):
        named = enumerate_some(ids[row] for row in audit.outliers)
        lines.append(f"{counted(len(audit.outliers), 'image')} like no other: {named}")
    for shortcuts in audit.shortcuts:
        lines.append(shortcuts_text(shortcuts))
        strong = [one for one in shortcuts.classes if one.strong]
        lines += [f"  {shortcut_text(one)}" for one in strong]
    lines += [drift_text(drift) for drift in audit.drift]
    return "\n".join([*lines, *(f"note: {note}" for note in audit.notes)])


def copies_text(audit: Audit) -> str:
    """Say how many images are there several times."""
    groups, leaking = audit.copies.groups, audit.leaking()
    if not groups:
        return f"no photograph occurs twice among the {counted(len(audit.images), 'image')}"
    rows = sum(len(group.rows) for group in groups)
    text = (
        f"{counted(len(groups), 'photograph occurs', 'photographs occur')} several times among "
        f"the {len(audit.images)} images ({rows} of them), {len(leaking)} in several splits"
    )
    return text + (" (leakage):" if leaking else "")


def leak_text(leak: Leak) -> str:
    """Say what copies do to a score."""
    flattering = leak.low > 0
    verdict = "the score flatters" if flattering else "no difference beyond chance"
    return (
        f"{leak.task}: {leak.leaked} of {leak.rows} {leak.rows_of} rows have a copy that "
        f"was trained on; accuracy {leak.accuracy:.4f} with them, {leak.clean:.4f} without "
        f"({leak.difference:+.4f} [{leak.low:+.4f}, {leak.high:+.4f}]: {verdict})"
    )


def doubts_text(found: TaskDoubts) -> str:
    """Say how many labels are doubtful."""
    rows = len(found.rows.judged)
    return (
        f"{found.rows.task}: {counted(len(found.doubts.rows), 'doubtful label')} of {rows}, about "
        f"{found.doubts.expected:.0f} wrong ones estimated (confident learning on "
        f"{found.rows.how})"
    )


def _doubt_lines(audit: Audit, found: TaskDoubts) -> list[str]:
    return [
        f"  {audit.images.ids[one.row]} is {one.label} ({one.probability:.3f}), rather "
        f"{one.instead} ({one.instead_probability:.3f})"
        for one in found.labels()[:_MOST]
    ]


def shortcuts_text(found: Shortcuts) -> str:
    """Say how well facts of the files predict the labels."""
    strong = sum(one.strong for one in found.classes)
    better = "no better than" if found.low <= found.chance else "against"
    text = (
        f"{found.task}: size, brightness, border and compression alone give an accuracy of "
        f"{found.accuracy:.3f} [{found.low:.3f}, {found.high:.3f}], {better} {found.chance:.3f} by "
        "guessing"
    )
    if strong:
        which = "class could be" if strong == 1 else "classes could be"
        return f"{text}; {strong} {which} told by one such fact:"
    return f"{text}; no class can be told by one such fact"


def shortcut_text(found: Shortcut) -> str:
    """Name the fact that tells a class."""
    return (
        f"{found.label}: {found.fact} (AUC {found.area.value:.3f} [{found.area.low:.3f}, "
        f"{found.area.high:.3f}]; median {found.inside:.3g}, elsewhere {found.outside:.3g})"
    )


def drift_text(found: Drift) -> str:
    """Say whether images differ from the training images."""
    verdict = "they differ" if found.real else "no difference beyond chance"
    return (
        f"{counted(found.others, f'{found.new} image')} against {found.training} training images: "
        f"AUC {found.area.value:.3f} [{found.area.low:.3f}, {found.area.high:.3f}], {verdict}"
    )

"""The table to act on: what was found, line by line, and what is to be done about it.

``audit.csv`` has the columns ``id, task, split, label, finding, other, suggestion, action``.
Whoever reads it writes into ``action``: ``drop``, ``relabel:CLASS``, ``split:train`` (or
``validation``, ``test``), ``keep``, or nothing. `apply_decisions` makes a new table of it.
"""

import dataclasses
import os
from collections import Counter
from pathlib import Path

from ..core.csv_files import CsvTable, line_faults, read_csv, write_csv
from ..core.errors import ManifestError
from ..manifest import Manifest, Sample, fashionai_classes, split_name
from .result import Audit

COLUMNS = ("id", "task", "split", "label", "finding", "other", "suggestion", "action")
_HINT = "an action is drop, relabel:CLASS, split:train|validation|test, keep, or nothing"
_DOUBT = "doubtful label"


def write_decisions(audit: Audit, path: str | os.PathLike) -> int:
    """Write a line for each finding; return how many there are."""
    rows = [*_copies(audit), *_conflicts(audit), *_doubts(audit), *_outliers(audit)]
    write_csv(path, [COLUMNS, *([*row, ""] for row in rows)])
    return len(rows)


def _copies(audit: Audit):
    images = audit.images
    disputed = {row for conflict in audit.conflicts for row in conflict.rows}
    for group in audit.copies.groups:
        kept = _kept(audit, group.rows)
        what = "equal files" if group.equal else "copies"
        where = "in several splits" if group.leaks else "in one split"
        for row in group.rows:
            if row != kept:
                suggestion = "" if row in disputed else "drop"
                other, split = images.ids[kept], images.splits[row]
                yield [images.ids[row], "", split, "", f"{what} {where}", other, suggestion]


def _kept(audit: Audit, rows: tuple[int, ...]) -> int:
    """Keep test rows before validation rows: whoever drops a training row loses least."""
    order = {"test": 0, "validation": 1}
    return min(rows, key=lambda row: (order.get(audit.images.splits[row], 2), row))


def _conflicts(audit: Audit):
    images = audit.images
    for conflict in audit.conflicts:
        for row, label in zip(conflict.rows, conflict.labels):
            others = [
                f"{images.ids[other]} is {name}"
                for other, name in zip(conflict.rows, conflict.labels)
                if name != label
            ]
            yield [
                images.ids[row], conflict.task, images.splits[row], label,
                "copies with different labels", "; ".join(others), "",
            ]  # fmt: skip


def _doubts(audit: Audit):
    images = audit.images
    for found in audit.doubts:
        for row, label, own, name, instead in found.labels():
            yield [
                images.ids[row], found.rows.task, images.splits[row], label, _DOUBT,
                f"{name} {instead:.3f}, {label} {own:.3f}", f"relabel:{name}",
            ]  # fmt: skip


def _outliers(audit: Audit):
    images = audit.images
    for row in audit.outliers.tolist():
        yield [images.ids[row], "", images.splits[row], "", "like no other image", "", ""]


def apply_decisions(manifest: Manifest, decisions: str | os.PathLike) -> tuple[Manifest, dict]:
    """Return the table without what is to be dropped, with new labels and splits.

    Parameters
    ----------
    manifest : Manifest
    decisions : path-like
        A table with the columns ``id``, ``task`` and ``action``; an empty task means all.

    Returns
    -------
    manifest : Manifest
    counts : dict of str to int
        How many rows of the table were dropped, relabelled and moved; ``doubted`` ones were
        dropped since their labels were doubtful.

    Raises
    ------
    MissingFileError
        There is no such table.
    ManifestError
        It names images or tasks that are not there, actions that are none, or two different
        ones for one image; all such lines are named.
    """
    wanted, doubted = _read(Path(decisions), manifest)
    counts: Counter[str] = Counter()
    rows = []
    for sample in manifest:
        for action in wanted.get((sample.id, sample.task), []):
            if action == "drop":
                counts["dropped"] += 1
                counts["doubted"] += (sample.id, sample.task) in doubted
                break
            kind, _, value = action.partition(":")
            if kind == "relabel":
                counts["relabelled"] += sample.label != value
                sample = _relabelled(sample, value)
            else:
                counts["moved"] += sample.split != value
                sample = dataclasses.replace(sample, split=value)
        else:
            rows.append(sample)
    if not rows:
        raise ManifestError(f"{decisions} drops every image", "keep some")
    return dataclasses.replace(manifest, samples=tuple(rows)), dict(counts)


def _relabelled(sample: Sample, label: str) -> Sample:
    letters = sample.letters
    if letters:
        at = fashionai_classes(sample.task, len(letters)).index(label)
        plain = letters.replace("y", "n")
        letters = f"{plain[:at]}y{plain[at + 1 :]}"
    return dataclasses.replace(sample, label=label, letters=letters)


def _read(path: Path, manifest: Manifest) -> tuple[dict[tuple[str, str], list[str]], set]:
    """Return the actions for each id and task, a drop first; and where labels were doubtful."""
    table = read_csv(path, ManifestError)
    columns = {name: table.column(name) for name in ("id", "task", "action", "finding")}
    if columns["id"] is None or columns["action"] is None:
        raise ManifestError(
            f"{path} has the columns {table.header_text}", "it needs id, task and action"
        )
    tasks_of: dict[str, list[str]] = {}
    for sample in manifest:
        tasks_of.setdefault(sample.id, []).append(sample.task)
    classes = {task: set(manifest.classes(task)) for task in manifest.tasks}
    faults = list(table.faults)
    said: dict = {}
    doubted = set()
    for number, identity, task, action, finding in _lines(table, columns):
        tasks = [one for one in tasks_of.get(identity, []) if task in ("", one)]
        fault = _fault(identity, task, action, tasks, classes)
        if fault:
            faults.append((number, fault))
            continue
        action = _canonical(action)
        kind = action.partition(":")[0]
        doubted |= {(identity, one) for one in tasks if finding == _DOUBT}
        for one in tasks:
            before = said.setdefault((identity, one), {})
            if before.setdefault(kind, action) != action:
                faults.append((number, f"says {action} of {identity}, after {before[kind]}"))
    if faults:
        raise line_faults(path, faults, ManifestError, _HINT)
    return {key: sorted(actions.values()) for key, actions in said.items()}, doubted


def _lines(table: CsvTable, columns: dict[str, int | None]):
    for line in table.rows:
        identity, task, action, finding = (
            line.fields[at] if at is not None else "" for at in columns.values()
        )
        if action and action.lower() != "keep":
            yield line.number, identity, task, action, finding


def _fault(identity: str, task: str, action: str, tasks: list[str], classes: dict) -> str:
    if not tasks:
        return f"names {identity}{f' for {task}' if task else ''}, which is not in the table"
    kind, _, value = action.partition(":")
    kind, value = kind.strip().lower(), value.strip()
    if kind == "drop" and not value:
        return ""
    if kind == "split" and split_name(value):
        return ""
    if kind == "relabel" and value:
        unknown = [one for one in tasks if value not in classes[one]]
        return f"gives the label '{value}', which is no class of {unknown[0]}" if unknown else ""
    return f"has the action '{action}'"


def _canonical(action: str) -> str:
    kind, _, value = action.partition(":")
    kind, value = kind.strip().lower(), value.strip()
    if kind == "split":
        value = split_name(value)
    return f"{kind}:{value}" if value else kind

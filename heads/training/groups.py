"""Groups of images: their columns for a fit, and what heads of their own bring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import HeadError
from ...core.statistics import bootstrap_interval
from ...manifest import Manifest
from ...runs import read_probabilities
from ..crossfit import cross_fit
from ..folds import deal_folds
from ..kinds.grouped import GroupedHead
from ..kinds.kernel import KernelHead
from ..rows import Rows
from .scores import score
from .task_data import TaskData

__all__ = ["group_columns", "group_report", "tasks_with_groups"]


def tasks_with_groups(manifest: Manifest) -> set[str]:
    """Return the tasks whose labelled images are of two groups or more."""
    found: dict[str, set[str]] = {}
    for sample in manifest:
        if sample.group and sample.label:
            found.setdefault(sample.task, set()).add(sample.group)
    return {task for task, groups in found.items() if len(groups) > 1}


def group_names(data: TaskData) -> list[str]:
    """Return the groups of a task's labelled images, sorted."""
    return sorted({sample.group for sample in data.samples[data.labelled] if sample.group})


def group_columns(data: TaskData, part: slice) -> np.ndarray:
    """Return the group of each sample of a part as a one-hot row; zeros where it is not known.

    Raises
    ------
    HeadError
        There are not two groups.
    """
    names = group_names(data)
    if len(names) < 2:
        have = f"only the group '{names[0]}'" if names else "no groups"
        raise HeadError(
            f"the images of the task '{data.task}' have {have}",
            "give the table a column 'group' with two kinds of images or more, or name them with "
            "--group-labels",
        )
    given = np.array([sample.group for sample in data.samples[part]], dtype=np.str_)
    return (given[:, None] == np.array(names)).astype(np.float32)


def group_report(
    data: TaskData, part: slice, rows: Rows, files: dict[str, Path], seed: int
) -> dict:
    """Say how well groups are told apart and what heads of their own bring.

    Parameters
    ----------
    data : TaskData
    part : slice
        The samples whose rows the probability files begin with.
    rows : Rows
        The labelled rows.
    files : dict of str to pathlib.Path
        Probability files of two models on the same features; the first knows groups, the
        second does not.
    seed : int
        Of the folds and of the bootstrap.

    Returns
    -------
    dict
        ``images`` of each group, ``unknown`` (how many images have none), ``router`` (scores
        out of fold, see `score`), ``gain`` (log-loss of the second model minus that of the
        first, with its interval) and ``log_loss`` of both for each group.
    """
    names = group_names(data)
    assert rows.groups is not None
    known = np.flatnonzero(rows.groups.any(axis=1))
    codes = rows.groups.argmax(axis=1)
    report: dict[str, Any] = {
        "images": {name: int((codes[known] == place).sum()) for place, name in enumerate(names)},
        "unknown": len(rows) - len(known),
        "router": _router_score(data, rows, known, seed),
    }
    losses = {model: _losses(data, part, path) for model, path in files.items()}
    own, common = files
    gain = losses[common] - losses[own]
    report["gain"] = {
        "model": own,
        "against": common,
        "log_loss": float(gain.mean()),
        "interval": bootstrap_interval(gain, seed),
    }
    groups = np.array([sample.group for sample in data.samples[part]], dtype=np.str_)
    report["log_loss"] = {
        name: {model: float(one[groups == name].mean()) for model, one in losses.items()}
        for name in names
        if (groups == name).any()
    }
    return report


def _router_score(data: TaskData, rows: Rows, known: np.ndarray, seed: int) -> dict:
    """Score the router out of fold: a kernel machine with the groups as classes."""
    names = np.array(group_names(data))
    assert rows.groups is not None
    part = Rows(rows.features[known], rows.groups[known], np.ones(len(known)), names, rows.sets)
    keys = [data.samples[place].digest for place in known]
    labels = names[rows.groups[known].argmax(axis=1)]
    dealt = deal_folds(keys, labels, 5, seed)
    settings = GroupedHead()
    router = KernelHead(alpha=settings.route_alpha, width=settings.width)
    found = cross_fit(router, part, [dealt])
    return score(found.probabilities, labels, names.tolist(), seed)


def _losses(data: TaskData, part: slice, path: Path) -> np.ndarray:
    """Return the log-loss of each row of a part, with which the probability file begins."""
    table = read_probabilities(path)
    place = {name: index for index, name in enumerate(table.classes)}
    codes = [place[sample.label] for sample in data.samples[part]]
    chances = table.probabilities[np.arange(len(codes)), codes]
    return -np.log(np.clip(chances, 1e-15, None))

"""Groups of images: their columns for a fit, and what heads of their own bring."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ...core.bootstrap import mean_interval
from ...core.errors import HeadError, counted, enumerate_some
from ...manifest import Manifest, look_alike_notes
from ...runs import read_probabilities, write_probabilities
from ..crossfit import cross_fit
from ..folds import deal_folds
from ..kinds.grouped import GroupedHead
from ..kinds.kernel import KernelHead
from ..registry import load_head
from ..rows import Rows
from .fit import TaskRows, fit_model
from .options import TrainOptions
from .plan import ModelPlan
from .scores import score
from .task_data import TaskData

# What knowing groups is a gain over.
WITHOUT = "the same head without groups"
# A group of fewer images is called small; nothing else depends on it.
_SMALL = 20


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


def group_notes(data: TaskData) -> list[str]:
    """Say which groups are small, which lack classes, and how many images have no group."""
    rows = data.samples[data.labelled]
    classes = {sample.label for sample in rows}
    notes, small = [], []
    for group in group_names(data):
        own = [sample.label for sample in rows if sample.group == group]
        if len(own) < _SMALL:
            small.append(f"{group} ({counted(len(own), 'image')})")
        elif lacking := sorted(classes - set(own)):
            notes.append(
                f"the group {group} has no image of {enumerate_some(lacking)}: what is known of "
                "them there comes from the other groups"
            )
    if small:
        notes.insert(
            0,
            f"groups of few images follow what all groups have in common: {enumerate_some(small)}",
        )
    notes += look_alike_notes("groups", group_names(data))
    unknown = sum(not sample.group for sample in rows)
    if 2 * unknown > len(rows):
        notes.append(
            f"{unknown} of {counted(len(rows), 'image')} have no group: the features tell theirs, "
            "as the others teach it"
        )
    return notes


def losses_of_both(
    data: TaskData,
    part: slice,
    labelled: TaskRows,
    plan: ModelPlan,
    options: TrainOptions,
    folder: Path,
) -> dict[str, np.ndarray]:
    """Return the log-loss of each row of a part by a grouped head, and by the same without groups.

    Other kinds of heads differ from it in more than the groups: in their scaling, their curves.

    Parameters
    ----------
    part : slice
        The samples whose rows the probability files begin with.
    labelled : TaskRows
    plan : ModelPlan
        Of the grouped head.
    options : TrainOptions
    folder : Path
        Of the task, where the grouped head's probabilities are.

    Returns
    -------
    dict of str to ndarray
        The name of the grouped head first.
    """
    one_for_all = plan.options(options).with_settings(plan.kind, {"share": 1.0})
    written = read_probabilities(folder / "probabilities" / f"{plan.name}.npz")
    assert written.classes == data.classes
    tables = {
        plan.name: written.probabilities,
        WITHOUT: fit_model(plan.kind, data, labelled, one_for_all).tuning,
    }
    place = {name: index for index, name in enumerate(data.classes)}
    codes = [place[sample.label] for sample in data.samples[part]]
    at = np.arange(len(codes)), codes
    return {name: -np.log(np.clip(table[at], 1e-15, None)) for name, table in tables.items()}


def group_report(
    data: TaskData,
    part: slice,
    rows: Rows,
    told: np.ndarray,
    losses: dict[str, np.ndarray],
    seed: int,
) -> dict:
    """Say how well groups are told apart and what heads of their own bring.

    Parameters
    ----------
    part : slice
        The samples whose losses are compared.
    rows : Rows
        The labelled rows.
    told : ndarray of shape (N, G)
        Probabilities of their groups, out of fold.
    losses : dict of str to ndarray
        See `losses_of_both`.
    seed : int
        Of the folds and of the bootstrap.

    Returns
    -------
    dict
        ``images`` of each group, ``unknown`` (how many images have none), ``router`` (scores
        out of fold, see `score`), ``gain`` (log-loss of the second model minus that of the
        first, with its interval), ``log_loss`` of both for each group, and of how many ``rows``.
    """
    names = group_names(data)
    assert rows.groups is not None
    known = np.flatnonzero(rows.groups.any(axis=1))
    codes = rows.groups.argmax(axis=1)
    report: dict[str, Any] = {
        "images": {name: int((codes[known] == place).sum()) for place, name in enumerate(names)},
        "unknown": len(rows) - len(known),
        "router": score(told[known], np.array(names)[codes[known]], names, seed),
    }
    own, common = losses
    gain = losses[common] - losses[own]
    report["gain"] = {
        "model": own,
        "against": common,
        "log_loss": float(gain.mean()),
        "interval": mean_interval(gain, seed),
    }
    groups = np.array([sample.group for sample in data.samples[part]], dtype=np.str_)
    there = {name: groups == name for name in names if (groups == name).any()}
    report["rows"] = {name: int(mask.sum()) for name, mask in there.items()}
    report["log_loss"] = {
        name: {model: float(one[mask].mean()) for model, one in losses.items()}
        for name, mask in there.items()
    }
    return report


def route_out_of_fold(data: TaskData, rows: Rows, seed: int) -> np.ndarray:
    """Tell the group of each row by a router that did not see it, shape (N, G).

    The router is a kernel machine with the groups as classes, as that of `GroupedHead` is. Rows of
    unknown group get zeros.
    """
    names = np.array(group_names(data))
    assert rows.groups is not None
    known = np.flatnonzero(rows.groups.any(axis=1))
    part = Rows(rows.features[known], rows.groups[known], np.ones(len(known)), names, rows.sets)
    images = [data.samples[place].image for place in known]
    labels = names[rows.groups[known].argmax(axis=1)]
    settings = GroupedHead()
    router = KernelHead(alpha=settings.route_alpha, width=settings.width)
    told = np.zeros(rows.groups.shape)
    dealt = deal_folds(images, labels, 5, seed)
    told[known] = cross_fit(router, part, [dealt]).probabilities
    return told


def write_routes(
    data: TaskData, part: slice, labelled: TaskRows, told: np.ndarray, folder: Path, model: str
) -> None:
    """Write how likely each row of a model's probability file is of each group: ``routes.npz``.

    Parameters
    ----------
    part : slice
        The samples whose rows the probability file begins with.
    told : ndarray of shape (N, G)
        See `route_out_of_fold`. The final head tells what is not known, and the test rows.
    folder : Path
        Of the task.
    model : str
        One that knows groups.
    """
    head = load_head(folder / "heads" / model)
    groups = tuple(group_names(data))
    # No group has weights of its own where one has no image of a class that is learnt.
    if not isinstance(head, GroupedHead) or head.members_.shape[1] < len(groups):
        return
    routes, unknown = told.copy(), ~told.any(axis=1)
    if unknown.any():
        routes[unknown] = head.route(labelled.all.features[unknown])
    rows = [routes[part]] + ([head.route(labelled.test)] if len(labelled.test) else [])
    like = read_probabilities(folder / "probabilities" / f"{model}.npz")
    table = dataclasses.replace(like, classes=groups, probabilities=np.concatenate(rows))
    write_probabilities(folder / "routes.npz", table)

"""How likely each row is of each group of images, where a run knows."""

import dataclasses
from collections.abc import Mapping

from ...core.errors import RunError, counted
from ...runs import Run
from .join import TaskData


def with_routes(data: TaskData, runs: Mapping[str, Run]) -> TaskData:
    """Return the task with what its run says of groups; several runs tell groups differently.

    Raises
    ------
    RunError
        The run does not say it of every row.
    """
    run = next(iter(runs.values())) if len(runs) == 1 else None
    table = run.routes(data.task) if run is not None and data.task in run.tasks else None
    if table is None:
        return data
    place = {identity: row for row, identity in enumerate(table.ids)}
    lacking = [identity for identity in data.ids if identity not in place]
    if lacking:
        raise RunError(
            f"routes.npz of the task '{data.task}' lacks {counted(len(lacking), 'row')}, "
            f"{lacking[0]} for one",
            "train again",
        )
    rows = [place[identity] for identity in data.ids]
    splits = tuple(table.splits[row] for row in rows)
    probabilities = table.probabilities[rows]
    routes = dataclasses.replace(table, ids=data.ids, probabilities=probabilities, splits=splits)
    return dataclasses.replace(data, routes=routes)

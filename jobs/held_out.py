"""What a run says of the images that its heads had not seen."""

from collections.abc import Mapping

import numpy as np

from ..auditing import TaskRows
from ..core.errors import enumerate_some
from ..manifest import Manifest
from ..runs import Run


def held_out_rows(
    run: Run | None, samples: Manifest, task: str, rows: Mapping[str, int], count: int
) -> TaskRows:
    """Return labels and honest probabilities, the plain average of all models of the run.

    Parameters
    ----------
    run : Run, optional
        Without one there are labels alone.
    samples : Manifest
        Those of the task.
    task : str
    rows : mapping of str to int
        The row of each id.
    count : int
        Number of rows.
    """
    known = run.tasks.get(task) if run is not None else None
    classes = known.classes if known else samples.classes(task)
    column = {name: number for number, name in enumerate(classes)}
    y = np.full(count, -1)
    for sample in samples:
        if sample.id in rows and sample.label in column:
            y[rows[sample.id]] = column[sample.label]
    table = np.full((count, len(classes)), np.nan)
    held_out = np.full(count, "", dtype="U12")
    if run is None or known is None:
        return TaskRows(task, classes, y, table, held_out, "")
    tables = [run.probabilities(task, model) for model in known.models]
    sums: dict[str, list[np.ndarray]] = {}
    splits: dict[str, str] = {}
    for one in tables:
        for identity, split, row in zip(one.ids, one.splits, one.probabilities):
            sums.setdefault(identity, []).append(row)
            splits[identity] = split
    kind = "validation" if known.validation == "split" else "out-of-fold"
    for identity, several in sums.items():
        # A row that some heads lack is judged by none: the others would be unlike each other.
        if identity in rows and len(several) == len(tables) and splits[identity] != "train":
            table[rows[identity]] = np.mean(several, axis=0)
            held_out[rows[identity]] = "test" if splits[identity] == "test" else kind
    how = f"the average of {enumerate_some(known.models)}"
    return TaskRows(task, classes, y, table, held_out, how)

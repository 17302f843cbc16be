"""Final probabilities in the form that a contest wants."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator, Sequence

import numpy as np

from ..core.csv_files import write_csv
from ..core.errors import ProbabilityError, enumerate_some
from ..manifest import fashionai_classes
from ..runs import ProbabilityTable, write_probabilities
from .joining.join import TEST
from .options import ANSWERS
from .result import BlendResult

__all__ = ["FORMATS", "final_tables", "write_final"]

FORMATS = ("csv", "npz", "h5", "parquet", "kaggle", "fashionai")


def final_tables(
    result: BlendResult, answer: str = "recommended", rows: str = "test"
) -> list[ProbabilityTable]:
    """Return the final probabilities of each task.

    Parameters
    ----------
    result : BlendResult
    answer : {"recommended", "clean", "tuned", "average"}
        Which average.
    rows : {"test", "all"}
        ``test`` takes test rows, labelled or not, or all rows of a task without any.
    """
    if answer not in ANSWERS or rows not in ("test", "all"):
        raise ProbabilityError(
            f"unknown answer '{answer}' or rows '{rows}'",
            f"answers are {', '.join(ANSWERS)}; rows are test, all",
        )
    tables = []
    for task in result.tasks:
        whole, splits = task.table(answer), task.data.splits
        kept = np.flatnonzero((splits == TEST) | (rows == "all"))
        if not len(kept):
            kept = np.arange(len(splits))
        tables.append(
            ProbabilityTable(
                tuple(task.data.ids[index] for index in kept),
                task.data.classes,
                whole[kept],
                tuple(str(splits[index]) for index in kept),
                answer,
                task.task,
            )
        )
    return tables


def write_final(
    path: str | os.PathLike,
    tables: Sequence[ProbabilityTable],
    form: str = "csv",
    *,
    excel: bool = False,
) -> None:
    """Write final probabilities, atomically.

    Parameters
    ----------
    path : path-like
    tables : sequence of ProbabilityTable
        Only ``fashionai`` holds several tasks in one file.
    form : {"csv", "npz", "h5", "parquet", "kaggle", "fashionai"}
        ``kaggle``: header ``id,<class>,...``, ids without folder and ending. ``fashionai``: no
        header, ``image,attribute,p;p;p`` with four decimals, classes in letter order.
    excel : bool
        Put an apostrophe before names that a spreadsheet would take for a formula.
    """
    if form not in FORMATS:
        raise ProbabilityError(f"unknown format '{form}'", f"known are {', '.join(FORMATS)}")
    if form == "fashionai":
        lines = (line for table in tables for line in _fashionai_lines(table))
        write_csv(path, lines, excel=excel)
        return
    if len(tables) != 1:
        raise ProbabilityError(
            f"the format {form} holds one task, there are {len(tables)}: "
            f"{enumerate_some(table.task for table in tables)}",
            "write one file for each task, or choose fashionai",
        )
    if form == "kaggle":
        write_csv(path, _kaggle_lines(tables[0]), excel=excel)
    else:
        write_probabilities(path, tables[0], excel=excel)


def _fashionai_lines(table: ProbabilityTable) -> Iterator[list[str]]:
    width = len(table.classes)
    wanted = fashionai_classes(table.task, width)
    # Classes of an attribute the contest has go in its letter order, others as they are.
    order = range(width)
    if set(wanted) == set(table.classes):
        order = [table.classes.index(name) for name in wanted]
    for identity, row in zip(table.ids, table.probabilities):
        yield [identity, table.task, ";".join(f"{row[index]:.4f}" for index in order)]


def _kaggle_lines(table: ProbabilityTable) -> Iterator[list[str]]:
    ids = [os.path.splitext(identity.rsplit("/", 1)[-1])[0] for identity in table.ids]
    if len(set(ids)) < len(ids):
        counts = collections.Counter(ids)
        repeated = [identity for identity, count in counts.items() if count > 1]
        raise ProbabilityError(
            f"{len(repeated)} ids are no longer unique without folder and ending: "
            f"{enumerate_some(repeated)}",
            "rename the images, or write the format csv",
        )
    if any(name.lower() == "id" for name in table.classes):
        raise ProbabilityError(
            "the format kaggle has a column 'id', and so is a class called",
            "write the format csv, which marks such a class, or rename the class",
        )
    yield ["id", *table.classes]
    for identity, row in zip(ids, table.probabilities.tolist()):
        yield [identity, *(f"{value:.6g}" for value in row)]

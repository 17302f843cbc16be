"""Final answers: which rows are asked for, what stands in for those that lack one, the file."""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.arguments import require_types
from ..core.errors import ProbabilityError, counted, enumerate_some
from ..manifest import Sample
from .answer_sheet import AnswerSheet, column_faults, data_folders, find_sheet, read_sheet
from .joining.ids import match_ids
from .joining.join import COMMON_ALONE, TEST, TUNING
from .options import require_answer
from .result import BlendResult, TaskBlend
from .submission import (
    FORMATS,
    SUBMISSIONS,
    AnswerRow,
    TaskAnswers,
    form_of,
    kaggle_ids,
    write_rows,
)

INCOMPLETE = ("prior", "empty", "refuse")
# Shares of a class, as samples of contests of two classes have in place of them.
_SHARE = re.compile(r"[01]?\.\d+|[01]")


@dataclasses.dataclass(frozen=True)
class AnswerOptions:
    """How final answers are written.

    Attributes
    ----------
    form : str, optional
        One of `FORMATS`. Without it: the form of the sheet, else what the file's ending says.
    sample : path-like, optional
        A contest's ``sample_submission.csv`` or ``question.csv``: its rows, ids, order and
        columns are those of the file. Without it the folder of the data is looked into,
        unless a `form` other than ``kaggle`` and ``fashionai`` is asked for.
    incomplete : {"prior", "empty", "refuse"}, optional
        What rows get that have no answer, since their image is missing or unreadable: the
        class shares of the training images, or nothing; or no file is written. By default
        ``prior`` in the forms of contests and ``empty`` in others.
    excel : bool
        Put an apostrophe before names in CSVs that a spreadsheet would take for a formula.

    Raises
    ------
    ProbabilityError
        There is no such form or way; all faults are named.
    """

    form: str | None = None
    sample: str | os.PathLike | None = None
    incomplete: str | None = None
    excel: bool = False

    def __post_init__(self) -> None:
        require_types(self)
        faults = []
        if self.form is not None and self.form not in FORMATS:
            faults.append(f"unknown format '{self.form}': known are {', '.join(FORMATS)}")
        if self.incomplete is not None and self.incomplete not in INCOMPLETE:
            faults.append(f"incomplete is '{self.incomplete}', not one of {', '.join(INCOMPLETE)}")
        if faults:
            raise ProbabilityError("; ".join(faults), "change how answers are written")


@dataclasses.dataclass(frozen=True)
class Answers:
    """The final probabilities of all tasks, and what they are asked for.

    Attributes
    ----------
    tasks : dict of str to TaskAnswers
    wanted : tuple of (str, str)
        Id and task of each row that is to be answered, in order.
    folders : tuple of pathlib.Path
        Where the images are, and where a contest's sheet may lie.
    note : str
        What a reader should know of the rows.
    tests : frozenset of str
        Ids of the test split, if that is known: a sheet means these, unless it has the whole id
        of another one; training images often have the same names in another folder.
    lack : str
        What a row without an answer lacks.
    """

    tasks: Mapping[str, TaskAnswers]
    wanted: tuple[tuple[str, str], ...]
    folders: tuple[Path, ...] = ()
    note: str = ""
    tests: frozenset[str] = frozenset()
    lack: str = "image that could be read"


@dataclasses.dataclass(frozen=True)
class WrittenAnswers:
    """What was written.

    Attributes
    ----------
    path : pathlib.Path
    form : str
    rows : int
    without : tuple of str
        Ids of the rows that have no answer of their own.
    instead : str
        What those got, in words.
    unasked : int
        Answers that the sheet does not ask for.
    sheet : pathlib.Path or None
        The contest's sheet.
    note, lack : str
        Of the answers.
    """

    path: Path
    form: str
    rows: int
    without: tuple[str, ...]
    instead: str
    unasked: int
    sheet: Path | None
    note: str = ""
    lack: str = Answers.lack

    @property
    def warning(self) -> str:
        """Say which rows have no answer of their own; empty if all have."""
        if not self.without:
            return ""
        return (
            f"{len(self.without)} of {self.rows} rows of {self.path} have no {self.lack}, and "
            f"{self.instead}: {enumerate_some(self.without)}"
        )

    @property
    def text(self) -> str:
        """Say what the file is, in a line."""
        text = f"{counted(self.rows, 'row')} in the form {self.form}"
        if self.sheet is not None:
            text += f", as {self.sheet} asks"
        if self.unasked:
            text += f"; {self.unasked} answers are not asked for there, and left out"
        if self.note:
            text += f"; {self.note}"
        return text


def final_answers(result: BlendResult, answer: str = "recommended") -> Answers:
    """Return the final answers of a blend: the test rows, or all rows where there are none.

    Parameters
    ----------
    result : BlendResult
    answer : {"recommended", "clean", "given", "tuned", "average"}
        Which average.
    """
    require_answer(answer)
    samples = result.samples
    named = {task.task for task in result.tasks}
    if len(named) == 1:
        # Files of one task and labels of one need not agree in its name.
        samples = [dataclasses.replace(sample, task=next(iter(named))) for sample in samples]
    found = {task.task: _task_answers(task, samples, answer) for task in result.tasks}
    wanted = wanted_rows(samples, named)
    told = set(wanted)
    for task in result.tasks:
        ids = [i for i, split in zip(task.data.ids, task.data.splits) if split == TEST]
        wanted += [row for i in ids if (row := (i, task.task)) not in told]
    note = ""
    if not wanted:
        wanted = [(i, name) for name, one in found.items() for i in one.rows]
        note = "there are no test rows: these are the rows that tuned the weights"
    tests = frozenset(sample.id for sample in samples if sample.split == TEST)
    said = [one for task in result.tasks for one in task.data.notes]
    lack = Answers.lack
    if any(one.startswith(COMMON_ALONE) for one in said):
        lack += ", or no answer in one of the files"
    return Answers(found, tuple(wanted), data_folders(samples), note, tests, lack)


def wanted_rows(samples: Iterable[Sample], tasks: Iterable[str]) -> list[tuple[str, str]]:
    """Return id and task of each test row, in the order of the samples."""
    named = set(tasks)
    return [(s.id, s.task) for s in samples if s.split == TEST and s.task in named]


def class_shares(samples: Iterable[Sample], task: str, classes: Sequence[str]) -> np.ndarray:
    """Return the share of each class among the training rows of a task, shape (C,).

    One row of each class more is counted: a class that happens to be absent keeps a chance.
    """
    column = {name: index for index, name in enumerate(classes)}
    counts = np.ones(len(classes))
    for sample in samples:
        if sample.task == task and sample.split != TEST and sample.label in column:
            counts[column[sample.label]] += 1
    return counts / counts.sum()


def _task_answers(task: TaskBlend, samples: Sequence[Sample], answer: str) -> TaskAnswers:
    data = task.data
    table = task.table(answer)
    prior = class_shares(samples, task.task, data.classes)
    if not any(s.task == task.task and s.label and s.split != TEST for s in samples):
        counts = np.bincount(data.y[data.rows(TUNING)], minlength=len(data.classes)) + 1.0
        prior = counts / counts.sum()
    return TaskAnswers(task.task, data.classes, dict(zip(data.ids, table)), prior)


def write_answers(
    path: str | os.PathLike, answers: Answers, options: AnswerOptions | None = None
) -> WrittenAnswers:
    """Write final answers, atomically.

    Raises
    ------
    MissingFileError, ProbabilityError
        The sheet is not there, or does not fit the answers (everything that does not is
        named); the form cannot hold the answers; or rows have no answer and ``incomplete``
        is ``refuse``. Nothing is written then.
    """
    path, options = Path(path), options or AnswerOptions()
    ending = path.suffix.lower().removeprefix(".") or "csv"
    sheet = _sheet(answers, options, ending)
    form = form_of(path, answers.tasks, options.form, options.excel, sheet)
    rows, unasked = _asked(answers, sheet)
    without = tuple(row.text for row in rows if row.probabilities is None)
    has = "has" if len(without) == 1 else "have"
    bare = f"{len(without)} of {counted(len(rows), 'row')} {has} no {answers.lack}"
    how = options.incomplete or ("prior" if form in SUBMISSIONS else "empty")
    if how == "prior" and options.incomplete is None and len(without) > len(rows) / 2:
        raise ProbabilityError(
            f"{bare}: {enumerate_some(without)}",
            "extract the test images and train again, or use predict on their folder; "
            "--incomplete prior fills the rows in all the same",
        )
    if without and how == "refuse":
        raise ProbabilityError(
            f"{bare}: {enumerate_some(without, 20)}",
            "restore the images, or fill the rows in with --incomplete prior",
        )
    if how == "prior":
        rows = [
            row
            if row.probabilities is not None
            else dataclasses.replace(row, probabilities=answers.tasks[row.task].prior)
            for row in rows
        ]
    write_rows(path, form, answers.tasks, rows, sheet, options.excel)
    instead = {
        "prior": "get the class shares of the training images",
        "empty": "are empty" if form in ("csv", "kaggle") else "are left out",
    }
    found = sheet.path if sheet else None
    said = instead[how] if without else ""
    return WrittenAnswers(
        path, form, len(rows), without, said, unasked, found, answers.note, answers.lack
    )


def require_sheet_fits(
    path: str | os.PathLike, answers: Answers, options: AnswerOptions | None = None
) -> None:
    """Find out before the work, not after it, whether a contest's sheet fits.

    Parameters
    ----------
    path, options
        As for `write_answers`.
    answers : Answers
        Rows need not have probabilities yet.

    Raises
    ------
    MissingFileError, ProbabilityError
        As of `write_answers`.
    """
    options = options or AnswerOptions()
    sheet = _sheet(answers, options, Path(path).suffix.lower().removeprefix(".") or "csv")
    form = form_of(Path(path), answers.tasks, options.form, options.excel, sheet)
    rows, _ = _asked(answers, sheet)
    if form == "kaggle":
        kaggle_ids(next(iter(answers.tasks.values())), rows, sheet)


def _sheet(answers: Answers, options: AnswerOptions, ending: str) -> AnswerSheet | None:
    if options.sample is not None:
        sheet = read_sheet(options.sample)
    elif options.form in SUBMISSIONS or (options.form is None and ending == "csv"):
        path = find_sheet(answers.folders)
        sheet = None if path is None else read_sheet(path)
    else:
        return None
    if sheet and options.form in SUBMISSIONS and options.form != sheet.form:
        raise ProbabilityError(
            f"{sheet.path} is a sheet of the form {sheet.form}, not {options.form}",
            f"ask for --format {sheet.form}, or name another --sample",
        )
    return sheet


def _asked(answers: Answers, sheet: AnswerSheet | None) -> tuple[list[AnswerRow], int]:
    """Return the rows of the file, and how many answers none of them takes."""
    if sheet is None:
        return [_row(answers, i, i, task) for i, task in answers.wanted], 0
    faults = []
    tasks = tuple(answers.tasks)
    if sheet.form == "kaggle" and len(tasks) > 1:
        faults.append(f"it is of one task, there are answers of {enumerate_some(tasks)}")
    asked = [(i, task or tasks[0]) for i, task in sheet.rows]
    unknown: dict[str, int] = {}
    for _, task in asked:
        if task not in answers.tasks:
            unknown[task] = unknown.get(task, 0) + 1
    if unknown:
        named = [f"{task} ({counted(count, 'row')})" for task, count in unknown.items()]
        faults.append(f"it asks for tasks that have no answers: {enumerate_some(named, 20)}")
    known: dict[str, dict[str, None]] = {task: {} for task in tasks}
    for i, task in answers.wanted:
        known[task][i] = None
    for name, task in answers.tasks.items():
        known[name] |= dict.fromkeys(task.rows)
    meant: dict = {}
    strange, ambiguous = [], []
    for name in known:
        ids = [i for i, task in asked if task == name]
        tests = [i for i in known[name] if i in answers.tests]
        found, several = match_ids(ids, tests or known[name])
        found |= {i: i for i in ids if i in known[name] and i not in found}
        meant |= {(i, name): own for i, own in found.items()}
        ambiguous += several
        strange += [i for i in ids if i not in found]
    if ambiguous:
        faults.append(
            f"{counted(len(ambiguous), 'id')} may be several images: {enumerate_some(ambiguous)}"
        )
    # A few images that are missing are filled in; ids of another contest are not.
    if len(strange) > len(asked) / 2 and not ambiguous and not unknown:
        faults.append(
            f"{len(strange)} of its {len(asked)} ids are no images here: {enumerate_some(strange)}"
        )
    faults += column_faults(sheet, answers.tasks[tasks[0]].classes) if sheet.header else []
    if faults:
        raise ProbabilityError(
            f"{sheet.path} and the answers do not fit: {'; '.join(faults)}",
            _other_sheet(answers, sheet),
        )
    rows = [_row(answers, i, meant.get((i, task), ""), task) for i, task in asked]
    taken = {(meant.get(row), row[1]) for row in asked}
    return rows, sum(row not in taken for row in dict.fromkeys(answers.wanted))


def _other_sheet(answers: Answers, sheet: AnswerSheet) -> str:
    """Say what to do about a sheet that does not fit."""
    hint = "name the right sheet with --sample; --format csv without --sample writes the answers "
    hint += "without one"
    (first, *_) = answers.tasks.values()
    strange = sheet.values - {""} - set(first.classes)
    unknown = len(sheet.columns) == 1 and sheet.columns[0] not in first.classes
    if unknown and strange and all(map(_SHARE.fullmatch, strange)):
        hint += (
            "; where the probability of one class is asked for, give a copy whose column "
            f"'{sheet.columns[0]}' is called as that class, and call it back in the answer"
        )
    return hint


def _row(answers: Answers, text: str, identity: str, task: str) -> AnswerRow:
    return AnswerRow(text, task, answers.tasks[task].rows.get(identity))

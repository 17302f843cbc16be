"""The table of one model's probabilities for one task."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from ..core.errors import ProbabilityError, counted, enumerate_some, escaped
from ..core.softmax import softmax
from ..core.summary import summary
from ..manifest import DEFAULT_TASK, class_name, split_name

MENDINGS = ("refuse", "renormalise", "softmax")
# Four decimals and a few hundred classes may add up to this much; sums that are further off are
# no rounding.
SUM_TOLERANCE = 0.02
# What half precision (bfloat16) leaves of a sum of 1.
_OF_HALF_PRECISION, _FEW_DECIMALS = 0.004, 4
SPLITS = frozenset({"", "train", "validation", "test"})


@dataclasses.dataclass(frozen=True)
class ProbabilityTable:
    """Probabilities of one model for one task.

    Parameters
    ----------
    ids : tuple of str, length N
        Sample ids, each once.
    classes : tuple of str, length C
        Class names, in the order of the columns.
    probabilities : ndarray of shape (N, C)
        Rows in [0, 1] that sum to 1.
    splits : tuple of str, length N, optional
        Split of each row; empty strings where there are none.
    model : str
        Name of the model.
    task : str
        Name of the task.

    Raises
    ------
    ProbabilityError
        Shapes do not fit, ids or classes repeat, or rows are not probabilities.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    splits: tuple[str, ...] = ()
    model: str = ""
    task: str = DEFAULT_TASK

    __repr__ = summary

    def __post_init__(self) -> None:
        where = self.model or "the table"
        if not self.splits:
            object.__setattr__(self, "splits", ("",) * len(self.ids))
        expected = (len(self.ids), len(self.classes))
        if len(self.splits) != len(self.ids):
            raise ProbabilityError(
                f"{where} has {counted(len(self.ids), 'id')}, but "
                f"{counted(len(self.splits), 'split')}",
                "give a split for each id, or none at all",
            )
        if self.probabilities.shape != expected:
            raise ProbabilityError(
                f"{where} has {counted(len(self.ids), 'id')} and "
                f"{counted(len(self.classes), 'class', 'classes')}, but "
                f"probabilities of shape {self.probabilities.shape}",
                "give one row for each id and one column for each class",
            )
        for kind, names in (("ids", self.ids), ("classes", self.classes)):
            if "" in names:
                raise ProbabilityError(
                    f"{where} has an empty name among its {kind}", f"name each of the {kind}"
                )
            repeated = list(dict.fromkeys(_repeated(names)))
            if repeated:
                raise ProbabilityError(
                    f"{where} has {len(repeated)} of its {kind} more than once: "
                    f"{enumerate_some(repeated)}",
                    f"each of the {kind} may appear once",
                )
        try:
            "".join((self.model, self.task, *self.ids, *self.classes)).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ProbabilityError(
                f"{where} has a name that is no text in UTF-8",
                "rename it",
            ) from error
        strange = sorted(set(self.splits) - SPLITS)
        if strange:
            raise ProbabilityError(
                f"{where} has unknown splits: {enumerate_some(strange)}",
                "a split is train, validation (val, valid) or test",
            )
        self._require_probabilities(where)

    def _require_probabilities(self, where: str) -> None:
        table = self.probabilities
        if not table.size:
            raise ProbabilityError(f"{where} has no rows", "give at least one id and two classes")
        finite = np.isfinite(table).all(axis=1)
        if not finite.all():
            raise ProbabilityError(
                f"{where} has {counted(int((~finite).sum()), 'row')} with NaN or infinite "
                f"values, ids {enumerate_some(self._ids_at(~finite))}",
                "give a probability for every class of every row",
            )
        tolerance = sum_tolerance(table)
        wrong, off = _outside(table), _off(table, tolerance)
        if wrong.any():
            raise self._outside(where, wrong)
        if off.any():
            first = int(np.flatnonzero(off)[0])
            raise ProbabilityError(
                f"in {where} {counted(int(off.sum()), 'row does not', 'rows do not')} sum to 1 (id "
                f"{self.ids[first]}: "
                f"{table[first].sum():.4g}), where rounding explains {tolerance:.2g}; ids "
                f"{enumerate_some(self._ids_at(off))}",
                _hint_for_sums(table, self.classes, tolerance),
            )

    def _outside(self, where: str, wrong: np.ndarray) -> ProbabilityError:
        """Say which numbers are outside [0, 1], and what they may be."""
        table, rows, columns = self.probabilities, wrong.any(axis=1), wrong.any(axis=0)
        named = [self.classes[index] for index in np.flatnonzero(columns)]
        message = (
            f"{where} has {counted(int(rows.sum()), 'row')} outside [0, 1] (from "
            f"{table.min():.4g} to "
            f"{table.max():.4g}) in the columns {enumerate_some(named)}, ids "
            f"{enumerate_some(self._ids_at(rows))}"
        )
        return ProbabilityError(message, _what_they_may_be(table, wrong))

    def _ids_at(self, mask: np.ndarray) -> list[str]:
        return [self.ids[index] for index in np.flatnonzero(mask)]

    def to_dict(self) -> dict[str, Sequence]:
        """Return the columns ``id``, ``split`` and one for each class, as `pandas.DataFrame` takes.

        >>> table = ProbabilityTable(("1.jpg",), ("cat", "dog"), np.array([[0.25, 0.75]]))
        >>> table.to_dict()
        {'id': ['1.jpg'], 'split': [''], 'cat': array([0.25]), 'dog': array([0.75])}
        """
        columns: dict[str, Sequence] = {"id": list(self.ids), "split": list(self.splits)}
        names = map(class_column, self.classes)
        return columns | dict(zip(names, self.probabilities.T))


# Columns of answers that are no classes, and what tells a class of such a name from them.
_OWN_COLUMNS = frozenset({"id", "split", "label"})
_CLASS_MARK = "class:"


def class_column(name: str) -> str:
    """Return the column of a class in a table that has columns of other kinds too.

    >>> class_column("hat"), class_column("id"), class_column("class:id")
    ('hat', 'class:id', 'class:class:id')
    """
    if name.lower() in _OWN_COLUMNS or name.startswith(_CLASS_MARK):
        return _CLASS_MARK + name
    return name


def as_texts(name: str, values: Iterable[object]) -> tuple[str, ...]:
    """Return the texts of a list that a file holds; only ids may be whole numbers.

    Raises
    ------
    ValueError
        Others stand there, or bytes that are not UTF-8.
    """
    texts: list[str] = []
    for value in values:
        if isinstance(value, bytes):
            value = value.decode("utf-8")
        elif name == "ids" and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            wanted = "text or whole numbers" if name == "ids" else "text"
            raise ValueError(f"its {name} hold {escaped(str(value)[:40])}, not {wanted}")
        texts.append(value)
    return tuple(texts)


def column_class(column: str) -> str:
    """Return the class that `class_column` made a column of."""
    return column.removeprefix(_CLASS_MARK)


def mended(table_fields: dict, numbers: np.ndarray, mend: str) -> ProbabilityTable:
    """Make a table of numbers that may be no probabilities yet.

    Parameters
    ----------
    table_fields : dict
        ids, classes and what else `ProbabilityTable` takes.
    numbers : ndarray of shape (N, C)
    mend : {"refuse", "renormalise", "softmax"}
        Take them as they are, divide non-negative rows by their sum, or take them as logits
        unless all rows are probabilities.

    Raises
    ------
    ProbabilityError
        They cannot be mended so, or are no probabilities.
    """
    if mend == "renormalise":
        numbers = _renormalised(table_fields["ids"], numbers)
    elif mend == "softmax" and numbers.size and np.isfinite(numbers).all():
        # Files beside one of logits may hold probabilities, which a softmax would flatten.
        numbers = numbers if _are_probabilities(numbers) else softmax(numbers)
    try:
        # In the one spelling that labels have, whatever the program that wrote the file made of it.
        classes = tuple(map(class_name, table_fields["classes"]))
    except ValueError as error:
        raise ProbabilityError(str(error), "shorten it") from error
    # A file's name, of which a model gets its own, may be bytes of any kind.
    names = {
        name: table_fields[name].encode("utf-8", "backslashreplace").decode()
        for name in ("model", "task")
        if table_fields.get(name)
    }
    fields = {**table_fields, **names, "classes": classes}
    # Called as in tables of labels: what is no split of any name is refused as it stands.
    fields["splits"] = tuple(
        (split_name(one) or one) if one else "" for one in table_fields.get("splits", ())
    )
    return ProbabilityTable(probabilities=numbers, **fields)


def _outside(table: np.ndarray) -> np.ndarray:
    return (table < -1e-9) | (table > 1 + 1e-6)


def _hint_for_sums(table: np.ndarray, classes: Sequence[str], tolerance: float) -> str:
    """Say what to do with rows that do not sum to 1."""
    if len(classes) == 1:
        return "give a column for each class: that of one alone does not say what the others are"
    without = np.abs(table.sum(axis=1, keepdims=True) - table - 1) <= tolerance
    extra = np.flatnonzero(without.all(axis=0))
    if len(extra) == 1 and len(classes) > 2:
        return f"without the column {classes[extra[0]]} they do: take it out if it is no class"
    if not table.any(axis=1).all():
        return "rows of zeros alone say nothing: take them out, or give their probabilities"
    return "if each row is meant to be divided by its sum, --mend renormalise does so"


@np.errstate(over="ignore", invalid="ignore")
def _what_they_may_be(table: np.ndarray, wrong: np.ndarray) -> str:
    """Say what to do with a table in which numbers are `wrong`: outside [0, 1]."""
    sums, others = table.sum(axis=1), table[:, ~wrong.any(axis=0)]
    if others.shape[1] > 1 and np.allclose(others.sum(axis=1), 1, atol=SUM_TOLERANCE):
        return "the other columns hold probabilities: take out the columns that are no classes"
    if table.min() >= 0 and np.ptp(sums) <= 0.02 * sums.mean():
        return (
            f"its rows sum to {sums.mean():.4g}, as percentages and scaled "
            "probabilities do: divide by that, or use --mend renormalise"
        )
    if not _off(table).any():
        return (
            "its rows sum to 1 all the same, so these are no logits: put 0 for what is below, and "
            "use --mend renormalise"
        )
    fine = ~wrong.any(axis=1) & ~_off(table)
    if fine.mean() > 0.25:
        return f"{counted(int(fine.sum()), 'other row')} of it can stay: mend those alone"
    if table.min() >= 0 and not _off(np.exp(-table)).any():
        return (
            "these look like negative logarithms of probabilities: take exp(-x) of them; a softmax "
            "would turn their order round"
        )
    return "these look like logits: apply a softmax first, or use --mend softmax"


@np.errstate(over="ignore", invalid="ignore")
def sum_tolerance(table: np.ndarray) -> float:
    """Return how far rows of rounded probabilities may be from a sum of 1.

    It is half a unit of the last decimal for each class; of numbers with more than a few decimals,
    what half precision explains.

    >>> sum_tolerance(np.array([[0.33, 0.33, 0.33]])), sum_tolerance(np.array([[0.61234, 0.37766]]))
    (0.015, 0.004)
    """
    if not _off(table, _OF_HALF_PRECISION).any():
        return _OF_HALF_PRECISION
    for decimals in range(_FEW_DECIMALS + 1):
        # float32 has some digits more of each.
        if np.allclose(table, np.round(table, decimals), rtol=0, atol=1e-7):
            explained = table.shape[1] * 0.5 * 10.0**-decimals
            return min(SUM_TOLERANCE, max(_OF_HALF_PRECISION, explained))
    return _OF_HALF_PRECISION


def _off(table: np.ndarray, tolerance: float = SUM_TOLERANCE) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        # With room for the sum's own rounding.
        return ~(np.abs(table.sum(axis=1) - 1) <= tolerance + 1e-6)


def _are_probabilities(table: np.ndarray) -> bool:
    return not (_outside(table).any() or _off(table).any())


def _renormalised(ids: Sequence[str], numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        sums = numbers.sum(axis=1)
    bad = (numbers < 0).any(axis=1) | ~(sums > 0) | ~np.isfinite(sums)
    if bad.any():
        named = enumerate_some(ids[index] for index in np.flatnonzero(bad))
        raise ProbabilityError(
            f"{counted(int(bad.sum()), 'row')} cannot be divided by their sum, ids {named}",
            "negative numbers look like logits (take a softmax of them); rows of zeros and NaN "
            "cannot be mended: take them out, or give their probabilities",
        )
    return numbers / sums[:, None]


def _repeated(names: Iterable[str]) -> list[str]:
    counts = Counter(names)
    return [name for name, count in counts.items() for _ in range(count - 1)]

"""What the columns of a CSV of probabilities are: ids, classes, and what is neither."""

from ..core.csv_files import CsvTable, csv_number
from ..core.errors import ProbabilityError, enumerate_some, escaped
from .table import column_class

ID_COLUMNS: tuple[str, ...] = (
    "id",
    "image",
    "image_id",
    "imageid",
    "image_name",
    "imagename",
    "path",
    "file",
)
ID_COLUMNS += ("filename", "file_name", "name")
# Of a table without ids, as many lines tell.
_LOOKED_AT = 1000
# What pandas writes where the index was left in.
_INDEX_NAMES = ("", "unnamed: 0", "index")


def require_numbers(table: CsvTable, columns: list[int]) -> None:
    """Raise `ProbabilityError` if some columns, and not all, are of something else throughout."""
    strange = [i for i in columns if not any(_is_number(r.fields[i]) for r in table.rows)]
    # One line alone may be wrong itself.
    if len(table.rows) > 1 and strange and len(strange) < len(columns):
        named = [f"{table.header[i]} ({table.rows[0].fields[i]})" for i in strange]
        raise ProbabilityError(
            f"{table.path} has columns without a number: {escaped(enumerate_some(named))}",
            "take them out: every column but id and split is that of a class",
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def are_shares(names: list[str]) -> bool:
    """Tell whether names of columns are probabilities, as where a file has no header."""
    if not all(map(_is_number, names)):
        return False
    numbers = [float(name) for name in names]
    shares = any(not number.is_integer() for number in numbers)
    return shares and min(numbers) >= 0 and abs(sum(numbers) - 1) < 0.02


def id_column(table: CsvTable) -> int:
    """Return which column has the ids: the one of that name, else the first."""
    found, first = table.column(*ID_COLUMNS), table.header[0].lower()
    if found is None and _is_one_of_the_classes(table):
        raise ProbabilityError(
            f"{table.path} has no column of ids: the first one, {escaped(table.header[0])}, holds "
            "probabilities as the others do",
            "put a column id in front of it, with the names of the images",
        )
    if first in ID_COLUMNS or found is None:
        return 0
    if first in _INDEX_NAMES:
        name = f"is called '{table.header[0]}'" if first else "has no name"
        raise ProbabilityError(
            f"the first column of {table.path} is not id: it {name}, as pandas writes the numbers "
            f"of rows; the column {table.header[found]} stands at place {found + 1}",
            "write the table without its index: to_csv(..., index=False)",
        )
    return found


def split_column(table: CsvTable) -> int | None:
    """Return the column of splits: ``split``, in other capitals if it holds no numbers."""
    if "split" in table.header:
        return table.header.index("split")
    at = table.column("split")
    if at is None or any(_is_number(line.fields[at]) for line in table.rows):
        return None
    return at


def _is_one_of_the_classes(table: CsvTable) -> bool:
    """Tell whether the numbers of a row sum to 1 with those of the first column."""
    try:
        rows = [list(map(csv_number, line.fields)) for line in table.rows[:_LOOKED_AT]]
    except ValueError:
        return False
    shares = any(not row[0].is_integer() for row in rows)
    return shares and all(min(row) >= 0 and abs(sum(row) - 1) < 1e-3 for row in rows)


def answer_column(table: CsvTable) -> int | None:
    """Return the column ``label`` of `predict`'s answers, which names the likeliest class."""
    if "label" not in table.header or not table.rows:
        return None
    at = table.header.index("label")
    names = {column_class(name) for name in table.header} | {""}
    return at if {line.fields[at] for line in table.rows} <= names else None

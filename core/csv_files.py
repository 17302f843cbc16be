"""Read and write CSV files: one strict reader under all tables that users bring.

A record is one line. A quote that opens a field closes it in the same line; a quote
anywhere else is a fault of that line, since what a lenient reader does with it (swallow the
lines up to the next one) changes data without a word. White space around a field does not
count unless the field is quoted.
"""

import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from .content import describe_content, remedy_for
from .errors import (
    FileFormatError,
    IcecoreError,
    MissingFileError,
    counted,
    enumerate_some,
    escaped,
    shortened,
)
from .excel_marks import with_excel_mark
from .files import publish_text
from .regular_files import open_regular, require_at_most, size_text
from .text import repeated

LARGEST_CSV = 2**30
_LONGEST_LINE = 2**23
# A line of four bytes takes some hundred in memory.
_MOST_ROWS = 10**7
_MOST_FIELDS = 2**17
FAULTS_SHOWN = 10
_LINES_HINT = "correct these lines: one line a record; quotes inside a quoted field are doubled"
_CONFLICT = ("<<<<<<< ", "=======", ">>>>>>> ")
# What stands between fields in place of commas.
_MARKS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def require_few_lines(
    path: str | os.PathLike, count: int, error: type[IcecoreError], most: int | None = None
) -> None:
    """Refuse a table of more lines than memory holds, before they take it."""
    most = _MOST_ROWS if most is None else most
    if count > most:
        raise error(f"{path} has more than {most:,} lines", "write it as several smaller tables")


@dataclasses.dataclass(frozen=True, slots=True)
class CsvLine:
    """One line of a CSV file.

    Attributes
    ----------
    number : int
        Of the line in the file, from 1.
    fields : list of str
        Empty where the line is faulty.
    fault : str
        What is wrong with it; empty if nothing is.
    text : str
        The line as it stands, where quotes or space around a field are not in `fields`.
    """

    number: int
    fields: list[str]
    fault: str = ""
    text: str = ""


@dataclasses.dataclass(frozen=True)
class CsvTable:
    """A CSV file with a header.

    Attributes
    ----------
    header : tuple of str
        Column names as they are written.
    rows : list of CsvLine
        The lines below the header, each with as many fields as it has.
    faults : list of (int, str)
        Line number and fault of the lines that are not rows of the table.
    """

    path: Path
    header: tuple[str, ...]
    rows: list[CsvLine]
    faults: list[tuple[int, str]]

    @property
    def header_text(self) -> str:
        """The header for a message, with what is invisible in it shown."""
        return escaped(csv_line(self.header).rstrip("\n"))[:200]

    def column(self, *names: str) -> int | None:
        """Return the position of the first of `names` that the header has, in any case."""
        lowered = [name.lower() for name in self.header]
        return next(
            (lowered.index(name.lower()) for name in names if name.lower() in lowered), None
        )


def csv_lines(
    path: str | os.PathLike, error: type[IcecoreError] = FileFormatError, most: int = LARGEST_CSV
) -> Iterator[CsvLine]:
    """Read the lines of a CSV file one after another; empty ones are left out.

    Parameters
    ----------
    error : type
        What to raise about a file that is no CSV at all.
    most : int
        Largest size of the file in bytes; a larger one is not read.

    Raises
    ------
    MissingFileError
        There is no such file.
    IcecoreError
        Of the type `error`: it is no regular file, too large, or no text in UTF-8.
    """
    number = 0
    try:
        with open_regular(path) as file:
            require_at_most(file, path, most)
            _require_text(path, file.read(2**12), error)
            file.seek(0)
            for number, line in _text_lines(path, file, error):
                fields, fault = split_fields(line)
                as_it_is = line if sum(map(len, fields)) + len(fields) - 1 < len(line) else ""
                found = CsvLine(number, fields, fault, as_it_is)
                if found.fault or any(found.fields):
                    yield found
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise MissingFileError(f"{path} is not there", "check the path of the table") from cause
    except IcecoreError as cause:
        raise cause if isinstance(cause, error) else error(cause.message, cause.hint) from cause
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or cause
        raise error(f"{path} cannot be read: {reason}", "check its permissions") from cause
    except MemoryError as cause:
        raise error(f"{path} does not fit into the memory (line {number})", "split it") from cause


def read_csv(
    path: str | os.PathLike,
    error: type[IcecoreError] = FileFormatError,
    most: int = LARGEST_CSV,
    *,
    any_case: bool = False,
) -> CsvTable:
    """Read a CSV file with a header, and find the lines that do not fit it.

    Parameters
    ----------
    path, error, most
        As for `csv_lines`.
    any_case : bool
        Names of columns may differ in capitals alone, as those of classes do.

    Raises
    ------
    MissingFileError
        There is no such file.
    IcecoreError
        Of the type `error`: see `csv_lines`; or the file is empty, its header is faulty, or
        the header names a column twice.
    """
    path = Path(path)
    lines = csv_lines(path, error, most)
    first = next(lines, None)
    if first is None:
        raise error(f"{path} is empty", "give a table with a header line")
    header = tuple(first.fields)
    if first.fault:
        raise line_faults(path, [(first.number, first.fault)], error)
    _require_commas(path, header, error)
    named = [name if any_case else name.lower() for name in header if name]
    if twice := repeated(named):
        raise error(
            f"{path} has columns of one name: {enumerate_some(twice)}",
            "give every column a name of its own, in a line above the others",
        )
    rows: list[CsvLine] = []
    faults: list[tuple[int, str]] = []
    for line in lines:
        require_few_lines(path, len(rows) + len(faults) + 1, error)
        if line.fault:
            faults.append((line.number, line.fault))
        elif len(line.fields) != len(header):
            found = counted(len(line.fields), "field")
            if line.fields[0].startswith(_CONFLICT):
                found = "a mark of a merge in git that is not finished, and " + found
            faults.append((line.number, f"has {found}, not {len(header)}"))
        elif len(header) > 1 and tuple(line.fields) == header:
            faults.append((line.number, "repeats the header line, as tables joined to one do"))
        else:
            rows.append(line)
    return CsvTable(path, header, rows, faults)


def line_faults(
    path: str | os.PathLike,
    faults: Sequence[tuple[int, str]],
    error: type[IcecoreError] = FileFormatError,
    hint: str = _LINES_HINT,
) -> IcecoreError:
    """Return the error that names the faulty lines of a table, in their order."""
    named = [
        f"line {number} {escaped(shortened(what))}"
        for number, what in sorted(faults)[:FAULTS_SHOWN]
    ]
    more = len(faults) - len(named)
    text = "; ".join(named) + (f"; and {more} more" if more > 0 else "")
    lines = "1 line" if len(faults) == 1 else f"{len(faults)} lines"
    return error(f"{lines} of {path} cannot be read: {text}", hint)


def csv_number(text: str) -> float:
    """Read a finite number as tables write it; the error says what a line has instead.

    Raises
    ------
    ValueError
        The text is no number, or not a finite one.
    """
    if not text.isascii() or "_" in text:
        raise ValueError(f"has '{escaped(text[:40])}', which is not a number")
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"has '{escaped(text[:40])}', which is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"has {text[:40]}, which is not a finite number")
    return number


def csv_line(fields: Iterable[object], *, excel: bool = False) -> str:
    """Write one line, with its line break, so that `csv_lines` reads the same fields.

    Parameters
    ----------
    excel : bool
        Put an apostrophe before text that a spreadsheet would take for a formula.
    """
    return ",".join(_cell(field, excel) for field in fields) + "\n"


def write_csv(
    path: str | os.PathLike, rows: Iterable[Iterable[object]], *, excel: bool = False
) -> None:
    """Write a CSV file in UTF-8, atomically; see `csv_line`."""
    text = "".join(csv_line(row, excel=excel) for row in rows)
    try:
        publish_text(path, text)
    except UnicodeEncodeError as error:
        near = text[max(0, error.start - 30) : error.end]
        raise FileFormatError(
            f"{path} cannot be written: '{escaped(near)}' ends in half of a character",
            "rename it; names of files may be such, where they are not in UTF-8",
        ) from error


def _cell(field: object, excel: bool) -> str:
    if isinstance(field, float):
        return repr(float(field))
    text = "" if field is None else str(field)
    if excel and isinstance(field, str):
        text = with_excel_mark(text)
    if "\n" in text or "\r" in text or "\0" in text:
        what = "zero byte" if "\0" in text else "line break"
        raise FileFormatError(
            f"'{escaped(text[:60])}' has a {what}, which no table can hold",
            "rename it, or write a file of another kind",
        )
    if '"' in text or "," in text or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


_QUOTED = re.compile(r'\s*"((?:[^"]|"")*)"\s*(,|$)')
_PLAIN = re.compile(r"([^,]*)(,|$)")
# A table's first cell may be a bracket, but no quote follows it there.
_JSON = re.compile(rb'\s*(?=[\[{])[^",]*[\[{ \t]"')


def split_fields(line: str, trim: Callable[[str], str] = str.strip) -> tuple[list[str], str]:
    """Split a line into fields; the second value says what is wrong with it."""
    if "\0" in line:
        return [], "has a NUL character"
    if '"' not in line:
        return [trim(field) for field in line.split(",")], ""
    fields: list[str] = []
    at = 0
    while True:
        quoted = _QUOTED.match(line, at)
        found = quoted or _PLAIN.match(line, at)
        assert found is not None  # a plain field may be empty
        text = found[1]
        if quoted is None and '"' in text:
            return [], _quote_fault(line, at, len(fields) + 1)
        fields.append(text.replace('""', '"') if quoted else trim(text))
        at = found.end()
        if not found[2]:
            return fields, ""


def _quote_fault(line: str, at: int, field: int) -> str:
    rest = line[at:].lstrip()
    shown = rest[:40]
    if not rest.startswith('"'):
        return f"has a quote inside field {field}, which is not quoted: {shown}"
    if closed := re.match(r'"(?:[^"]|"")*" *', rest):
        if mark := _MARKS.get(rest[closed.end()]):
            return f"separates fields by {mark}, not by commas: {shown}"
        return f"goes on behind the closing quote of field {field}: {shown}"
    return f"opens a quote in field {field} and does not close it: {shown}"


def _text_lines(
    path: str | os.PathLike, file, error: type[IcecoreError]
) -> Iterator[tuple[int, str]]:
    number = 0
    while raw := file.readline(_LONGEST_LINE + 1):
        # A carriage return alone ended lines on old Macs, and still does in some exports.
        for part in raw.rstrip(b"\r\n").split(b"\r"):
            number += 1
            if len(part) > _LONGEST_LINE or part.count(b",") > _MOST_FIELDS:
                raise error(
                    f"line {number} of {path} is too long for a table: over "
                    f"{size_text(_LONGEST_LINE)} or {_MOST_FIELDS} fields",
                    "check that it is the file that was meant",
                )
            # A file may be of empty lines alone.
            if not part:
                require_few_lines(path, number, error, 2 * _MOST_ROWS)
                continue
            try:
                text = part.decode("utf-8")
            except UnicodeDecodeError as cause:
                raise _not_utf8(path, number, part, cause, error) from cause
            yield number, text.lstrip("\ufeff") if number == 1 else text


def _require_text(path: str | os.PathLike, head: bytes, error: type[IcecoreError]) -> None:
    hint = "save the table as CSV with UTF-8 text"
    if kind := describe_content(head) or ("JSON" if _JSON.match(head) else ""):
        if remedy := remedy_for(kind, ""):
            # A workbook is an archive, too.
            hint = f"{remedy}; if it is a table, {hint}"
        raise error(f"{path} is not a CSV in UTF-8: it is {kind}", hint)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head[:2]:
        wide = head.startswith((b"\xff\xfe\0\0", b"\0\0"))
        raise error(f"{path} is not a CSV in UTF-8: it is text in UTF-{32 if wide else 16}", hint)


def _not_utf8(path, number, part, cause, error) -> IcecoreError:
    try:
        seen = part[max(0, cause.start - 20) : cause.start + 20].decode("cp1252")
        as_if = f"; in Windows-1252 it would read '{escaped(seen)}'"
    except UnicodeDecodeError:
        as_if = ""
    byte = part[cause.start]
    return error(
        f"{path} is not a CSV in UTF-8: line {number} has the byte 0x{byte:02x}{as_if}",
        "save the table as CSV with UTF-8 text",
    )


def _require_commas(path: Path, header: Sequence[str], error: type[IcecoreError]) -> None:
    if header[0].lower() == "sep=":
        raise error(
            f"{path} begins with a line that only Excel understands: sep=,", "take this line out"
        )
    if len(header) != 1:
        return
    for mark, name in _MARKS.items():
        if mark in header[0]:
            raise error(
                f"{path} separates its columns by {name}, not by commas: {header[0][:80]!r}",
                "save it as CSV with commas",
            )

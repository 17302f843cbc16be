"""JSON lines: a table with an object in each line, as Hugging Face's image folders have."""

import json
import os
from pathlib import Path

from .csv_files import CsvLine, CsvTable, line_faults, require_few_lines
from .errors import FileFormatError, IcecoreError
from .json_files import parse_json
from .regular_files import read_whole

LARGEST_JSON_LINES = 2**28
# An object of two bytes takes two hundred in memory.
_MOST_LINES = 3 * 10**6
# Lines times fields: few bytes of lines without a field in common would be a huge table.
_MOST_CELLS = 2**26
_HINT = "give a file with one JSON object in each line, in UTF-8"


def read_json_lines(
    path: str | os.PathLike, error: type[IcecoreError] = FileFormatError
) -> CsvTable:
    """Read objects with the fields of a table, and find the lines that are none.

    Null, and what an object lacks, is an empty field; what is no text is one as JSON has it.

    Raises
    ------
    MissingFileError
        There is no such file.
    IcecoreError
        Of the type `error`: it is no regular file, too large, or none of its lines is an object.
    """
    path = Path(path)
    found: list[tuple[int, dict]] = []
    faults: list[tuple[int, str]] = []
    content = read_whole(path, LARGEST_JSON_LINES, error, _HINT)
    require_few_lines(path, content.count(b"\n"), error, _MOST_LINES)
    for number, line in enumerate(content.split(b"\n"), 1):
        try:
            if line.strip():
                found.append((number, parse_json(line, "")))
        except FileFormatError as fault:
            faults.append((number, fault.message.strip()))
    header = tuple(dict.fromkeys(name for _, fields in found for name in fields))
    if not header and faults:
        raise line_faults(path, faults, error, _HINT)
    if not header:
        raise error(f"{path} has no line that is a JSON object", _HINT)
    if len(found) * len(header) > _MOST_CELLS:
        raise error(
            f"{path} has {len(found):,} lines and {len(header):,} different fields",
            "leave out the fields that say nothing of an image, or write several files",
        )
    rows = [
        CsvLine(number, [_text(fields.get(name)) for name in header]) for number, fields in found
    ]
    return CsvTable(path, header, rows, faults)


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)

"""Read CSV files: one reader under all tables that users bring."""

from __future__ import annotations

import csv
from pathlib import Path

from .errors import ManifestError

__all__ = ["read_csv_rows"]


def read_csv_rows(path: Path) -> list[list[str]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            f"{path} is not a CSV in UTF-8: {error}", "save the table as CSV with UTF-8 text"
        ) from error

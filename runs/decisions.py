"""Whether a table of an audit's findings has decisions of a person in it."""

from pathlib import Path

from ..core.csv_files import read_csv
from ..core.errors import IcecoreError


def holds_decisions(path: Path) -> bool:
    """Tell whether somebody has filled in the actions of an audit, or it is another table."""
    if not path.exists():
        return False
    try:
        table = read_csv(path)
    except IcecoreError:
        return True
    at = table.column("action")
    return at is None or bool(table.faults) or any(line.fields[at] for line in table.rows)

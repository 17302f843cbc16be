"""A table as its columns, which pandas, polars and what speaks Arrow take as they are."""

import html
from collections.abc import Iterable

from .imports import load
from .text import aligned

_MOST_SHOWN = 20


class Columns(dict):
    """Columns of one length by their names, which show themselves as a table.

    ``pandas.DataFrame(columns)`` and ``polars.DataFrame(columns)`` take them, and so does what
    takes Arrow's stream, where pyarrow is installed.
    """

    def rows(self) -> Iterable[tuple]:
        """Return the rows."""
        return zip(*self.values())

    def __repr__(self) -> str:
        count = len(next(iter(self.values()), ()))
        cells = [
            list(self),
            *([_text(v) for v in row] for row, _ in zip(self.rows(), range(count))),
        ]
        cells = cells[: _MOST_SHOWN + 1]
        more = [f"... {count} rows"] if count > _MOST_SHOWN else []
        return "\n".join([*aligned(cells), *more])

    def _repr_html_(self) -> str:
        count = len(next(iter(self.values()), ()))
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_text(value))}</td>" for value in row) + "</tr>"
            for row, _ in zip(self.rows(), range(_MOST_SHOWN))
        )
        more = f"<caption>{count} rows</caption>" if count > _MOST_SHOWN else ""
        return f"<table>{more}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __arrow_c_stream__(self, requested_schema=None):
        """Hand the columns over through Arrow's C stream interface."""
        return load("pyarrow").table(dict(self)).__arrow_c_stream__(requested_schema)


def _text(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)

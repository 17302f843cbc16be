"""`icecore manifest`."""

from __future__ import annotations

from pathlib import Path

import click

from . import console
from .options import as_json

__all__ = ["manifest"]


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write the table as CSV.")
@as_json
def manifest(data, out, as_json) -> None:
    """Show what icecore makes of DATA, as one table of samples.

    \b
    Examples:
      icecore manifest photos
      icecore manifest fashionai -o table.csv
    """
    from ..manifest import read

    table = read(data)
    if out is not None:
        table.write(out)
    summary = table.summary()
    if as_json:
        console.print_json(summary)
        return
    columns = ("task", "split", "images", "labelled", "classes")
    console.print_table(columns, [[row[name] for name in columns] for row in summary])
    if out is not None:
        click.echo(f"table: {out}")

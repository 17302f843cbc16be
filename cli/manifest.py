"""`icecore manifest`."""

import os
from collections import Counter, defaultdict

import click

from ..core.errors import counted, enumerate_some, escaped
from ..core.outputs import require_kind, require_writable
from ..core.places import is_place
from . import console
from .options import A_PATH, DATA, as_json, table_options

_OF_TABLES = "; a table's relative paths are taken from its own folder"


@click.command()
@click.argument("data", type=DATA)
@click.option("-o", "--out", type=A_PATH, help="Write the table as CSV.")
@table_options
@as_json
def manifest(data, out, as_json, **options) -> None:
    """Show how icecore reads DATA, as one table of samples.

    Every file below DATA is used, or counted as passed over with the reason. The table that
    --out writes has the columns that the other commands expect, whatever DATA was.

    \b
    Examples:
      icecore manifest photos
      icecore manifest fashionai -o table.csv
      icecore manifest messy.csv --path-column file --label-column breed --skip-bad-rows \\
          -o clean.csv
    """
    from ..manifest import TableOptions, meant_files, passed_over_text, read

    table = read(data, table=TableOptions(**options))
    if out is not None:
        require_writable([out], (data, *(one.path for one in table.images.values())))
        require_kind(out, ".csv")
        table.write(out)
    summary, notes = table.summary(), table.notes()
    # What a table names may be elsewhere; with a digest, rows are found without the file.
    images = table.images.values()
    looked = (one.path for one in images if not one.digest and not is_place(one.path))
    if absent := [path for path in looked if not os.path.isfile(path)]:
        what = counted(len(absent), "image file is", "image files are")
        notes.append(
            f"{what} not there, or no file: {enumerate_some(absent)}"
            + _OF_TABLES * os.path.isfile(table.source)
            + (f"; {enumerate_some(meant)}" if (meant := meant_files(absent, table.source)) else "")
        )
    classes = {task: list(table.classes(task)) for task in table.tasks}
    if as_json:
        reasons = defaultdict(list)
        for name, why in table.passed_over:
            reasons[why].append(name)
        content = {"summary": summary, "classes": classes, "passed_over": reasons}
        console.print_json(content | {"warnings": notes})
        return
    columns = ("task", "split", "images", "labelled", "classes")
    console.print_table(columns, [[row[name] for name in columns] for row in summary])
    for task, names in classes.items():
        images = Counter(sample.label for sample in table.select(task))
        counts = ", ".join(f"{escaped(name)} ({images[name]})" for name in names)
        console.echo(f"{escaped(task)}: {counts}")
    if passed := passed_over_text(table.passed_over):
        console.echo(passed)
    if out is not None:
        console.echo(f"table: {out}")
    for note in notes:
        console.echo(f"warning: {escaped(note)}", err=True)

"""The command ``icecore export``."""

import click

from . import console
from .options import A_PATH, as_json


@click.command()
@click.argument("run", type=A_PATH)
@click.option(
    "--to",
    required=True,
    type=click.Choice(["fiftyone", "label-studio"]),
    help="The program that is to read it.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=A_PATH,
    help="Write here: a folder for fiftyone, a JSON file for label-studio.",
)
@as_json
def export(run, to, out, as_json) -> None:
    """Hand the images of RUN to a labelling program, doubtful labels first.

    Labels go along, and predictions of heads that had not seen the image.

    \b
    Examples:
      icecore export run --to label-studio -o tasks.json
      icecore export run --to fiftyone -o fiftyone-run
    """
    from .. import jobs

    found = jobs.export_labels(run, to, out)
    if as_json:
        console.print_json(found)
        return
    console.echo(f"{found['images']} images, {found['doubtful']} of them with a doubtful label")
    if found["root"]:
        console.echo(f"let Label Studio serve LOCAL_FILES_DOCUMENT_ROOT={found['root']}")
    console.echo(f"written: {', '.join(found['files'])}")

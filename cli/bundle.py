"""`icecore bundle`."""

import click

from . import console, progress
from .options import A_PATH, answer_option, as_json, quiet


@click.command()
@click.argument("run", type=A_PATH)
@click.option("-o", "--out", required=True, type=A_PATH, help="Write the bundle to this ONNX file.")
@click.option(
    "--weights-dir", type=A_PATH, help="Look for weights and ONNX files in this folder first."
)
@click.option(
    "--card",
    type=A_PATH,
    help="Write a model card here, too: data, classes, metrics with intervals, weights (Markdown).",
)
@answer_option
@as_json
@quiet
def bundle(run, out, weights_dir, card, answer, as_json, quiet) -> None:
    """Write RUN as one ONNX file: backbones, heads and weights.

    \b
    Examples:
      icecore bundle run -o model.onnx
      icecore bundle run -o model.onnx --card model.md
    """
    from .. import jobs

    with progress.spinner("writing the graph, and comparing it with predict", as_json or quiet):
        found = jobs.bundle(run, out, weights_dir=weights_dir, answer=answer, card=card)
    if as_json:
        console.print_json(found)
        return
    for name, square in found["inputs"].items():
        side = square["input_size"][1]
        console.echo(f"input {name}: uint8 (N, {side}, {side}, 3)")
    for name, task in found["outputs"].items():
        console.echo(f"output {name}: float32 (N, {len(task['classes'])})")
    console.echo(f"{found['bytes'] / 1e6:.1f} MB: {out}")
    if card is not None:
        console.echo(f"model card: {card}")
    if found["random_weights"]:
        console.random_weights_warning("this bundle's answers")

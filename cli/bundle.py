"""`icecore bundle`."""

from __future__ import annotations

import click

from . import console
from .options import A_PATH, answer_option, as_json

__all__ = ["bundle"]


@click.command()
@click.argument("run", type=A_PATH)
@click.option("-o", "--out", required=True, type=A_PATH, help="Write the bundle to this ONNX file.")
@click.option(
    "--weights-dir", type=A_PATH, help="Look for weights and ONNX files in this folder first."
)
@answer_option
@as_json
def bundle(run, out, weights_dir, answer, as_json) -> None:
    """Write RUN as one ONNX file: backbones, heads and weights.

    \b
    Example:
      icecore bundle run -o model.onnx
    """
    from .. import jobs

    found = jobs.bundle(run, out, weights_dir=weights_dir, answer=answer)
    if as_json:
        console.print_json(found)
        return
    for name, square in found["inputs"].items():
        side = square["input_size"][1]
        console.echo(f"input {name}: uint8 (N, {side}, {side}, 3)")
    for name, task in found["outputs"].items():
        console.echo(f"output {name}: float32 (N, {len(task['classes'])})")
    console.echo(f"{found['bytes'] / 1e6:.1f} MB: {out}")
    if found["random_weights"]:
        console.random_weights_warning("this bundle's answers")

"""`icecore demo`."""

from __future__ import annotations

import click

from . import console, progress
from .options import A_PATH, as_json, quiet

__all__ = ["demo"]


@click.command()
@click.option(
    "-o",
    "--out",
    default="demo-run",
    type=A_PATH,
    help="Put everything that the demo makes into this folder.",
)
@click.option("--images", default=300, help="Draw this many images.")
@click.option("--seed", default=0, help="Seed for the drawings and for training.")
@as_json
@quiet
def demo(out, images, seed, as_json, quiet) -> None:
    """Draw a small data set and run all three jobs on it.

    \b
    Examples:
      icecore demo
      icecore demo --out demo-run --images 600 --seed 1
    """
    from .. import demo as demos
    from .. import jobs

    with progress.extract_bar(quiet or as_json) as listener:
        result = demos.run_demo(out, images=images, seed=seed, progress=listener)
    if as_json:
        console.print_json(result.blend.to_json())
        return
    console.echo(console.failures_text(result.extracted.failures))
    console.echo()
    console.echo(jobs.result_text(result.blend))
    console.echo(f"\nreport: {out / 'report.html'}")

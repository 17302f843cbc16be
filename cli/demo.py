"""`icecore demo`."""

import dataclasses

import click

from . import console, progress
from .options import A_PATH, SEED, as_json, quiet


@click.command()
@click.option(
    "-o",
    "--out",
    default="demo-run",
    type=A_PATH,
    help="Put everything that the demo makes into this folder.",
)
@click.option("--images", default=300, help="Draw this many images.")
@click.option("--seed", default=0, type=SEED, help="Seed for the drawings and for training.")
@as_json
@quiet
def demo(out, images, seed, as_json, quiet) -> None:
    """Draw a small data set, run all three jobs on it, and show what regions and groups bring.

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
        about = {"groups": result.groups, "regions": dataclasses.asdict(result.regions)}
        console.print_json(result.blend.to_json() | about)
        return
    console.echo(console.failures_text(result.extracted.failures))
    console.echo()
    console.echo(jobs.result_text(result.blend, width=console.table_width()))
    console.echo(_regions_text(result.regions))
    console.echo(_groups_text(result.groups))
    console.echo(f"\nreport: {out / 'report.html'}")


def _regions_text(found) -> str:
    necks, whole = found.log_loss
    gain, low, high = found.gain
    return (
        f"\nregions: necks were learnt from {found.boxes} boxes in other pictures (mean IoU "
        f"{found.mean_iou:.2f}) and found in {found.images} pictures of necklines: log-loss of one "
        f"small network {whole:.4f} with whole pictures, {necks:.4f} with necks, gain {gain:+.4f}, "
        f"95% interval {low:+.4f} to {high:+.4f}"
    )


def _groups_text(found: dict) -> str:
    gain, kinds = found["gain"], " and ".join(f"{n} {kind}" for kind, n in found["images"].items())
    low, high = gain["interval"]
    return (
        f"\ngroups: pictures of two kinds ({kinds}), in which the same cut is another class; "
        f"knowing the kind, which is told from features ({found['router']['accuracy']:.0%} right), "
        f"gains {gain['log_loss']:+.4f} in log-loss, 95% interval {low:+.4f} to {high:+.4f}"
    )

"""`icecore regions`: the part of an image that counts, learnt from a few boxes."""

import click

from . import console, progress
from .options import A_PATH, DATA, SEED, as_json, engine_options, quiet


@click.group()
def regions() -> None:
    """Learn the part of an image that counts from a few boxes."""


@regions.command()
@click.argument("data", type=DATA)
@click.option(
    "--boxes",
    required=True,
    type=A_PATH,
    help="Learn from the boxes in this CSV (path,x0,y0,x1,y1) of some of the images.",
)
@click.option(
    "-b",
    "--backbone",
    required=True,
    metavar="SPEC",
    help="Look with this network: gluon:NAME[@RESOLUTION], mxnet:NAME, onnx:FILE or "
    "gluon-file:PREFIX.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=A_PATH,
    help="Write what was learnt into this folder, which names the region.",
)
@click.option(
    "--layer",
    metavar="NAME",
    help="Look at the map of this layer; icecore backbones --layers SPEC lists them "
    "[default: the last map, before the pool].",
)
@click.option(
    "--threshold",
    default=0.5,
    help="Leave an image whole where less intersection over union than this is expected.",
)
@click.option("--seed", default=0, type=SEED, help="Seed for folds and places.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier region in the folder.")
@click.option(
    "--weights",
    default="pretrained",
    metavar="pretrained|random:SEED",
    help="Use pretrained weights, or random ones, which know nothing and serve only for trials.",
)
@engine_options
@as_json
@quiet
def fit(data, boxes, backbone, out, as_json, quiet, **options) -> None:
    """Learn a region of the images of DATA from the boxes of some of them.

    No detector and no GPU is needed: a regression predicts the box from the feature maps of a
    frozen network, and 200 boxes are enough. A line of the table without numbers says that the
    image does not show the region. Give the folder to extract as --boxes, and it is found in
    every image.

    \b
    Examples:
      icecore regions fit photos --boxes some.csv -b onnx:efficientnet_lite0.onnx -o necks
      icecore extract photos -o cache -b gluon:resnet152_v2 --fit pad --boxes necks
    """
    from .. import jobs

    with progress.spinner("{}", quiet or as_json) as on_step:
        how = jobs.FitRegionsOptions(**options)
        fitted = jobs.fit_regions(data, boxes, backbone, out, how, on_step)
    figures = fitted.regions.figures
    if fitted.regions.record.backbone.is_random:
        console.random_weights_warning("this region")
    if as_json:
        unreadable = [{"id": one, "reason": why} for one, why in fitted.unreadable]
        about = {"regions": str(out), "name": fitted.regions.name, "marked": fitted.marked}
        console.print_json(about | figures | {"unreadable": unreadable})
        return
    console.echo(
        f"{fitted.regions.name}: learnt from {figures['boxes']:.0f} boxes; out of fold the mean "
        f"IoU is {figures['mean_iou']:.3f}, above 0.5 in {figures['share_above_half']:.1%} "
        f"(one and the same box everywhere: {figures['constant_iou']:.3f}); "
        f"{figures['share_whole']:.1%} would stay whole"
    )
    if figures["mean_iou"] <= figures["constant_iou"]:
        console.echo("note: that is no better than one and the same box in every image", err=True)
    for identity, why in fitted.unreadable:
        console.echo(f"could not be read: {identity}: {why}", err=True)
    console.echo(f"the worst pictures: {out / 'report.html'}")
    console.echo(f"next: icecore extract {data} -o CACHE -b SPEC --fit pad --boxes {out}")

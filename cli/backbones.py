"""``icecore backbones``: the zoos, a network's layers, proofs."""

import dataclasses
import sys

import click

from . import console
from .idle import refuse_idle
from .options import A_PATH, as_json


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--verify", is_flag=True, help="Compare the graph of each network with MXNet.")
@click.option(
    "--layers", is_flag=True, help="List the layers of one backbone that --layer accepts."
)
@click.option(
    "--weights",
    default="random:0",
    metavar="pretrained|random:SEED",
    help="Fill the networks that --verify compares with these weights.",
)
@click.option("--weights-dir", type=A_PATH, help="Look for weights and files in this folder first.")
@as_json
def backbones(names, verify, layers, weights, weights_dir, as_json) -> None:
    """List the networks that can be named as backbones.

    NAME is a name, a part of one, or a pattern, of timm's networks too where timm is installed;
    those of the zoos are listed without it. Parameters and multiply-adds are those up to the
    features, for one image of the native size. From says where weights can be had now: a
    package, the Hugging Face hub, Gluon's old host only, or nowhere.

    \b
    Examples:
      icecore backbones
      icecore backbones 'resnet*_v2' densenet
      icecore backbones --verify resnet18_v1 mxnet:mobilenet0.25
      icecore backbones --layers gluon:resnet50_v2
    """
    from .. import features

    if (verify or layers) and not names:
        raise click.UsageError("name the backbones; 'icecore backbones' lists them")
    if verify and layers:
        raise click.UsageError("--verify and --layers cannot be used together")
    refuse_idle(
        ({} if verify else {"--weights": "needs --verify"})
        | ({} if verify or layers else {"--weights-dir": "needs --verify or --layers"})
    )
    if verify:
        request = features.WeightsRequest.parse(weights, weights_dir)
        _verify(names, request, as_json)
    elif layers:
        if len(names) > 1:
            raise click.UsageError("--layers takes one backbone")
        request = features.WeightsRequest.parse("pretrained", weights_dir)
        _layers(names[0], request, as_json)
    else:
        _list(names, as_json)


def _list(names, as_json: bool) -> None:
    from ..features import search_networks, weights_from

    networks, theirs = search_networks(names)
    if as_json:
        found = [
            {"spec": n.spec} | dataclasses.asdict(n) | {"from": weights_from(n)} for n in networks
        ]
        console.print_json(found + [{"spec": n.spec, "from": n.weights_from} for n in theirs])
        return
    columns = ("spec", "features", "pixels", "smallest", "parameters", "multiply-adds", "from")
    rows = [
        [
            network.spec,
            network.num_features,
            network.resolution,
            "no other" if network.fixed else network.smallest,
            f"{network.parameters / 1e6:.1f} M",
            f"{network.multiply_adds / 1e9:.2f} G",
            weights_from(network),
        ]
        for network in networks
    ]
    if networks:
        console.print_table(columns, rows)
    if theirs:
        console.print_table(("spec", "from"), [[one.spec, one.weights_from] for one in theirs])
    count = len(networks) + len(theirs)
    console.echo(
        f"{count} network{'' if count == 1 else 's'}. "
        "onnx:FILE and gluon-file:PREFIX take networks of your own."
    )


def _layers(name: str, request, as_json: bool) -> None:
    from ..features import list_layers

    found = list_layers(name if ":" in name else f"gluon:{name}", request)
    if as_json:
        console.print_json([{"layer": n, "operator": op, "shape": list(s)} for n, op, s in found])
        return
    rows = [[layer, kind, " x ".join(map(str, shape))] for layer, kind, shape in found]
    console.print_table(("layer", "operator", "output"), rows)


def _verify(names, request, as_json: bool) -> None:
    from ..features import verify_backbones

    def announce(done: int, total: int, spec: str) -> None:
        if not as_json:
            console.echo(f"{done + 1}/{total} {spec} ...", err=True)

    results = list(verify_backbones(names, request, announce))
    if as_json:
        console.print_json([dataclasses.asdict(one) for one in results])
    else:
        columns = ("backbone", "features", "relative error", "seconds", "verdict")
        rows = [
            [
                one.spec,
                one.num_features or "",
                "" if one.relative_error is None else f"{one.relative_error:.1e}",
                f"{one.seconds:.1f}",
                one.problem or "proved",
            ]
            for one in results
        ]
        console.print_table(columns, rows)
    if any(one.problem for one in results):
        sys.exit(1)

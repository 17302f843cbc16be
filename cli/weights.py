"""The commands of ``icecore weights``."""

import click

from ..core.interrupts import keeps_finished
from . import console, progress
from .options import A_FOLDER_THERE, A_PATH, as_json, quiet

folder_option = click.option(
    "--weights-dir",
    "folder",
    type=A_FOLDER_THERE,
    help="Look in this folder of your own before Gluon's cache.",
)


@click.group()
def weights() -> None:
    """Fetch, import and list the weights of Gluon's networks."""


@weights.command("ls")
@click.argument("networks", nargs=-1)
@folder_option
@as_json
def list_command(networks, folder, as_json) -> None:
    """List where the weights of NETWORKS are on this machine, with digest and origin.

    \b
    Examples:
      icecore weights ls
      icecore weights ls gluon:resnet152_v2 mxnet:inceptionv3 --weights-dir weights
    """
    from ..features import list_weights

    found = list_weights(networks, folder)
    if as_json:
        console.print_json(found)
        return
    console.print_table(
        ("network", "state", "SHA-256", "from", "file"),
        [
            [one["network"], one["state"], (one["sha256"] or "")[:12], one["source"] or "",
             one["path"] or ""]
            for one in found
        ],
    )  # fmt: skip
    if any(one["path"] is None for one in found):
        console.echo(
            "to get what is missing: icecore weights fetch NETWORK, or "
            "icecore weights where NETWORK to bring the files yourself"
        )


@weights.command("fetch")
@click.argument("networks", nargs=-1, required=True)
@folder_option
@as_json
@quiet
def fetch(networks, folder, as_json, quiet) -> None:
    """Download the weights of NETWORKS that are not on this machine.

    Gluon's own host is tried first (MXNET_GLUON_REPO names a mirror), then the Hugging Face hub
    (HF_ENDPOINT), where the same weights live on in other formats. What comes from there is
    converted and checked. A download that was cut off continues where it stopped.

    \b
    Example:
      icecore weights fetch gluon:resnet152_v2 gluon:inceptionv3 gluon:densenet201
    """
    from ..features import fetch_weights, require_networks

    require_networks(networks)
    found = []
    for network in networks:
        with keeps_finished(), progress.download_bar(network, quiet or as_json) as on_bytes:
            found.append((network, fetch_weights(network, folder, on_bytes)))
        if not as_json:
            console.echo(f"{network}: {found[-1][1].origin}")
    if as_json:
        console.print_json([_described(network, file) for network, file in found])


@weights.command("import")
@click.argument("file", type=A_PATH)
@click.option(
    "--as", "network", metavar="NETWORK", help="Name the network that the weights belong to."
)
@folder_option
@as_json
def import_command(file, network, folder, as_json) -> None:
    """Import FILE: Gluon's .params or .zip, or an .onnx or .safetensors with the same weights.

    Other formats are converted to .params. Every tensor must fit, and what an ONNX file computes
    is compared with what the network computes. The result goes into --weights-dir, or else into
    Gluon's cache.

    \b
    Examples:
      icecore weights import resnet152-v2-7.onnx
      icecore weights import model.safetensors --as gluon:inceptionv3 --weights-dir weights
    """
    from ..features import import_weights

    found = import_weights(file, network, folder)
    if as_json:
        console.print_json(_described(network, found))
        return
    console.echo(found.origin)


@weights.command("where")
@click.argument("network")
@folder_option
@as_json
def where(network, folder, as_json) -> None:
    """Say which files to bring for NETWORK to a machine without internet, and where to put them.

    \b
    Example:
      icecore weights where gluon:inceptionv3
    """
    from ..features import where_to_put_weights

    found = where_to_put_weights(network, folder)
    if as_json:
        console.print_json(found)
        return
    console.echo(f"{found['network']}: {found['here'] or 'not on this machine'}")
    for number, choice in enumerate(found["choices"]):
        console.echo(f"{'or bring' if number else 'bring'} {choice['file']}")
        console.echo(f"  get  {choice['get']}")
        if choice["sha1"]:
            console.echo(f"  SHA-1 of the .params in it: {choice['sha1']}")
        if choice["put"]:
            console.echo(f"  put  {choice['put']}")
        if choice["then"]:
            console.echo(f"  then {choice['then']}")
    if not found["choices"]:
        console.echo("no weights are published for it; import your own with --as")


def _described(network: str | None, file) -> dict:
    return {
        "network": network,
        "state": file.kind,
        "path": str(file.path),
        "source": file.source,
        "places": list(file.passed),
    }

"""Which networks the Gluon zoos have, how each wants its images, and what it costs.

The facts are kept in ``zoo.json``, so that looking one up builds no network and imports neither
MXNet nor GluonCV. ``tools/zoo_table.py`` fills it in.
"""

import dataclasses
import difflib
import functools
import json
from pathlib import Path

from ...core.errors import BackboneError
from ..images.preprocessing import Preprocessing
from ..records.record import BackboneRecord
from ..records.spec import BackboneSpec

# Source of a spec -> whose zoo it is. Under one name the two may have different weights.
ZOOS = {"gluon": "GluonCV", "mxnet": "MXNet"}
TABLE = Path(__file__).with_name("zoo.json")
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The weights were trained by Google's pipeline: (value - 127) / 128.
_TF_LITE = (127 / 255,) * 3, (128 / 255,) * 3


@dataclasses.dataclass(frozen=True)
class ZooNetwork:
    """A classifier of a zoo, before it is built.

    Attributes
    ----------
    source, name : str
        Parts of its spec.
    family : str
        Architecture that it belongs to.
    num_features : int
        Length of a feature row.
    resolution : int
        Native side of the input in pixels.
    smallest : int
        Smallest side that it takes; equal to `resolution` where it takes no other.
    fixed : bool
        Whether it takes the native resolution alone.
    parameters, multiply_adds : int
        Of the network up to its features; multiply-adds for one image.
    weights : str or None
        SHA-1 of the published file, the Python package that has them, or None.
    file : str
        How the name of the published file begins, where it is not the network's.
    """

    source: str
    name: str
    family: str
    num_features: int
    resolution: int
    smallest: int
    fixed: bool
    parameters: int
    multiply_adds: int
    weights: str | None
    file: str = ""

    @property
    def spec(self) -> str:
        """What to give to ``--backbone``."""
        return f"{self.source}:{self.name}"

    @property
    def is_published(self) -> bool:
        """Whether the zoo's own host has its weights."""
        return self.weights is not None and not self.weights.endswith("_pytorch_model")


@functools.cache
def zoo() -> dict[tuple[str, str], ZooNetwork]:
    """Return every network of both zoos, by (source, name)."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return {
        (source, name): ZooNetwork(source, name, **facts)
        for source in ZOOS
        for name, facts in table[source].items()
    }


@functools.cache
def published_files(source: str) -> dict[str, str]:
    """Return the SHA-1 of each file of weights that a zoo publishes, by how its name begins."""
    return {
        network.file or name: str(network.weights)
        for (zoo_of, name), network in zoo().items()
        if zoo_of == source and network.is_published
    }


def require_known(name: str, source: str = "gluon") -> ZooNetwork:
    """Return a network's facts, or raise `BackboneError` with near matches."""
    found = zoo().get((source, name))
    if found is not None:
        return found
    known = sorted(one for place, one in zoo() if place == source)
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    elsewhere = [place for place in ZOOS if (place, name) in zoo()]
    if elsewhere:
        hint = f"{elsewhere[0]}:{name} is there"
    else:
        hint = f"did you mean {', '.join(near)}? " if near else ""
        hint += "'icecore backbones' lists all"
    raise BackboneError(f"{source} has no network '{name}' that classifies ImageNet", hint)


def require_resolution(name: str, resolution: int | None, source: str = "gluon") -> None:
    """Raise `BackboneError` where a network cannot take images of this side."""
    network = require_known(name, source)
    native = network.resolution
    if resolution is None or resolution == native:
        return
    if network.fixed:
        why = (
            "its attention masks are resized to fixed sizes"
            if network.family == "residual_attentionnet"
            else "its fully connected layers are laid out for that"
        )
        raise BackboneError(
            f"{network.spec} takes {native} x {native} pixels and no other size: {why}",
            f"leave @{resolution} away",
        )
    if resolution < network.smallest:
        raise BackboneError(
            f"{network.spec} cannot take images of {resolution} x {resolution} pixels: "
            "nothing would be left of them",
            f"its smallest input is {network.smallest} x {network.smallest} pixels, its native "
            f"one {native} x {native}",
        )


def native_preprocessing(name: str, source: str = "gluon") -> Preprocessing:
    """Return how images are prepared for a Gluon network."""
    network = require_known(name, source)
    lite = network.family == "efficientnet_lite"
    mean, std = _TF_LITE if lite else _IMAGENET
    return Preprocessing(network.resolution, mean, std, 0.875, "bicubic" if lite else "bilinear")


def zoo_record(spec: BackboneSpec, width: int, digest: str, seed: int | None) -> BackboneRecord:
    """Return the record of a zoo's network."""
    how = native_preprocessing(spec.name, spec.source)
    return BackboneRecord(
        spec=spec.canonical,
        architecture=spec.name,
        weights_digest=digest,
        random_seed=seed,
        num_features=width,
        preprocessing=dataclasses.replace(how, resolution=spec.resolution or how.resolution),
    )


def weights_stem(name: str, source: str = "gluon") -> str:
    """Return the file name, without its end, under which a network's weights are kept."""
    sha1 = published_sha1(name, source)
    return f"{zoo()[source, name].file or name}-{sha1[:8]}" if sha1 else f"{source}-{name}"


def published_sha1(name: str, source: str = "gluon") -> str | None:
    """Return the SHA-1 of the weights that a zoo publishes for a network, or None."""
    network = zoo().get((source, name))
    return published_files(source).get(network.file or name) if network else None

"""Which layer's output is the feature row, and how its height and width are pooled."""

import dataclasses
import difflib
import re
from collections.abc import Sequence

from ...core.errors import BackboneError, enumerate_some

# Generalised mean (Radenovic, Tolias and Chum 2018, arXiv:1711.02512): values are cut off
# below epsilon, and (mean of x^p)^(1/p) is taken. The fixed power is their starting point.
GEM_POWER, GEM_EPSILON = 3.0, 1e-6
MAP_POOLS = ("avg", "max", "avgmax", "gem", "none")
# Of a transformer's tokens, which have no height and width.
TOKEN_POOLS = ("cls", "mean", "cls+mean")
POOLS = (*MAP_POOLS, *TOKEN_POOLS)
_POOLED = {
    "avg": "average pooled",
    "max": "maximum pooled",
    "avgmax": "pooled to the mean of average and maximum",
    "gem": "generalised-mean pooled (p=3)",
    "none": "the whole map",
    "cls": "the class token",
    "mean": "the mean of the patch tokens",
    "cls+mean": "the class token and the mean of the patch tokens",
}
_TOKENS = re.compile(r"tokens(?::last-([1-9]\d?))?")


@dataclasses.dataclass(frozen=True)
class Layer:
    """Where features are taken.

    Attributes
    ----------
    name : str or None
        Of a layer of the network; None is the input of its classifier.
    pool : str
        One of `POOLS`: how features that still have a height and width lose them.
        ``avgmax`` is the mean of both, as timm has it; ``gem`` is the generalised mean;
        with ``none`` all places are kept, in the order channel, height, width. A
        transformer's tokens have pools of their own, see `TOKEN_POOLS`.
    """

    name: str | None = None
    pool: str = "avg"

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise BackboneError(
                f"there is no pool '{self.pool}'", f"choose one of {', '.join(POOLS)}"
            )

    @property
    def blocks(self) -> int:
        """Of how many of a transformer's last blocks the tokens are; 0 if of none."""
        match = _TOKENS.fullmatch(self.name or "")
        return int(match[1] or 1) if match else 0

    @property
    def text(self) -> str:
        """The layer in a few words, for messages."""
        place = "before classifier" if self.name is None else f"layer {self.name}"
        return f"{place}, {_POOLED[self.pool]}"

    @property
    def is_default(self) -> bool:
        """Whether it is the average-pooled input of the classifier."""
        return self == BEFORE_CLASSIFIER


BEFORE_CLASSIFIER = Layer()


def no_such_layer(backbone: str, name: str, known: Sequence[str]) -> BackboneError:
    """Return the error for a layer that the network lacks, with near matches."""
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.4)
    near = near or [one for one in known if name in one][:4]
    meant = f"did you mean {enumerate_some(near, 4)}? " if near else ""
    return BackboneError(
        f"{backbone} has no layer '{name}'",
        f"{meant}'icecore backbones --layers {backbone}' lists them",
    )


def nothing_to_pool(backbone: str, layer: Layer, shape: Sequence[int]) -> BackboneError:
    """Return the error for a pool where features have no height and width."""
    place = f"layer '{layer.name}'" if layer.name else "the layer before its classifier"
    # What a graph computes while it runs is 0 here.
    sides = " x ".join(str(one or "?") for one in shape[1:])
    gives = f"{sides} numbers without a height and width to pool"
    # Whole maps are also what 'icecore regions' looks at, which has no --pool to leave away.
    own = layer.pool not in (BEFORE_CLASSIFIER.pool, "none")
    away = f"leave --pool {layer.pool} away, or " if own else ""
    rows = "" if layer.pool == "none" else "one row, or "
    return BackboneError(
        f"{backbone}: {place} gives {gives if sides else 'numbers of a shape that is not known'}",
        f"{away}name a layer with --layer that gives {rows}a map of height and width "
        f"('icecore backbones --layers {backbone}' lists them)",
    )

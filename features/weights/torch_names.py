"""What timm calls the parameters of networks that Gluon has too.

Each family is a few rules from the structural names of Gluon's parameters
(``features.4.0.body.0.weight``) to timm's. The networks compute the same; the
tests prove it on random weights.
"""

import re
from collections.abc import Callable

# Counters that torch keeps, and a second classifier that Gluon's networks lack.
IGNORED = re.compile(r".*\.num_batches_tracked|AuxLogits\..*")
_KINDS = {"gamma": "weight", "beta": "bias"}
_BODY = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}
# Gluon's place in `features` -> timm's block, and the names of its convolutions: in the order
# of branches, each a chain; a chain that forks at its end has its two ends last.
_A = ("branch1x1",), ("branch5x5_1", "branch5x5_2"), (*(f"branch3x3dbl_{n}" for n in "123"),)
_B = ("branch3x3",), (*(f"branch3x3dbl_{n}" for n in "123"),)
_C = (
    ("branch1x1",),
    (*(f"branch7x7_{n}" for n in "123"),),
    (*(f"branch7x7dbl_{n}" for n in "12345"),),
)
_D = ("branch3x3_1", "branch3x3_2"), (*(f"branch7x7x3_{n}" for n in "1234"),)
_E = (
    ("branch1x1",),
    (*(f"branch3x3_{n}" for n in ("1", "2a", "2b")),),
    (*(f"branch3x3dbl_{n}" for n in ("1", "2", "3a", "3b")),),
)
_POOL = (("branch_pool",),)
_INCEPTION_STEM = {
    "0": "Conv2d_1a_3x3",
    "1": "Conv2d_2a_3x3",
    "2": "Conv2d_2b_3x3",
    "4": "Conv2d_3b_1x1",
    "5": "Conv2d_4a_3x3",
}
_INCEPTION_BLOCKS = {
    **{place: (f"Mixed_5{letter}", _A + _POOL) for place, letter in zip(("7", "8", "9"), "bcd")},
    "10": ("Mixed_6a", _B),
    **{str(11 + n): (f"Mixed_6{letter}", _C + _POOL) for n, letter in enumerate("bcde")},
    "15": ("Mixed_7a", _D),
    **{str(16 + n): (f"Mixed_7{letter}", _E + _POOL) for n, letter in enumerate("bc")},
}


def _resnext_name(name: str) -> str:
    name = re.sub(r"^output\.", "fc.", name)
    name = re.sub(r"^features\.0\.", "conv1.", re.sub(r"^features\.1\.", "bn1.", name))
    name = re.sub(r"^features\.(\d+)\.", lambda m: f"layer{int(m[1]) - 3}.", name)
    name = re.sub(r"\.body\.(\d)\.", lambda m: f".{_BODY[m[1]]}.", name)
    return re.sub(r"\.se\.([02])\.", lambda m: f".se.fc{'1' if m[1] == '0' else '2'}.", name)


def _densenet_name(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "output":
        return f"classifier.{parts[-1]}"
    place = int(parts[1])
    if len(parts) == 3:
        return f"features.{('conv0', 'norm0')[place] if place < 2 else 'norm5'}.{parts[-1]}"
    if place % 2 == 0:  # a dense block, else what comes after it
        layer = {"0": "norm1", "2": "conv1", "3": "norm2", "5": "conv2"}[parts[-2]]
        block = f"denseblock{place // 2 - 1}.denselayer{int(parts[2]) + 1}"
        return f"features.{block}.{layer}.{parts[-1]}"
    layer = {"0": "norm", "2": "conv"}[parts[-2]]
    return f"features.transition{place // 2 - 1}.{layer}.{parts[-1]}"


def _inception(names: list[str]) -> list[str]:
    """Name convolutions by their turn within a branch: forks make the paths irregular."""
    turns: dict[tuple[str, str], list[str]] = {}
    for name in names:
        place, branch = _place(name)
        paths = turns.setdefault((place, branch), [])
        if _convolution(name) not in paths:
            paths.append(_convolution(name))
    return [_with_kind(name, _inception_name(name, turns)) for name in names]


def _inception_name(name: str, turns: dict) -> str:
    part = name.rsplit(".", 1)[1]
    place, branch = _place(name)
    if place == "output":
        return f"fc.{part}"
    layer = "conv" if name.split(".")[-2] == "0" else "bn"
    if place in _INCEPTION_STEM:
        return f"{_INCEPTION_STEM[place]}.{layer}.{part}"
    block, branches = _INCEPTION_BLOCKS[place]
    turn = turns[place, branch].index(_convolution(name))
    return f"{block}.{branches[int(branch)][turn]}.{layer}.{part}"


def _place(name: str) -> tuple[str, str]:
    parts = name.split(".")
    return (parts[0], "") if parts[0] == "output" else (parts[1], parts[2])


def _convolution(name: str) -> str:
    return name.rsplit(".", 2)[0]


def _with_kind(gluon: str, theirs: str) -> str:
    stem, _ = theirs.rsplit(".", 1)
    kind = gluon.rsplit(".", 1)[1]
    return f"{stem}.{_KINDS.get(kind, kind)}"


def _each(rename: Callable[[str], str]) -> Callable[[list[str]], list[str]]:
    return lambda names: [_with_kind(name, rename(name)) for name in names]


# Each takes Gluon's structural names in order, and gives timm's in the same order.
FAMILIES: dict[str, Callable[[list[str]], list[str]]] = {
    "densenet": _each(_densenet_name),
    "inception": _inception,
    "resnet": _each(str),
    "resnext": _each(_resnext_name),
}

"""The JSON file beside a detector: every field of it is followed, or refused by its name."""

import dataclasses
import math
import os
from pathlib import Path

from ...core.errors import BackboneError, enumerate_some
from ...core.json_files import read_json

LARGEST_TEXT = 2**20
_HINT = (
    'it may say {"input_size": [3, 640, 640], "mean": [...], "std": [...], "input_space": "RGB", '
    '"input_range": [0, 1], "classes": [...]}'
)
_UNDERSTOOD = frozenset("input_size mean std input_space input_range classes".split())
# They change nothing that the network sees.
_ABOUT = frozenset("architecture comment description license name notes".split())
_RANGES = ([0, 1], [0, 255])


@dataclasses.dataclass(frozen=True)
class DetectorRecord:
    """What a detector's file says of it.

    Attributes
    ----------
    input_size : tuple of 2 ints or None
        Height and width; None where the file does not say.
    mean, std : tuple of 3 floats or None
        In the order of the channels that the network takes, for pixels from 0 to 1.
    turned : bool
        Whether the network takes blue first.
    classes : tuple of str
    """

    input_size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    turned: bool = False
    classes: tuple[str, ...] = ()


def read_detector_record(path: Path) -> DetectorRecord:
    """Read what a JSON file beside a detector says of it; nothing where there is none.

    Raises
    ------
    BackboneError
        Fields cannot be used, or are not understood; all are named.
    """
    if not os.path.lexists(path):
        return DetectorRecord()
    found = read_json(path, BackboneError, _HINT, most=LARGEST_TEXT)
    checks = {
        "input_size": lambda v: _numbers(v) and all(isinstance(one, int) for one in v),
        "mean": _numbers,
        "std": lambda v: _numbers(v) and min(v) > 0,
        "input_space": lambda v: v in ("RGB", "BGR"),
        "input_range": lambda v: v in _RANGES,
        "classes": are_texts,
    }
    faults = [name for name, check in checks.items() if name in found and not check(found[name])]
    if faults:
        raise BackboneError(f"{path}: {enumerate_some(faults)} cannot be used", _HINT)
    strange = [n for n in found if n not in _UNDERSTOOD | _ABOUT and not n.startswith("_")]
    if strange:
        raise BackboneError(
            f"{path} has fields that are not understood: {enumerate_some(strange, 8)}",
            f"{_HINT}; a field that is there for people alone may have a name that begins with _",
        )
    scale = max(found.get("input_range", [0, 1]))
    _require_in_range(found, scale, path)
    mean, std = (
        tuple(value / scale for value in found[name]) if name in found else None
        for name in ("mean", "std")
    )
    if scale > 1:
        # Where nothing is subtracted and divided, they are given as they are.
        mean, std = mean or (0.0,) * 3, std or (1 / scale,) * 3
    size = found.get("input_size")
    return DetectorRecord(
        None if size is None else (size[1], size[2]),
        mean,
        std,
        found.get("input_space") == "BGR",
        tuple(found.get("classes", ())),
    )


def _require_in_range(found: dict, scale: float, path: Path) -> None:
    """Refuse mean and std that are for pixels of another range than the one that is stated."""
    largest = {name: max(found[name]) for name in ("mean", "std") if name in found}
    beyond = [name for name, value in largest.items() if value > scale]
    if beyond or min(found.get("mean", [0])) < 0:
        raise BackboneError(
            f"{path}: {enumerate_some(beyond or ['mean'])} cannot be for pixels from 0 to {scale}",
            'divide mean and std by 255, or add "input_range": [0, 255]'
            if scale == 1
            else "write them as they are for pixels from 0 to 255",
        )
    if scale > 1 and 0 < largest.get("mean", 0) <= 1:
        raise BackboneError(
            f"{path}: mean is {found['mean']}, for pixels from 0 to 1, and input_range [0, 255]",
            "leave input_range out, or multiply mean and std by 255",
        )


def _numbers(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value)
        and all(math.isfinite(n) for n in value)
    )


def are_texts(value: object) -> bool:
    """Tell whether it is a list of texts."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)

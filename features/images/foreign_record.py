"""The file beside a network that says how its images are prepared: all of it is heeded or refused.

Read are timm's fields (with ``input_space`` and ``input_range``, which Cadene's pretrained models
brought), and the ``preprocessor_config.json`` of the Hugging Face hub. A field that could change
what the network sees, and that is not understood, is refused by its name.
"""

import difflib
import math
import os
from pathlib import Path

from ...core.errors import BackboneError, MissingFileError, enumerate_some
from ...core.json_files import read_json
from .hub_record import is_hub_record, translate_hub_record
from .preprocessing import FIT_OF_MODE, INTERPOLATIONS, LARGEST_RESOLUTION, LEAST_CROP_PCT

HUB_NAME = "preprocessor_config.json"
_NEEDED = ("input_size", "mean", "std", "crop_pct", "interpolation")
_OPTIONAL = (
    "input_space", "input_range", "crop_mode", "architecture", "num_features", "num_classes",
    "prepares_pixels",
)  # fmt: skip
_UNDERSTOOD = frozenset((*_NEEDED, *_OPTIONAL))
# timm's, about where weights come from, other ways to use them, and texts.
_ABOUT = frozenset(
    "url file state_dict hf_hub_id hf_hub_filename source tag custom_load test_input_size "
    "min_input_size fixed_input_size test_crop_pct label_offset label_names label_descriptions "
    "pool_size test_pool_size first_conv classifier license description origin_url paper_name "
    "paper_ids notes name comment model_args global_pool".split()
)
_EXAMPLE = (
    'write it: {"input_size": [3, 224, 224], "mean": [0.485, 0.456, 0.406], '
    '"std": [0.229, 0.224, 0.225], "crop_pct": 0.875, "interpolation": "bicubic"}'
)
_LARGEST_RECORD = 2**20


def find_record(graph: Path) -> Path:
    """Return the record beside a graph: ``NAME.json``, or the hub's ``preprocessor_config.json``.

    The hub's lies in the folder of the graph, or above it where that is called ``onnx``.
    """
    own = graph.with_suffix(".json")
    hub = [graph.parent / HUB_NAME]
    if graph.parent.name == "onnx":
        hub.append(graph.parent.parent / HUB_NAME)
    return next((path for path in (own, *hub) if os.path.lexists(path)), own)


def read_record(path: Path) -> dict:
    """Read a record.

    Returns
    -------
    dict
        timm's ``input_size``, ``mean`` and ``std`` of RGB values scaled to [0, 1],
        ``crop_pct``, ``interpolation``; ``input_space`` (RGB or BGR: the order that the network
        takes) and ``crop_mode``; and ``architecture``, ``num_features``, ``num_classes`` and
        ``prepares_pixels`` where the file states them.

    Raises
    ------
    MissingFileError
        There is no such file.
    BackboneError
        Fields are missing, hold impossible values, contradict each other or are not understood;
        all are named.
    """
    hint = "it says how images are prepared for the network; " + _EXAMPLE
    try:
        fields = read_json(path, BackboneError, _EXAMPLE, most=_LARGEST_RECORD)
    except MissingFileError as error:
        raise MissingFileError(f"{path} is not there", hint) from error
    if is_hub_record(fields):
        fields = translate_hub_record(fields, path)
    elif isinstance(fields.get("pretrained_cfg"), dict):
        fields = _unfold(fields, path)
    _require_understood(fields, path)
    fields = {"crop_mode": "center", "input_space": "RGB", **fields}
    faults = _faults(fields)
    if faults:
        raise BackboneError(
            f"{path} is not a preprocessing record: {enumerate_some(faults)}",
            "it needs input_size [3, N, N], mean and std of three numbers for pixels scaled to "
            f"[0, 1], crop_pct from {LEAST_CROP_PCT} to 1 and interpolation "
            f"({', '.join(INTERPOLATIONS)})",
        )
    scale = max(fields.pop("input_range", [0, 1]))
    order = -1 if fields["input_space"] == "BGR" else 1
    for name in ("mean", "std"):
        fields[name] = [float(value) / scale for value in fields[name]][::order]
    return {name: value for name, value in fields.items() if name in _UNDERSTOOD}


def _unfold(fields: dict, path: Path) -> dict:
    """Take in what timm's config.json has one level deeper: what concerns the images."""
    outer = {name: value for name, value in fields.items() if name != "pretrained_cfg"}
    inner = fields["pretrained_cfg"]
    twice = [
        f"{name} is {outer[name]!r} and {inner[name]!r}"
        for name in sorted(_UNDERSTOOD & set(outer) & set(inner))
        if outer[name] != inner[name]
    ]
    if twice:
        raise BackboneError(
            f"{path} contradicts its own pretrained_cfg: {enumerate_some(twice, 8)}",
            "correct one of them",
        )
    return {**outer, **inner}


def require_width(fields: dict, path: Path, width: int, layer: str = "") -> None:
    """Refuse a graph that has not as many features before its classifier as its record says."""
    if fields.get("num_features", width) != width:
        raise BackboneError(
            f"{path} says {fields['num_features']} features, the graph has {width} before its "
            f"classifier{layer}",
            "correct num_features, or check that the record belongs to this graph",
        )


def _require_understood(fields: dict, path: Path) -> None:
    strange = [
        name
        for name, value in fields.items()
        if name not in _UNDERSTOOD | _ABOUT and not name.startswith("_") and value is not None
    ]
    if not strange:
        return
    near = {n: difflib.get_close_matches(n, sorted(_UNDERSTOOD), n=1, cutoff=0.7) for n in strange}
    meant = [f"{name} ({near[name][0]}?)" if near[name] else name for name in strange]
    raise BackboneError(
        f"{path} has fields that are not understood: {enumerate_some(meant, 8)}",
        "correct or remove them; a field that is there for people alone may have a name that "
        "begins with _",
    )


def _faults(fields: dict) -> list[str]:
    checks = {
        "input_size": lambda v: (
            _are_numbers(v, 3)
            and all(isinstance(n, int) for n in v)
            and v[0] == 3
            and v[1] == v[2]
            and 1 <= v[1] <= LARGEST_RESOLUTION
        ),
        "mean": lambda v: _are_numbers(v, 3),
        "std": lambda v: _are_numbers(v, 3) and min(v) > 1e-6,
        "crop_pct": lambda v: _are_numbers([v], 1) and LEAST_CROP_PCT <= v <= 1,
        "interpolation": lambda v: v in INTERPOLATIONS,
        "input_space": lambda v: v in ("RGB", "BGR"),
        "input_range": lambda v: v in ([0, 1], [0, 255]),
        "crop_mode": lambda v: v in FIT_OF_MODE,
        # Steps that prepare pixels are stated by what is left to do: in mean and std.
        "prepares_pixels": lambda v: v is False,
        "num_features": lambda v: _is_count(v) and v > 0,
        "num_classes": _is_count,
    }
    faults = [
        f"{name} is {fields[name]!r}" if name in fields else f"{name} is missing"
        for name, check in checks.items()
        if (name not in fields and name in _NEEDED) or (name in fields and not check(fields[name]))
    ]
    return faults or _contradictions(fields)


def _contradictions(fields: dict) -> list[str]:
    """Find numbers that are for pixels of another range than the one that is stated."""
    faults, mean, std = [], fields["mean"], fields["std"]
    if fields.get("input_range") == [0, 255]:
        for name, values in (("mean", mean), ("std", std)):
            if 0 < max(values) < 1 or (name == "mean" and max(values) == 1):
                faults.append(f"{name} is {values}, for pixels of 0 to 1, and input_range [0, 255]")
    elif max(mean) > 1 or min(mean) < 0 or max(std) > 1:
        name = "mean" if max(mean) > 1 or min(mean) < 0 else "std"
        faults.append(
            f"{name} is {fields[name]}, not for pixels of 0 to 1: divide mean and std by 255, or "
            'add "input_range": [0, 255]'
        )
    if fields["crop_mode"] != "center" and fields["crop_pct"] != 1:
        faults.append(
            f"crop_mode is {fields['crop_mode']!r} with crop_pct {fields['crop_pct']}: the whole "
            "image is taken then, so crop_pct must be 1"
        )
    return faults


def _are_numbers(value: object, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
        and all(math.isfinite(v) for v in value)
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0

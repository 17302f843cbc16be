"""``preprocessor_config.json`` of the Hugging Face hub, in timm's words.

The image processors of ``transformers`` resize, cut the centre out, multiply by
``rescale_factor``, subtract ``image_mean`` and divide by ``image_std``; each step has a switch.
"""

from pathlib import Path
from typing import Any

from ...core.errors import BackboneError, enumerate_some

# Pillow's numbers for its filters.
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "area"}
_MARKS = ("image_processor_type", "feature_extractor_type", "do_normalize", "do_resize")
_UNDERSTOOD = frozenset(
    "do_resize size crop_size do_center_crop crop_pct resample do_rescale rescale_factor "
    "do_normalize image_mean image_std do_flip_channel_order include_top".split()
)
# Names of programs, and what cannot change a picture of three colours.
_ABOUT = frozenset(
    "image_processor_type feature_extractor_type processor_class _processor_class auto_map "
    "_valid_processor_keys do_convert_rgb default_to_square input_data_format return_tensors "
    "device disable_grouping _name_or_path transformers_version feature_extractor_class "
    "image_processor_class num_labels".split()
)
_BY_SHORTEST = "convnext"
# From this side on, ConvNeXt's processor squashes the image and cuts nothing off.
_SQUASHED_FROM = 384


def is_hub_record(fields: dict) -> bool:
    """Tell whether a record is in the words of the hub."""
    return any(name in fields for name in _MARKS) and "input_size" not in fields


def translate_hub_record(fields: dict, path: Path) -> dict:
    """Say in timm's words what a record of the hub says.

    Raises
    ------
    BackboneError
        A field is not understood, or asks for what icecore does not do.
    """
    faults = [
        f"{name} is {value!r}"
        for name, value in fields.items()
        if name not in _UNDERSTOOD | _ABOUT
        and value not in (None, False)
        and (name, value) != ("data_format", "channels_first")
    ]
    if fields.get("do_resize", True) is False:
        faults.append("do_resize is false")
    resample = fields.get("resample", 2)
    if resample not in _RESAMPLE:
        faults.append(f"resample is {resample!r} (0 to 4 are known)")
    side, crop_pct, mode = _geometry(fields, faults)
    mean, std = _normalisation(fields, faults)
    if faults:
        raise BackboneError(
            f"{path} is not understood: {enumerate_some(faults, 8)}",
            "write a record of your own beside the graph (its name with .json), with input_size, "
            "mean, std, crop_pct and interpolation",
        )
    return {
        "input_size": [3, side, side],
        "mean": mean,
        "std": std,
        "crop_pct": crop_pct,
        "interpolation": _RESAMPLE[resample],
        "crop_mode": mode,
        "input_space": "BGR" if fields.get("do_flip_channel_order") else "RGB",
    }


def _geometry(fields: dict, faults: list[str]) -> tuple[int, float, str]:
    """Return the side of the square, the share of the resized side, and how it is filled."""
    size, crop = fields.get("size"), fields.get("crop_size")
    kind = str(fields.get("image_processor_type") or fields.get("feature_extractor_type") or "")
    short = _side(size, "shortest_edge")
    both = _side(size, "height", "width")
    if short is None and both is None:
        faults.append(f"size is {size!r}")
        return 0, 1.0, "center"
    if isinstance(size, int):
        # Written before sizes had names: what it means hangs on the processor.
        by_shortest = fields.get("do_center_crop") or _BY_SHORTEST in kind.lower()
        short, both = (size, None) if by_shortest else (None, size)
    if _BY_SHORTEST in kind.lower() and short is not None:
        if short >= _SQUASHED_FROM:
            return short, 1.0, "squash"
        return short, float(fields.get("crop_pct") or 224 / 256), "center"
    resized = short or both or 0
    if fields.get("do_center_crop"):
        side = _side(crop, "height", "width")
        if side is None or side > resized:
            faults.append(f"crop_size is {crop!r}")
            return 0, 1.0, "center"
        return side, side / resized, "center" if short else "squash"
    if short is not None:
        faults.append(f"size is {size!r} without do_center_crop, which leaves images oblong")
    return resized, 1.0, "squash"


def _side(size: object, *names: str) -> int | None:
    if isinstance(size, dict):
        found = {size.get(name) for name in names}
        size = found.pop() if len(found) == 1 else None
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None


def _normalisation(fields: dict, faults: list[str]) -> tuple[list[float], list[float]]:
    """Return mean and std for pixels scaled to [0, 1], in the order that the network takes."""
    factor = fields.get("rescale_factor", 1 / 255)
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not factor > 0:
        faults.append(f"rescale_factor is {factor!r}")
        factor = 1 / 255
    mean: Any = [0.0] * 3
    std: Any = [1.0] * 3
    if fields.get("do_normalize", True):
        mean, std = fields.get("image_mean"), fields.get("image_std")
        for name, values in (("image_mean", mean), ("image_std", std)):
            three = values if isinstance(values, list) and len(values) == 3 else [None]
            if not all(isinstance(v, int | float) for v in three):
                faults.append(f"{name} is {values!r}")
                return [0.0] * 3, [1.0] * 3
        if fields.get("include_top"):
            std = [v * v for v in std]  # EfficientNet's processor divides twice
    # 1 where pixels are scaled to [0, 1] before they are normalised.
    scale = 255 * factor if fields.get("do_rescale", True) else 255.0
    if abs(scale - 1) < 1e-3:
        scale = 1.0  # 0.00392156862745098 and 0.003921 mean the same
    return [v / scale for v in mean], [v / scale for v in std]

"""``preprocessor_config.json`` of the Hugging Face hub, in timm's words.

The image processors of ``transformers`` resize, cut the centre out, multiply by
``rescale_factor``, subtract ``image_mean`` and divide by ``image_std``; each step has a switch.
"""

import math
import re
from pathlib import Path

from ...core.errors import BackboneError, enumerate_some

# Pillow's numbers for its filters.
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "area"}
_END_OF_KIND = re.compile(r"(ImageProcessor|FeatureExtractor)(Fast|Pil)?$")
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
_FLAGS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_flip_channel_order")
# Whose steps are these, in this order. Others (Perceiver's, ImageGPT's) do otherwise under the
# same names.
_PROCESSORS = frozenset(
    "vit vithybrid deit beit clip chineseclip blip siglip flava convnext efficientnet "
    "efficientformer mobilenetv1 mobilenetv2 mobilevit bit levit poolformer segformer pvt "
    "dinov3vit".split()
)
# What pixels may be scaled to by a rescale_factor; above, they are as they were.
_LARGEST_SCALED = 2.5
# Two that enlarge the short side before they cut, and by how much where the file does not say.
_DEFAULT_CROP_PCT = {"convnext": 224 / 256, "poolformer": 0.9}
# To whom a size of one number is the short side; to the others it is both sides.
_SHORT_BY_NUMBER = frozenset(
    "bit chineseclip clip convnext levit mobilenetv1 mobilenetv2 mobilevit poolformer "
    "vithybrid".split()
)
# What processors do where the file says nothing of it.
_CROP_BY_DEFAULT = frozenset("beit deit efficientformer flava".split())
_TURNS_COLOURS, _DIVIDES_TWICE = "mobilevit", "efficientnet"
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
    kinds = {_END_OF_KIND.sub("", str(fields[m])).lower() for m in _MARKS[:2] if fields.get(m)}
    kind = min(kinds, default="")
    flips = fields.get("do_flip_channel_order", kind == _TURNS_COLOURS)
    faults = [f"{m} is {fields[m]!r}" for m in _MARKS[:2] if len(kinds) > 1]
    faults += [
        f"{name} is {value!r}"
        for name, value in fields.items()
        if (name not in _UNDERSTOOD | _ABOUT and value not in (None, False)
            and (name, value) != ("data_format", "channels_first")
            and (name, value) != ("do_flip_channels", flips))
        or (name in _FLAGS and not isinstance(value, bool)
            and (name, value) != ("do_center_crop", None))
    ]  # fmt: skip
    if kind and kind not in _PROCESSORS:
        faults.append(f"its processor is of the kind {kind!r}, whose steps are not known")
    if fields.get("do_resize", True) is False:
        faults.append("do_resize is false")
    resample = fields.get("resample")
    if isinstance(resample, bool) or resample not in tuple(_RESAMPLE):
        faults.append(f"resample is {resample!r} (0 to 4 are known)")
        resample = 2
    side, crop_pct, mode = _geometry(fields, kind, faults)
    mean, std = _normalisation(fields, kind, faults)
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
        "input_space": "BGR" if flips else "RGB",
    }


def _geometry(fields: dict, kind: str, faults: list[str]) -> tuple[int, float, str]:
    """Return the side of the square, the share of the resized side, and how it is filled."""
    size, crop, crops = fields.get("size"), fields.get("crop_size"), fields.get("do_center_crop")
    short = _side(size, "shortest_edge")
    both = _side(size, "height", "width")
    if short is None and both is None:
        faults.append(f"size is {size!r}")
        return 0, 1.0, "center"
    if isinstance(size, int):
        # Written before sizes had names: what it means hangs on the processor.
        short, both = (size, None) if kind in _SHORT_BY_NUMBER else (None, size)
        if not kind and crops:
            faults.append(f"size is {size}, and no image_processor_type says of which side")
    share = _crop_pct(fields, kind, faults)
    if kind == "convnext" and short is not None:
        return (short, 1.0, "squash") if short >= _SQUASHED_FROM else (short, share, "center")
    if crops is None and (crop is not None or kind in _CROP_BY_DEFAULT):
        faults.append(f"crop_size is {crop!r}, and do_center_crop is not stated")
    if not crops:
        if short is not None:
            faults.append(f"size is {size!r} without do_center_crop, which leaves images oblong")
        return short or both or 0, 1.0, "squash"
    side = _side(crop, "height", "width")
    resized = int((short or 0) / share) if short else both or 0
    if side is None or side > resized:
        faults.append(f"crop_size is {crop!r}")
        return 0, 1.0, "center"
    if both and side < both:
        faults.append(f"size is {size!r} with crop_size {crop!r}: it squashes and cuts")
    return side, _exact_share(side, resized), "center" if short else "squash"


def _exact_share(side: int, resized: int) -> float:
    """Return the crop_pct by which `side` becomes `resized`, though fractions are cut off."""
    share = side / resized
    return share if int(side / share) == resized else math.nextafter(share, 0.0)


def _crop_pct(fields: dict, kind: str, faults: list[str]) -> float:
    """Return by what the short side is divided before the centre is cut out."""
    stated = fields.get("crop_pct")
    if kind == "levit":
        return 224 / 256
    if kind == "poolformer" and "crop_pct" in fields and stated is None:
        return 1.0
    if stated is None:
        return _DEFAULT_CROP_PCT.get(kind, 1.0)
    number = isinstance(stated, int | float) and not isinstance(stated, bool)
    if kind not in _DEFAULT_CROP_PCT or not number or not 0 < stated <= 1:
        faults.append(f"crop_pct is {stated!r}")
        return 1.0
    return float(stated)


def _side(size: object, *names: str) -> int | None:
    if isinstance(size, dict):
        stated = {name: value for name, value in size.items() if value is not None}
        values = list(stated.values())
        alike = set(stated) == set(names) and all(value == values[0] for value in values)
        size = values[0] if alike else None
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None


def _normalisation(fields: dict, kind: str, faults: list[str]) -> tuple[list[float], list[float]]:
    """Return mean and std for pixels scaled to [0, 1], in the order that the network takes."""
    factor = fields.get("rescale_factor", 1 / 255)
    if not _is_number(factor) or not factor > 0:
        faults.append(f"rescale_factor is {factor!r}")
        factor = 1 / 255
    # 1 where pixels are scaled to [0, 1] before they are normalised.
    scale = 255 * factor if fields.get("do_rescale", True) else 255.0
    if abs(scale - 1) < 1e-3:
        scale = 1.0  # 0.00392156862745098 and 0.003921 mean the same
    if not fields.get("do_normalize", kind != _TURNS_COLOURS):
        return [0.0] * 3, [1 / scale] * 3
    mean, std = fields.get("image_mean"), fields.get("image_std")
    for name, values, least in (("image_mean", mean, 0.0), ("image_std", std, 1e-6)):
        if not (isinstance(values, list) and len(values) == 3 and all(map(_is_number, values))):
            faults.append(f"{name} is {values!r}")
        elif not least <= min(values) <= max(values) <= scale:
            faults.append(f"{name} is {values!r}, but pixels are scaled to [0, {scale:.6g}]")
    if faults or not isinstance(mean, list) or not isinstance(std, list):
        return [0.0] * 3, [1.0] * 3
    of_1 = max(mean) <= 1 and (max(mean) > 0 or max(std) < 1)
    if scale > _LARGEST_SCALED and of_1:
        faults.append(
            f"image_mean is {mean!r} and image_std {std!r}, for pixels of 0 to 1, but they are "
            f"scaled to [0, {scale:.6g}]"
        )
    if fields.get("include_top", kind == _DIVIDES_TWICE):
        std = [v * v for v in std]  # EfficientNet's processor divides twice
    return [v / scale for v in mean], [v / scale for v in std]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""ONNX's own metadata of images, which must agree with the record beside a graph."""

from collections.abc import Mapping

import numpy as np

from ...core.errors import BackboneError, enumerate_some
from ..images.preprocessing import Preprocessing

# Usual ranges of what networks take: mean and std of pixels of 0 to 1, and what the record says.
RANGES = {
    "[0, 255]": (
        (0.0,) * 3,
        (1 / 255,) * 3,
        '"mean": [0, 0, 0], "std": [1, 1, 1], "input_range": [0, 255]',
    ),
    "[0, 1]": ((0.0,) * 3, (1.0,) * 3, '"mean": [0, 0, 0], "std": [1, 1, 1]'),
    "[-1, 1]": ((0.5,) * 3, (0.5,) * 3, '"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]'),
}
# ONNX's names for what a graph takes.
_SPACES = {"Rgb8": "RGB", "Rgba8": "RGB", "Bgr8": "BGR", "Bgra8": "BGR"}
_NOMINAL = {
    "NominalRange_0_255": "[0, 255]",
    "Normalized_0_1": "[0, 1]",
    "Normalized_1_1": "[-1, 1]",
}


def require_record_of_metadata(metadata: Mapping[str, str], how: Preprocessing, name: str) -> None:
    """Raise `BackboneError` where ONNX's metadata of images contradict the record.

    Parameters
    ----------
    metadata : mapping
        Of the file; heeded are ``Image.BitmapPixelFormat``, ``Image.NominalPixelRange`` and
        ``Image.ColorSpaceGamma``.
    """
    faults, wanted = [], []
    for key, value in sorted(metadata.items()):
        if key == "Image.BitmapPixelFormat" and _SPACES.get(value) != how.input_space:
            wanted.append(f'"input_space": "{_SPACES[value]}"' if value in _SPACES else "")
        elif key == "Image.NominalPixelRange" and _NOMINAL.get(value, "?") != range_of(how):
            wanted.append(RANGES[_NOMINAL[value]][2] if value in _NOMINAL else "")
        elif key == "Image.ColorSpaceGamma" and value != "SRGB":
            wanted.append("")
        else:
            continue
        faults.append(f"{key} is {value!r}")
    if faults:
        raise BackboneError(
            f"{name}: its metadata contradict the record beside it: {enumerate_some(faults)}",
            f"write {', '.join(wanted)} in that record"
            if all(wanted)
            else "export it for images of RGB or BGR in sRGB",
        )


def range_of(how: Preprocessing) -> str:
    """Return the range of the numbers that a network gets; empty if it is none of the usual."""
    return next(
        (
            text
            for text, (mean, std, _) in RANGES.items()
            if np.allclose(how.mean, mean, atol=1e-3) and np.allclose(how.std, std, rtol=0.02)
        ),
        "",
    )

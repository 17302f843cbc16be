"""Write an image that is in memory, so that it has bytes to be known by."""

from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import ImageError, first_line
from ...core.imports import load
from .libraries import load_pillow


def write_png(image: Any, path: Path) -> bool:
    """Write an image upright and without loss, and tell whether it is one.

    Parameters
    ----------
    image : PIL image, or uint8 array of shape (H, W, 3)
    path : pathlib.Path

    Raises
    ------
    ImageError
        It was opened from a file, and its pixels cannot be read; or PNG cannot hold them.
    """
    pillow = load_pillow()
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,):
        image = pillow.fromarray(image) if image.size else None
    if not isinstance(image, pillow.Image) or not all(image.size):
        return False
    # Of numbers that may be of any size nobody knows which one is white.
    if image.mode == "F" or (image.mode.startswith("I") and image.mode != "I;16"):
        return False
    try:
        # Its file may say that it lies on its side, which PNG would not keep.
        image = load("PIL", "PIL.ImageOps").ImageOps.exif_transpose(image)
        # A picture's own mode where PNG has it; what PNG lacks (CMYK, YCbCr) becomes RGB.
        own = image.mode in ("L", "LA", "P", "RGB", "RGBA", "1", "I;16")
        (image if own else image.convert("RGB")).save(path, "PNG")
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(first_line(error)) from error
    return True

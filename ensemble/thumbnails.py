"""Small pictures for the report, as data URIs; without Pillow there are none.

Image files come from strangers: their format, size in bytes and number of pixels
are checked before anything is decoded.
"""

from __future__ import annotations

import base64
import io
import os
import stat

__all__ = ["missing_reason", "thumbnail"]

EDGE = 200
LARGEST_BYTES = 64 * 2**20
LARGEST_PIXELS = 64_000_000
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")


def missing_reason() -> str:
    """Say why there can be no thumbnails at all; empty if there can."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return "thumbnails need Pillow: pip install 'icecore[report]'"
    return ""


def thumbnail(path: str) -> tuple[str, str]:
    """Return a JPEG of at most 200 x 200 pixels as a data URI, and why there is none.

    Returns
    -------
    uri, reason : str
        One of the two is empty.
    """
    reason = missing_reason()
    if reason:
        return "", reason
    if not path:
        return "", "no image file is known"
    from PIL import Image, ImageOps

    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            return "", "not a file"
        if about.st_size > LARGEST_BYTES:
            return "", "file too large"
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > LARGEST_PIXELS:
                return "", f"too many pixels ({image.width} x {image.height})"
            image.draft("RGB", (2 * EDGE, 2 * EDGE))
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((EDGE, EDGE))
    except FileNotFoundError:
        return "", "image is missing"
    except Exception as error:  # decoders raise all kinds of errors; the page goes on
        return "", f"image cannot be read ({type(error).__name__})"
    memory = io.BytesIO()
    small.save(memory, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(memory.getvalue()).decode(), ""

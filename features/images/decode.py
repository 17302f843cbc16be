"""Image files -> RGB arrays -> the square inputs of the backbones.

An image is decoded once, by OpenCV, or by Pillow where OpenCV would show something
else, and then fitted to each backbone. Files come from strangers: the kind and the
sizes are read from the header and bounded before any pixel is decoded, and a file
that is cut short is refused, not filled with grey.
"""

from __future__ import annotations

import contextlib
import io
import threading
import warnings

import numpy as np

from ...core.errors import ImageError
from .jpeg import JpegHead, has_an_end, read_plain_head
from .libraries import LARGEST_IMAGE, load_opencv, load_pillow

__all__ = ["decode", "image_size"]

LARGEST_FILE = 2**29
LARGEST_TILE = 2**26
# Larger ones are decoded one at a time, or a machine of many processors has no memory left.
LARGE_IMAGE = 2**25
# Pillow knows many more, some of which start other programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB")
_ORIENTATION = 0x0112
_TILE_SIDES = (0x0142, 0x0143)
_LARGE_TURN = threading.Lock()
# Rows that are blended with white at a time.
_BAND = 512
_MODES_WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})


def decode(content: bytes, held: contextlib.ExitStack | None = None) -> np.ndarray:
    """Decode an image file: JPEG, PNG, WebP, GIF, TIFF or BMP.

    Grey, palette, CMYK and 16-bit images become 8-bit RGB, transparent areas
    become white, and the EXIF orientation is applied. Of an animation the
    first frame is taken.

    Parameters
    ----------
    content : bytes
        The whole file.
    held : ExitStack, optional
        Keeps the turn of a large image, of which one is in memory at a time, until it
        is closed.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB.

    Raises
    ------
    ImageError
        The file is empty, cut short, too large, or not an image.
    """
    # Pillow's reader of headers takes as long as all the other checks.
    plain = read_plain_head(content)
    _require_plausible(content, plain)
    cv2 = load_opencv()
    header = None if plain else _read_header(content)
    width, height = plain[:2] if plain else header.size
    _require_size(width, height)
    if held is not None and width * height > LARGE_IMAGE:
        held.enter_context(_LARGE_TURN)
    if header and _is_for_pillow(header, content):
        return _decode_with_pillow(header)
    try:
        # One reader of orientations: in damaged files OpenCV and Pillow find different ones.
        ours = plain or header.format == "JPEG"
        # libjpeg writes RGB as readily as BGR; for other kinds it is a second pass anyway.
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION if ours else cv2.IMREAD_COLOR
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"cannot be decoded ({error.err or 'OpenCV failed'})") from error
    if image is None:
        header = header or _read_header(content)
        raise ImageError(f"cannot be decoded as {header.format} of mode {header.mode}")
    if plain:
        return image
    if ours:
        return _upright(image, _orientation(header))
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def image_size(path: str) -> tuple[int, int] | None:
    """Return width and height of the upright image, from its header; None if it has none."""
    try:
        with open(path, "rb") as file:
            header = _open(file)
            width, height = header.size
            turned = _orientation(header) >= 5
    except Exception:  # Pillow's parsers raise many kinds; decoding will say what is wrong.
        return None
    return (height, width) if turned else (width, height)


def _require_plausible(content: bytes, plain: JpegHead | None) -> None:
    if not content:
        raise ImageError("the file is empty")
    if len(content) > LARGEST_FILE:
        raise ImageError(f"the file has {len(content)} bytes, more than {LARGEST_FILE}")
    # libjpeg fills what is missing with grey and only warns.
    if content[:2] == b"\xff\xd8" and not has_an_end(content, plain.scan_at if plain else 2):
        raise ImageError("the JPEG file is cut short")
    if content[:8] == b"\x89PNG\r\n\x1a\n" and b"IEND\xaeB`\x82" not in content:
        raise ImageError("the PNG file is cut short")


def _read_header(content: bytes):
    Image = load_pillow()
    try:
        header = _open(io.BytesIO(content))
        tile = _tile_size(header)
    except Image.DecompressionBombError as error:
        raise ImageError(f"the image has more than {LARGEST_IMAGE} pixels") from error
    except Exception as error:  # Pillow's parsers raise many kinds; all mean the same here.
        raise ImageError("not an image file (JPEG, PNG, WebP, GIF, TIFF or BMP)") from error
    _require_size(*header.size)
    if tile > LARGEST_TILE:
        raise ImageError(f"the TIFF file has tiles of {tile} pixels, more than {LARGEST_TILE}")
    return header


def _require_size(width: int, height: int) -> None:
    if width * height > LARGEST_IMAGE:
        raise ImageError(f"the image has {width} x {height} pixels, more than {LARGEST_IMAGE}")


def _open(file):
    """Open an image with Pillow; only its header is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_pillow().open(file, formats=FORMATS)


def _tile_size(header) -> int:
    if header.format != "TIFF":
        return 0
    sides = [int(header.tag_v2.get(tag, 0)) for tag in _TILE_SIDES]
    return sides[0] * sides[1]


def _orientation(header) -> int:
    """Return the EXIF orientation that is still to be applied, 1 to 8; XMP's is for others."""
    if header.format == "TIFF":
        return 1  # Pillow turns these by itself, their size too.
    exif = load_pillow().Exif()
    with contextlib.suppress(Exception):  # A damaged one does not count.
        exif.load(header.info.get("exif", b""))
    value = exif.get(_ORIENTATION, 1)
    return value if value in range(2, 9) else 1


def _is_for_pillow(header, content: bytes) -> bool:
    """Tell whether OpenCV would fail, show hidden colours, or leave a WebP lying on its side."""
    if header.format == "GIF" or header.mode in _MODES_WITH_ALPHA or "transparency" in header.info:
        return True
    if header.format == "PNG":
        # A damaged animation ends the process (OpenCV's issue 27744, since 4.11).
        return b"acTL" in content
    return header.format == "WEBP" and _orientation(header) > 1


def _decode_with_pillow(header) -> np.ndarray:
    try:
        with header as image:
            orientation = _orientation(image)
            if image.mode.startswith("I;16"):
                # Pillow would cut everything above 255 off.
                image = load_pillow().fromarray((np.asarray(image) >> 8).astype(np.uint8))
            rgba = image.convert("RGBA")
        pixels = np.empty((rgba.height, rgba.width, 3), np.uint8)
        for top in range(0, rgba.height, _BAND):
            band = rgba.crop((0, top, rgba.width, min(top + _BAND, rgba.height)))
            white = load_pillow().new("RGBA", band.size, "white")
            composed = load_pillow().alpha_composite(white, band).convert("RGB")
            pixels[top : top + band.height] = composed
    except Exception as error:  # as above
        raise ImageError(f"cannot be decoded ({error})") from error
    return _upright(pixels, orientation)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation: first the diagonal, then the mirrors."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)

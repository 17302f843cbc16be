"""Image files -> RGB arrays -> the square inputs of the backbones.

An image is decoded once, by OpenCV, or by Pillow where OpenCV would show something
else, and then fitted to each backbone. Files come from strangers: the kind and the
sizes are read from the header and bounded before any pixel is decoded, and a file
that is cut short is refused, not filled with grey.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import threading
import warnings
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import ImageError
from ..core.imports import missing_dependency
from .jpeg import JpegHead, has_an_end, read_plain_head

if TYPE_CHECKING:
    from .record import BackboneRecord

__all__ = ["FITS", "crop_at", "decode", "fit_image", "image_size", "resize", "resize_to_cover"]

FITS = ("crop", "pad", "squash")
# 179 million pixels, the limit at which Pillow refuses too: half a gigabyte of RGB.
LARGEST_IMAGE = 178_956_970
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


@functools.cache
def load_opencv():
    """Import OpenCV, or say which system library or package is missing."""
    # A second check of sizes, for headers that OpenCV and Pillow read differently.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(LARGEST_IMAGE))
    try:
        import cv2
    except (ImportError, OSError) as error:
        raise missing_dependency("cv2", error) from error
    # Parallelism comes from decoding many images at once.
    cv2.setNumThreads(0)
    # What is wrong with a file is said once, by us.
    cv2.setLogLevel(0)
    return cv2


def load_pillow():
    """Import Pillow's Image module, or say what to install."""
    try:
        from PIL import Image, ImageFile, TiffImagePlugin, WebPImagePlugin  # noqa: F401

        Image.preinit()
    except ImportError as error:
        raise missing_dependency("PIL", error) from error
    # GluonCV turns this on when it is imported; what is missing of a file would become grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    return Image


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


def fit_image(image: np.ndarray, record: BackboneRecord, fit: str) -> np.ndarray:
    """Make an image the square that a backbone takes.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
    record : BackboneRecord
        Its resolution, crop_pct, interpolation and mean are used.
    fit : {"crop", "pad", "squash"}
        ``crop`` resizes the short side to resolution / crop_pct and takes the
        centre, as torchvision and timm do; ``pad`` resizes the long side to the
        resolution and fills up with the mean colour; ``squash`` resizes both.

    Returns
    -------
    ndarray of uint8, shape (resolution, resolution, 3)
    """
    side = record.resolution
    height, width = image.shape[:2]
    if fit == "squash":
        return resize(image, side, side, record.interpolation)
    if fit == "crop":
        short = int(side / record.crop_pct)
        return crop_at(resize_to_cover(image, short, side, record.interpolation), side)
    scale = side / max(height, width)
    new = [max(1, round(n * scale)) for n in (height, width)]
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = np.round(np.array(record.mean) * 255).clip(0, 255)
    top, left = (side - new[0]) // 2, (side - new[1]) // 2
    canvas[top : top + new[0], left : left + new[1]] = resize(image, *new, record.interpolation)
    return canvas


def resize_to_cover(image: np.ndarray, short: int, side: int, interpolation: str) -> np.ndarray:
    """Resize an image's short side to `short` (at least `side`), keeping its proportions.

    Of a strip longer than 32 times its width, the middle is taken.
    """
    image = _without_far_ends(image)
    height, width = image.shape[:2]
    scale = short / min(height, width)
    new = [short if n == min(height, width) else int(n * scale) for n in (height, width)]
    return resize(image, max(new[0], side), max(new[1], side), interpolation)


def crop_at(image: np.ndarray, side: int, down: float = 0.5, right: float = 0.5) -> np.ndarray:
    """Take the square whose place is given as shares of the room there is: 0 top, 1 bottom."""
    top = round((image.shape[0] - side) * down)
    left = round((image.shape[1] - side) * right)
    return image[top : top + side, left : left + side]


def _without_far_ends(image: np.ndarray) -> np.ndarray:
    """Cut a strip's ends off: the centre crop does not see them."""
    most = 32 * min(image.shape[:2])
    top, left = (max(0, (n - most) // 2) for n in image.shape[:2])
    return image[top : top + most, left : left + most]


def resize(image: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    """Resize an image without aliasing."""
    cv2 = load_opencv()
    # OpenCV's interpolation looks at a few neighbours only; when an image shrinks
    # to less than half, whole blocks of pixels are averaged first, or it aliases.
    shrink_y, shrink_x = image.shape[0] // height, image.shape[1] // width
    if max(shrink_y, shrink_x) >= 2:
        shrink_y, shrink_x = max(1, shrink_y), max(1, shrink_x)
        rows, columns = image.shape[0] // shrink_y, image.shape[1] // shrink_x
        image = image[: rows * shrink_y, : columns * shrink_x]
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    if image.shape[:2] == (height, width):
        return image
    method = {
        "nearest": cv2.INTER_NEAREST,
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
        "lanczos": cv2.INTER_LANCZOS4,
    }[interpolation]
    return cv2.resize(image, (width, height), interpolation=method)


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

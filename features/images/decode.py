"""Image files -> RGB arrays.

An image is decoded once, by libjpeg-turbo or OpenCV, or by Pillow where these would show
something else, or say to the terminal what they do not like. Files come from strangers: the
kind and the sizes are read from the header and bounded before any pixel is decoded, and a
file of which pixels are missing is refused, not filled with grey.
"""

import contextlib
import io
import threading
from typing import Any

import numpy as np

from ...core.content import told_apart
from ...core.errors import ImageError, MissingDependencyError
from ...core.places import open_image
from ...manifest import LARGEST_IMAGE_FILE
from .deep import require_unsigned, require_upper_bits, with_key_as_alpha
from .frames import make_white_around
from .heif import HeifFile, is_heif
from .jpeg import has_an_end, is_arithmetic, read_plain_head
from .jpeg_decoder import decode_jpeg
from .kinds import READABLE, describe_other_kind
from .libraries import LARGEST_IMAGE, load_opencv, load_pillow
from .libtiff import heeding_libtiff
from .on_white import MODES_WITH_ALPHA, colours_on_white
from .palettes import require_bmp_colours, require_colours
from .scale import Need
from .strips import require_sound_strips
from .tiff import begins_with_thumbnail, describe_raw, has_more_pages, lacks_its_directory
from .whole import (
    exif_of_png,
    has_packed_channels,
    require_all_png_rows,
    require_sound_bmp,
    require_sound_chunks,
    require_written,
)

LARGEST_TILE = 2**26
# Each row takes memory and time of its own: 179 million of one pixel took gigabytes.
LONGEST_SIDE = 2**20
# Larger ones are decoded one at a time, or a machine of many processors has no memory left.
LARGE_IMAGE = 2**25
# Pillow knows many more, some of which start other programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "AVIF")
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
# Kinds whose reader says why it cannot read a file.
_MARKS = (
    (b"\xff\xd8\xff", "JPEG"), (_PNG, "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
)  # fmt: skip
_ORIENTATION = 0x0112
_TILE_SIDES = (0x0142, 0x0143)
# One thread may take it twice: networks of several sizes have an image decoded twice.
_LARGE_TURN = threading.RLock()
# Of a file, to tell its kind.
_LOOKED_AT = 256
# Of CIELab, libtiff makes other colours.
_FOR_PILLOW = MODES_WITH_ALPHA | {"LAB"}


class ImageFile:
    """An image file of which the header was read and bounded, ready to be decoded.

    JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or HEIC. Grey, palette, CMYK and 16-bit images become
    8-bit RGB, transparent areas become white, and the orientation is applied. Alpha that is 0
    everywhere is no alpha. Of an animation the first frame is taken, of a TIFF the first page.

    Attributes
    ----------
    width, height : int
        Pixels, as they lie in the file.
    more_pages : bool
        Whether it is a TIFF of several pages.

    Raises
    ------
    ImageError
        The file is empty, too large, or not an image.
    """

    def __init__(self, content: bytes) -> None:
        _require_plausible(content)
        self._content = content
        # Pillow's reader of headers takes as long as all the other checks.
        self._plain = read_plain_head(content)
        self._header: Any = None
        if self._plain is None:
            self._header = _read_header(content)
            self.width, self.height = self._header.size
        else:
            self.width, self.height = self._plain[:2]
        _require_size(self.width, self.height)
        self._is_jpeg = content[:2] == _JPEG
        if self._is_jpeg and not self._plain and is_arithmetic(content):
            raise ImageError(
                "the JPEG is coded arithmetically, so nobody can tell whether it is whole: convert "
                "it (jpegtran -copy all)"
            )
        self.more_pages = not self._is_jpeg and has_more_pages(content)

    def reduction(self, need: Need) -> int:
        """Return by how much `decode` may divide the sides for a network: 1 if it is no JPEG."""
        return need.reduction(self.width, self.height) if self._is_jpeg else 1

    def decode(self, reduction: int = 1, held: contextlib.ExitStack | None = None) -> np.ndarray:
        """Decode the image.

        Parameters
        ----------
        reduction : {1, 2, 4, 8}
            Divides the sides of a JPEG, rounded up; all of the file is still looked at.
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
            The file is cut short or damaged; or it holds 8 or 12 bits as if they were 16.
        """
        if held is not None and self.width * self.height > LARGE_IMAGE * self._saved(reduction):
            held.enter_context(_LARGE_TURN)
        content, header = self._content, self._header
        if not self._is_jpeg:
            require_written(content, self.width * self.height)
        if isinstance(header, HeifFile):
            return _decode_heif(header)
        if header and header.format == "TIFF":
            require_sound_strips(content, header)
        elif header and header.format == "BMP":
            require_sound_bmp(content, self.width * self.height)
            require_bmp_colours(content, header.size)
        if self._is_jpeg:
            image = decode_jpeg(content, (self.width, self.height), reduction)
        elif _is_for_pillow(header) or has_packed_channels(content):
            return _decode_with_pillow(header, content)
        else:
            image = _decode_with_opencv(header, content)
        if image is None and self._is_jpeg:
            header = header or _read_header(content)
            raise ImageError(f"cannot be decoded as {header.format} of mode {header.mode}")
        if image is None:
            return _decode_with_pillow(header, content)
        if self._plain:
            return image
        if self._is_jpeg:
            return _upright(image, _orientation(header))
        require_upper_bits(content, header, int(image.max(initial=0)))
        return image

    def _saved(self, reduction: int) -> int:
        """Return by how much less memory a reduced image takes."""
        # The coefficients of a progressive one are kept, all of them.
        if not self._is_jpeg:
            return 1
        head = self._plain
        progressive = head.progressive if head else "progressive" in self._header.info
        return min(reduction, 2) if progressive else reduction**2


def decode(content: bytes, held: contextlib.ExitStack | None = None) -> np.ndarray:
    """Decode an image file in full, see `ImageFile`."""
    return ImageFile(content).decode(held=held)


def image_fault(content: bytes) -> str:
    """Say why an image file cannot be decoded; as far as its bytes tell where nothing decodes."""
    try:
        ImageFile(content).decode()
    except ImageError as error:
        return error.message
    except MissingDependencyError:
        return told_apart(content, "")[0]
    return ""


def image_size(path: str) -> tuple[int, int] | None:
    """Return width and height of the upright image, from its header; None if it has none."""
    try:
        with open_image(path, LARGEST_IMAGE_FILE) as file:
            if is_heif(start := file.read(_LOOKED_AT)):
                return HeifFile(start + file.read(LARGEST_IMAGE_FILE)).size
            file.seek(0)
            header = _open(file)
            width, height = header.size
            if header.format == "PNG" and (exif := exif_of_png(file)):
                header.info["exif"] = exif
            turned = _orientation(header) >= 5
    except Exception:  # Pillow's parsers raise many kinds; decoding will say what is wrong.
        return None
    return (height, width) if turned else (width, height)


def _require_plausible(content: bytes) -> None:
    if not content:
        raise ImageError("the file is empty")
    if len(content) > LARGEST_IMAGE_FILE:
        raise ImageError(f"the file has {len(content)} bytes, more than {LARGEST_IMAGE_FILE}")
    if content[:8] == _PNG:
        require_sound_chunks(content)


def _read_header(content: bytes):
    if is_heif(content):
        return HeifFile(content)
    if raw := describe_raw(content):
        raise ImageError(f"not an image file ({READABLE}) but {raw}")
    if begins_with_thumbnail(content):
        raise ImageError(
            "the first page of the TIFF is marked as a smaller copy of another one: save that one "
            "as a file of its own"
        )
    Image = load_pillow()
    try:
        header = _open(io.BytesIO(content))
        tile = _tile_size(header)
    except Image.DecompressionBombError as error:
        raise ImageError(f"the image has more than {LARGEST_IMAGE} pixels") from error
    except Exception as error:  # Pillow's parsers raise many kinds; all mean the same here.
        raise ImageError(_not_an_image(content, error)) from error
    _require_size(*header.size)
    require_unsigned(header)
    if tile > LARGEST_TILE:
        raise ImageError(f"the TIFF file has tiles of {tile} pixels, more than {LARGEST_TILE}")
    return header


def _not_an_image(content: bytes, error: Exception) -> str:
    if content[:2] == _JPEG and not has_an_end(content):
        return "the JPEG file is cut short"
    if lacks_its_directory(content):
        return "the TIFF file is cut short: it ends before the list of its strips"
    other = describe_other_kind(content)
    if "AVIF" in other:
        return other  # It is one.
    if other:
        return f"not an image file ({READABLE}) but {other}"
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    if is_webp and len(content) < 8 + int.from_bytes(content[4:8], "little"):
        return "the WebP file is cut short"
    marked = (name for mark, name in _MARKS if content.startswith(mark))
    kind = "WebP" if is_webp else next(marked, "")
    if kind:
        return (
            f"a {kind} file that is damaged or of a rare kind ({_why_unread(content, kind)}): save "
            "it again with 8 bits a value"
        )
    # Pillow says the same of every kind that it does not know.
    known = type(error).__name__ != "UnidentifiedImageError"
    return f"not an image file ({READABLE})" + (f": {error}" if known and str(error) else "")


def _why_unread(content: bytes, kind: str) -> str:
    """Return what Pillow's reader of a kind says; of all of them it says only that none fits."""
    try:
        load_pillow().OPEN[kind.upper()][0](io.BytesIO(content), "")
    except Exception as error:  # Pillow's parsers raise many kinds.
        return str(error)
    return "it cannot be read"


def _require_size(width: int, height: int) -> None:
    if width * height > LARGEST_IMAGE:
        raise ImageError(f"the image has {width} x {height} pixels, more than {LARGEST_IMAGE}")
    if max(width, height) > LONGEST_SIDE:
        raise ImageError(
            f"the image has {width} x {height} pixels, more than {LONGEST_SIDE} on a side"
        )


def _open(file):
    """Open an image with Pillow; only its header is read."""
    Image = load_pillow()
    # Older ones know no AVIF, and fail on its name.
    return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])


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


def _is_for_pillow(header) -> bool:
    """Tell whether OpenCV would fail, show hidden colours, or leave a WebP lying on its side.

    OpenCV's libpng says to the terminal what it does not like about a file that it does not
    name, and a damaged animation ends the process (OpenCV's issue 27744, since 4.11).
    """
    if header.format in ("GIF", "AVIF", "PNG") or header.mode in _FOR_PILLOW:
        return True
    # Of tiles OpenCV (4.11, 5.0) takes other pixels at the right edge where they are grey of 16
    # bits, and turns each one where it is, where the picture is to be turned.
    if _tile_size(header) and (
        header.mode.startswith("I;16") or header.tag_v2.get(_ORIENTATION, 1) != 1
    ):
        return True
    return "transparency" in header.info or (header.format == "WEBP" and _orientation(header) > 1)


def _decode_with_opencv(header, content: bytes) -> np.ndarray | None:
    cv2 = load_opencv()
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"cannot be decoded ({error.err or 'OpenCV failed'})") from error
    if image is None:
        return None
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    make_white_around(content, image)
    return image


def _decode_with_pillow(header, content: bytes) -> np.ndarray:
    try:
        with heeding_libtiff(), header as image:
            image.load()
            # A PNG may say it behind its pixels.
            orientation = _orientation(image)
            require_colours(content, image)
            if image.format == "PNG":
                require_all_png_rows(content, image)
                image = with_key_as_alpha(content, image)
            pixels, brightest = colours_on_white(image)
    except ImageError:
        raise
    except Exception as error:  # as above
        # Of a file that ends, and of a picture that ends in it, Pillow says the same.
        if "truncated" in str(error):
            said = "is cut short, or part of its picture is missing"
        else:
            said = f"is damaged, and cannot be decoded ({error})"
        raise ImageError(f"the {header.format} file {said}") from error
    # Let go of the decoded image, which the header keeps.
    header.close()
    del image
    require_upper_bits(content, header, brightest)
    make_white_around(content, pixels)
    return _upright(pixels, orientation)


def _decode_heif(header: HeifFile) -> np.ndarray:
    pixels = header.pixels()
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return colours_on_white(load_pillow().fromarray(pixels))[0]
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, np.newaxis], 3, axis=2)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation: first the diagonal, then the mirrors."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)

"""Small pictures for pages, as data URIs; without Pillow there are none.

Image files come from strangers: their format, size in bytes and number of pixels
are checked before anything is decoded.
"""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterator

from ..core.errors import IrregularFileError
from ..core.places import container_of, open_image
from ..core.stores import is_url

__all__ = ["LARGEST_BYTES", "Pictures", "missing_reason", "opened_safely", "thumbnail"]

EDGE = 200
LARGEST_BYTES = 64 * 2**20
LARGEST_PIXELS = 64_000_000
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")


class UnusableError(ValueError):
    """A file that must not be decoded; the message says why."""


def missing_reason() -> str:
    """Say why there can be no thumbnails at all; empty if there can."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return "thumbnails need Pillow: pip install 'icecore[report]'"
    return ""


@contextlib.contextmanager
def opened_safely(path: str, edge: int = EDGE) -> Iterator:
    """Open an image that is a file of bounded size, to be decoded at a scale for `edge`."""
    from PIL import Image

    try:
        file = open_image(path, LARGEST_BYTES)
    except IrregularFileError as error:
        raise UnusableError("not a file") from error
    with file:
        if file.seek(0, io.SEEK_END) > LARGEST_BYTES:
            raise UnusableError("file too large")
        file.seek(0)
        image = Image.open(file, formats=_FORMATS)
        if image.width * image.height > LARGEST_PIXELS:
            raise UnusableError(f"too many pixels ({image.width} x {image.height})")
        image.draft("RGB", (2 * edge, 2 * edge))
        yield image


def thumbnail(path: str, edge: int = EDGE) -> tuple[str, str]:
    """Return a JPEG of at most `edge` pixels each way as a data URI, or why there is none.

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
    if is_url(container_of(path)):
        # The table may be a stranger's, and nobody who looks at a page asked to be connected.
        return "", "image lies in a store"
    from PIL import ImageOps

    try:
        with opened_safely(path, edge) as image:
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((edge, edge))
    except FileNotFoundError:
        return "", "image is missing"
    except UnusableError as error:
        return "", str(error)
    except Exception as error:  # decoders raise all kinds of errors; the page goes on
        return "", f"image cannot be read ({type(error).__name__})"
    memory = io.BytesIO()
    small.save(memory, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(memory.getvalue()).decode(), ""


class Pictures:
    """The thumbnails of one page, which together stay within a size that a browser likes.

    Parameters
    ----------
    most : int
        Characters of HTML that all pictures may take; the first come first.
    """

    def __init__(self, most: int = 2_700_000) -> None:
        self._left = most

    def of(self, path: str, edge: int = EDGE) -> dict[str, str]:
        """Return ``image``, a data URI, and ``reason``, why there is none; one of them is empty."""
        uri, reason = thumbnail(path, edge) if self._left > 0 else ("", "page is full")
        self._left -= len(uri)
        return {"image": uri, "reason": reason}

"""Small pictures for pages, as data URIs; without Pillow there are none.

Image files come from strangers: their format, size in bytes and number of pixels
are checked before anything is decoded.
"""

import base64
import contextlib
import io
from collections.abc import Callable, Iterator

from ..core.errors import IrregularFileError, MissingDependencyError
from ..core.imports import load, quieten_pillow
from ..core.places import container_of, open_image
from ..core.stores import is_url

FULL_SIZE, FILE_SIZE = "icecore: pixels", "icecore: bytes"
EDGE = 200
LARGEST_BYTES = 64 * 2**20
LARGEST_PIXELS = 64_000_000
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "AVIF", "HEIF")


class UnusableError(ValueError):
    """A file that must not be decoded; the message says why."""


def load_pillow():
    """Import Pillow, or say what to install."""
    return load("PIL", "PIL.Image", "PIL.ImageDraw", "PIL.ImageOps")


def missing_reason() -> str:
    """Say why there can be no thumbnails at all; empty if there can."""
    try:
        load_pillow()
    except MissingDependencyError:
        return "thumbnails need Pillow: pip install 'icecore[report]'"
    return ""


@contextlib.contextmanager
def opened_safely(path: str, edge: int = EDGE) -> Iterator:
    """Open an image that is a file of bounded size, to be decoded at a scale for `edge`.

    Its ``info`` has the size in pixels before it is scaled and that of the file in bytes, under
    `FULL_SIZE` and `FILE_SIZE`.
    """
    Image = load_pillow().Image
    quieten_pillow()
    with contextlib.suppress(MissingDependencyError):
        load("pi_heif").register_heif_opener()
    Image.init()
    known = [name for name in _FORMATS if name in Image.OPEN]
    try:
        file = open_image(path, LARGEST_BYTES)
    except IrregularFileError as error:
        raise UnusableError("not a file") from error
    with file:
        size = file.seek(0, io.SEEK_END)
        if size > LARGEST_BYTES:
            raise UnusableError("file too large")
        file.seek(0)
        image = Image.open(file, formats=known)
        if image.width * image.height > LARGEST_PIXELS:
            raise UnusableError(f"too many pixels ({image.width} x {image.height})")
        image.info |= {FULL_SIZE: image.size, FILE_SIZE: size}
        image.draft("RGB", (2 * edge, 2 * edge))
        yield image


def thumbnail(
    path: str, edge: int = EDGE, draw: Callable[..., None] = lambda small: None
) -> tuple[str, str]:
    """Return a JPEG of at most `edge` pixels each way as a data URI, or why there is none.

    Parameters
    ----------
    draw : callable, optional
        Given the small picture, an image of Pillow's, to draw on it.

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
    try:
        with opened_safely(path, edge) as image:
            small = load_pillow().ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((edge, edge))
    except FileNotFoundError:
        return "", "image is missing"
    except IrregularFileError:
        return "", "not a file"
    except UnusableError as error:
        return "", str(error)
    except Exception as error:  # decoders raise all kinds of errors; the page goes on
        return "", f"image cannot be read ({type(error).__name__})"
    draw(small)
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

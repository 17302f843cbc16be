"""HEIC photographs, as phones write them, by libheif; and which files are AVIF instead."""

import io

import numpy as np

from ...core.errors import ImageError, MissingDependencyError
from .libraries import load_pi_heif

_HEVC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_REMEDY = "pip install 'icecore[heic]', or convert it to JPEG"
# The container's own, of a picture and of several, whatever codes them.
_ANY = frozenset({b"mif1", b"msf1", b"mif2", b"miaf"})


def is_heif(content: bytes) -> bool:
    """Tell whether a file is HEIC: HEVC, or what names no codec, in a HEIF container."""
    if content[4:8] != b"ftyp":
        return False
    size = min(int.from_bytes(content[:4], "big"), 256)
    brands = {content[at : at + 4] for at in (8, *range(16, size, 4))}
    if brands & _HEVC:
        return True
    return content[8:12] in _ANY and not brands & {b"avif", b"avis"}


class HeifFile:
    """A HEIC file of which the header was read.

    libheif turns and mirrors the picture as the container says; an orientation in its EXIF
    is a copy for other programs, and does not count.

    Attributes
    ----------
    size : tuple of int
        Width and height of the upright picture: the primary one, if there are several.

    Raises
    ------
    ImageError
        It cannot be read, or pi-heif is not installed.
    """

    format = "HEIC"

    def __init__(self, content: bytes) -> None:
        try:
            library = load_pi_heif()
        except MissingDependencyError as error:
            raise ImageError(f"a HEIC image, and {error.message}: {_REMEDY}") from error
        try:
            self._image = library.open_heif(io.BytesIO(content))
            self.mode, self.size = self._image.mode, self._image.size
        except IndexError as error:  # It has no picture of which all parts are there.
            lacks = "the HEIC file is cut short, or lacks a part of its picture"
            raise ImageError(lacks) from error
        except Exception as error:  # libheif's messages come as several kinds.
            raise ImageError(f"the HEIC file cannot be read ({_said(error)})") from error

    def pixels(self) -> np.ndarray:
        """Decode the picture.

        Returns
        -------
        ndarray of uint8, shape (height, width) or (height, width, 3 or 4)
            Grey, RGB, or RGB with alpha.
        """
        try:
            # Copied: the memory is libheif's, and goes when the image does.
            pixels = np.array(self._image)
        except Exception as error:  # as above
            raise ImageError(f"the HEIC file is damaged ({_said(error)})") from error
        # Grey of more than 8 bits comes with 16.
        return (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

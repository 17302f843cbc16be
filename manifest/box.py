"""A box: the part of an image that counts."""

import hashlib
import re

# x0, y0, x1, y1
Box = tuple[int, int, int, int]


def row_key(digest: str, box: str) -> str:
    """Return the key of the features of an image's part.

    Parameters
    ----------
    digest : str
        SHA-256 of the image file.
    box : str
        As `format_box` writes it; empty for the whole image, whose key is the digest itself.
    """
    return hashlib.sha256(f"{digest} {box}".encode()).hexdigest() if box else digest


def format_box(box: Box | None) -> str:
    """Write a box as a sample has it: ``x0 y0 x1 y1``, or nothing for the whole image."""
    return "" if box is None else " ".join(map(str, box))


def parse_box(text: str) -> Box | None:
    """Read what `format_box` writes.

    Raises
    ------
    ValueError
        The text is no box.
    """
    if not text:
        return None
    if not re.fullmatch(r"\d{1,6}( \d{1,6}){3}", text):
        raise ValueError(f"'{text[:40]}' is not a box of four whole numbers x0 y0 x1 y1")
    x0, y0, x1, y1 = map(int, text.split())
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"the box {text} is empty")
    return x0, y0, x1, y1


def outside(box: Box, width: int, height: int) -> str:
    """Say that a box reaches out of its image."""
    return f"the box {format_box(box)} reaches out of the image of {width} x {height} pixels"

"""Whether a PNG, GIF or BMP uses colours that its palette lacks: they become black or grey."""

from collections.abc import Iterator

import numpy as np

from ...core.errors import ImageError
from .frames import first_picture, size_of_table

_BMP_HEAD, _OLD_HEAD, _WITH_BITS = 14, 12, (1, 2, 4, 8)
_RUN_LENGTHS = (1, 2)
_END_OF_BMP, _MOVE = 1, 2


def require_colours(content: bytes, image) -> None:
    """Refuse a PNG or GIF of which numbers of pixels stand for no colour.

    Parameters
    ----------
    image : PIL.Image.Image
        What Pillow made of its first picture: numbers, not colours yet.
    """
    if image.format == "GIF":
        colours = _colours_of_gif(content)
        if not colours:
            raise ImageError("the GIF file is damaged (its palette is missing)")
    elif image.format == "PNG" and image.mode == "P":
        colours = len(image.palette.palette) // 3
    else:
        return
    if image.mode not in ("P", "L"):
        return
    used = np.flatnonzero(image.histogram())
    # Where nothing is to be seen, there is no colour.
    seen = used[used != image.info.get("transparency", -1)] if image.format == "GIF" else used
    _require(image.format, int(seen.max(initial=0)), colours)


def _colours_of_gif(content: bytes) -> int:
    """Return how many colours the first picture's palette has, or that of all pictures."""
    at = first_picture(content)
    own = size_of_table(content[at + 9 : at + 10]) if content[at : at + 1] == b"," else 0
    return own or size_of_table(content[10:11])


def require_bmp_colours(content: bytes, size: tuple[int, int]) -> None:
    """Refuse a BMP of which numbers of pixels stand for no colour."""
    start, head = (int.from_bytes(content[at : at + 4], "little") for at in (10, 14))
    old = head == _OLD_HEAD
    bits = int.from_bytes(content[24:26] if old else content[28:30], "little")
    if bits not in _WITH_BITS:
        return
    stated = 0 if old else int.from_bytes(content[46:50], "little")
    room = (start - _BMP_HEAD - head) // (3 if old else 4)
    colours = min(stated or 2**bits, room)
    # Most have all that a pixel may name.
    if colours >= 2**bits:
        return
    kind = 0 if old else int.from_bytes(content[30:34], "little")
    if kind in _RUN_LENGTHS:
        largest = max((one for _, one in run_lengths(content, start, bits == 4)), default=0)
    else:
        largest = _largest_number(content[start:], size, bits)
    _require("BMP", largest, colours)


def _largest_number(rows: bytes, size: tuple[int, int], bits: int) -> int:
    """Return the largest number of a pixel in rows that are filled up to four bytes."""
    width, height = size
    across = -(-width * bits // 32) * 4
    whole = np.frombuffer(rows[: across * height], np.uint8)
    found = whole[: len(whole) // across * across].reshape(-1, across)
    numbers = [(found >> shift) & (2**bits - 1) for shift in range(8 - bits, -1, -bits)]
    # Only these are pixels of the row.
    return max(
        int(one[:, : -(-(width - at) // len(numbers))].max(initial=0))
        for at, one in enumerate(numbers)
        if at < width
    )


def run_lengths(content: bytes, at: int, halves: bool) -> Iterator[tuple[int, int]]:
    """Yield how many pixels each run of a run-length coded BMP has, and their largest number.

    Parameters
    ----------
    halves : bool
        A byte has the numbers of two pixels.
    """
    while at + 1 < len(content):
        run, value = content[at], content[at + 1]
        at += 2
        if run:
            yield run, max(value >> 4, value & 15 if run > 1 else 0) if halves else value
        elif value == _END_OF_BMP:
            break
        elif value == _MOVE:
            at += 2
        elif value > _MOVE:
            # As many as they are, filled up to whole words.
            size = -(-value // 2) if halves else value
            numbers = content[at : at + size]
            if halves:
                numbers = bytes(half for one in numbers for half in (one >> 4, one & 15))[:value]
            yield value, max(numbers, default=0)
            at += size + size % 2


def _require(kind: str, largest: int, colours: int) -> None:
    if largest >= colours:
        raise ImageError(f"the {kind} file is damaged (it uses colours that its palette lacks)")

"""Where the first frame of an animation lies on its canvas: around it that is transparent."""

import numpy as np

_GIF_HEAD, _GIF_EXTENSION, _WEBP_HEAD = 13, 0x21, 12


def make_white_around(content: bytes, pixels: np.ndarray) -> None:
    """Make white what the first frame of a GIF or WebP leaves free of its canvas.

    So is all that is transparent. Decoders put there the first colour of the palette, or black.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 3)
        Changed in place.
    """
    left, top, width, height = _place(content) or (0, 0, pixels.shape[1], pixels.shape[0])
    for free in (
        pixels[:top], pixels[top + height :], pixels[:, :left], pixels[:, left + width :],
    ):  # fmt: skip
        free[:] = 255


def _place(content: bytes) -> tuple[int, ...] | None:
    if content[:4] == b"GIF8":
        at = first_picture(content)
        numbers = content[at + 1 : at + 9]
        return tuple(int.from_bytes(numbers[i : i + 2], "little") for i in range(0, 8, 2))
    at = _WEBP_HEAD
    while content[:4] == b"RIFF" and at + 20 <= len(content):
        if content[at : at + 4] == b"ANMF":
            found = (content[at + i : at + i + 3] for i in range(8, 20, 3))
            x, y, width, height = (int.from_bytes(one, "little") for one in found)
            return 2 * x, 2 * y, width + 1, height + 1
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return None


def first_picture(content: bytes) -> int:
    """Return where the descriptor of a GIF's first picture is; the file may end before."""
    at = _GIF_HEAD + 3 * size_of_table(content[10:11])
    while at < len(content) and content[at] == _GIF_EXTENSION:
        at += 2
        while size := next(iter(content[at : at + 1]), 0):
            at += 1 + size
        at += 1
    return at


def size_of_table(flags: bytes) -> int:
    """Return how many colours a palette of a GIF has, by the byte of flags before it."""
    return 2 << (flags[0] & 7) if flags and flags[0] & 0x80 else 0

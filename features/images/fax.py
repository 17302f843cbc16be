"""Whether a strip of a fax in a TIFF holds all rows: libtiff leaves white what it does not find.

It warns, and nobody can hear it, since Pillow turns its warnings off whenever it decodes. But a
decoder that has found all rows looks no further: what is put behind the codes must not show.
"""

import io
import itertools
import re
import struct
from typing import NamedTuple

import numpy as np

from ...core.errors import ImageError
from .libraries import load_pillow
from .libtiff import heeding_libtiff

FAXES = (2, 3, 4)
_RUN_LENGTHS, _GROUP_3, _GROUP_4 = FAXES
# Zeros that fill up the last bytes.
_PADDING = 16
# Of group 3: zeros that fill up a line before its end, and how many bits are put into them.
_FILLED, _OF_FILLING = re.compile(rb"\0{8,}"), 48
_HEAD = 8
# Of a strip: a page has some hundred kilobytes. Ends of lines come six times at the end.
_LARGEST, _MOST_ENDS = 2**24, 64
_ZERO, _ONE = b"\0", b"\1"
# The end of a line, as bytes of one bit each. Of group 4 it is the end of all lines, of group 3
# several are.
_END = _ZERO * 11 + _ONE
# Lines of a start of their own: white and black runs of 2, or of 3.
_RUNS = ("011111", "100010")
# The line above once more, or with a black corner.
_CHANGES = ("1", "0101")


class Fax(NamedTuple):
    """How the strips of a fax are coded.

    Attributes
    ----------
    width, rows, height : int
        Pixels of a line, lines of a strip (the last one may have fewer), and of all.
    compression : int
        As in the tag.
    options : int
        The tag T4Options: 1 says that lines may hang on those above.
    reverse : bool
        Whether the first pixel is in the lowest bit of a byte.
    """

    width: int
    rows: int
    height: int
    compression: int
    options: int
    reverse: bool


def require_whole_fax(strips: list[bytes], fax: Fax) -> None:
    """Refuse a fax that lacks rows, or that has zeros in place of code words.

    Raises
    ------
    ValueError
        It is damaged so.
    """
    for strip in strips:
        codes = strip.rstrip(b"\0")
        # No code words have as many zeros between them, but group 3 may fill lines up.
        hole = fax.compression != _GROUP_3 and b"\0\0" in codes
        if hole or len(strip) - len(codes) > _PADDING:
            raise ValueError("zeros stand where its code words should")
    if max(map(len, strips), default=0) > _LARGEST:
        return
    found = {_decoded([_with_tail(one, tail, fax) for one in strips], fax) for tail in _tails(fax)}
    if None in found or len(found) > 1:
        raise ValueError("rows of the fax are missing")


def _with_tail(strip: bytes, tail: bytes, fax: Fax) -> bytes:
    """Return a strip with other bits in the place of what says that its lines end."""
    data = np.frombuffer(strip, np.uint8)
    bits = np.unpackbits(data, bitorder="little" if fax.reverse else "big").tobytes()
    if fax.compression == _GROUP_4:
        bits = bits.partition(_END)[0]
    elif fax.compression == _GROUP_3:
        bits = _with_filling(strip, bits, tail.partition(_END)[0][:_OF_FILLING])
        bits = bits[: _last_line(bits)]
    return np.packbits(np.frombuffer(bits + tail, np.uint8)).tobytes()


def _with_filling(strip: bytes, bits: bytes, codes: bytes) -> bytes:
    """Return the bits of a strip with codes in its long rows of zeros.

    They are passed over behind a line that is whole, and are part of one whose end the zeros took.
    """
    parts, done = [], 0
    for run in _FILLED.finditer(strip):
        # So few zeros that no line ends.
        at = bits.rfind(_ONE, 0, 8 * run.start()) + 9
        parts += [bits[done:at], codes]
        done = at
    return b"".join([*parts, bits[done:]])


def _last_line(bits: bytes) -> int:
    """Return where the codes of group 3 stop, behind which only ends of lines come."""
    end = len(bits)
    for _ in range(_MOST_ENDS):
        at = bits.rfind(_ONE, 0, end)
        # One more may say how the line is coded.
        at -= bits[max(0, at - 12) : at + 1] == _END + _ONE
        if at < 11 or bits[at - 11 : at + 1] != _END:
            break
        end = at - 11
    return end


def _tails(fax: Fax) -> list[bytes]:
    """Return bits that lines which are missing would be read from: each makes others of them."""
    if fax.compression == _GROUP_4:
        return [b"", *(bytes(map(int, text)) * (fax.width + 64) for text in _CHANGES)]
    start = _END + _ONE * (fax.options & 1)
    lines = [bytes(map(int, text)) * (fax.width // 4 + 1) for text in _RUNS]
    if fax.compression == _RUN_LENGTHS:
        return [b"", *lines]
    # The last line may go on, and others may be missing.
    return [b"", *(line + start + line + _END for line in lines)]


def _decoded(strips: list[bytes], fax: Fax) -> bytes | None:
    """Return the pixels of strips; None where libtiff complains."""
    sizes = [len(one) for one in strips]
    data = b"".join(strips)
    places = [_HEAD + at for at in itertools.accumulate([0, *sizes[:-1]])]
    entries = {
        256: [fax.width], 257: [fax.height], 258: [1], 259: [fax.compression], 262: [0],
        273: places, 277: [1], 278: [fax.rows], 279: sizes, 292: [fax.options & 1],
    }  # fmt: skip
    content = _tiff(data, entries)
    try:
        with (
            heeding_libtiff(),
            load_pillow().open(io.BytesIO(content), formats=("TIFF",)) as image,
        ):
            return image.tobytes()
    except (ImageError, OSError, ValueError):
        return None


def _tiff(data: bytes, entries: dict[int, list[int]]) -> bytes:
    """Return a TIFF file of some pixels and whole numbers."""
    at = _HEAD + len(data)
    lists, behind = b"", at + 2 + 12 * len(entries) + 4
    directory = struct.pack("<H", len(entries))
    for tag, numbers in entries.items():
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        directory += struct.pack("<HHI", tag, 4, len(numbers))
        directory += packed if len(numbers) == 1 else struct.pack("<I", behind + len(lists))
        lists += packed if len(numbers) > 1 else b""
    return b"II*\0" + struct.pack("<I", at) + data + directory + bytes(4) + lists

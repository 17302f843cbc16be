"""The head of a JPEG, read directly where the file holds nothing out of the ordinary."""

import re
from typing import NamedTuple

import numpy as np

# A mark that begins a segment: no escaped byte of a scan, no fill byte, none without a length.
MARK = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")
# Baseline and progressive frames, and the segments that say nothing of size, colours or turning:
# tables (DHT, DQT, DRI), JFIF's (APP0) and comments.
_PROGRESSIVE = 0xC2
_FRAMES = frozenset({0xC0, _PROGRESSIVE})
_HARMLESS = frozenset({0xC4, 0xDB, 0xDD, 0xE0, 0xFE})
_SCAN, _END = 0xDA, 0xD9
# Those whose scans may be several: baseline, extended, and progressive.
_FRAMES_OF_SCANS = frozenset({0xC0, 0xC1, _PROGRESSIVE})
_ALL_BITS = 99
_LACKING = "scans that belong to it are not there"
_ANY_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Frames of arithmetic coding: sequential, progressive, lossless, and the hierarchical ones.
_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})


class JpegHead(NamedTuple):
    """What is known of a plain JPEG before it is decoded."""

    width: int
    height: int
    progressive: bool


def read_plain_head(content: bytes) -> JpegHead | None:
    """Read the head of a JPEG of 8 bits, grey or of three colours, without EXIF.

    Returns
    -------
    JpegHead or None
        None for every other file, and where anything at all is unusual: those are for a
        reader that knows more kinds.
    """
    if content[:2] != b"\xff\xd8":
        return None
    at, size, progressive = 2, None, False
    while content[at : at + 1] == b"\xff" and at + 4 <= len(content):
        kind = content[at + 1]
        if kind == _SCAN:
            return size and JpegHead(*size, progressive)
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if kind in _FRAMES and size is None:
            size, progressive = _plain_size(content[at + 4 : end]), kind == _PROGRESSIVE
            if size is None:
                return None
        elif kind not in _HARMLESS:
            return None
        at = end
    return None


def _plain_size(frame: bytes) -> tuple[int, int] | None:
    """Return width and height of a frame of 8 bits and one or three components."""
    if len(frame) not in (9, 15) or frame[0] != 8 or len(frame) != 6 + 3 * frame[5]:
        return None
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    return (width, height) if width and height else None


def frame_size(content: bytes) -> tuple[int, int]:
    """Return width and height by the frame of a JPEG of any kind; zeros if it has none."""
    at = 2
    while mark := MARK.search(content, at):
        head = content[mark.end() : mark.end() + 7]
        if mark[1][0] in _ANY_FRAME and len(head) == 7:
            return int.from_bytes(head[5:], "big"), int.from_bytes(head[3:5], "big")
        at = mark.end() + int.from_bytes(head[:2], "big")
    return 0, 0


def is_arithmetic(content: bytes) -> bool:
    """Tell whether a JPEG is coded arithmetically.

    Its encoder leaves zeros at the end of a scan away, so a decoder takes whatever is missing for
    zeros, and warns of nothing.
    """
    at = 2
    while (mark := MARK.search(content, at)) and mark[1][0] != _SCAN:
        if mark[1][0] in _ARITHMETIC:
            return True
        at = mark.end() + int.from_bytes(content[mark.end() : mark.end() + 2], "big")
    return False


def fault_of_scans(content: bytes) -> str:
    """Say what is wrong with a JPEG of several scans: a progressive one, or one for each colour.

    A decoder takes what missing ones would say for zeros, and warns of nothing: the picture is
    blurred, or without its colours. One that comes again moves values that are final.

    Returns
    -------
    str
        Empty if they are all there, once.
    """
    at, parts, progressive = 2, b"", False
    # Bits that are still to come of each coefficient of each component; many if none came.
    lacking = np.zeros((0, 64), int)
    while (mark := MARK.search(content, at)) and mark[1][0] != _END:
        kind, start = mark[1][0], mark.end() + 2
        at = mark.end() + int.from_bytes(content[mark.end() : start], "big")
        if kind in _FRAMES_OF_SCANS and not parts:
            progressive, parts = kind == _PROGRESSIVE, content[start + 6 : at : 3]
            lacking = np.full((len(parts), 64), _ALL_BITS)
        elif kind == _SCAN and parts:
            if not start + 6 <= at <= len(content) or 2 * content[start] + 4 != at - start:
                return ""  # A decoder says so.
            first, last, bits = content[at - 3 : at] if progressive else (0, 63, 0)
            rows = [parts.index(one) for one in content[start + 1 : at - 3 : 2] if one in parts]
            band = np.s_[rows, first : last + 1]
            # What is refined; the first scan of a coefficient refines none.
            before = bits >> 4 or _ALL_BITS
            if (lacking[band] > before).any():
                return _LACKING
            if progressive and (lacking[band] < before).any():
                return "a scan of it comes twice"
            lacking[band] = bits & 15
            if not progressive and not lacking.any():
                return ""
    # Without an end mark it is cut, which a decoder says.
    return _LACKING if mark is not None and lacking.any() else ""


def has_an_end(content: bytes) -> bool:
    """Walk the segments of a JPEG to the end mark of its image; what follows does not matter."""
    at = 2
    while mark := MARK.search(content, at):
        if mark[1][0] == _END:
            return True
        # A segment is skipped whole, with the thumbnail that it may hold.
        at = mark.end() + int.from_bytes(content[mark.end() : mark.end() + 2], "big")
    return False

"""Where the codes of the pictures in a HEIC or AVIF file lie."""

import io
import itertools
from collections.abc import Iterator

# How items are called that HEVC codes, and AV1.
HEVC, AV1 = b"hvc1", b"av01"
_OF_VERSION_2, _IN_FILE = 2, 0
# Of 512 x 512 pixels each, many times the largest image has fewer.
_MOST_PIECES = 2**16


def codes_of_pictures(content: bytes, codec: bytes) -> Iterator[bytes]:
    """Yield the codes of each picture in a file: of all tiles, copies and masks.

    Nothing of a file whose lists cannot be followed: the decoder says what is wrong with it.
    """
    boxes = dict(_boxes(_payload(content, b"meta")[4:]))
    try:
        coded = _coded_items(boxes[b"iinf"], codec)
        places = list(itertools.islice(_places(boxes[b"iloc"]), _MOST_PIECES))
    except (KeyError, ValueError):
        return
    left = len(content)
    for item, start, size in places:
        if item in coded:
            codes = content[start : start + size if size else len(content)]
            # Whoever lists one piece many times has it looked at once.
            left -= len(codes)
            if left < 0:
                return
            yield codes


def _payload(content: bytes, kind: bytes) -> bytes:
    return next((inside for one, inside in _boxes(content) if one == kind), b"")


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        head = 8
        if size == 1:
            size, head = int.from_bytes(content[at + 8 : at + 16], "big"), 16
        end = at + size if head <= size <= len(content) - at else len(content)
        yield kind, content[at + head : end]
        at = end


def _coded_items(box: bytes, codec: bytes) -> set[int]:
    """Return the numbers of the items that a codec codes, of an ``iinf``."""
    found = set()
    for kind, entry in _boxes(box[6 if box[:1] == b"\0" else 8 :]):
        wide = 4 if entry[:1] > b"\2" else 2
        if kind == b"infe" and entry[4 + wide + 2 : 4 + wide + 6] == codec:
            found.add(int.from_bytes(entry[4 : 4 + wide], "big"))
    return found


def _places(box: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield item, start and size of each piece of the file, of an ``iloc``; 0 is all the rest."""
    file = io.BytesIO(box)
    version = _number(file, 4) >> 24
    sizes = _number(file, 2)
    of_offset, of_length, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version == _OF_VERSION_2 else 2
    for _ in range(_number(file, wide)):
        item = _number(file, wide)
        method = _number(file, 2) & 15 if version else _IN_FILE
        _number(file, 2)
        base = _number(file, of_base)
        for _ in range(_number(file, 2)):
            _number(file, of_index if version else 0)
            start, size = base + _number(file, of_offset), _number(file, of_length)
            if method == _IN_FILE:
                yield item, start, size


def _number(file: io.BytesIO, size: int) -> int:
    found = file.read(size)
    if len(found) < size:
        raise ValueError("the box is cut short")
    return int.from_bytes(found, "big")

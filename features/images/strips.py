"""Whether a TIFF file holds all pixels, where its decoder does not say."""

import io
import zlib
from itertools import pairwise, zip_longest
from typing import NamedTuple

from ...core.errors import ImageError
from .fax import FAXES, Fax, require_whole_fax
from .jpeg import fault_of_scans, frame_size
from .jpeg_decoder import UNKNOWN_SAMPLING, require_few_scans
from .libraries import load_pillow, load_simplejpeg
from .libtiff import heeding_libtiff

_AT_ONCE, _PIECE = 2**20, 2**16
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOURS = 0x0100, 0x0101, 0x0102, 0x0103, 0x0106
_SAMPLES, _ROWS, _PLANES, _TABLES, _SHARED = 0x0115, 0x0116, 0x011C, 0x015B, 0x0212
_TILE_SIDES = (0x0142, 0x0143)
# Places and sizes of strips, and of tiles.
_OF_STRIPS, _OF_TILES = (0x0111, 0x0117), (0x0144, 0x0145)
_NONE, _OLD_JPEG, _JPEG_IN_TIFF, _DEFLATE = 1, 6, 7, (8, 32946)
_FAX_IN_WORDS = 32771
_OPTIONS, _FILL, _REVERSE = 0x0124, 0x010A, 2
_YCBCR, _APART = 6, 2
# A pixel has four numbers of 16 bits at most; the last strip may be filled up.
_BYTES_A_PIXEL = 16
_ENTRY = 12
# How a file begins; pixels lie behind.
_HEAD = 8


class _Parts(NamedTuple):
    """The strips or tiles that the pixels of a TIFF take, by its directory."""

    wide: int
    tall: int
    across: int
    down: int
    planes: int
    height: int
    tiled: bool

    @property
    def number(self) -> int:
        return self.across * self.down * self.planes

    def rows(self, number: int) -> int:
        """Return how many rows one has: strips end with the picture, tiles do not."""
        return self.tall if self.tiled else min(self.tall, self.height - self._above(number))

    def _above(self, number: int) -> int:
        return number % self.down * self.tall


def require_sound_strips(content: bytes, header) -> None:
    """Refuse a TIFF of which a strip or tile is missing, cut off, or cannot be unpacked.

    OpenCV goes on with what it has; Pillow stops.
    """
    tags = header.tag_v2
    compression, parts = _numbers(tags, _COMPRESSION, 1)[0], _parts(tags)
    places, sizes = (_numbers(tags, tag) for tag in (_OF_TILES if parts.tiled else _OF_STRIPS))
    _require_readable(header.mode, compression, parts)
    if compression != _OLD_JPEG and len(places) < parts.number:
        raise ImageError(
            "the TIFF file is damaged, and part of its picture missing "
            f"({len(places)} of {parts.number} strips)"
        )
    if compression == _NONE:
        # Some programs state no sizes.
        listed = list(zip_longest(places[: parts.number], sizes[: parts.number], fillvalue=0))
        return _require_room(len(content), tags, parts, listed)
    left = _most_bytes(parts)
    # More of them are no part of the picture.
    listed = list(zip(places, sizes))[: None if compression == _OLD_JPEG else parts.number]
    _require_places(len(content), listed)
    for number, (place, size) in enumerate(listed):
        strip = memoryview(content)[place : place + size]
        try:
            # Several may lie in the same place, and each is looked at.
            if compression == _JPEG_IN_TIFF:
                left -= _require_whole_jpeg(_with_tables(tags, strip), parts, number, left)
            elif compression in _DEFLATE:
                left -= _unpack(strip, left)
            elif compression in FAXES:
                left -= _within(len(strip), left)
        except ImageError:
            raise
        except (ValueError, zlib.error) as error:
            raise ImageError(
                "the TIFF file is damaged, and part of its picture missing "
                f"(strip {number}: {error})"
            ) from error
    if compression in FAXES and parts.planes == 1:
        _require_fax(content, tags, parts, listed)
    try:
        with (
            heeding_libtiff(),
            load_pillow().open(io.BytesIO(content), formats=("TIFF",)) as image,
        ):
            image.load()
    except ImageError:
        raise
    except Exception as error:  # Pillow's parsers raise many kinds.
        raise ImageError(f"the TIFF file is damaged ({error})") from error


def _require_readable(mode: str, compression: int, parts: _Parts) -> None:
    """Refuse what decoders make other pixels of."""
    if compression == _FAX_IN_WORDS:
        # Where a word begins, libtiff tells by where the strip lies in memory.
        raise ImageError(
            "a TIFF of run lengths in words (compression 32771), which libtiff reads wrongly: save "
            "it with another compression"
        )
    if mode == "LA" and parts.planes > 1:
        raise ImageError(
            "a TIFF of grey and alpha in planes of their own, whose alpha no decoder reads: save "
            "it with both side by side"
        )


def _parts(tags) -> _Parts:
    width, height = (_numbers(tags, side, 0)[0] for side in (_WIDTH, _HEIGHT))
    wide, tall = (_numbers(tags, side, 0)[0] for side in _TILE_SIDES)
    tiled = _OF_TILES[0] in tags
    if not tiled:
        wide, tall = width, min(_numbers(tags, _ROWS, height)[0], height)
    if not (width and height and wide and tall):
        raise ImageError("the TIFF file is damaged (it has no size, or its strips have none)")
    if tiled and _OF_STRIPS[0] in tags:
        raise ImageError("the TIFF file is damaged (it has strips and tiles)")
    planes = _numbers(tags, _SAMPLES, 1)[0] if _numbers(tags, _PLANES, 1)[0] == _APART else 1
    return _Parts(wide, tall, -(-width // wide), -(-height // tall), planes, height, tiled)


def _require_places(end: int, listed: list[tuple[int, int]]) -> None:
    if empty := sum(size == 0 for _, size in listed):
        raise ImageError(
            f"the TIFF file is damaged ({empty} of {len(listed)} strips have no bytes, by its "
            "directory): save it again with a program that still shows it"
        )
    for number, (place, size) in enumerate(listed):
        if place < _HEAD:
            raise ImageError("the TIFF file is damaged (a strip lies over its head)")
        if place + size > end:
            raise ImageError(
                f"the TIFF file is cut short, or its directory damaged (strip {number} goes on "
                "behind its end)"
            )


def _require_fax(content: bytes, tags, parts: _Parts, listed: list[tuple[int, int]]) -> None:
    compression, options, order = (
        _numbers(tags, tag, default)[0]
        for tag, default in ((_COMPRESSION, 1), (_OPTIONS, 0), (_FILL, 1))
    )
    height = parts.tall * parts.number if parts.tiled else parts.height
    fax = Fax(parts.wide, parts.tall, height, compression, options, order == _REVERSE)
    try:
        require_whole_fax([content[place : place + size] for place, size in listed], fax)
    except ValueError as error:
        raise ImageError(
            f"the TIFF file is damaged, and part of its picture missing ({error})"
        ) from error


def _require_room(end: int, tags, parts: _Parts, listed: list[tuple[int, int]]) -> None:
    """Refuse a TIFF without compression whose strips do not have room for their pixels.

    Decoders take what lies behind instead: another strip, or the directory.
    """
    bits = _numbers(tags, _BITS, 1)
    if len(bits) == 1 or parts.planes > 1:
        bits = bits[:1] * (1 if parts.planes > 1 else _numbers(tags, _SAMPLES, 1)[0])
    across, down, in_block = 1, 1, sum(bits)
    if parts.planes == 1 and _numbers(tags, _COLOURS, 0)[0] == _YCBCR:
        across, down = (max(1, side) for side in (*_numbers(tags, _SHARED, 2), 2)[:2])
        in_block = (across * down + 2) * bits[0]
    row = -(-(-(-parts.wide // across) * in_block) // 8)
    # Of the directory's entries some may be none to Pillow: it is longer than that.
    taken = {(tags.offset, tags.offset + _ENTRY * len(tags))}
    for number, (place, size) in enumerate(listed):
        needed = row * -(-parts.rows(number) // down)
        if place < _HEAD or place + needed > end or 0 < size < needed:
            raise ImageError(
                "the TIFF file is cut short, or its directory damaged: a strip or tile lacks part "
                f"of its pixels (strip {number})"
            )
        taken.add((place, place + needed))
    if any(one[1] > other[0] for one, other in pairwise(sorted(taken))):
        raise ImageError(
            "the TIFF file is damaged (its strips lie over one another, or its directory)"
        )


def _numbers(tags, tag: int, *default: int) -> tuple[int, ...]:
    value = tags.get(tag, default)
    numbers = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(one, int) and one >= 0 for one in numbers) or len(numbers) < len(default):
        raise ImageError(f"the TIFF file is damaged (its tag {tag} is no whole number)")
    return numbers


def _most_bytes(parts: _Parts) -> int:
    """Return how many bytes all strips may have, packed and unpacked."""
    pixels = parts.wide * parts.tall * parts.across * parts.down
    return _BYTES_A_PIXEL * pixels + _AT_ONCE


def _within(size: int, left: int) -> int:
    if size > left:
        raise ImageError("the TIFF file is damaged (its strips hold far more than its pixels)")
    return size


def _unpack(strip: memoryview, most: int) -> int:
    """Inflate a strip to its checksum, which libtiff does not look at; keep nothing."""
    inflate, seen = zlib.decompressobj(), 0
    for start in range(0, len(strip), _PIECE):
        piece: bytes | memoryview = strip[start : start + _PIECE]
        seen += len(piece)
        while piece and not inflate.eof:
            seen += len(inflate.decompress(piece, _AT_ONCE))
            _within(seen, most)
            piece = inflate.unconsumed_tail
        if inflate.eof:
            return seen
    raise ValueError("its data end early")


def _with_tables(tags, strip: memoryview) -> bytes:
    """Return a strip of JPEG with its tables, which stand apart, between marks of their own."""
    tables = tags.get(_TABLES, b"\xff\xd8\xff\xd9")
    if not isinstance(tables, bytes):
        raise ImageError("the TIFF file is damaged (its tables of JPEG are no bytes)")
    return tables[:-2] + bytes(strip[2:])


def _require_whole_jpeg(content: bytes, parts: _Parts, number: int, most: int) -> int:
    """Decode a strip, and return how many bytes it and its pixels have."""
    width, height = frame_size(content)
    size = _within(3 * height * width + len(content), most)
    # Of planes apart some may have fewer pixels.
    if parts.planes == 1 and (width < parts.wide or height < parts.rows(number)):
        raise ValueError(f"it has {width} x {height} of {parts.wide} x {parts.rows(number)} pixels")
    require_few_scans(content, (width, height))
    if fault := fault_of_scans(content):
        raise ValueError(fault)
    try:
        load_simplejpeg().decode_jpeg(content, strict=True)
    except ValueError as error:
        # Of grey with alpha, say: no damage, and libtiff will look at it.
        if not UNKNOWN_SAMPLING.search(str(error)):
            raise
    return size

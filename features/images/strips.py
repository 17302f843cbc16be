"""Whether a TIFF file holds all pixels, where its decoder does not say."""

import io
import zlib

from ...core.errors import ImageError
from .jpeg_decoder import UNKNOWN_SAMPLING, require_few_scans
from .libraries import load_pillow, load_simplejpeg
from .libtiff import heeding_libtiff

_AT_ONCE, _PIECE = 2**20, 2**16
_COMPRESSION, _TABLES, _BITS_PER_SAMPLE, _TILES = 0x0103, 0x015B, 0x0102, 0x0144
_NONE, _JPEG_IN_TIFF, _DEFLATE = 1, 7, (8, 32946)
_FAXES, _GROUP_4 = (2, 3, 4), 4
# Zeros that fill up the last bytes of a fax.
_PADDING = 16
# A pixel has four numbers of 16 bits at most; the last strip may be filled up.
_BYTES_A_PIXEL = 16
_TILE_SIDES = (0x0142, 0x0143)
# Places and sizes of strips, and of tiles.
_STRIPS = ((0x0111, 0x0117), (0x0144, 0x0145))


def require_sound_strips(content: bytes, header) -> None:
    """Refuse a TIFF of which a strip or tile is cut off, or cannot be unpacked.

    OpenCV goes on with what it has; Pillow stops.
    """
    compression = header.tag_v2.get(_COMPRESSION, 1)
    if compression == _NONE:
        return _require_strips_inside(content, header)
    left = _most_bytes(header)
    for number, strip in enumerate(_strips(content, header.tag_v2)):
        try:
            # Several may lie in the same place, and each is looked at.
            if compression == _JPEG_IN_TIFF:
                # The tables stand apart, between a start and an end mark of their own.
                tables = bytes(header.tag_v2.get(_TABLES, b"\xff\xd8\xff\xd9"))[:-2]
                left -= _require_whole_jpeg(tables + bytes(strip[2:]), left)
            elif compression in _DEFLATE:
                left -= _unpack(strip, left)
            elif compression in _FAXES:
                left -= _within(len(strip), left)
                _require_codes(bytes(strip), compression)
        except ImageError:
            raise
        except (ValueError, zlib.error) as error:
            raise ImageError(
                "the TIFF file is damaged, and part of its picture missing "
                f"(strip {number}: {error})"
            ) from error
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


def _require_strips_inside(content: bytes, header) -> None:
    """Refuse a TIFF that ends before its strips do: those of its last colours may be missing."""
    tags = header.tag_v2
    places = [
        place + size
        for at, sizes in _STRIPS
        for place, size in zip(_numbers(tags, at), _numbers(tags, sizes))
    ]
    if max(places, default=0) <= len(content):
        return
    # Some programs state more bytes than there are pixels.
    bits = sum(_numbers(tags, _BITS_PER_SAMPLE)) or 8
    wanted = -(-header.width * bits // 8) * header.height
    if sum(len(strip) for strip in _strips(content, tags)) < wanted or _TILES in tags:
        raise ImageError("the TIFF file is cut short")


def _strips(content: bytes, tags):
    content = memoryview(content)
    for places, sizes in _STRIPS:
        for place, size in zip(_numbers(tags, places), _numbers(tags, sizes)):
            yield content[place : place + size]


def _numbers(tags, tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return value if isinstance(value, tuple) else (value,)


def _most_bytes(header) -> int:
    """Return how many bytes all strips may have, packed and unpacked; tiles reach beyond edges."""
    width, height = (
        side + int(header.tag_v2.get(tag, 0)) for side, tag in zip(header.size, _TILE_SIDES)
    )
    return _BYTES_A_PIXEL * width * height + _AT_ONCE


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


def _require_whole_jpeg(content: bytes, most: int) -> int:
    """Decode a strip, and return how many bytes it and its pixels have."""
    try:
        height, width = load_simplejpeg().decode_jpeg_header(content, strict=False)[:2]
        size = _within(3 * height * width + len(content), most)
        require_few_scans(content, (width, height))
        load_simplejpeg().decode_jpeg(content, strict=True)
    except ValueError as error:
        # Of grey with alpha, say: no damage, and libtiff will look at it.
        if not UNKNOWN_SAMPLING.search(str(error)):
            raise
        return 0
    return size


def _require_codes(strip: bytes, compression: int) -> None:
    """Refuse a fax with zeros in place of code words, which libtiff takes for its end."""
    codes = strip.rstrip(b"\0")
    # No code words of group 4 have as many zeros between them; group 3 may fill lines up.
    hole = compression == _GROUP_4 and b"\0\0" in codes
    if hole or len(strip) - len(codes) > _PADDING:
        raise ValueError("zeros stand where its code words should")

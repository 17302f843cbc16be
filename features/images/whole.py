"""Whether a PNG, TIFF or BMP file holds all pixels, where its decoder does not say."""

import io
import zlib

import numpy as np

from ...core.errors import ImageError
from .jpeg_decoder import UNKNOWN_SAMPLING, require_few_scans
from .libraries import load_pillow, load_simplejpeg
from .libtiff import heeding_libtiff

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Where the seven passes of Adam7 begin, and how far apart their pixels lie: x, y, dx, dy.
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
    (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
_OF_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
_OF_PALETTE = b"\3"
_AT_ONCE, _PIECE = 2**20, 2**16
_COMPRESSION, _TABLES, _BITS_PER_SAMPLE, _TILES = 0x0103, 0x015B, 0x0102, 0x0144
_NONE, _JPEG_IN_TIFF, _DEFLATE = 1, 7, (8, 32946)
_FAXES, _GROUP_4 = (2, 3, 4), 4
_RUN_LENGTHS = (1, 2)
# Zeros that fill up the last bytes of a fax.
_PADDING = 16
# A pixel has four numbers of 16 bits at most; the last strip may be filled up.
_BYTES_A_PIXEL = 16
_TILE_SIDES = (0x0142, 0x0143)
# Zeros in a row that a WebP, AVIF or HEIC may have.
_ZEROS = 64
# Places and sizes of strips, and of tiles.
_STRIPS = ((0x0111, 0x0117), (0x0144, 0x0145))


def require_sound_chunks(content: bytes) -> None:
    """Refuse a PNG of which a chunk that pixels hang on is cut short or has a wrong checksum.

    Pillow does not look at the checksums of pixels.
    """
    view, at = memoryview(content), 8
    coloured = content[25:26] != _OF_PALETTE
    while at + 12 <= len(content):
        kind, end = content[at + 4 : at + 8], at + 12 + int.from_bytes(content[at : at + 4], "big")
        coloured |= kind == b"PLTE"
        # A small letter first says that one may pass over a chunk.
        if not (kind[:1].islower() or kind in _OF_PIXELS or kind == b"IEND"):
            raise ImageError(f"the PNG file is damaged (it has a chunk {kind!r:.20})")
        if kind == b"IDAT" and not coloured:
            raise ImageError("the PNG file is damaged (its palette is missing)")
        if kind in _OF_PIXELS and end <= len(content):
            stated = int.from_bytes(content[end - 4 : end], "big")
            if zlib.crc32(view[at + 4 : end - 4]) != stated:
                raise ImageError(
                    f"the PNG file is damaged (its {kind.decode()} chunk has a wrong checksum)"
                )
        if kind == b"IEND":
            return
        at = end
    raise ImageError("the PNG file is cut short")


def require_all_png_rows(content: bytes, image) -> None:
    """Refuse a PNG whose pixel data end before its last row, which Pillow fills up with zeros.

    Data behind the last row are no part of the picture, and are passed over.

    Parameters
    ----------
    image : PIL.Image.Image
        What Pillow made of it.

    Raises
    ------
    ImageError
        So it is, or the numbers of its pixels stand for no colour of its palette.
    """
    if image.mode == "P" and image.getextrema()[1] >= len(image.palette.palette) // 3:
        raise ImageError("the PNG file is damaged (it uses colours that its palette lacks)")
    # To unpack it again takes as long as a decoder, and only a last row of zeros may be none.
    # Of Adam7's passes the last one lies between the rows of the others.
    last = image.crop((0, image.height - 1, image.width, image.height))
    if not content[28] and np.asarray(last).any():
        return
    wanted, found, inflate = _png_bytes(content), 0, zlib.decompressobj()
    try:
        for data in _pixel_chunks(content):
            while data and found < wanted and not inflate.eof:
                found += len(inflate.decompress(data, _AT_ONCE))
                data = inflate.unconsumed_tail
        if found < wanted and not inflate.eof:
            found += len(inflate.flush())
    except zlib.error as error:
        raise ImageError(f"the PNG file is damaged ({error})") from error
    if found < wanted:
        raise ImageError(
            f"the PNG file is damaged, and part of its picture missing ({found} of {wanted} bytes)"
        )


def _png_bytes(content: bytes) -> int:
    """Return how many bytes the pixels of a PNG take, with the filter byte of each row."""
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    bits = content[24] * _CHANNELS.get(content[25], 1)
    passes = _ADAM7 if content[28] else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    return sum(rows * (1 + -(-wide * bits // 8)) for wide, rows in sizes if wide > 0 < rows)


def _pixel_chunks(content: bytes):
    at = 8
    while at + 8 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if kind == b"IDAT":
            yield content[at + 8 : at + 8 + size]
        elif kind == b"IEND":
            return
        at += 12 + size


def require_all_bmp_bytes(content: bytes) -> None:
    """Refuse a run-length coded BMP of fewer bytes than it says: the rest would be black."""
    start, kind, size = (int.from_bytes(content[at : at + 4], "little") for at in (10, 30, 34))
    if kind in _RUN_LENGTHS and start + size > len(content):
        raise ImageError("the BMP file is cut short")


def require_written(content: bytes, pixels: int) -> None:
    """Refuse a lossy WebP, AVIF or HEIC with zeros in place of codes.

    So a download leaves it that began by taking the room. Decoders make a picture of them. Codes
    hold few zeros in a row, but for VP8's of flat colours: a fifth of a bit for 256 pixels.
    """
    if content[:4] == b"RIFF":
        hollow = _is_hollow_webp(content, _ZEROS + pixels // 5000)
    elif content[4:8] == b"ftyp":
        start, end = _media_data(content)
        # In between a camera's notes may hold any number of zeros, and end in some.
        most = max(_ZEROS, (end - start) // 20)
        hollow = end - start > most and not any(content[end - most : end])
    else:
        return
    if hollow:
        raise ImageError(
            "the file was not written in full, and part of its picture is missing (zeros stand "
            "there)"
        )


def _is_hollow_webp(content: bytes, most: int) -> bool:
    """Look into the chunk of a lossy picture; lossless codes may be any number of zeros."""
    at = 12
    while at + 8 <= len(content):
        end = at + 8 + int.from_bytes(content[at + 4 : at + 8], "little")
        if content[at : at + 4] == b"VP8 ":
            return bytes(most) in content[at + 8 : end]
        at = end + end % 2
    return False


def _media_data(content: bytes) -> tuple[int, int]:
    """Return where the last box of media data begins and ends."""
    at, found = 0, (0, 0)
    while at + 16 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if size == 1:
            size = int.from_bytes(content[at + 8 : at + 16], "big")
        end = at + size if 8 <= size <= len(content) - at else len(content)
        if kind == b"mdat":
            found = (at + 8, end)
        at = end
    return found


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

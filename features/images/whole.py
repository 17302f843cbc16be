"""Whether a PNG, BMP, WebP, AVIF or HEIC file holds all pixels, where its decoder does not say."""

import zlib

import numpy as np

from ...core.errors import ImageError
from .heif_items import AV1, HEVC, codes_of_pictures
from .palettes import run_lengths

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Where the seven passes of Adam7 begin, and how far apart their pixels lie: x, y, dx, dy.
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
    (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
_OF_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
_OF_PALETTE = b"\3"
_AT_ONCE = 2**20
_RUN_LENGTHS, _OF_FOUR_BITS = (1, 2), 2
_BMP_HEAD, _WITH_KIND, _MASKS, _PACKED, _WIDEST = 14, 40, 3, 16, 32
# Zeros in a row that a WebP, AVIF or HEIC may have.
_ZEROS = 64
# The length of a unit, and what some programs add to the unit before.
_ZEROS_OF_HEVC = 16
_BEFORE_FRAME = 24
# As in a JPEG.
_LONGEST_EXIF = 2**16


def require_sound_chunks(content: bytes) -> None:
    """Refuse a PNG of which a chunk that pixels hang on is cut short or has a wrong checksum.

    Pillow does not look at the checksums of pixels.
    """
    view, at = memoryview(content), 8
    coloured = content[25:26] != _OF_PALETTE
    while at + 12 <= len(content):
        kind, end = content[at + 4 : at + 8], at + 12 + int.from_bytes(content[at : at + 4], "big")
        coloured |= kind == b"PLTE"
        if kind == b"CgBI":
            raise ImageError(
                "a PNG that Xcode made for iPhones (CgBI), which other programs do not read: take "
                "the original, or convert it (xcrun pngcrush -revert-iphone-optimizations)"
            )
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


def exif_of_png(file) -> bytes:
    """Return what is written of a PNG's camera, wherever in the file; nothing if there is none."""
    at = 8
    while len(head := _read_at(file, at, 8)) == 8:
        size = int.from_bytes(head[:4], "big")
        if head[4:] == b"eXIf":
            return b"Exif\0\0" + file.read(min(size, _LONGEST_EXIF))
        at += 12 + size
    return b""


def _read_at(file, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


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
        So it is.
    """
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


def require_sound_bmp(content: bytes, pixels: int) -> None:
    """Refuse a BMP whose pixels lie over its head, or that has fewer run lengths than pixels."""
    start, head, kind, size = (
        int.from_bytes(content[at : at + 4], "little") for at in (10, 14, 30, 34)
    )
    if start < _BMP_HEAD + head:
        raise ImageError("the BMP file is damaged (its pixels lie over its head)")
    if head < _WITH_KIND or kind not in _RUN_LENGTHS:
        return
    if start + size > len(content):
        raise ImageError("the BMP file is cut short")
    if sum(found for found, _ in run_lengths(content, start, kind == _OF_FOUR_BITS)) < pixels:
        raise ImageError("the BMP file is damaged, and part of its picture missing")


def has_packed_channels(content: bytes) -> bool:
    """Tell whether it is a BMP whose channels are bits of numbers that OpenCV reads otherwise.

    OpenCV (4.11, 5.0) reads which of 32 bits are red, green and blue behind the longer heads
    alone, and else shows other colours; white of 16 bits is 248 there.
    """
    if content[:2] != b"BM" or int.from_bytes(content[14:18], "little") < _WITH_KIND:
        return False
    bits, kind = (int.from_bytes(part, "little") for part in (content[28:30], content[30:34]))
    return bits == _PACKED or (bits == _WIDEST and kind == _MASKS)


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
        hollow = hollow or _is_hollow_heif(content)
    else:
        return
    if hollow:
        raise ImageError(
            "the file was not written in full, and part of its picture is missing (zeros stand "
            "there)"
        )


def _is_hollow_heif(content: bytes) -> bool:
    """Look into the codes of all pictures in a HEIC or AVIF file."""
    # Where HEVC has three zeros in a row, it puts another byte between them.
    return any(
        bytes(zeros) in codes
        for codec, zeros in ((HEVC, _ZEROS_OF_HEVC), (AV1, _ZEROS))
        for codes in codes_of_pictures(content, codec)
    )


def _is_hollow_webp(content: bytes, most: int) -> bool:
    """Look into the chunk of a lossy picture; lossless codes may be any number of zeros."""
    at = 12
    while at + 8 <= len(content):
        end = at + 8 + int.from_bytes(content[at + 4 : at + 8], "little")
        kind = content[at : at + 4]
        if kind == b"VP8 ":
            return bytes(most) in content[at + 8 : end]
        # The first frame of an animation has chunks of its own behind its place.
        at = at + _BEFORE_FRAME if kind == b"ANMF" else end + end % 2
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

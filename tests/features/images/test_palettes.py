"""Pixels whose numbers stand for no colour, which decoders make black or grey."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from icecore.core.errors import ImageError
from icecore.features.images.decode import decode

WIDTH, HEIGHT = 11, 5
LACKING = "it uses colours that its palette lacks"


def numbers(colours: int) -> np.ndarray:
    return (np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) % colours).astype(np.uint8)


def bmp(bits: int, stated: int, colours: int, used: int, *, grey=False, old=False) -> bytes:
    rows = b""
    for row in numbers(used)[::-1]:
        spread = [[(one >> (bits - 1 - bit)) & 1 for bit in range(bits)] for one in row]
        packed = np.packbits(np.array(spread, np.uint8).ravel()).tobytes()
        # What fills up a row is no pixel.
        rows += packed + b"\xff" * (-len(packed) % 4)
    palette = b"".join(
        bytes([n, n, n] if grey else [n, 255 - n, 3 * n % 256]) + b"\0" * (not old)
        for n in range(colours)
    )
    head = (
        struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits)
        if old
        else struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, bits, 0, len(rows), 0, 0, stated, 0)
    )
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + palette + rows


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("grey", [False, True])
def test_a_bmp_that_uses_colours_which_its_palette_lacks_is_refused(bits, grey):
    most = min(2**bits, WIDTH * HEIGHT)
    for old in (False, True):
        whole = bmp(bits, 0, 2**bits, most, old=old)
        expected = np.asarray(Image.open(io.BytesIO(whole)).convert("RGB"))
        np.testing.assert_array_equal(decode(whole), expected)
        few = bmp(bits, 0, most - 1, most - 1 or 1, old=old)
        assert decode(few).shape == (HEIGHT, WIDTH, 3)
        with pytest.raises(ImageError, match=LACKING):
            decode(bmp(bits, 0, most - 1, most, grey=grey, old=old))
    for colours in (most - 1, 2**bits):
        assert decode(bmp(bits, most - 1, colours, most - 1 or 1, grey=grey)).shape[2] == 3
        with pytest.raises(ImageError, match=LACKING):
            decode(bmp(bits, most - 1, colours, most, grey=grey))


@pytest.mark.parametrize("halves", [False, True])
def test_a_run_length_coded_bmp_that_uses_colours_which_its_palette_lacks_is_refused(halves):
    def coded(last: int) -> bytes:
        both = 0x11 if halves else 1
        plain = bytes([0, 3, 0x10, last << 4, 0, 0] if halves else [0, 3, 1, 0, last, 0])
        rows = b"".join(
            bytes([WIDTH - 4, both]) + (bytes([1, 0]) + plain + b"\0\0") for _ in range(HEIGHT)
        )
        rows += b"\0\1"
        bits, kind = (4, 2) if halves else (8, 1)
        head = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, bits, kind, len(rows), 0, 0, 3, 0)
        palette = bytes([9, 9, 9, 0, 200, 99, 10, 0, 1, 2, 3, 0])
        start = 14 + len(head) + len(palette)
        return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + palette + rows

    assert decode(coded(2))[0, -1].tolist() == [3, 2, 1]
    with pytest.raises(ImageError, match=LACKING):
        decode(coded(3))


def gif(colours: int, used: int, *, own=False, transparent: int | None = None) -> bytes:
    """Write a GIF whose palette, its own or that of all pictures, has so many colours."""
    image = Image.fromarray(numbers(used))
    image.putpalette([n for one in range(8) for n in (255 - one, 9 * one, 100)], "RGB")
    buffer = io.BytesIO()
    extra = {} if transparent is None else {"transparency": transparent}
    image.save(buffer, "GIF", optimize=False, **extra)
    content = buffer.getvalue()
    flags, palette, rest = content[10], content[13:37], content[37:]
    assert 2 << (flags & 7) == 8
    assert rest[:1] in b",!"
    size = {2: 0, 4: 1, 8: 2}[colours]
    kept = palette[: 3 * colours]
    if not own:
        return content[:10] + bytes([flags & 0xF8 | size]) + content[11:13] + kept + rest
    at = rest.index(b",")
    return (
        content[:10] + b"\x70" + content[11:13] + rest[: at + 9]
        + bytes([rest[at + 9] & 0x78 | 0x80 | size]) + kept + rest[at + 10 :]
    )  # fmt: skip


@pytest.mark.parametrize("own", [False, True])
def test_a_gif_that_uses_colours_which_its_palette_lacks_is_refused(own):
    for colours in (2, 4, 8):
        expected = [255 - n for n in numbers(colours)[0].tolist()]
        assert decode(gif(colours, colours, own=own))[0, :, 0].tolist() == expected
    for colours in (2, 4):
        with pytest.raises(ImageError, match=LACKING):
            decode(gif(colours, colours + 1, own=own))
    # What is not seen needs no colour.
    found = decode(gif(4, 5, own=own, transparent=4))
    assert found[0, 4].tolist() == [255] * 3
    assert found[0, 3].tolist() == [252, 27, 100]


def test_a_gif_of_grey_numbers_without_their_palette_or_any_is_refused():
    content = gif(4, 5)
    grey = content[:13] + bytes(n for one in range(4) for n in (one,) * 3) + content[25:]
    with pytest.raises(ImageError, match=LACKING):
        decode(grey)
    with pytest.raises(ImageError, match="its palette is missing"):
        decode(content[:10] + b"\x70" + content[11:13] + content[25:])

"""BMPs that say which of a pixel's bits are red, green and blue."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from icecore.core.errors import ImageError
from icecore.features.images.decode import decode

# Bytes of a pixel as they lie in the file; what the head says of each channel, and of alpha.
ORDERS = {
    "BGRX": (0xFF0000, 0xFF00, 0xFF, 0),
    "XBGR": (0xFF000000, 0xFF0000, 0xFF00, 0),
    "BGXR": (0xFF000000, 0xFF00, 0xFF, 0),
    "RGBX": (0xFF, 0xFF00, 0xFF0000, 0),
    "GBRX": (0xFF0000, 0xFF, 0xFF00, 0),
}
COLOURS = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def bmp(order: str, head: int) -> bytes:
    channels = dict(zip("RGB", np.moveaxis(COLOURS, -1, 0))) | {"X": 0 * COLOURS[..., 0]}
    rows = np.stack([channels[one] for one in order], axis=-1).tobytes()
    said = struct.pack("<IiiHHIIiiII", head, 7, -5, 1, 32, 3, len(rows), 0, 0, 0, 0)
    # Of the oldest head three masks lie behind it.
    said = (said + struct.pack("<IIII", *ORDERS[order])).ljust(head, b"\0")[: max(head, 52)]
    start = 14 + len(said)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + said + rows


@pytest.mark.parametrize("head", [40, 52, 56, 108, 124])
@pytest.mark.parametrize("order", ORDERS)
def test_the_masks_are_followed_or_the_file_is_refused(order, head):
    if order in ("RGBX", "GBRX"):  # Pillow knows none such.
        with pytest.raises(ImageError, match="bitfields layout"):
            decode(bmp(order, head))
    else:
        np.testing.assert_array_equal(decode(bmp(order, head)), COLOURS)


def test_pixels_over_the_masks_are_refused():
    whole = bmp("XBGR", 40)
    with pytest.raises(ImageError, match="its pixels lie over its head"):
        decode(whole[:10] + struct.pack("<I", 30) + whole[14:])
    with pytest.raises(ImageError, match="cut short"):
        decode(whole[:-30])


@pytest.mark.parametrize("green", [5, 6])
def test_white_of_16_bits_is_white(green):
    """Lowest and highest numbers of all channels; between them as Pillow has it."""
    rows = struct.pack("<4H", 0, 0xFFFF if green == 6 else 0x7FFF, 0x1F, 0)
    said = struct.pack("<IiiHHIIiiII", 40, 4, -1, 1, 16, 3 * (green == 6), len(rows), 0, 0, 0, 0)
    said += struct.pack("<III", 0xF800, 0x7E0, 0x1F) * (green == 6)
    start = 14 + len(said)
    image = decode(b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + said + rows)
    assert image.tolist() == [[[0, 0, 0], [255, 255, 255], [0, 0, 255], [0, 0, 0]]]

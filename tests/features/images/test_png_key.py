"""PNGs of which one colour is transparent: it is compared in all its bits."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from icecore.features.images.decode import decode

GREY, RGB = 0, 2
HEIGHT, WIDTH = 13, 21


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values: np.ndarray, bits: int, kind: int, key: np.ndarray) -> bytes:
    spread = (values.reshape(HEIGHT, -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(spread.reshape(HEIGHT, -1).astype(np.uint8), axis=1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, kind, 0, 0, 0)
    alpha = struct.pack(f">{len(key)}H", *key.tolist())
    parts = ((b"IHDR", head), (b"tRNS", alpha), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(
    ("kind", "bits"), [(GREY, 1), (GREY, 2), (GREY, 4), (GREY, 8), (GREY, 16), (RGB, 8), (RGB, 16)]
)
def test_the_transparent_colour_and_no_other_becomes_white(kind, bits):
    channels = 3 if kind == RGB else 1
    rng = np.random.default_rng(bits)
    values = rng.integers(0, 2**bits, (HEIGHT, WIDTH, channels))
    key = values[5, 7]
    # Next to it in the lower bits alone, and what eight bits of it would be.
    values[0, :2] = key ^ 1, np.minimum(key >> 8 if bits > 8 else key * 5, 2**bits - 1)
    grey = values >> 8 if bits == 16 else values * (255 // (2**bits - 1))
    hidden = (values == key).all(axis=2)
    assert hidden[5, 7]
    assert not hidden[0, 0]
    expected = np.where(hidden[:, :, np.newaxis], 255, np.repeat(grey, 3 // channels, axis=2))
    np.testing.assert_array_equal(decode(png(values, bits, kind, key)), expected)

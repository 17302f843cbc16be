"""A first frame that does not fill its canvas: around it an animation is transparent."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from icecore.features.images.decode import decode

SIZE, PLACE = (60, 50), (10, 14, 30, 40)
RED, GREEN = (200, 0, 0), (0, 200, 0)


def shown() -> np.ndarray:
    """Return what a browser shows of the first frame on a white page."""
    image = Image.new("RGB", SIZE, "white")
    image.paste(RED, PLACE)
    return np.asarray(image)


def gif(transparent: int | None = None, background: int = 0) -> bytes:
    left, top, right, bottom = PLACE
    picture = Image.new("P", (right - left, bottom - top), 0)
    picture.putpalette([*RED, *GREEN])
    buffer = io.BytesIO()
    picture.save(buffer, "GIF")
    at = buffer.getvalue().index(b",")
    codes = buffer.getvalue()[at + 10 : -1]
    head = struct.pack("<HHBBB", *SIZE, 0x81, background, 0) + bytes([*RED, *GREEN, *[9] * 6])
    control = b"" if transparent is None else bytes([0x21, 0xF9, 4, 1, 0, 0, transparent, 0])
    place = struct.pack("<BHHHHB", 0x2C, left, top, right - left, bottom - top, 0)
    return b"GIF89a" + head + control + place + codes + b";"


def webp(**options) -> bytes:
    """Frames of which the encoder keeps the part that is not transparent."""
    frames = []
    for colour in (RED, GREEN):
        frames.append(Image.new("RGBA", SIZE))
        frames[-1].paste(colour, PLACE)
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [gif(), gif(background=3), gif(transparent=2), gif(transparent=0), webp(lossless=True)],
)
def test_around_the_first_frame_is_white(content):
    np.testing.assert_array_equal(decode(content), shown())


def test_a_turned_one_is_white_around_it_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode(webp(lossless=True, exif=exif.tobytes()))
    np.testing.assert_array_equal(found, np.rot90(shown(), -1))


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
@pytest.mark.parametrize("count", [1, 3])
def test_frames_that_fill_it_are_as_they_are(kind, count):
    rng = np.random.default_rng(2)
    frames = [Image.fromarray(rng.integers(0, 9, (20, 30, 3), np.uint8) * 28) for _ in range(count)]
    frames = [one.quantize(200).convert("RGB") for one in frames]
    buffer = io.BytesIO()
    lossless = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], **lossless)
    np.testing.assert_array_equal(decode(buffer.getvalue()), np.asarray(frames[0]))

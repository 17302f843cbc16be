"""The short way into a JPEG: it says what Pillow says, or leaves the file to Pillow."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from drawing import few
from hypothesis import HealthCheck, given
from PIL import Image

from icecore.core.errors import ImageError
from icecore.features.images import decode as images
from icecore.features.images.decode import decode
from icecore.features.images.jpeg import has_an_end, read_plain_head

from .test_fuzz_images import FILES, damaged

JPEGS = [content for content in FILES if content[:2] == b"\xff\xd8"]


def jpeg(mode: str = "RGB", size: tuple[int, int] = (30, 20), **options) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    Image.fromarray(noise, "RGBA").convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    "options",
    [
        {}, {"mode": "L"}, {"progressive": True}, {"comment": b"hello"}, {"subsampling": "4:2:0"},
        {"restart_marker_blocks": 1}, {"dpi": (300, 300)}, {"size": (300, 1)},
    ],
    ids=str,
)  # fmt: skip
def test_ordinary_files_are_read_the_short_way(options):
    content = jpeg(**options)
    head = read_plain_head(content)
    assert (head.width, head.height) == options.get("size", (30, 20))
    assert has_an_end(content)
    assert not has_an_end(content[:-2])


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n",
        jpeg("CMYK"), jpeg(exif=turned()), jpeg(icc_profile=b"x" * 50), jpeg(xmp=b"<x/>"),
        # Fill bytes and bytes between the segments are allowed and rare.
        jpeg().replace(b"\xff\xdb", b"\xff\xff\xdb", 1),
        jpeg().replace(b"\xff\xdb", b"\0\xff\xdb", 1),
        # No size, no pixels, 12 bits, two colours, a second frame, none.
        jpeg().replace(b"\x08\x00\x14\x00\x1e\x03", b"\x08\x00\x00\x00\x1e\x03"),
        jpeg().replace(b"\x08\x00\x14\x00\x1e\x03", b"\x08\x00\x14\x00\x00\x03"),
        jpeg().replace(b"\x08\x00\x14\x00\x1e\x03", b"\x0c\x00\x14\x00\x1e\x03"),
        jpeg().replace(b"\x08\x00\x14\x00\x1e\x03", b"\x08\x00\x14\x00\x1e\x02"),
        jpeg("L").replace(b"\xff\xc4", b"\xff\xc0\0\x0b\x08\0\x50\0\x50\x01\1\x11\0\xff\xc4", 1),
        jpeg("L").replace(b"\xff\xc0", b"\xff\xc4"),
    ],
    ids=lambda content: content[:4].hex(),
)  # fmt: skip
def test_whatever_is_unusual_is_left_to_pillow(content):
    assert read_plain_head(content) is None


def test_pillow_reads_no_header_of_an_ordinary_file(monkeypatch):
    expected = decode(jpeg())
    monkeypatch.setattr(images, "_read_header", None)
    np.testing.assert_array_equal(decode(jpeg()), expected)


def outcome(content: bytes) -> bytes | str:
    try:
        image = decode(content)
    except ImageError as error:
        return str(error)
    return repr(image.shape).encode() + image.tobytes()


@few(300, suppress_health_check=list(HealthCheck), database=None)
@given(damaged(JPEGS))
def test_the_short_way_and_pillows_end_alike(content):
    short = outcome(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "read_plain_head", lambda content: None)
        assert outcome(content) == short


@few(150, suppress_health_check=list(HealthCheck), database=None)
@given(damaged(JPEGS))
def test_the_size_that_is_bounded_is_the_size_that_is_decoded(content):
    head = read_plain_head(content)
    if head is None:
        return
    with contextlib.suppress(ImageError):
        assert decode(content).shape == (head.height, head.width, 3)

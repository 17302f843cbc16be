"""What is said of files that were images before somebody changed their bytes."""

from __future__ import annotations

import base64
import io
import struct

import numpy as np
import pytest
from PIL import Image

from icecore.core.errors import ImageError
from icecore.features.images.decode import decode
from icecore.features.images.libtiff import _hear, heeding_libtiff


def encoded(form: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, form)
    return buffer.getvalue()


PNG, JPEG, WEBP = encoded("PNG"), encoded("JPEG"), encoded("WEBP")


@pytest.mark.parametrize(
    "content",
    [
        PNG.replace(b"\r\n", b"\n"),
        PNG.replace(b"\n", b"\r\n"),
        *(one.decode("utf-8", "replace").encode() for one in (PNG, JPEG)),
        *(one.decode("latin-1").encode() for one in (PNG, JPEG)),
    ],
)
def test_an_image_that_was_copied_as_text_is_called_so(content):
    with pytest.raises(ImageError, match="copied as text, .*: copy it again as it is"):
        decode(content)


@pytest.mark.parametrize("before", [b"\r\n", b"\xef\xbb\xbf", b"HTTP/1.1 200 OK\r\n\r\n", b'"'])
def test_bytes_before_an_image_are_counted(before):
    """Taken away, as the remedy says, the image is there."""
    for image, kind in ((PNG, "PNG"), (JPEG, "JPEG")):
        count = f"{len(before)} byte{'s' * (len(before) > 1)}"
        with pytest.raises(ImageError, match=f"with {count} before a {kind} image: take them aw"):
            decode(before + image)
    with pytest.raises(ImageError) as caught:
        decode(b"ID3\3\0" + bytes(90) + JPEG)
    assert "before" not in caught.value.message


@pytest.mark.parametrize(("filler", "named"), [(b"\0", "zeros"), (b"\xff", "bytes 0xff")])
def test_a_file_of_what_a_disk_is_filled_with_is_a_broken_copy(filler, named):
    with pytest.raises(ImageError, match=f"begins with {named} alone, as broken copies do"):
        decode(filler * 5000)


def test_a_compression_that_libtiff_was_built_without_is_no_damage():
    said = b"%s compression support is not configured"
    with pytest.raises(ImageError, match="the TIFF file is of a rare kind"), heeding_libtiff():
        _hear(b"tempfile.tif", said, None)
        raise OSError("decoder error -2")
    with pytest.raises(ImageError, match="the TIFF file is damaged"), heeding_libtiff():
        _hear(b"tempfile.tif", b"Not enough data", None)


def test_a_webp_that_is_cut_or_damaged_is_one():
    for share in (0.1, 0.5, 0.99):
        with pytest.raises(ImageError, match="^the WebP file is cut short$"):
            decode(WEBP[: int(len(WEBP) * share)])
    with pytest.raises(ImageError, match="^a WebP file that is damaged or of a rare kind"):
        decode(WEBP[:16] + bytes(len(WEBP) - 16))


def test_bytes_that_are_no_characters_are_no_text():
    with pytest.raises(ImageError) as caught:
        decode(b"\xff" * 400)
    assert "text" not in caught.value.message
    with pytest.raises(ImageError, match="a text: download"):
        decode("größer, höher, weiter".encode())


@pytest.mark.parametrize("form", ["GIF", "BMP"])
def test_a_file_that_ends_early_is_called_cut_short(form):
    content = encoded(form)
    with pytest.raises(ImageError, match=f"^the {form} file is cut short, or part of its picture"):
        decode(content[: len(content) * 3 // 4])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_that_ends_before_its_directory_is_called_cut_short(order, big):
    mark = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    head = mark + (
        struct.pack(order + "HHQ", 8, 0, 5000) if big else struct.pack(order + "I", 5000)
    )
    directory = struct.pack(order + ("Q" if big else "H"), 12) + bytes(30)
    for content in (head, head + bytes(900), head.ljust(5000, b"\1") + directory):
        with pytest.raises(ImageError, match="^the TIFF file is cut short: it ends before"):
            decode(content)


def test_an_avif_that_cannot_be_read_is_not_called_another_kind():
    with pytest.raises(ImageError, match="^an AVIF image: it is damaged, or Pillow"):
        decode(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(30))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("before", ["", "data:image/jpeg;base64,", '"', "\n"])
def test_an_image_in_base64_is_called_so(form, before):
    content = before.encode() + base64.b64encode(encoded(form))
    with pytest.raises(ImageError, match="an image in base64, which is a text: decode it"):
        decode(content)

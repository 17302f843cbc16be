"""TIFF directories: what a sound one says is what is decoded; one that lies is refused."""

from __future__ import annotations

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tiff_files import DEFLATE, HEIGHT, JPEG, NONE, ROWS, WIDTH, picture, tiff

from icecore.core.errors import ImageError
from icecore.features.images.decode import decode

SOUND = [
    dict(zip(("compression", "tiled", "planar", "order", "numbers", "samples"), values))
    for values in itertools.product(
        (NONE, DEFLATE), (False, True), (False, True), "<>", (np.uint8, np.uint16), (1, 3, 4)
    )
]


@pytest.mark.parametrize("how", SOUND, ids=lambda how: "-".join(str(v) for v in how.values()))
def test_a_sound_tiff_has_its_pixels(how):
    """OpenCV garbles tiles of 16-bit grey, and Pillow's own reader planes of 16 bits."""
    how = dict(how)
    numbers, samples = how.pop("numbers"), how.pop("samples")
    pixels = picture(samples)
    wide = pixels.astype(numbers) * (257 if numbers is np.uint16 else 1)
    found = decode(tiff(wide, **how)).astype(float)
    expected = pixels[..., :3] if samples >= 3 else np.repeat(pixels, 3, 2)
    if samples == 4:
        alpha = pixels[..., 3:] / 255
        expected = expected * alpha + 255 * (1 - alpha)
    assert abs(found - expected).max() <= 1.5


@pytest.mark.parametrize("compression", [NONE, DEFLATE])
def test_alpha_of_grey_in_a_plane_of_its_own_is_refused(compression):
    # Pillow takes the grey for the alpha.
    with pytest.raises(ImageError, match="save it with both side by side"):
        decode(tiff(picture(2), compression=compression, planar=True))
    assert decode(tiff(picture(2), compression=compression)).shape == (HEIGHT, WIDTH, 3)


PLAIN = tiff(picture())
FIRST = len(PLAIN) - HEIGHT * WIDTH * 3


@pytest.mark.parametrize("compression", [NONE, DEFLATE, JPEG])
@pytest.mark.parametrize(
    ("tiled", "more"),
    [
        (False, {"height": [1000]}), (False, {"rows": [2]}),
        (True, {"height": [1000]}), (True, {"tall": [8]}), (True, {"wide": [9]}),
    ],
)  # fmt: skip
def test_a_directory_of_fewer_strips_than_its_pixels_take_is_refused(compression, tiled, more):
    # Rows of zeros, and tiles of others, had been invented.
    sound = tiff(picture(), compression=compression, tiled=tiled)
    assert decode(sound).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ImageError, match=r"part of its picture missing \(\d+ of \d+ strips\)"):
        decode(tiff(picture(), compression=compression, tiled=tiled, **more))


@pytest.mark.parametrize(
    "more",
    [
        {"rows": [9]}, {"sizes": [480, 100, 480]}, {"sizes": [480, 480, 1]},
        {"places": [FIRST, FIRST + 480, 0]}, {"places": [FIRST, FIRST + 480, FIRST + 961]},
        {"places": [FIRST, FIRST + 240, FIRST + 960]}, {"places": [8, FIRST + 480, FIRST + 960]},
        {"width": [21]}, {"places": [FIRST, 2**32 - 9, FIRST]},
    ],
)  # fmt: skip
def test_strips_without_room_for_their_pixels_are_refused(more):
    with pytest.raises(ImageError, match="its directory|lacks part of its pixels"):
        decode(tiff(picture(), **more))


def test_rows_that_are_alike_may_lie_in_one_place():
    found = decode(tiff(picture(), places=[FIRST] * 3))
    np.testing.assert_array_equal(found, np.tile(picture()[:ROWS], (3, 1, 1)))


def test_jpeg_strips_of_fewer_rows_than_the_directory_says_are_refused():
    # What they lack was black.
    sound = tiff(picture(), compression=JPEG)
    for more in ({"rows": [HEIGHT]}, {"width": [WIDTH + 1]}):
        with pytest.raises(ImageError, match=r"strip 0: it has 20 x 8 of \d+ x \d+ pixels"):
            decode(tiff(picture(), compression=JPEG, **more))
    assert decode(sound).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about each tag
@pytest.mark.parametrize("compression", [NONE, DEFLATE, JPEG])
@pytest.mark.parametrize("tiled", [False, True])
def test_tags_of_any_type_and_count_give_a_picture_or_an_image_error(compression, tiled):
    content = tiff(picture(), compression=compression, tiled=tiled)
    for entry in range(10, 10 + 12 * struct.unpack_from("<H", content, 8)[0], 12):
        for kind, count in itertools.product(range(14), (None, 0, 1, 2, 9, 2**31)):
            changed = bytearray(content)
            struct.pack_into("<H", changed, entry + 2, kind)
            if count is not None:
                struct.pack_into("<I", changed, entry + 4, count)
            try:
                assert decode(bytes(changed)).ndim == 3
            except ImageError:
                continue


def test_tables_of_jpeg_that_are_a_number_take_no_memory_for_it():
    content = bytearray(tiff(picture(), compression=JPEG))
    # In place of the planes: four gigabytes of zeros they had become.
    at = content.index(struct.pack("<HHI", 284, 3, 1))
    struct.pack_into("<HHII", content, at, 347, 4, 1, 2**32 - 1)
    with pytest.raises(ImageError, match="tables of JPEG are no bytes"):
        decode(bytes(content))


@pytest.mark.parametrize("filling", [b"\0", b"\xff"])
def test_a_damaged_lzw_of_luma_and_chroma_is_refused(filling):
    # libtiff goes on there, and its complaint has the name that Pillow gives to the file.
    buffer = io.BytesIO()
    Image.fromarray(picture()).convert("YCbCr").save(buffer, "TIFF", compression="tiff_lzw")
    content = buffer.getvalue()
    half = len(content) // 2
    decode(content)
    with pytest.raises(ImageError, match="TIFF file is damaged"):
        decode(content[:half] + filling * 200 + content[half + 200 :])


def test_strips_that_are_no_part_of_the_picture_take_nothing_from_it():
    size = len(zlib.compress(picture()[:ROWS].tobytes()))
    more = tiff(picture(), compression=DEFLATE, height=[ROWS], sizes=[size, 2, 2])
    np.testing.assert_array_equal(decode(more), picture()[:ROWS])


@pytest.mark.parametrize("compression", [JPEG, DEFLATE])
def test_what_is_wrong_with_the_sizes_of_strips_is_said(compression):
    for sizes, said in (
        ([0, 0, 0], "3 of 3 strips have no bytes, by its directory.*save it again"),
        ([900, 900, 0], "1 of 3 strips have no bytes"),
        ([90, 90, 10**6], r"cut short, or its directory damaged \(strip 2 goes on behind its end"),
    ):
        with pytest.raises(ImageError, match=said):
            decode(tiff(picture(), compression=compression, sizes=sizes))


def test_what_libtiff_does_not_read_is_to_be_saved_again():
    with pytest.raises(ImageError, match="libtiff cannot read its pixels.*: save it again with an"):
        decode(tiff(picture(), compression=DEFLATE, planes=[0]))

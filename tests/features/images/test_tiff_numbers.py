"""What the numbers of a TIFF mean: how bright they are, how transparent, and which way is up."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from tiff_files import DEFLATE, HEIGHT, NONE, WIDTH, picture, tiff

from icecore.core.errors import ImageError
from icecore.features.images.decode import decode

# From the picture as it is stored to the upright one, by the tag.
UPRIGHT = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1], 8: lambda a: a.swapaxes(0, 1)[::-1],
}  # fmt: skip
WHITE_IS_ZERO, INKS = [0], [5]
PACKED = list(product((False, True), (NONE, DEFLATE)))
NUMBERS = list(product((1, 3, 4), (np.uint8, np.uint16)))


@pytest.mark.parametrize("turned", UPRIGHT)
@pytest.mark.parametrize(("tiled", "compression"), PACKED)
@pytest.mark.parametrize(("samples", "numbers"), NUMBERS)
def test_a_turned_tiff_is_upright(turned, tiled, compression, samples, numbers):
    """OpenCV turned each tile where it was."""
    pixels = picture(samples)
    pixels[..., 3:] = 255
    wide = pixels.astype(numbers) * (257 if numbers is np.uint16 else 1)
    found = decode(tiff(wide, tiled=tiled, compression=compression, turned=[turned])).astype(float)
    colours = np.repeat(pixels, 3, 2) if samples == 1 else pixels[..., :3]
    assert abs(found - UPRIGHT[turned](colours)).max() <= 1


@pytest.mark.parametrize(("tiled", "compression"), PACKED)
@pytest.mark.parametrize(("numbers", "largest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_where_white_is_zero_large_numbers_are_dark(tiled, compression, numbers, largest):
    """Tiles of 16 bits were shown as a negative."""
    grey = picture(1)
    stored = (largest - grey.astype(int) * (largest // 255)).astype(numbers)
    found = decode(tiff(stored, tiled=tiled, compression=compression, colours=WHITE_IS_ZERO))
    assert abs(found.astype(int) - grey).max() <= 1


@pytest.mark.parametrize("compression", [NONE, DEFLATE])
def test_grey_of_twelve_bits_has_its_brightness(compression):
    """It was next to black."""
    grey = picture(1)
    twelve = (grey.astype(np.uint16) * 16).astype(">u2").view(np.uint8)
    bits = np.unpackbits(twelve, axis=2)[..., 4:]
    packed = np.packbits(bits.reshape(HEIGHT, -1), axis=1)[..., None]
    found = decode(tiff(packed, compression=compression, bits=[12]))
    np.testing.assert_array_equal(found, np.repeat(grey, 3, 2))
    # Pillow reads no others of 12 bits.
    with pytest.raises(ImageError, match="of a rare kind .* save it again with 8 bits"):
        decode(tiff(packed, compression=compression, bits=[12], order=">"))


@pytest.mark.parametrize(("samples", "colours"), [(1, WHITE_IS_ZERO), (4, INKS)])
def test_twelve_bits_in_sixteen_are_said_where_small_numbers_are_white(samples, colours):
    stored = picture(samples).astype(np.uint16)
    with pytest.raises(ImageError, match="stop below 4096, so it would be white: .* by 16 first"):
        decode(tiff(stored * 16, colours=colours, alpha=None))
    assert decode(tiff(stored * 256, colours=colours, alpha=None)).shape == (HEIGHT, WIDTH, 3)
    # A white page has none to say.
    assert (decode(tiff(stored * 0, colours=colours, alpha=None)) == 255).all()


def test_numbers_of_more_than_sixteen_bits_are_refused():
    """They were cut off at 255."""
    with pytest.raises(ImageError, match="numbers of more than 16 bits, .* with 8 or 16 bits"):
        decode(tiff(picture(1).astype(np.uint32) << 24))


PREMULTIPLIED = [1]


@pytest.mark.parametrize(("samples", "numbers"), [(2, np.uint8), (4, np.uint8), (4, np.uint16)])
def test_colours_that_were_multiplied_by_no_alpha_are_refused(samples, numbers):
    """The picture was black."""
    pixels = picture(samples).astype(numbers)
    pixels[..., -1] = 0
    with pytest.raises(ImageError, match="alpha is 0 everywhere, .* save it without alpha"):
        decode(tiff(pixels, alpha=PREMULTIPLIED))
    assert decode(tiff(pixels * 257 if numbers is np.uint16 else pixels)).any()


def test_grey_that_was_multiplied_by_its_alpha_is_read():
    """It was called damaged."""
    pixels = picture(2)
    pixels[..., 1] = 255
    found = decode(tiff(pixels, alpha=PREMULTIPLIED))
    np.testing.assert_array_equal(found, np.repeat(pixels[..., :1], 3, 2))

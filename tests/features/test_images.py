from __future__ import annotations

import io
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps  # noqa: F401

from icecore.errors import ImageError
from icecore.features.images import decode, fit_image
from icecore.features.record import BackboneRecord


def record(side=32, crop_pct=0.875, interpolation="bilinear", mean=(0.2, 0.4, 0.6)):
    return BackboneRecord(
        "onnx:x.onnx", "x", "0", "pretrained", side, mean, (1, 1, 1), crop_pct, interpolation, 4
    )


def encode(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def smooth(height=60, width=80) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 3, y * 4, 255 - x - y], axis=2).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(Image.fromarray(smooth()), "JPEG", quality=95, exif=exif)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), int)
    found = decode(content)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 2


@pytest.mark.parametrize(
    ("mode", "form"),
    [("L", "PNG"), ("L", "JPEG"), ("P", "PNG"), ("1", "PNG"), ("CMYK", "JPEG"), ("RGB", "WEBP")],
)
def test_every_colour_mode_becomes_rgb(mode, form):
    image = Image.fromarray(smooth()).convert(mode)
    options = {"quality": 95} if form != "PNG" else {}
    content = encode(image, form, **options)
    with Image.open(io.BytesIO(content)) as again:
        expected = np.asarray(again.convert("RGB"), int)
    found = decode(content)
    assert found.shape == (60, 80, 3)
    # CMYK has no one right conversion without a profile; two libraries come close.
    assert np.abs(found - expected).mean() < (12 if mode == "CMYK" else 3)


def test_sixteen_bits_keep_their_upper_eight():
    grey = (np.arange(60 * 80).reshape(60, 80) * 13).astype(np.uint16)
    content = cv2.imencode(".png", grey)[1].tobytes()
    assert np.array_equal(decode(content)[..., 0], (grey >> 8).astype(np.uint8))


def test_transparent_areas_become_white():
    pixels = np.zeros((20, 20, 4), np.uint8)
    pixels[:10] = (255, 0, 0, 255)
    found = decode(encode(Image.fromarray(pixels, "RGBA"), "PNG"))
    assert (found[:10] == (255, 0, 0)).all()
    assert (found[10:] == 255).all()


def test_palette_with_a_transparent_entry_becomes_white_there():
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.paste(1, (0, 0, 4, 8))
    found = decode(encode(image, "PNG", transparency=0))
    assert (found[:, :4] == (40, 50, 60)).all()
    assert (found[:, 4:] == 255).all()


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (10, 10), colour) for colour in ("red", "blue")]
    content = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert (decode(content)[5, 5] == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello, this is text", "not an image file"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 64, "cut short"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 64 + b"\xff\xd9", "not an image file"),
    ],
)
def test_what_is_no_image_is_refused(content, message):
    with pytest.raises(ImageError, match=message):
        decode(content)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_file_cut_short_is_refused_at_every_length(form):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), form)
    for length in range(1, len(content) - 1, 97):
        with pytest.raises(ImageError):
            decode(content[:length])
    assert decode(content).shape == (64, 64, 3)


def test_progressive_jpeg_and_trailing_bytes_are_accepted():
    content = encode(Image.fromarray(smooth()), "JPEG", progressive=True, quality=90)
    assert decode(content + b"\0" * 16).shape == (60, 80, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_whatever_is_appended_does_not_matter(form):
    """Telephones append films to their photographs, which hold any bytes."""
    content = encode(Image.fromarray(smooth()), form)
    film = b"\0" * 500 + b"\xff\xda" + b"\1" * 500
    np.testing.assert_array_equal(decode(content + film), decode(content))


@pytest.mark.parametrize("shape", [(1, 60000), (60000, 1), (2, 3000)])
def test_a_strip_costs_no_more_than_its_centre(shape):
    image = np.full((*shape, 3), 90, np.uint8)
    assert (fit_image(image, record(side=64), "crop") == 90).all()


def test_a_strip_is_cropped_to_its_centre():
    image = np.zeros((4, 4000, 3), np.uint8)
    image[:, 1998:2002] = 200
    assert fit_image(image, record(side=32, crop_pct=1.0), "crop").mean() > 150


def test_a_strip_is_not_stretched():
    image = np.random.default_rng(0).integers(0, 256, (10, 1000, 3), dtype=np.uint8)
    middle = fit_image(image[:, 340:660], record(side=16, crop_pct=0.8), "crop")
    np.testing.assert_array_equal(fit_image(image, record(side=16, crop_pct=0.8), "crop"), middle)


def test_a_thumbnail_inside_does_not_hide_a_cut():
    small = encode(Image.fromarray(smooth(20, 20)), "JPEG")
    content = encode(Image.fromarray(smooth(200, 300)), "JPEG", exif=b"Exif\0\0" + small)
    assert decode(content).shape == (200, 300, 3)
    with pytest.raises(ImageError, match="cut short"):
        decode(content[:-200])


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = encode(Image.new("1", (20000, 20000)), "PNG")
    assert len(content) < 100_000
    with pytest.raises(ImageError, match="pixels"):
        decode(content)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_give_an_image_or_an_image_error(data):
    form = data.draw(st.sampled_from(["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF"]))
    content = bytearray(encode(Image.fromarray(smooth(16, 16)), form))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(content))
    except ImageError:
        return
    assert found.dtype == np.uint8
    assert found.ndim == 3
    assert found.shape[2] == 3


def test_crop_agrees_with_pillow_on_a_smooth_image():
    image = smooth(100, 150)
    found = fit_image(image, record(side=56, crop_pct=0.875), "crop").astype(int)
    resized = Image.fromarray(image).resize((96, 64), Image.Resampling.BILINEAR)
    expected = np.asarray(resized.crop((20, 4, 76, 60)), int)
    assert np.abs(found - expected).max() <= 4


def test_pad_centres_the_whole_image_on_the_mean_colour():
    image = np.full((20, 40, 3), 200, np.uint8)
    found = fit_image(image, record(side=32), "pad")
    assert (found[8:24] == 200).all()
    assert (found[:8] == (51, 102, 153)).all()
    assert (found[24:] == (51, 102, 153)).all()


def test_squash_uses_every_part_of_the_image():
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 64:] = 255
    found = fit_image(image, record(side=32), "squash")
    assert (found[:, :14] == 0).all()
    assert (found[:, 18:] == 255).all()


def test_large_reductions_do_not_alias():
    # A fine checkerboard is grey from afar; picking single pixels would keep black and white.
    board = (np.indices((640, 640)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = fit_image(np.dstack([board] * 3), record(side=60), "squash")
    assert np.abs(found.astype(int) - 127).max() <= 2


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(16, 64),
    st.sampled_from(["crop", "pad", "squash"]),
    st.sampled_from(["nearest", "bilinear", "bicubic", "area", "lanczos"]),
)
def test_any_size_becomes_the_square(height, width, side, fit, interpolation):
    image = np.full((height, width, 3), 77, np.uint8)
    found = fit_image(image, record(side, 0.875, interpolation, (77 / 255,) * 3), fit)
    assert found.shape == (side, side, 3)
    assert (found == 77).all()

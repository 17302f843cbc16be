from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib

import cv2
import numpy as np
import pytest
from drawing import few
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from icecore.core.errors import ImageError
from icecore.features.images.decode import decode, image_size
from icecore.features.images.fit import fit_image
from icecore.features.images.preprocessing import Preprocessing


def record(side=32, crop_pct=0.875, interpolation="bilinear", mean=(0.2, 0.4, 0.6)):
    return Preprocessing(side, mean, (1, 1, 1), crop_pct, interpolation)


def encode(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def smooth(height=60, width=80) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 3, y * 4, 255 - x - y], axis=2).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_exif_orientation_is_applied(orientation, form, mode):
    if (form, mode) == ("JPEG", "RGBA"):
        mode = "L"
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    image = Image.fromarray(smooth()).convert(mode)
    content = encode(image, form, quality=95, exif=exif, **options)
    with Image.open(io.BytesIO(content)) as again:
        expected = np.asarray(ImageOps.exif_transpose(again).convert("RGB"), int)
    found = decode(content)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 2


def test_an_orientation_that_stands_in_xmp_alone_is_for_others(tmp_path):
    """OpenCV does not know it; size and pixels must not contradict each other."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    for form, suffix in (("JPEG", "jpg"), ("WEBP", "webp")):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(smooth()).save(path, form, xmp=xmp)
        assert decode(path.read_bytes()).shape == (60, 80, 3)
        assert image_size(str(path)) == (80, 60)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for form in ("JPEG", "WEBP", "PNG"):
        assert decode(encode(Image.fromarray(smooth()), form, exif=exif)).shape == (60, 80, 3)


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("L", "PNG"), ("L", "JPEG"), ("P", "PNG"), ("1", "PNG"), ("CMYK", "JPEG"), ("RGB", "WEBP"),
        ("CMYK", "TIFF"), ("RGB", "GIF"), ("L", "GIF"), ("P", "BMP"), ("1", "BMP"), ("P", "TIFF"),
        ("LA", "PNG"), ("LA", "TIFF"), ("YCbCr", "TIFF"), ("YCbCr", "JPEG"),
    ],
)  # fmt: skip
def test_every_colour_mode_becomes_rgb(mode, form):
    image = Image.fromarray(smooth()).convert(mode)
    options = {"quality": 95} if form != "PNG" else {}
    content = encode(image, form, **options)
    with Image.open(io.BytesIO(content)) as again:
        try:
            expected = np.asarray(again.convert("RGB"), int)
        except OSError as error:
            pytest.skip(f"this Pillow cannot read what it wrote itself: {error}")
    found = decode(content)
    assert found.shape == (60, 80, 3)
    # CMYK has no one right conversion without a profile; two libraries come close.
    assert np.abs(found - expected).mean() < (12 if mode == "CMYK" else 3)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_cielab_comes_out_in_the_colours_it_was_made_of(compression):
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    pixels = smooth() // 2 + 64  # 8 bits hold colours at the edge of sRGB less exactly
    lab = ImageCms.profileToProfile(Image.fromarray(pixels), *profiles, outputMode="LAB")
    found = decode(encode(lab, "TIFF", compression=compression)).astype(int)
    assert np.abs(found - pixels).mean() < 1


def test_grey_with_alpha_in_a_tiff_of_jpegs_is_no_damage():
    grey = Image.fromarray(smooth()).convert("LA")
    found = decode(encode(grey, "TIFF", compression="jpeg", quality=95))
    assert np.abs(found[..., 0].astype(int) - np.asarray(grey)[..., 0]).mean() < 3


def test_inks_that_adobe_inverts_come_out_right():
    """Photoshop writes CMYK JPEG files upside down: 255 is no ink. Pillow writes them so too."""
    inks = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    content = encode(inks, "JPEG", quality=100)
    assert b"Adobe" in content
    red = decode(content)[16, 16].astype(int)
    assert red[0] > 200
    assert red[1] < 60
    assert red[2] < 60


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_keep_their_upper_eight(suffix, channels):
    values = np.random.default_rng(0).integers(0, 65536, (60, 80, channels), dtype=np.uint16)
    found = decode(cv2.imencode(suffix, values)[1].tobytes())
    expected = np.broadcast_to(values[..., ::-1] >> 8, (60, 80, 3))
    # OpenCV rounds those of a TIFF.
    assert np.abs(found.astype(int) - expected).max() <= (suffix == ".tiff")


def test_sixteen_bits_with_transparency_become_white():
    values = np.zeros((20, 20, 4), np.uint16)
    values[:10] = 65535
    found = decode(cv2.imencode(".png", values)[1].tobytes())
    assert (found == 255).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_one_pixel_fills_what_it_can(form, fit):
    options = {"quality": 100} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}
    image = decode(encode(Image.new("RGB", (1, 1), (200, 10, 30)), form, **options))
    assert image.shape == (1, 1, 3)
    square = fit_image(image, record(32), fit)
    assert np.abs(square.astype(int) - (200, 10, 30)).max() <= 3


@pytest.mark.parametrize("compression", ["lzma", "zstd"])
def test_what_opencv_cannot_unpack_pillow_may(compression):
    content = encode(Image.fromarray(smooth()), "TIFF", compression=compression)
    np.testing.assert_array_equal(decode(content), smooth())


def test_a_bmp_of_16_bits_is_read():
    red, green, blue = (smooth()[..., channel].astype(int) for channel in range(3))
    numbers = (red >> 3 << 11 | green >> 2 << 5 | blue >> 3).astype("<u2")[::-1].tobytes()
    fields = (108, 80, 60, 1, 16, 3, len(numbers), 0, 0, 0, 0, 0xF800, 0x7E0, 0x1F, 0)
    header = struct.pack("<IiiHHIIiiIIIIII", *fields) + bytes(108 - 56)
    content = b"BM" + struct.pack("<IHHI", 122 + len(numbers), 0, 0, 122) + header + numbers
    assert np.abs(decode(content).astype(int) - smooth()).max() <= 8


@pytest.mark.parametrize("form", ["EPS", "PPM", "ICO", "TGA", "PCX", "DDS"])
def test_other_kinds_of_files_are_not_even_tried(form):
    with pytest.raises(
        ImageError, match=r"not an image file \(JPEG, PNG, WebP, GIF, TIFF, BMP, HEIC or AVIF"
    ):
        decode(encode(Image.fromarray(smooth(16, 16)), form))


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


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("alpha", [False, True])
def test_first_frame_of_an_animation(form, alpha):
    frames = [Image.new("RGBA" if alpha else "RGB", (10, 10), c) for c in ("red", "blue", "green")]
    options = {"lossless": True} if form == "WEBP" else {}
    content = encode(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert (decode(content) == (255, 0, 0)).all()


def test_a_damaged_animation_is_refused_and_does_not_end_the_process():
    """OpenCV 4.11 and 4.12 crash on such a file (their issue 27744)."""
    frames = [Image.new("RGB", (10, 10), colour) for colour in ("red", "blue")]
    content = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    start = content.index(b"IDAT")
    length = int.from_bytes(content[start - 4 : start], "big")
    scan = zlib.compress(b"\x77" * 310)
    chunk = b"IDAT" + scan
    chunk = len(scan).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    damaged = content[: start - 4] + chunk + content[start + length + 8 :]
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode(damaged)


def test_sixteen_bits_stay_when_pillow_decodes():
    values = np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "acTL")
    found = decode(encode(Image.fromarray(values), "PNG", pnginfo=text))
    assert np.array_equal(found[..., 1], (values >> 8).astype(np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello, this is text", "not an image file"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 64, "cut short"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 64 + b"\xff\xd9", "a JPEG file that is damaged or of"),
    ],
)
def test_what_is_no_image_is_refused(content, message):
    with pytest.raises(ImageError, match=message):
        decode(content)


def test_a_file_cut_short_is_refused_whatever_other_packages_set(monkeypatch):
    """GluonCV tells Pillow to fill up what is missing, for the whole process."""
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), "GIF")
    with pytest.raises(ImageError):
        decode(content[: len(content) // 2])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_file_cut_short_is_refused_at_every_length(form):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), form)
    for length in range(1, len(content) - 2, 97):
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


def _png_bomb() -> bytes:
    return encode(Image.new("1", (20000, 20000)), "PNG")


def _with_sides(form: str, form_sides: bytes, new_sides: bytes) -> bytes:
    """Make a small file say that it is large."""
    content = encode(Image.new("RGB", (300, 200)), form)
    assert form_sides in content
    return content.replace(form_sides, new_sides, 1)


def _tiled_bomb() -> bytes:
    """Write a TIFF of 300 x 200 grey pixels in one tile of 60000 x 60000."""
    fields = {
        256: 300, 257: 200, 258: 8, 259: 1, 262: 1, 277: 1, 322: 60000, 323: 60000, 324: 8, 325: 64,
    }  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    head = struct.pack("<2sHIH", b"II", 42, 8, len(fields))
    return head + entries + b"\0" * 80


def _webp_bomb() -> bytes:
    content = bytearray(encode(Image.new("RGB", (300, 200)), "WEBP", lossless=True))
    # Two numbers of 14 bits after the signature of the lossless bitstream.
    sides = int.from_bytes(content[21:25], "little")
    assert (sides & 0x3FFF, sides >> 14 & 0x3FFF) == (299, 199)
    content[21:25] = (sides | 0xFFFFFFF).to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_png_bomb, "pixels"),
        (lambda: _with_sides("JPEG", b"\x08\x00\xc8\x01\x2c", b"\x08" + b"\xff" * 4), "pixels"),
        (lambda: _with_sides("GIF", b"\x2c\x01\xc8\x00", b"\xff\xff\xff\xff"), "pixels"),
        (lambda: _with_sides("BMP", b"\x2c\1\0\0\xc8\0\0\0", b"\xff\xff\0\0" * 2), "pixels"),
        (_webp_bomb, "pixels"),
        (_tiled_bomb, "tiles of 3600000000 pixels"),
    ],
)  # fmt: skip
def test_decompression_bombs_are_refused_before_they_are_decoded(make, message, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = make()
    assert len(content) < 400_000
    # Whoever decodes it fails.
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(ImageError, match=message):
        decode(content)


LARGE_IMAGES = """
import resource, sys
from icecore import manifest
from icecore.features import ExtractOptions, extract
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
extract(manifest.read(sys.argv[1]), sys.argv[3], ["onnx:" + sys.argv[4]])
before = peak()
report = extract(manifest.read(sys.argv[2]), sys.argv[3], ["onnx:" + sys.argv[4]],
                 ExtractOptions(workers=3, decode="full"))
print(report.rows, (peak() - before) / 1024)
"""


def test_large_images_are_in_memory_one_at_a_time(image_folder, tmp_path, tiny_onnx):
    (tmp_path / "large" / "a").mkdir(parents=True)
    for number in range(3):
        image = Image.new("RGB", (6000, 6000), (number, 20, 30))
        image.save(tmp_path / "large" / "a" / f"{number}.jpg")
    arguments = [image_folder, tmp_path / "large", tmp_path / "cache", tiny_onnx]
    done = subprocess.run(
        [sys.executable, "-c", LARGE_IMAGES, *map(str, arguments)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows, megabytes = done.stdout.split()
    assert rows == "3"
    # One takes 103 MB.
    assert float(megabytes) < 190


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


def test_pad_of_photographs_is_a_resize_and_a_border(photographs):
    for path in photographs:
        image = decode(path.read_bytes())
        height, width = image.shape[:2]
        new = [round(n * 160 / max(height, width)) for n in (height, width)]
        # OpenCV's interpolation sees too little where the image shrinks to less than half.
        blocks = max(1, height // new[0]), max(1, width // new[1])
        if max(blocks) > 1:
            size = width // blocks[1], height // blocks[0]
            cut = image[: size[1] * blocks[0], : size[0] * blocks[1]]
            image = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
        resized = cv2.resize(image, new[::-1], interpolation=cv2.INTER_LINEAR)
        top, left = (160 - new[0]) // 2, (160 - new[1]) // 2
        sides = top, 160 - new[0] - top, left, 160 - new[1] - left
        expected = cv2.copyMakeBorder(resized, *sides, cv2.BORDER_CONSTANT, value=(51, 102, 153))
        np.testing.assert_array_equal(
            fit_image(decode(path.read_bytes()), record(160), "pad"), expected
        )


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


@few(100)
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

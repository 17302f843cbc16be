"""Images of which pixels are missing are failures; what is merely unusual is not."""

from __future__ import annotations

import functools
import io
import itertools
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

import icecore
from icecore.core.errors import ImageError
from icecore.features.images.decode import ImageFile, decode
from icecore.features.images.kinds import describe_other_kind

HEIGHT, WIDTH = 120, 160
END = b"\xff\xd9"


def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    smooth = np.dstack([x * 1.5, y * 2.0, 255 - x - y * 0.5])
    return (smooth + rng.normal(0, 15, smooth.shape)).clip(0, 255).astype(np.uint8)


def encode(form: str, mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture()).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restart marks": {"restart_marker_blocks": 10},
    "grey": {"mode": "L"},
    "inks": {"mode": "CMYK"},
    "exif": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"},
    "full colour": {"subsampling": 0},
}


def jpeg(name: str) -> bytes:
    return encode("JPEG", quality=90, **JPEGS[name])


ARITHMETIC = sorted((Path(__file__).parents[2] / "fixtures" / "jpeg").glob("arithmetic*.jpg"))


@pytest.mark.parametrize("path", ARITHMETIC, ids=lambda path: path.stem)
@pytest.mark.parametrize("share", [0.6, 0.9, 1.0])
def test_a_jpeg_of_arithmetic_coding_is_refused_for_its_decoder_sees_no_end(path, share):
    content = path.read_bytes()
    with pytest.raises(ImageError, match="coded arithmetically, .*: convert it"):
        decode(content[: int(len(content) * share)] + END)


def run_length_bmp() -> bytes:
    """Write a BMP of 8 bits, run-length coded, of two runs a row."""
    rows = b"".join(bytes([100, n % 200, 60, 7, 0, 0]) for n in range(HEIGHT)) + b"\0\1"
    palette = bytes(range(256)) * 4
    numbers = [(40, 4), (WIDTH, 4), (HEIGHT, 4), (1, 2), (8, 2), (1, 4), (len(rows), 4), (0, 8)]
    head = b"".join(n.to_bytes(size, "little") for n, size in [*numbers, (256, 4), (0, 4)])
    data = head + palette + rows
    sizes = (14 + len(data)).to_bytes(4, "little") + bytes(4) + (1078).to_bytes(4, "little")
    return b"BM" + sizes + data


def test_a_run_length_coded_bmp_that_lost_a_part_is_refused():
    content = run_length_bmp()
    assert decode(content).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ImageError, match="the BMP file is cut short"):
        decode(content[:1200] + content[1260:])


def test_a_run_length_coded_bmp_that_ends_early_is_refused():
    # The rest was black.
    content = run_length_bmp()
    half = 1078 + 6 * (HEIGHT // 2)
    for end in (b"\0\1", b"\0\0" * 40 + b"\0\1"):
        with pytest.raises(ImageError, match="BMP file is damaged, and part of its picture miss"):
            decode(content[:half] + end + content[half + len(end) :])


def test_a_bmp_whose_pixels_lie_over_its_head_is_refused():
    content = encode("BMP")
    for start in (0, 14, 53):
        with pytest.raises(ImageError, match="its pixels lie over its head"):
            decode(content[:10] + start.to_bytes(4, "little") + content[14:])


def with_hole(content: bytes, filling: bytes, at: float = 0.5, size: int = 500) -> bytes:
    start = int(len(content) * at)
    return content[:start] + (filling * size)[:size] + content[start + size :]


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("share", [0.4, 0.6, 0.8, 0.97])
def test_a_jpeg_that_ends_early_and_was_closed_is_refused(name, share):
    content = jpeg(name)
    assert decode(content).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ImageError, match="JPEG is damaged, and part of its picture missing"):
        decode(content[: int(len(content) * share)] + END)


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("filling", [b"\xff", b"\x55", np.random.default_rng(1).bytes(500)])
def test_a_jpeg_with_a_hole_is_refused(name, filling):
    with pytest.raises(ImageError, match="JPEG"):
        decode(with_hole(jpeg(name), filling))


@pytest.mark.parametrize("filling", [b"\0", b"\xff"])
def test_a_photograph_with_a_hole_is_refused(photographs, filling):
    for path in photographs:
        with pytest.raises(ImageError, match="JPEG"):
            decode(with_hole(path.read_bytes(), filling, size=2000))


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_that_lost_a_part_is_refused(name):
    content = jpeg(name)
    half = len(content) // 2
    with pytest.raises(ImageError, match="JPEG is damaged"):
        decode(content[:half] + content[half + 300 :])


def test_damage_behind_a_harmless_warning_is_found():
    """libjpeg tells its first warning only."""
    content = jpeg("baseline").replace(b"JFIF\0\1", b"JFIF\0\7", 1)
    half = len(content) // 2
    assert decode(content).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ImageError, match="JPEG is damaged.*premature end"):
        decode(content[:half] + END)


def test_a_progressive_jpeg_that_lost_a_scans_mark_is_refused():
    content = jpeg("progressive")
    marks = [at for at in range(len(content)) if content[at : at + 2] == b"\xff\xda"]
    assert len(marks) > 5
    for at in marks[1:]:
        with pytest.raises(ImageError, match="JPEG"):
            decode(content[:at] + b"ab" + content[at + 2 :])


def scans(content: bytes) -> list[tuple[int, int]]:
    """Return where each scan begins, with the tables before it, and where it ends."""
    marks = [mark for mark in re.finditer(b"\xff[\xc4\xda\xd9]", content)]
    after = [marks[0], *(m for one, m in itertools.pairwise(marks) if one[0] == b"\xff\xda")]
    return [(one.start(), other.start()) for one, other in itertools.pairwise(after)]


@pytest.mark.parametrize("name", ["progressive", "grey", "inks"])
def test_a_progressive_jpeg_that_lost_a_scan_is_refused(name):
    # A decoder warns of nothing: the pictures were blurred by up to 17 of 255.
    content = encode("JPEG", quality=90, **JPEGS[name] | {"progressive": True})
    assert len(scans(content)) > 5
    for begins, ends in scans(content)[1:]:
        for damaged in (content[:begins] + END, content[:begins] + content[ends:]):
            with pytest.raises(ImageError, match="scans that belong to it are not there"):
                ImageFile(damaged).decode()


def test_a_progressive_jpeg_of_which_a_scan_comes_twice_is_refused():
    # libjpeg refines what is refined: values moved by up to 248.
    content = encode("JPEG", quality=90, progressive=True)
    for begins, ends in scans(content):
        again = content[begins:ends]
        twice = (content[:ends] + again + content[ends:], content[:-2] + again + END)
        for damaged in twice:
            with pytest.raises(ImageError, match="a scan of it comes twice"):
                decode(damaged)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_cut_anywhere_in_the_head_of_a_scan_is_refused(options):
    content = encode("JPEG", quality=90, **options)
    for begins, _ in scans(content):
        for end in range(begins, begins + 14):
            for damaged in (content[:end], content[:end] + END, content[:end] + b"\xff"):
                with pytest.raises(ImageError):
                    decode(damaged)


def test_a_jpeg_of_a_scan_for_each_colour_needs_them_all():
    planes = Image.fromarray(picture()).convert("YCbCr").split()
    parts = []
    for plane in planes:
        buffer = io.BytesIO()
        plane.save(buffer, "JPEG", quality=90)
        parts.append(buffer.getvalue())
    at, tables = parts[0].index(b"\xff\xc0"), parts[0].index(b"\xff\xc4")
    frame = b"\xff\xc0\0\x11" + parts[0][at + 4 : at + 9] + b"\x03\x01\x11\0\x02\x11\0\x03\x11\0"
    head = parts[0][:at] + frame + parts[0][tables : parts[0].index(b"\xff\xda")]
    data = [part[part.index(b"\xff\xda") + 10 : -2] for part in parts]
    colours = [b"\xff\xda\0\x08\x01" + bytes([n, 0, 0, 63, 0]) + data[n - 1] for n in (1, 2, 3)]
    whole = decode(head + b"".join(colours) + END).astype(int)
    assert abs(whole - picture()).mean() < 8
    for lost in range(3):
        rest = colours[:lost] + colours[lost + 1 :]
        with pytest.raises(ImageError, match="scans that belong to it are not there"):
            decode(head + b"".join(rest) + END)


def parameters_of_a_scan(content: bytes) -> bytes:
    changed = bytearray(content)
    scan = changed.index(b"\xff\xda")
    changed[scan + 2 + changed[scan + 3] - 3] = 1  # begins at the second coefficient, it says
    return bytes(changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c[:-2] + b"\0" * 40 + END,
        lambda c: c[:-2] + b"\xff" * 40 + END,
        lambda c: c[:-2] + b"\x12\x34" + END,
        lambda c: c.replace(b"JFIF\0\1", b"JFIF\0\7", 1),
        parameters_of_a_scan,
        lambda c: c + b"a film that a telephone appended" * 100,
        lambda c: c + b"\0" * 500,
    ],
)
@pytest.mark.parametrize("name", ["baseline", "grey", "full colour"])
def test_what_is_merely_unusual_gives_the_same_pixels(name, change):
    content = jpeg(name)
    np.testing.assert_array_equal(decode(change(content)), decode(content))


def unusual(across: int, down: int) -> tuple[bytes, bytes]:
    """Make a JPEG in even grey of which the luma has so many blocks to one of the others.

    Returns
    -------
    head, scan : bytes
    """
    buffer = io.BytesIO()
    Image.new("RGB", (96, 96)).save(buffer, "JPEG", subsampling=0)
    content = bytearray(buffer.getvalue())
    content[content.index(b"\xff\xc0") + 11] = across << 4 | down  # where 1 x 1 stood
    start = content.index(b"\xff\xda") + 14
    # No difference to the block before, and the end of the block, by the standard's tables.
    unit = "001010" * (across * down) + "0000" * 2
    bits = unit * (-(-96 // (8 * across)) * -(-96 // (8 * down)))
    bits += "1" * (-len(bits) % 8)
    return bytes(content[:start]), int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize("sampling", [(3, 1), (1, 3), (2, 3), (4, 2)])
@pytest.mark.parametrize("reduction", [1, 2])
def test_unusual_samplings_are_decoded_and_their_damage_seen(sampling, reduction, capfd):
    head, scan = unusual(*sampling)
    found = ImageFile(head + scan + b"\xff\xd9").decode(reduction)
    assert found.shape == (96 // reduction, 96 // reduction, 3)
    assert (found == 128).all()
    with pytest.raises(ImageError, match="cut short"):
        ImageFile(head + scan[:-20]).decode(reduction)
    with pytest.raises(ImageError, match="part of its picture missing"):
        ImageFile(head + scan[: len(scan) // 2] + b"\xff\xd9").decode(reduction)
    assert capfd.readouterr().err == ""


def test_the_pixels_of_photographs_are_those_of_opencv(photographs):
    for path in photographs:
        content = path.read_bytes()
        expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(decode(content), expected)


def rebuilt(content: bytes, data: bytes) -> bytes:
    """Put other pixel data into a PNG, with right checksums."""
    parts, at, done = [content[:8]], 8, False
    while at < len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        body = content[at + 8 : at + 8 + size]
        at += 12 + size
        if kind == b"IDAT":
            if done:
                continue
            body, done = data, True
        chunk = kind + body
        parts.append(len(body).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big"))
    return b"".join(parts)


def pixel_data(content: bytes) -> bytes:
    at, data = 8, b""
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        data += content[at + 8 : at + 8 + size] if content[at + 4 : at + 8] == b"IDAT" else b""
        at += 12 + size
    return data


def interlaced(mode: str) -> bytes:
    """Write a PNG in the seven passes of Adam7, which Pillow reads and does not write."""
    pixels = np.asarray(Image.fromarray(picture()).convert(mode))
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
    data = b""
    for x, y, dx, dy in (*passes, (0, 1, 1, 2)):
        data += b"".join(b"\0" + row.tobytes() for row in pixels[y::dy, x::dx])
    content = bytearray(encode("PNG", mode))
    content[28] = 1
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return rebuilt(bytes(content), zlib.compress(data))


PNGS = {
    **{m: functools.partial(encode, "PNG", m) for m in ("RGB", "RGBA", "LA", "P", "L", "1")},
    **{f"interlaced {m}": functools.partial(interlaced, m) for m in ("RGB", "RGBA", "LA")},
}


@pytest.mark.parametrize("kind", PNGS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.995])
def test_a_png_whose_data_end_early_is_refused(kind, share):
    content = PNGS[kind]()
    assert decode(content).shape == (HEIGHT, WIDTH, 3)
    raw = zlib.decompress(pixel_data(content))
    with pytest.raises(ImageError):
        decode(rebuilt(content, zlib.compress(raw[: int(len(raw) * share)])))
    packed = pixel_data(content)
    with pytest.raises(ImageError):
        decode(rebuilt(content, packed[: int(len(packed) * share)]))


def test_a_palette_with_a_transparent_entry_is_counted_too():
    content = encode("PNG", "P", transparency=0)
    raw = zlib.decompress(pixel_data(content))
    with pytest.raises(ImageError, match="part of its picture missing"):
        decode(rebuilt(content, zlib.compress(raw[: len(raw) // 2])))


TIFFS = ("tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "jpeg")


@pytest.mark.parametrize("compression", TIFFS)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LAB"])
@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"hole"])
def test_a_compressed_tiff_with_a_hole_is_refused(compression, mode, filling):
    content = encode("TIFF", mode, compression=compression)
    assert decode(content).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ImageError, match="TIFF file is damaged"):
        decode(with_hole(content, filling))


def planar_tiff(pixels: np.ndarray) -> bytes:
    """Return a TIFF without compression that holds one colour after the other."""
    height, width, colours = pixels.shape
    bits = 8 * pixels.itemsize
    planes = [pixels[..., colour].tobytes() for colour in range(colours)]
    lists = 10 + 10 * 12 + 4
    start = lists + 6 + 12 + 12
    begins = [start + len(planes[0]) * number for number in range(colours)]
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, lists), (259, 3, 1, 1),
        (262, 3, 1, 2), (273, 4, 3, lists + 6), (277, 3, 1, 3), (278, 4, 1, height),
        (279, 4, 3, lists + 18), (284, 3, 1, 2),
    ]  # fmt: skip
    return b"".join(
        [
            struct.pack("<2sHIH", b"II", 42, 8, len(entries)),
            *(struct.pack("<HHII", *entry) for entry in entries),
            struct.pack("<I3H3I3I", 0, *[bits] * 3, *begins, *map(len, planes)),
            *planes,
        ]
    )


@pytest.mark.parametrize("numbers", [np.uint8, np.uint16])
def test_a_tiff_whose_last_colours_are_cut_off_is_refused(numbers):
    pixels = picture().astype(numbers) * (257 if numbers is np.uint16 else 1)
    content = planar_tiff(pixels)
    np.testing.assert_array_equal(decode(content), picture())
    for share in (0.4, 0.6, 0.8, 0.99):
        with pytest.raises(ImageError, match="cut short"):
            decode(content[: int(len(content) * share)])


def tiff_of_one_strip(compression, strip, count, colours=2):
    """Return a TIFF of `count` rows of eight pixels, all of which lie in the same place."""
    table = 8 + len(strip)
    entries = [
        (256, 4, 1, 8), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, compression),
        (262, 3, 1, colours), (273, 4, count, table), (277, 3, 1, 3), (278, 4, 1, 1),
        (279, 4, count, table + 4 * count),
    ]  # fmt: skip
    numbers = struct.pack("<I", 8) * count + struct.pack("<I", len(strip)) * count
    head = b"II*\0" + struct.pack("<I", table + len(numbers))
    listed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return head + strip + numbers + struct.pack("<H", len(entries)) + listed + bytes(4)


def test_strips_that_hold_far_more_than_their_pixels_are_not_unpacked():
    large = io.BytesIO()
    Image.new("RGB", (900, 900)).save(large, "JPEG")
    for compression, strip, colours in (
        (8, zlib.compress(bytes(2**22)), 2),
        (7, large.getvalue(), 6),
    ):
        content = tiff_of_one_strip(compression, strip, 30, colours)
        with pytest.raises(ImageError, match="strips hold far more than its pixels"):
            decode(content)
    # Rows that are alike may lie in one place, and a row may be followed by others.
    row = bytes(range(24))
    for strip in (zlib.compress(row), zlib.compress(row + row)):
        assert (
            decode(tiff_of_one_strip(8, strip, 30)) == np.frombuffer(row, np.uint8).reshape(8, 3)
        ).all()


def test_an_image_that_its_reader_refuses_is_called_by_its_kind():
    jpeg = bytearray(encode("JPEG", "RGB"))
    jpeg[jpeg.index(b"\xff\xc0") + 4] = 12
    png = encode("PNG", "RGB")
    text = struct.pack(">I", 4) + b"tEXta\0bb" + b"\0\0\0\0"
    for content, said in (
        (bytes(jpeg), "a JPEG file that is damaged or of a rare kind .*12-bit.*8 bits"),
        (png[:33] + text + png[33:], "a PNG file that is damaged or of a rare kind .*tEXt"),
        (b"II*\0" + b"\0" * 40, "a TIFF file that is damaged or of a rare kind"),
    ):
        with pytest.raises(ImageError, match=said):
            decode(content)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "GIF", "BMP"])
@pytest.mark.parametrize("end", [b"", b"\0;", b"\0\0\0\0IEND\xaeB`\x82"])
def test_other_kinds_that_are_cut_and_closed_are_refused(form, end):
    content = encode(form)
    for share in (0.2, 0.5, 0.9):
        with pytest.raises(ImageError):
            decode(content[: int(len(content) * share)] + end)


def bmp_with_alpha(alpha: int) -> bytes:
    """Write a BMP of 32 bits with masks, as Windows does."""
    pixels = np.dstack([picture()[::-1, :, ::-1], np.full((HEIGHT, WIDTH), alpha, np.uint8)])
    masks = b"".join(n.to_bytes(4, "little") for n in (0xFF0000, 0xFF00, 0xFF, 0xFF000000))
    head = b"".join(
        n.to_bytes(size, "little")
        for n, size in (
            (108, 4), (WIDTH, 4), (HEIGHT, 4), (1, 2), (32, 2), (3, 4), (pixels.size, 4), (0, 16),
        )
    ) + masks + b"sRGB"[::-1] + bytes(48)  # fmt: skip
    data = head + pixels.tobytes()
    sizes = (14 + len(data)).to_bytes(4, "little") + bytes(4) + (122).to_bytes(4, "little")
    return b"BM" + sizes + data


def with_alpha(form: str, alpha: int) -> bytes:
    if form == "BMP":
        return bmp_with_alpha(alpha)
    rgba = np.dstack([picture(), np.full((HEIGHT, WIDTH), alpha, np.uint8)])
    buffer = io.BytesIO()
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    Image.fromarray(rgba, "RGBA").save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["BMP", "TIFF", "PNG", "WEBP"])
def test_alpha_that_is_zero_everywhere_is_no_alpha(form):
    np.testing.assert_array_equal(decode(with_alpha(form, 0)), picture())
    np.testing.assert_array_equal(decode(with_alpha(form, 255)), picture())
    assert decode(with_alpha(form, 1)).min() > 250


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("largest", "bits"), [(255, 8), (200, 8), (4095, 12), (1023, 10)])
def test_sixteen_bits_that_hold_fewer_are_said(suffix, channels, largest, bits):
    values = np.random.default_rng(0).integers(0, largest + 1, (40, 50, channels), dtype=np.uint16)
    values[0, 0] = largest
    if channels == 4:
        values[..., 3] = 65535
    content = cv2.imencode(suffix, values)[1].tobytes()
    with pytest.raises(ImageError, match=f"stop below {2**bits}, .* holds {bits} bits; multiply"):
        decode(content)
    scaled = values.copy()
    scaled[..., :3] *= 65535 // (2**bits - 1)
    assert decode(cv2.imencode(suffix, scaled)[1].tobytes()).shape == (40, 50, 3)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("i1", "signed"), ("i2", "signed"), ("i4", "signed"), ("f4", "floating-point")],
)
def test_a_tiff_of_numbers_that_are_no_brightness_is_refused(kind, said):
    content = cv2.imencode(".tiff", (picture()[..., 0] // 2).astype(kind))[1].tobytes()
    with pytest.raises(ImageError, match=f"a TIFF of {said} numbers, .* save it with unsigned"):
        decode(content)


@pytest.mark.parametrize(("largest", "bits"), [(200, 8), (900, 10), (4000, 12)])
def test_grey_with_alpha_of_sixteen_bits_that_holds_fewer_is_said(largest, bits):
    content = grey_with_alpha_of_sixteen_bits(largest)
    with pytest.raises(ImageError, match=f"holds {bits} bits"):
        decode(content)
    assert decode(grey_with_alpha_of_sixteen_bits(5000)).shape == (2, 2, 3)
    assert not decode(grey_with_alpha_of_sixteen_bits(0)).any()


def grey_with_alpha_of_sixteen_bits(largest: int) -> bytes:
    rows = np.array([[[0, 65535], [1, 65535]], [[2, 65535], [largest, 65535]]], ">u2")
    if not largest:
        rows[..., 0] = 0
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = chunk(b"IHDR", bytes([0, 0, 0, 2, 0, 0, 0, 2, 16, 4, 0, 0, 0]))
    return encode("PNG")[:8] + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_a_black_picture_of_sixteen_bits_is_black(suffix):
    content = cv2.imencode(suffix, np.zeros((40, 50), np.uint16))[1].tobytes()
    assert not decode(content).any()


@pytest.mark.parametrize("what", ["text", "profile"])
def test_a_png_with_megabytes_of_text_is_decoded(what):
    long = np.random.default_rng(0).bytes(3_000_000).hex()
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", long if what == "text" else "short", zip=True)
    more = {"icc_profile": long.encode()} if what == "profile" else {}
    np.testing.assert_array_equal(decode(encode("PNG", pnginfo=text, **more)), picture())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "a video .*: take a frame"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "a web page, .* download"),
        (b"  <html lang='en'>", "a web page"),
        (b"\xef\xbb\xbf<!doctype HTML>", "a web page"),
        (b"<?xml version='1.0'?><svg xmlns='x'/>", "an SVG drawing: convert"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML: download"),
        (b'{"error": "not found"}', "a text: download"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"%PDF-1.7\n", "a PDF document: convert"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X", "AppleDouble .* delete it"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"gimp xcf v011\0", "an image of GIMP .* convert"),
        (b"AT&TFORM\0\0\0\x99DJVU", "a DjVu image: convert"),
        (b"\x1aE\xdf\xa3\x01\0\0\0", "a video: take a frame"),
        (b"\xff\x0a\xfa\x1f", "a JPEG XL image: convert"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (b"PK\3\4\x14\0", "a ZIP archive .*: unpack it"),
        (bytes(4096), "begins with zeros alone"),
        (b"Too many requests, try again later\n", "a text: download"),
        (b"P6 4 4 255\n" + bytes(48), "a PPM image"),
        (b"Pf\n4 4\n-1.0\n" + bytes(64), "a PFM image: convert"),
        (b"\n\5\1\x08" + bytes(128), "a PCX image: convert"),
        (b"\x01\xda\0\1\0\2" + bytes(506), "an SGI image: convert"),
        (bytes(128) + b"DICM\2\0", "a DICOM image: convert"),
        (b"\0\0\2" + bytes(60) + b"TRUEVISION-XFILE.\0", "a TGA image: convert"),
    ],
)
def test_what_is_no_image_is_named(content, said):
    with pytest.raises(ImageError, match=f"not an image file .* but .*{said}"):
        decode(content)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_images_are_of_no_other_kind(form):
    assert describe_other_kind(encode(form)) == ""


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"x" * 400)),
        chunk(b"gAMA", bytes(4)),
        chunk(b"tIME", b"\xff" * 7),
        chunk(b"zTXt", b"text\0\0" + b"no zlib"),
        chunk(b"cHRM", b"\xff" * 32),
    ],
    ids=lambda extra: extra[4:8].decode(),
)
def test_what_no_pixel_hangs_on_in_a_png_says_nothing_to_the_terminal(extra, capfd):
    content = encode("PNG")
    changed = content[:33] + extra + content[33:]
    np.testing.assert_array_equal(decode(changed), decode(content))
    assert capfd.readouterr().err == ""


def test_a_png_with_a_critical_chunk_that_nobody_knows_or_without_its_palette_is_damaged(capfd):
    content = encode("PNG")
    with pytest.raises(ImageError, match="it has a chunk b'ABCD'"):
        decode(content[:33] + chunk(b"ABCD", b"x") + content[33:])
    header = bytearray(content[8:33])
    header[17] = 3
    with pytest.raises(ImageError, match="its palette is missing"):
        decode(content[:8] + chunk(b"IHDR", bytes(header[8:21])) + content[33:])
    assert capfd.readouterr().err == ""


def test_a_png_for_iphones_is_called_so():
    content = encode("PNG")
    with pytest.raises(ImageError, match=r"Xcode made for iPhones \(CgBI\).*convert it"):
        decode(content[:8] + chunk(b"CgBI", b"\x50\0\x20\6") + content[8:])


def test_what_libpng_would_say_of_pixels_is_said_of_the_file_or_no_damage(capfd):
    """Bytes behind the last row and a wrong checksum of the end take nothing from a picture."""
    content = encode("PNG")
    raw = zlib.decompress(pixel_data(content))
    more = rebuilt(content, zlib.compress(raw + bytes(500)))
    end = content[:-4] + b"oops"
    for whole in (more, end):
        np.testing.assert_array_equal(decode(whole), picture())
    filtered = rebuilt(content, zlib.compress(raw[: 60 * (3 * WIDTH + 1)] + b"\x09" + bytes(99999)))
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode(filtered)
    assert capfd.readouterr().err == ""


def test_a_png_whose_last_row_is_black_is_whole():
    pixels = picture()
    pixels[-40:] = 0
    for mode in ("RGB", "L"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(buffer, "PNG")
        expected = Image.fromarray(pixels).convert(mode).convert("RGB")
        np.testing.assert_array_equal(decode(buffer.getvalue()), np.asarray(expected))


def test_colours_that_a_palette_lacks_are_damage():
    palette = chunk(b"PLTE", bytes([9, 9, 9, 250, 250, 250]))
    for index in (1, 2):
        rows = zlib.compress(b"".join(b"\0" + bytes([0, index]) for _ in range(2)))
        header = chunk(b"IHDR", bytes([0, 0, 0, 2, 0, 0, 0, 2, 8, 3, 0, 0, 0]))
        content = encode("PNG")[:8] + header + palette + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
        if index == 1:
            np.testing.assert_array_equal(decode(content)[0], [[9] * 3, [250] * 3])
        else:
            with pytest.raises(ImageError, match="colours that its palette lacks"):
                decode(content)


def test_a_png_lies_as_its_exif_says():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode(encode("PNG", exif=exif))
    np.testing.assert_array_equal(turned, np.rot90(decode(encode("PNG")), -1))


def test_a_jpeg_of_many_scans_of_a_large_picture_is_refused():
    buffer = io.BytesIO()
    Image.new("L", (4000, 4000)).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last = content.rindex(b"\xff\xda")
    with pytest.raises(ImageError, match=r"has \d+ scans of 4000 x 4000 pixels"):
        decode(content[:-2] + content[last:-2] * 90 + END)
    assert decode(content).shape == (4000, 4000, 3)


@pytest.mark.parametrize("compression", ["group3", "group4"])
def test_a_fax_of_zeros_is_damaged(compression, capfd):
    content = bytearray(encode("TIFF", "1", compression=compression))
    with Image.open(io.BytesIO(content)) as image:
        (start,), (size,) = image.tag_v2[0x0111], image.tag_v2[0x0117]
    decode(bytes(content))
    content[start + size // 2 : start + size] = bytes(size - size // 2)
    with pytest.raises(ImageError, match="the TIFF file is damaged"):
        decode(bytes(content))
    assert capfd.readouterr().err == ""


WRITTEN = {
    "WebP": {"form": "WEBP", "quality": 80},
    "AVIF": {"form": "AVIF", "quality": 80},
}


@pytest.mark.parametrize("name", [*WRITTEN, "HEIC"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.9])
def test_a_file_whose_end_was_never_written_is_refused(name, share):
    # As a download leaves it that began by taking the room; half of the picture was grey.
    if name == "HEIC":
        pytest.importorskip("pi_heif")
        content = (Path(__file__).parents[2] / "fixtures" / "heic" / "photo.heic").read_bytes()
    elif name == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow without AVIF")
    else:
        content = encode(**WRITTEN[name])
    assert decode(content + bytes(4096)).shape == decode(content).shape
    kept = int(len(content) * share)
    with pytest.raises(ImageError, match="not written in full|cannot be read|damaged|decoded"):
        decode(content[:kept] + bytes(len(content) - kept))


def test_a_webp_with_a_block_of_zeros_is_refused():
    content = encode(**WRITTEN["WebP"])
    half = len(content) // 2
    with pytest.raises(ImageError, match="not written in full|decoded"):
        decode(content[:half] + bytes(300) + content[half + 300 :])


def test_an_animated_webp_with_a_block_of_zeros_in_its_first_frame_is_refused():
    more = [Image.fromarray(picture()[::-1].copy())]
    content = encode("WEBP", save_all=True, append_images=more, quality=80)
    decode(content)
    half = content.index(b"ANMF") + 2000
    with pytest.raises(ImageError, match="not written in full"):
        decode(content[:half] + bytes(1000) + content[half + 1000 :])


FLAT = WRITTEN | {
    "coarse WebP": {"form": "WEBP", "quality": 0, "method": 0},
    "lossless WebP": {"form": "WEBP", "lossless": True, "quality": 0, "method": 0},
}


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("side", [64, 700])
def test_zeros_of_flat_pictures_are_their_own(name, side):
    if name == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow without AVIF")
    pixels = np.zeros((side, 2 * side, 3), np.uint8)
    pixels[:30] = np.random.default_rng(0).integers(0, 256, (30, 2 * side, 3))
    options, buffer = FLAT[name].copy(), io.BytesIO()
    Image.fromarray(pixels).save(buffer, options.pop("form"), **options)
    # Thousands of zeros stand in the lossless one.
    assert decode(buffer.getvalue())[50:].max() < 20


TOGETHER = """
import ctypes, io, sys, threading, time
from PIL import Image
from icecore.features.images.libtiff import heeding_libtiff

real, content = ctypes.CDLL, sys.stdin.buffer.read()
waits = {}

def slow(name):
    time.sleep(waits[threading.current_thread().name].pop(0))
    return real(name)

def work():
    for _ in range(50):
        try:
            with heeding_libtiff(), Image.open(io.BytesIO(content)) as image:
                image.load()
        except Exception as error:
            said.append(str(error))

ctypes.CDLL, said, threads = slow, [], []
for name, times in (("a", [0.1, 0.3]), ("b", [0.2, 0.1])):
    waits[name] = times
    threads.append(threading.Thread(target=work, name=name))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(said) == 100, said
"""


@pytest.mark.skipif(os.name != "posix", reason="libtiff is out of reach")
def test_threads_that_decode_their_first_tiff_together_outlive_its_damage():
    # Each set a handler of its own, and the one that libtiff kept was freed: segmentation faults.
    content = with_hole(encode("TIFF", compression="tiff_lzw"), b"\0")
    root = Path(icecore.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER],
        input=content, capture_output=True, cwd=root, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("size", [(1, 2**20 + 1), (2**20 + 1, 1)])
def test_an_image_of_a_side_without_end_is_refused(size):
    # Of 179 million rows of one pixel, seven megabytes became four gigabytes.
    png = encode("PNG", "L")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0))
    with pytest.raises(ImageError, match="more than 1048576 on a side"):
        decode(png[:8] + header + png[33:])

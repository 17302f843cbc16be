"""HEIC files of all kinds that encoders write, as libheif 1.23 made them; holes in HEIC and AVIF.

``fixtures/heic/drawn`` was written with pillow-heif 1.8 from the drawings below; the grids and
the files that are derived from others were put together of its tiles by hand.
"""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from packages import skip_without
from PIL import Image, features

from icecore.core.errors import ImageError
from icecore.features.images.decode import decode, image_size
from icecore.features.images.heif_items import AV1, HEVC, codes_of_pictures

DRAWN = Path(__file__).parents[2] / "fixtures" / "heic" / "drawn"
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")


def drawing(width, height, slope):
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * slope % 256, y * slope, (x + y) % 256], -1).astype(np.uint8)
    image[: height // 4, : height // 4] = [255, 0, 0]
    return image


SMALL, LARGE = drawing(128, 96, 2), drawing(192, 128, 1)


def on_white(image):
    """Return it whole above, half transparent below row 20, and white from row 40 on."""
    found = image.astype(float)
    found[20:40] = found[20:40] * 128 / 255 + 255 * (1 - 128 / 255)
    found[40:] = 255
    return found


def on_red(image):
    canvas = np.zeros((200, 256, 3))
    canvas[...] = [255, 0, 0]
    canvas[30:158, 20:212] = image
    return canvas


EXPECTED = {
    "rgb10": SMALL,
    "nclx_m1_f1": SMALL,
    "grey12": np.repeat(SMALL[:, :, :1], 3, axis=2),
    "alpha": on_white(SMALL),
    "rgba10": on_white(SMALL),
    "exif2": SMALL[:, ::-1],
    "exif5": SMALL.transpose(1, 0, 2),
    "exif6": np.rot90(SMALL, -1),
    "three_p2": np.roll(SMALL, 60, axis=1),
    "grid": LARGE,
    "grid_clap_irot1": np.rot90(LARGE[34:94, 46:146]),
    "iden": np.rot90(LARGE),
    "iovl": on_red(LARGE),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_kind_of_heic_shows_the_picture_that_was_written(name):
    skip_without("pi_heif")
    path, expected = DRAWN / f"{name}.heic", EXPECTED[name]
    found = decode(path.read_bytes())
    assert found.shape == expected.shape
    assert np.abs(found - expected.astype(float)).mean() < 1
    assert image_size(str(path)) == (expected.shape[1], expected.shape[0])


def test_every_drawn_file_is_tried():
    assert {path.stem for path in DRAWN.iterdir()} == set(EXPECTED)


def pieces(content, codec):
    """Return where the codes of each picture begin, and how many they are."""
    return [(content.index(codes), len(codes)) for codes in codes_of_pictures(content, codec)]


@pytest.mark.parametrize("tile", range(6))
@pytest.mark.parametrize("share", [1, 3])
def test_a_tile_that_was_never_written_is_missed(tile, share):
    skip_without("pi_heif")
    content = bytearray((DRAWN / "grid.heic").read_bytes())
    found = pieces(bytes(content), HEVC)
    assert len(found) == 6
    start, size = found[tile]
    content[start : start + size // share] = bytes(size // share)
    with pytest.raises(ImageError, match="not written in full"):
        decode(bytes(content))


def test_a_grid_that_is_cut_short_is_said_to_be():
    skip_without("pi_heif")
    content = (DRAWN / "grid.heic").read_bytes()
    for share in (0.5, 0.9, 0.99):
        with pytest.raises(ImageError, match="cut short, or lacks a part of its picture"):
            decode(content[: int(len(content) * share)])


def avif(image, **options):
    file = io.BytesIO()
    image.save(file, "AVIF", **options)
    return file.getvalue()


@needs_avif
@pytest.mark.parametrize(("at", "size"), [(0.3, 400), (0.5, 4000), (0.97, 100)])
def test_a_hole_in_an_avif_is_missed(at, size):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 20, (480, 640, 3), dtype=np.uint8)
    content = bytearray(avif(Image.fromarray(noise + 100), quality=90))
    ((start, length),) = pieces(bytes(content), AV1)
    first = start + int(length * at)
    content[first : first + size] = bytes(size)
    with pytest.raises(ImageError, match="not written in full"):
        decode(bytes(content))


@needs_avif
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("quality", [1, 60, 100])
def test_flat_avifs_have_no_holes(mode, quality):
    for colour in (0, 255):
        decode(avif(Image.new(mode, (1200, 900), colour), quality=quality, speed=10))


def box(kind, *parts):
    content = b"".join(parts)
    return (len(content) + 8).to_bytes(4, "big") + kind + content


def test_lists_that_lead_nowhere_take_no_time():
    entry = b"\2\0\0\0" + (1).to_bytes(2, "big") + b"\0\0hvc1\0"
    items = box(b"iinf", b"\0\0\0\0\0\1", box(b"infe", entry))
    # Each of many entries has 65,535 pieces that take no byte of the list.
    endless = box(b"iloc", b"\1\0\0\0\0\0\xff\xff", b"\0\1\0\0\0\0\xff\xff" * 65535)
    begun = time.process_time()
    for places in (endless, box(b"iloc", b"\1\0\0\0\x44"), box(b"iloc"), b""):
        content = box(b"meta", b"\0\0\0\0", items, places) + box(b"mdat", b"x" * 10**6)
        found = sum(map(len, codes_of_pictures(content, HEVC)))
        assert found <= len(content)
    assert time.process_time() - begun < 5

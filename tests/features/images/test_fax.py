"""Faxes that lack rows: libtiff leaves white what it does not find, and nobody hears it say so."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from icecore.core.errors import ImageError
from icecore.features.images.decode import decode

WIDTH, HEIGHT = 150, 90
_HEIGHT, _OPTIONS, _PLACE, _ROWS, _SIZE, _FILL = 257, 292, 273, 278, 279, 266
FORMS = {"tiff_ccitt": 0, "group3": 0, "group3 2d": 1, "group3 bytes": 4, "group4": 0}


def page() -> np.ndarray:
    rng = np.random.default_rng(5)
    pixels = np.ones((HEIGHT, WIDTH), bool)
    for y, x in rng.integers(0, 80, (60, 2)):
        pixels[y : y + 9, x : x + 25] ^= True
    pixels[-6:] = rng.random((6, WIDTH)) < 0.7
    return pixels


def fax(form: str) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if FORMS[form]:
        tags[_OPTIONS] = FORMS[form]
    # So that a tag is there that says how bits lie.
    tags[_FILL] = 1
    buffer = io.BytesIO()
    Image.fromarray(page()).save(buffer, "TIFF", compression=form.split()[0], tiffinfo=tags)
    return buffer.getvalue()


def tags_of(content: bytes):
    return Image.open(io.BytesIO(content)).tag_v2


def strip_of(content: bytes) -> bytes:
    tags = tags_of(content)
    return content[tags[_PLACE][0] : tags[_PLACE][0] + tags[_SIZE][0]]


def with_tag(content: bytes, tag: int, value: int) -> bytes:
    at = int.from_bytes(content[4:8], "little")
    for entry in range(at + 2, at + 2 + 12 * int.from_bytes(content[at : at + 2], "little"), 12):
        if int.from_bytes(content[entry : entry + 2], "little") == tag:
            long = b"\4\0\1\0\0\0" + value.to_bytes(4, "little")
            return content[: entry + 2] + long + content[entry + 12 :]
    raise AssertionError(f"no tag {tag}")


def with_strip(content: bytes, strip: bytes) -> bytes:
    content = with_tag(with_tag(content, _PLACE, len(content)), _SIZE, len(strip))
    return content + strip


def shown(content: bytes) -> np.ndarray:
    return decode(content)[:, :, 0] > 0


@pytest.mark.parametrize("form", FORMS)
def test_a_fax_with_all_its_rows_is_decoded_however_it_ends(form):
    content = fax(form)
    np.testing.assert_array_equal(shown(content), page())
    bits = np.unpackbits(np.frombuffer(strip_of(content), np.uint8)).tolist()
    end = [0] * 11 + [1]
    if form == "group4":
        at = bytes(bits).index(bytes(end))
        others = [bits[:at], bits[:at] + end, bits + end * 4]
    elif form == "tiff_ccitt":
        others = [bits + [0] * 40]
    else:
        line = end + [1] * (FORMS[form] & 1)
        others = [bits + [0] * 9 + line * count + [0] * 20 for count in (1, 2, 6, 70)]
    for other in others:
        packed = np.packbits(np.array(other, np.uint8)).tobytes()
        np.testing.assert_array_equal(shown(with_strip(content, packed)), page())
        turned = np.packbits(np.array(other, np.uint8), bitorder="little").tobytes()
        turned = with_tag(with_strip(content, turned), _FILL, 2)
        np.testing.assert_array_equal(shown(turned), page())


@pytest.mark.parametrize("form", FORMS)
def test_a_fax_that_lacks_rows_at_its_end_is_refused(form):
    """A row more than there is, by its directory; or the end of the codes cut off."""
    content = fax(form)
    for more in (1, 2, 40):
        longer = with_tag(with_tag(content, _HEIGHT, HEIGHT + more), _ROWS, HEIGHT + more)
        with pytest.raises(ImageError, match="part of its picture missing|damaged"):
            decode(longer)
    strip = strip_of(content)
    for cut in (*range(40, 80, 3), len(strip) // 3, len(strip) // 2, len(strip) - 20):
        with pytest.raises(ImageError, match="part of its picture missing|damaged"):
            decode(with_strip(content, strip[:-cut]))


@pytest.mark.parametrize("form", FORMS)
def test_zeros_in_place_of_codes_are_seen_and_those_that_fill_up_lines_pass(form):
    content = fax(form)
    strip = strip_of(content)
    for size in (40, 90, 300):
        for at in range(200, len(strip) - size - 100, 97):
            with pytest.raises(ImageError, match="part of its picture missing|damaged"):
                decode(with_strip(content, strip[:at] + bytes(size) + strip[at + size :]))
    if form.startswith("group3"):
        bits = np.unpackbits(np.frombuffer(strip, np.uint8)).tobytes()
        end = bytes(11) + b"\1"
        filled = bits[:12] + bits[12:].replace(end, bytes(200) + end)
        packed = np.packbits(np.frombuffer(filled, np.uint8)).tobytes()
        np.testing.assert_array_equal(shown(with_strip(content, packed)), page())


def test_rows_are_missed_in_any_of_several_strips():
    buffer = io.BytesIO()
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[_ROWS] = 30
    Image.fromarray(page()).save(buffer, "TIFF", compression="group4", tiffinfo=tags)
    content = buffer.getvalue()
    places, sizes = (tags_of(content)[tag] for tag in (_PLACE, _SIZE))
    assert len(places) == 3
    np.testing.assert_array_equal(shown(content), page())
    for place, size in zip(places, sizes):
        # The end of all lines in the middle of them.
        at = place + size // 2
        end = b"\0\x10\x01\0\x10\x01"
        with pytest.raises(ImageError, match="part of its picture missing"):
            decode(content[:at] + end + content[at + len(end) :])


def test_run_lengths_in_words_are_called_by_their_name():
    file = io.BytesIO()
    Image.fromarray(page()).save(file, "TIFF", compression="tiff_raw_16")
    with pytest.raises(ImageError, match="a TIFF of run lengths in words .*another compression"):
        decode(file.getvalue())

"""The decoders' front door: whatever comes, an image or an `ImageError` comes out of it.

The short run mutates files under hypothesis; the long one does it for minutes in a
process of its own with little memory, where a crash of a library is seen as well.
"""

from __future__ import annotations

import io
import subprocess
import sys

import drawing
import numpy as np
import pytest
from drawing import few
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from PIL import Image

from icecore.core.errors import ImageError
from icecore.features.images import decode as images
from icecore.features.images.decode import decode, image_size

FORMS = {
    "JPEG": {}, "progressive": {"format": "JPEG", "progressive": True},
    "PNG": {}, "WEBP": {}, "lossless": {"format": "WEBP", "lossless": True}, "GIF": {},
    "TIFF": {}, "lzw": {"format": "TIFF", "compression": "tiff_lzw"}, "BMP": {},
}  # fmt: skip
MODES = ("RGB", "L", "P", "RGBA", "1", "CMYK")


def valid_files() -> list[bytes]:
    """Write small files of every kind and mode, with EXIF and with several frames."""
    y, x = np.mgrid[0:24, 0:20]
    picture = np.dstack([x * 12, y * 10, 255 - x * y % 256]).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = []
    for name, options in FORMS.items():
        for mode in MODES:
            for more in ({}, {"exif": exif}, {"save_all": True}):
                image = Image.fromarray(picture).convert(mode)
                if "save_all" in more:
                    more = {**more, "append_images": [image.rotate(90)]}
                buffer = io.BytesIO()
                try:
                    image.save(buffer, **({"format": name} | options | more))
                except (KeyError, OSError, ValueError):
                    continue  # A kind that has no such mode, or holds one picture.
                found.append(buffer.getvalue())
    return sorted(set(found), key=lambda content: (len(content), content))


FILES = valid_files()
NUMBERS = (b"\0\0", b"\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\1")


@st.composite
def damaged(draw, files: list[bytes] = FILES) -> bytes:
    content = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        # Headers decide most: half of the damage is done there.
        at = at % 64 if draw(st.booleans()) else at
        length = draw(st.integers(1, 12))
        match draw(st.sampled_from(["byte", "number", "cut", "repeat", "insert", "splice"])):
            case "byte":
                content[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "number":
                number = draw(st.sampled_from(NUMBERS))
                content[at : at + len(number)] = number
            case "cut":
                del content[at : at + length]
            case "repeat":
                content[at:at] = content[at : at + 8 * length]
            case "insert":
                content[at:at] = draw(st.binary(min_size=1, max_size=12))
            case "splice":
                content[at:] = draw(st.sampled_from(files))[at:]
    return bytes(content)


def test_every_kind_and_mode_is_among_the_files_and_decodes():
    kinds = set()
    for content in FILES:
        with Image.open(io.BytesIO(content)) as image:
            kinds.add((image.format, image.mode))
        assert decode(content).shape in {(24, 20, 3), (20, 24, 3)}
    assert {form for form, _ in kinds} == {"JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"}
    assert {mode for _, mode in kinds} >= set(MODES)
    assert len(FILES) > 60


@few(300, suppress_health_check=list(HealthCheck), database=None)
@given(damaged())
@example(b"")
@example(b"II*\0\x08\0\0\0")
@example(b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
def test_damaged_files_give_an_image_or_an_image_error(content):
    try:
        found = decode(content)
    except ImageError:
        return
    assert found.dtype == np.uint8
    assert found.ndim == 3
    assert found.shape[2] == 3
    assert found.shape[0] * found.shape[1] <= images.LARGEST_IMAGE


@few(100, database=None)
@given(st.binary(max_size=300), st.sampled_from([b"", *(content[:12] for content in FILES)]))
def test_any_bytes_after_any_signature(tail, head):
    try:
        found = decode(head + tail)
    except ImageError:
        return
    assert found.shape[2] == 3


@few(100, database=None, suppress_health_check=list(HealthCheck))
@given(damaged())
def test_the_size_is_that_of_the_decoded_image_or_unknown(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(content)
    size = image_size(str(path))
    try:
        found = decode(content)
    except ImageError:
        return
    assert size == (found.shape[1], found.shape[0])


LONG = """
import cv2
import numpy as np
import random, resource, signal, sys
sys.path[:0] = sys.argv[1].split(":")
from test_fuzz_images import FILES, NUMBERS
from icecore.core.errors import ImageError
from icecore.features.images.decode import decode

dark, light = (
    cv2.imencode(".jpg", np.full((24, 20, 3), value, np.uint8))[1].tobytes() for value in (0, 250)
)
decode(dark)
# What the process has now, and 2.5 GB: four times the largest image that is let in.
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 2_500_000_000,) * 2)
rng = random.Random(int(sys.argv[2]))
decoded = refused = 0
for number in range(int(sys.argv[3])):
    content = bytearray(rng.choice(FILES))
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(content) or 1)
        at = at % 64 if rng.random() < 0.5 else at
        kind = rng.randrange(6)
        if kind == 0:
            content[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            value = rng.choice(NUMBERS)
            content[at : at + len(value)] = value
        elif kind == 2:
            del content[at : at + rng.randint(1, 12)]
        elif kind == 3:
            content[at:at] = content[at : at + rng.randint(1, 96)]
        elif kind == 4:
            content[at:at] = rng.randbytes(rng.randint(1, 12))
        else:
            content[at:] = rng.choice(FILES)[at:]
    open(sys.argv[4], "wb").write(content)
    signal.alarm(60)
    try:
        found = decode(bytes(content))
        assert found.ndim == 3 and found.shape[2] == 3
        # Nothing of what was decoded before may show through.
        images = [decode(content) for content in (dark, bytes(content), light, bytes(content))]
        assert (images[1] == found).all() and (images[3] == found).all(), number
        decoded += 1
    except ImageError:
        refused += 1
    signal.alarm(0)
print(decoded, refused)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_long_run_with_little_memory(tmp_path, seed):
    from pathlib import Path

    last = tmp_path / "last"
    folders = f"{Path(__file__).parent}:{Path(drawing.__file__).parent}"
    done = subprocess.run(
        [sys.executable, "-c", LONG, folders, str(seed), "40000", str(last)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, (done.stderr[-2000:], last.read_bytes())
    decoded, refused = map(int, done.stdout.split())
    # Both ways are gone often. Ever more kinds of damage are seen: of 40,000 files some 3,800 pass.
    assert decoded > 2000
    assert refused > 4000

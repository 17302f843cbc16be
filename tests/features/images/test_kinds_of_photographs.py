"""What cameras and phones write beside JPEG: HEIC, AVIF, TIFF of several pages, raw images."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from drawing import few
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from icecore import manifest as manifests
from icecore.core.errors import ImageError
from icecore.features import ExtractOptions, extract
from icecore.features.images.decode import decode, image_size
from icecore.features.images.heif import is_heif
from icecore.features.images.libraries import load_pi_heif
from icecore.features.images.tiff import describe_raw, has_more_pages

HEIC = Path(__file__).parents[2] / "fixtures" / "heic" / "photo.heic"
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")


def picture(height: int = 60, width: int = 80) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.dstack([x * 255 / width, y * 255 / height, 255 - x * 200 / width])
    return Image.fromarray(smooth.astype(np.uint8))


def encode(form: str, image: Image.Image | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, form, **options)
    return buffer.getvalue()


def test_a_heic_photograph_is_decoded():
    pi_heif = pytest.importorskip("pi_heif")
    content = HEIC.read_bytes()
    expected = np.array(pi_heif.open_heif(io.BytesIO(content)).to_pillow().convert("RGB"))
    found = decode(content)
    assert found.shape == (100, 29, 3)
    np.testing.assert_array_equal(found, expected)
    assert image_size(str(HEIC)) == (29, 100)
    # The memory of the library is gone by now, ours is not.
    np.testing.assert_array_equal(found, decode(content))


def test_phones_and_scanners_files_become_rows(tmp_path, tiny_onnx):
    pytest.importorskip("pi_heif")
    root = tmp_path / "photos"
    root.mkdir()
    (root / "phone.HEIC").write_bytes(HEIC.read_bytes())
    for ending in ("tif", "webp", "gif", "bmp", *["avif"] * features.check("avif")):
        picture().save(root / f"a.{ending}")
    table = manifests.read(root, labels_required=False)
    report = extract(table, tmp_path / "cache", [f"onnx:{tiny_onnx}"], ExtractOptions())
    assert report.failures == []
    assert report.rows == len(table.images) >= 5


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.99])
def test_a_heic_photograph_that_is_cut_short_is_refused(share):
    pytest.importorskip("pi_heif")
    content = HEIC.read_bytes()
    with pytest.raises(ImageError, match=r"the HEIC file (cannot be read|is damaged) \(.*\)$"):
        decode(content[: int(len(content) * share)])


@few(60)
@given(st.integers(0, 3400), st.binary(min_size=1, max_size=200))
def test_damage_in_a_heic_file_ends_in_pixels_or_in_an_error(at, filling):
    pytest.importorskip("pi_heif")
    content = HEIC.read_bytes()
    try:
        assert decode(content[:at] + filling + content[at + len(filling) :]).shape[2] == 3
    except ImageError as error:
        assert "\n" not in error.message  # noqa: PT017


def test_without_its_library_a_heic_file_is_one_failure_and_all_else_is_done(
    tmp_path, tiny_onnx, monkeypatch
):
    root = tmp_path / "photos"
    root.mkdir()
    (root / "phone.HEIC").write_bytes(HEIC.read_bytes())
    picture().save(root / "camera.jpg")
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    load_pi_heif.cache_clear()
    table = manifests.read(root, labels_required=False)
    report = extract(table, tmp_path / "cache", [f"onnx:{tiny_onnx}"], ExtractOptions())
    load_pi_heif.cache_clear()
    assert report.rows == 1
    [failure] = report.failures
    assert failure.id == "phone.HEIC"
    assert "a HEIC image, and" in failure.reason
    assert failure.reason.endswith("pip install 'icecore[heic]', or convert it to JPEG")


@pytest.mark.parametrize(
    ("brands", "expected"),
    [
        (b"heic\0\0\0\0mif1heic", True), (b"mif1\0\0\0\0mif1heic", True),
        (b"mif1\0\0\0\0mif1miaf", True), (b"msf1\0\0\0\0hevc", True),
        (b"avif\0\0\0\0mif1avif", False), (b"mif1\0\0\0\0avifmiaf", False),
        (b"mp42\0\0\0\0isom", False), (b"crx \0\0\0\1crx isom", False),
    ],
)  # fmt: skip
def test_the_brands_of_a_container_tell_heic_from_others(brands, expected):
    assert is_heif(struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands) is expected


@needs_avif
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_an_avif_photograph_is_decoded_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = np.asarray(picture()).astype(int)
    found = decode(encode("AVIF", quality=95, exif=exif)).astype(int)
    upright = {1: plain, 3: np.rot90(plain, 2), 6: np.rot90(plain, -1), 8: np.rot90(plain)}
    assert np.abs(found - upright[orientation]).mean() < 3


@pytest.mark.parametrize("behind", [False, True])
def test_a_png_is_decoded_upright_wherever_it_says_how(tmp_path, behind):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode("PNG", exif=exif)
    at = content.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(content[at : at + 4], "big")
    if behind:
        content = content[:at] + content[end:-12] + content[at:end] + content[-12:]
    np.testing.assert_array_equal(decode(content), np.rot90(np.asarray(picture()), -1))
    (tmp_path / "a.png").write_bytes(content)
    assert image_size(str(tmp_path / "a.png")) == (60, 80)


@needs_avif
def test_what_is_transparent_in_an_avif_becomes_white():
    image = picture().convert("RGBA")
    image.putalpha(Image.fromarray(np.full((60, 80), 0, np.uint8)).point(lambda _: 1))
    assert decode(encode("AVIF", image)).mean() > 250


@needs_avif
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_an_avif_photograph_that_is_cut_short_is_refused(share):
    content = encode("AVIF")
    with pytest.raises(ImageError, match="AVIF image: it is damaged|cannot be decoded"):
        decode(content[: int(len(content) * share)])


def test_a_pillow_that_knows_no_avif_reads_all_else(monkeypatch):
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    assert decode(encode("TIFF")).shape == (60, 80, 3)
    with pytest.raises(ImageError, match=r"HEIC or AVIF\)$"):
        decode(b"\x00\x01\x02\x03")
    with pytest.raises(ImageError, match="AVIF image: it is damaged, or Pillow is older"):
        decode(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1")


def test_of_several_pages_the_first_is_taken_and_that_is_said(tmp_path, tiny_onnx):
    second = picture().transpose(Image.Transpose.ROTATE_180)
    content = encode("TIFF", save_all=True, append_images=[second])
    assert has_more_pages(content)
    assert not has_more_pages(encode("TIFF"))
    np.testing.assert_array_equal(decode(content), np.asarray(picture()))
    root = tmp_path / "photos"
    root.mkdir()
    (root / "scan.tif").write_bytes(content)
    picture().save(root / "plain.tif")
    report = extract(
        manifests.read(root, labels_required=False), tmp_path / "cache", [f"onnx:{tiny_onnx}"]
    )
    assert (report.rows, report.several_pages) == (2, ["scan.tif"])


@pytest.mark.parametrize("big", [False, True])
def test_the_small_copy_of_a_page_is_no_page(big):
    small = picture(6, 8)
    info = {254: 1}
    buffer = io.BytesIO()
    small.encoderinfo = {"tiffinfo": info}
    picture().save(buffer, "TIFF", big_tiff=big, save_all=True, append_images=[small])
    content = buffer.getvalue()
    with Image.open(io.BytesIO(content)) as image:
        assert image.n_frames == 2
        image.seek(1)
        expected = image.tag_v2.get(254) != 1
    assert has_more_pages(content) is expected


def test_a_thumbnail_before_its_picture_is_not_taken_for_it():
    small, whole = picture(6, 8), picture()
    # Only by these do pages of one file have tags of their own.
    small.encoderinfo, whole.encoderinfo = {"tiffinfo": {254: 1}}, {}
    buffer = io.BytesIO()
    Image.Image.save(small, buffer, "TIFF", save_all=True, append_images=[whole])
    with pytest.raises(ImageError, match="first page .* smaller copy .* save that one"):
        decode(buffer.getvalue())
    assert decode(encode("TIFF", tiffinfo={254: 1})).shape == (60, 80, 3)


def tiff(order: str, *directories: dict[int, tuple[int, ...]], inside: dict | None = None) -> bytes:
    """Write a TIFF that has nothing but tags: numbers, and text as bytes."""
    pages = [dict(one) for one in directories]
    out = bytearray({"<": b"II*\0", ">": b"MM\0*"}[order] + bytes(4))

    def write(page: dict, link: int) -> None:
        out[link : link + 4] = struct.pack(order + "I", len(out))
        entries, data_at = b"", len(out) + 6 + 12 * len(page)
        data = b""
        for tag, value in sorted(page.items()):
            if isinstance(value, bytes):
                entries += struct.pack(order + "HHII", tag, 2, len(value), data_at + len(data))
                data += value
            else:
                entries += struct.pack(order + "HHII", tag, 4, 1, value)
        out.extend(struct.pack(order + "H", len(page)) + entries + bytes(4) + data)

    link = 4
    for page in pages:
        start = len(out)
        write(page, link)
        link = start + 2 + 12 * len(page)
    if inside is not None:
        # The first page has its tag for it already; its value is the link.
        at = bytes(out).index(struct.pack(order + "HHI", 330, 4, 1)) + 8
        write(inside, at)
    return bytes(out)


CFA = 32803


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("pages", "inside", "kind"),
    [
        ([{254: 1, 271: b"NIKON CORPORATION\0", 330: 0}], {262: CFA}, "NIKON CORPORATION"),
        ([{271: b"SONY\0", 330: 0}], {262: CFA}, "SONY"),
        ([{271: b"PENTAX \0", 262: CFA}], None, "PENTAX"),
        ([{262: 2}, {262: CFA}], None, "of an unknown make"),
        ([{271: b"Apple\0", 0xC612: 0x01040000}], None, "DNG, Apple"),
        ([{0xC612: 0x01040000}], None, "DNG"),
    ],
)
def test_raw_images_that_are_tiff_are_refused_with_what_to_do(order, pages, inside, kind):
    content = tiff(order, *pages, inside=inside)
    with pytest.raises(ImageError) as caught:
        decode(content)
    assert f"a camera's raw image ({kind}): develop it to JPEG or TIFF" in caught.value.message
    assert "take the JPEG that the camera wrote beside it" in caught.value.message


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"II*\0\x10\0\0\0CR\2\0", "Canon, CR2"), (b"\0\0\0\x18ftypcrx \0\0\0\1", "Canon, CR3"),
        (b"II\x1a\0\0\0HEAPCCDR", "Canon, CRW"), (b"FUJIFILMCCD-RAW 0201", "Fujifilm, RAF"),
        (b"IIRO\x08\0\0\0", "Olympus, ORF"), (b"IIU\0\x18\0\0\0", "Panasonic, RW2"),
        (b"FOVb\1\0\2\0", "Sigma, X3F"), (b"\0MRM\0\0", "Minolta, MRW"),
    ],
)  # fmt: skip
def test_raw_images_are_known_by_their_first_bytes(content, kind):
    with pytest.raises(ImageError, match=rf"raw image \({kind}\)"):
        decode(content + bytes(64))


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}], ids=str)
def test_ordinary_tiff_files_are_not_taken_for_raw_images(options):
    assert describe_raw(encode("TIFF", **options)) == ""
    assert describe_raw(encode("TIFF", tiffinfo={271: "NIKON"})) == ""


@given(st.binary(max_size=200), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]))
def test_damaged_directories_end_nothing(rest, start):
    describe_raw(start + rest)
    has_more_pages(start + rest)


@given(st.integers(0, 150), st.binary(min_size=1, max_size=8))
def test_directories_with_other_bytes_end_nothing(at, filling):
    content = tiff("<", {254: 1, 271: b"NIKON\0", 330: 0}, {262: 2}, inside={262: CFA})
    content = content[:at] + filling + content[at + len(filling) :]
    describe_raw(content)
    has_more_pages(content)

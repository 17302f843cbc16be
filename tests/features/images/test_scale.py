"""JPEGs at a half, a quarter or an eighth: picture, orientation and damage are the same."""

from __future__ import annotations

import io
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from icecore import manifest as manifests
from icecore.cache import FeatureCache
from icecore.core.errors import ImageError
from icecore.core.files import sha256_file
from icecore.features import ExtractOptions, extract
from icecore.features.backbones import load_backbone
from icecore.features.images.decode import ImageFile, decode
from icecore.features.images.fit import fit_image
from icecore.features.images.preprocessing import Preprocessing
from icecore.features.images.scale import Need, need_of
from icecore.features.images.views import Views, make_squares
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.request import WeightsRequest

from .test_damaged import JPEGS, with_hole

HOW = Preprocessing(224, (0.5, 0.5, 0.5), (1, 1, 1), 0.875, "bilinear")
END = b"\xff\xd9"


def picture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.dstack([x * 255 / width, y * 255 / height, 255 - x * 200 / width])
    return (smooth + rng.normal(0, 15, smooth.shape)).clip(0, 255).astype(np.uint8)


def jpeg(height: int = 403, width: int = 605, mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(height, width)).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


sides = st.integers(1, 20_000)


@given(sides, sides, st.integers(0, 2000), st.integers(0, 2000))
def test_the_smallest_scale_that_leaves_enough_is_taken(width, height, short, long):
    need = Need(short, long)
    reduction = need.reduction(width, height)

    def enough(divisor):
        left = sorted(-(-side // divisor) for side in (width, height))
        return left[0] >= short and left[1] >= long

    assert reduction == next((n for n in (8, 4, 2) if enough(n)), 1)


@pytest.mark.parametrize(
    ("fit", "views", "need"),
    [
        ("crop", Views.parse("center"), Need(short=363)),
        ("crop", Views.parse("flip", 0.5), Need(short=476)),
        ("crop", Views.parse("ten"), Need(short=363)),
        # A part of 0.35 of the area, 3 to 4: 0.512 of the side.
        ("crop", Views.parse("random:2"), Need(short=620)),
        ("crop", Views.parse("center+random:2"), Need(short=620)),
        ("pad", Views.parse("flip", fit="pad"), Need(long=317)),
        ("squash", Views.parse("center", fit="squash"), Need(short=317)),
    ],
    ids=str,
)
def test_what_a_network_needs_of_an_image(fit, views, need):
    assert need_of(HOW, fit, views) == need


@pytest.mark.parametrize("size", [(600, 900), (900, 600), (2000, 700), (800, 800)])
def test_no_view_is_cut_from_fewer_pixels_than_it_has(size, monkeypatch):
    """Whatever is drawn: twice its pixels are there."""
    from icecore.features.images import augmentation, fit

    given_sides = []

    def look(image, height, width, interpolation):
        given_sides.append((image.shape[0] / height, image.shape[1] / width))
        return np.zeros((height, width, 3), np.uint8)

    monkeypatch.setattr(augmentation, "resize", look)
    monkeypatch.setattr(fit, "resize", look)
    how = Preprocessing(100, (0.5,) * 3, (1,) * 3, 0.875, "bilinear")
    views = Views.parse("ten+random:40", seed=3)
    need = need_of(how, "crop", views)
    height, width = (-(-side // need.reduction(*size)) for side in size)
    make_squares(np.zeros((height, width, 3), np.uint8), how, "crop", views, "key")
    assert np.min(given_sides) > math.sqrt(2) - 0.03  # of which a hair is lost by rounding


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("name", JPEGS)
def test_a_reduced_jpeg_is_what_libjpeg_makes_of_it_elsewhere(name, reduction):
    options = {key: value for key, value in JPEGS[name].items() if key != "mode"}
    content = jpeg(mode=JPEGS[name].get("mode", "RGB"), quality=90, **options)
    found = ImageFile(content).decode(reduction)
    with Image.open(io.BytesIO(content)) as image:
        image.draft(image.mode, (605 // reduction, 403 // reduction))
        expected = np.asarray(image.convert("RGB"))
    assert found.shape == expected.shape == (-(-403 // reduction), -(-605 // reduction), 3)
    # Inks are converted in another way.
    assert np.abs(found.astype(int) - expected).mean() < (3 if name == "inks" else 0.01)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_at_every_scale(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = ImageFile(jpeg(exif=exif, quality=95))
    whole = file.decode()
    small = cv2.resize(whole, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    found = file.decode(4)[: small.shape[0], : small.shape[1]]
    assert np.abs(found.astype(int) - small[: found.shape[0]]).mean() < 6


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("name", JPEGS)
def test_damage_is_found_at_every_scale(name, reduction):
    options = {key: value for key, value in JPEGS[name].items() if key != "mode"}
    content = jpeg(mode=JPEGS[name].get("mode", "RGB"), quality=90, **options)
    for share in (0.4, 0.7, 0.97):
        at = int(len(content) * share)
        for cut in (content[:at], content[:at] + END):
            with pytest.raises(ImageError, match="JPEG"):
                ImageFile(cut).decode(reduction)
    for filling in (b"\xff", b"\x55", np.random.default_rng(1).bytes(500)):
        with pytest.raises(ImageError, match="JPEG"):
            ImageFile(with_hole(content, filling)).decode(reduction)


@pytest.mark.parametrize("at", [0.2, 0.5, 0.8])
def test_every_scale_refuses_and_accepts_the_same_photographs(photographs, at):
    for number, path in enumerate(photographs[::4]):
        filling = np.random.default_rng(number).bytes(60)
        content = with_hole(path.read_bytes(), filling, at, 60)
        said = set()
        for reduction in (1, 2, 4, 8):
            try:
                ImageFile(content).decode(reduction)
                said.add("")
            except ImageError as error:
                said.add(error.message)
        assert len(said) == 1, path


def test_a_harmless_warning_is_harmless_at_every_scale():
    content = jpeg(quality=90)
    at = content.index(b"\xff\xda")
    odd = content[:at] + b"\0\0" + content[at:]  # Two extraneous bytes.
    for reduction in (1, 2, 4, 8):
        found = ImageFile(odd).decode(reduction)
        np.testing.assert_array_equal(found, ImageFile(content).decode(reduction))


def test_a_hundred_megapixels_are_decoded_at_a_scale():
    content = cv2.imencode(".jpg", np.full((10_000, 10_000, 3), 90, np.uint8))[1].tobytes()
    file = ImageFile(content)
    reduction = file.reduction(need_of(HOW, "crop", Views.parse("center")))
    assert reduction == 8
    assert file.decode(reduction).shape == (1250, 1250, 3)


@pytest.fixture
def photos(tmp_path):
    """Large, small and turned photographs, one cut short, and one that is no JPEG."""
    root = tmp_path / "photos"
    root.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "large": jpeg(700, 1100, quality=90),
        "turned": jpeg(650, 400, exif=exif),
        "small": jpeg(70, 90),
        "cut": jpeg(800, 1200)[:-3000] + END,
    }
    for name, content in files.items():
        (root / f"{name}.jpg").write_bytes(content)
    Image.fromarray(picture(600, 800)).save(root / "large.png")
    return manifests.read(root, labels_required=False)


def load(network):
    spec = BackboneSpec.parse(f"onnx:{network}")
    return load_backbone(spec, "onnxruntime", WeightsRequest())


def rows(cache, spec, photos):
    cache = FeatureCache(cache)
    keys = [sha256_file(s.path) for s in photos.images.values() if "cut" not in s.path]
    return cache.matrix([spec], keys)


def run(photos, cache, networks, **options):
    options = {"precision": "float32", "batch_size": 2, "engine": "onnxruntime"} | options
    return extract(photos, cache, [f"onnx:{one}" for one in networks], ExtractOptions(**options))


def test_rows_depend_on_the_record_alone_not_on_the_networks_beside_it(
    photos, tmp_path, write_tiny_onnx
):
    sizes = {"eighth.onnx": 32, "half.onnx": 128, "full.onnx": 250}
    nets = [write_tiny_onnx(tmp_path / name, side=side) for name, side in sizes.items()]
    together = run(photos, tmp_path / "together", nets)
    assert [failure.id for failure in together.failures] == ["cut.jpg"]
    assert "JPEG is damaged" in together.failures[0].reason
    for net in nets:
        run(photos, tmp_path / net.stem, [net])
        spec = f"onnx:{net.name}"
        alone = rows(tmp_path / net.stem, spec, photos)
        np.testing.assert_array_equal(rows(tmp_path / "together", spec, photos), alone)


def test_rows_are_those_of_the_image_at_the_scale_of_the_record(photos, tmp_path, tiny_onnx):
    run(photos, tmp_path / "fast", [tiny_onnx])
    backbone = load(tiny_onnx)
    engine, how = backbone.start("cpu"), backbone.record.preprocessing
    cache = FeatureCache(tmp_path / "fast")
    # 36 pixels are cropped to 32: 51 are needed.
    expected = {"large.jpg": 8, "turned.jpg": 4, "small.jpg": 1, "large.png": 1}
    for name, reduction in expected.items():
        path = photos.images[name].path
        file = ImageFile(open(path, "rb").read())
        assert file.reduction(need_of(how, "crop", Views())) == reduction
        square = fit_image(file.decode(reduction), how, "crop")
        found = cache.matrix(["onnx:tiny.onnx"], [sha256_file(path)])[0]
        np.testing.assert_array_equal(found, engine.run(square[None])[0])


def test_fast_and_full_differ_where_there_is_something_to_leave_out_alone(
    photos, tmp_path, tiny_onnx
):
    found = {}
    for how in ("fast", "full"):
        run(photos, tmp_path / how, [tiny_onnx], decode=how)
        found[how] = rows(tmp_path / how, "onnx:tiny.onnx", photos)
        one = FeatureCache(tmp_path / how).find("onnx:tiny.onnx")
        assert one.record["decoding"] == how
    names = [n for n in photos.images if n != "cut.jpg"]
    same = (found["fast"] == found["full"]).all(axis=1)
    assert {n for n, equal in zip(names, same) if equal} == {"small.jpg", "large.png"}
    spread = np.linalg.norm(found["full"])
    assert np.linalg.norm(found["fast"] - found["full"]) < 0.02 * spread


def test_a_box_is_cut_from_the_whole_image(photos, tmp_path, tiny_onnx):
    box = tmp_path / "boxes.csv"
    box.write_text("path,x0,y0,x1,y1\nlarge.jpg,100,50,1000,650\n")
    report = run(photos, tmp_path / "boxed", [tiny_onnx], boxes=box)
    whole = decode(open(photos.images["large.jpg"].path, "rb").read())
    backbone = load(tiny_onnx)
    square = fit_image(whole[50:650, 100:1000], backbone.record.preprocessing, "crop")
    key = report.manifest.images["large.jpg"].digest
    found = FeatureCache(tmp_path / "boxed").matrix(["onnx:tiny.onnx"], [key])[0]
    np.testing.assert_array_equal(found, backbone.start("cpu").run(square[None])[0])


def test_both_kinds_of_decoding_stand_side_by_side(photos, tmp_path, tiny_onnx):
    for how in ("fast", "full"):
        run(photos, tmp_path / "cache", [tiny_onnx], decode=how)
    assert len(FeatureCache(tmp_path / "cache").sets()) == 2


def test_another_word_is_refused_with_those_that_are_known():
    from icecore.core.errors import BackboneError

    with pytest.raises(BackboneError, match=r"decode='half' \(choose full, fast\)"):
        ExtractOptions(decode="half")

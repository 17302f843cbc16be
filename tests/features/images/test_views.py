"""Views: where the crops lie, what is random in them, and how their features become rows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawing import few
from hypothesis import given
from hypothesis import strategies as st
from listening import hearing
from packages import skip_without

from icecore import jobs
from icecore import manifest as manifests
from icecore.cache import FeatureCache, fingerprint
from icecore.core.errors import BackboneError, RunError
from icecore.core.files import sha256_file
from icecore.features import ExtractOptions, Views, extract
from icecore.features.backbones import load_backbone
from icecore.features.images.augmentation import Augmentation
from icecore.features.images.decode import decode
from icecore.features.images.fit import fit_image
from icecore.features.images.preprocessing import Preprocessing
from icecore.features.images.views import make_squares
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.request import WeightsRequest

TINY = "onnx:tiny.onnx"
KEY = "5e" * 32


def record(side=32, crop_pct=0.875, interpolation="bilinear"):
    return Preprocessing(side, (0.2, 0.4, 0.6), (1, 1, 1), crop_pct, interpolation)


def noise(height=90, width=130, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def run(root, cache, tiny, progress=None, **options):
    how = ExtractOptions(**options)
    return extract(manifests.read(root), cache, [f"onnx:{tiny}"], how, progress)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("center", 1), ("flip", 2), ("ten", 10), ("eighteen", 18), ("random:5", 5),
        ("ten+random:3", 13),
    ],
)  # fmt: skip
def test_views_have_names_of_their_own_and_come_back_from_their_record(text, count):
    views = Views.parse(text, seed=7)
    assert len(set(views.names)) == len(views) == count
    fields = views.as_dict()
    assert Views.from_dict(fields) == views
    assert (fields["augmentation"] is not None) == ("random" in text)
    assert fields["augmentation"] is None or fields["augmentation"]["seed"] == 7


@pytest.mark.parametrize("text", ["", "nine", "center+", "+random:2", "random", "tencenter", "a+b"])
def test_what_names_no_views_is_refused_with_the_choices(text):
    with pytest.raises(BackboneError, match=r"choose center, flip, ten, eighteen, random:K"):
        Views.parse(text)


def test_faults_of_views_are_named_at_once():
    with pytest.raises(BackboneError) as caught:
        Views.parse("ten+random:65", resize_margin=1.5, seed=-1, fit="pad")
    for part in (
        "65 random views (1 to 64)",
        "views 'ten+random:65' with the fit 'pad' (only crop)",
        "resize margin 1.5 (0 to 1)",
        "a resize margin with the fit 'pad' (it would not be used)",
        "seed -1 (0 or more)",
    ):
        assert part in caught.value.message
    with pytest.raises(BackboneError, match="a resize margin with random views alone"):
        Views.parse("random:2", resize_margin=0.1)


def test_views_of_a_newer_release_are_named():
    with pytest.raises(BackboneError, match="unknown views: spiral"):
        Views.from_dict(Views().as_dict() | {"views": ["center", "spiral"]})
    with pytest.raises(BackboneError, match="unknown views: random:0"):
        Views.from_dict(Views().as_dict() | {"views": ["random:0"]})
    newer = Augmentation(0).as_dict() | {"cutout": 0.5}
    with pytest.raises(BackboneError, match="unknown views: augmentation"):
        Views.from_dict(Views(("random:0",)).as_dict() | {"augmentation": newer})


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_flip_is_the_square_and_its_mirror_image(fit):
    image = noise()
    squares = make_squares(image, record(), fit, Views.parse("flip"), KEY)
    np.testing.assert_array_equal(squares[0], fit_image(image, record(), fit))
    np.testing.assert_array_equal(squares[1], np.fliplr(squares[0]))


def test_ten_crops_are_those_of_gluoncv():
    """The original work cut its views with this function of GluonCV."""
    skip_without("mxnet", "gluoncv")
    from icecore.features.gluon.loader import load_gluoncv, load_mxnet

    load_gluoncv()
    from gluoncv.data.transforms.image import ten_crop

    image = noise(300, 420)
    # Even differences, where both libraries' centres are the same pixel.
    resized = cv2.resize(image, (358, 256), interpolation=cv2.INTER_LINEAR)
    theirs = ten_crop(load_mxnet().nd.array(resized, dtype="uint8"), (224, 224)).asnumpy()
    places = ["center", "top_left", "bottom_left", "top_right", "bottom_right"]
    names = [*places, "flip", *(f"{place}_flip" for place in places[1:])]
    views = Views.parse("ten")
    ours = make_squares(image, record(224), "crop", views, KEY)
    assert sorted(views.names) == sorted(names)
    for name, expected in zip(names, theirs):
        np.testing.assert_array_equal(ours[views.names.index(name)], expected, err_msg=name)


def test_eighteen_crops_are_a_grid_of_nine_and_their_mirror_images():
    image = noise(300, 420)
    views = Views.parse("eighteen", resize_margin=0.5)
    squares = dict(zip(views.names, make_squares(image, record(200), "crop", views, KEY)))
    resized = cv2.resize(image, (420, 300), interpolation=cv2.INTER_LINEAR)
    grid = [
        ["top_left", "top", "top_right"],
        ["left", "center", "right"],
        ["bottom_left", "bottom", "bottom_right"],
    ]
    for row, names in enumerate(grid):
        for column, name in enumerate(names):
            top, left = (0, 50, 100)[row], (0, 110, 220)[column]
            expected = resized[top : top + 200, left : left + 200]
            np.testing.assert_array_equal(squares[name], expected, err_msg=name)
            mirrored = "flip" if name == "center" else f"{name}_flip"
            np.testing.assert_array_equal(squares[mirrored], expected[:, ::-1], err_msg=name)


@pytest.mark.parametrize(("side", "short"), [(224, 256), (299, 341), (448, 512)])
def test_the_default_margin_is_that_of_the_original_work(side, short):
    image = np.zeros((short, short, 3), np.uint8)
    image[0, 0], image[-1, -1] = 255, 255
    views = Views.parse("ten")
    # No resize happens, so both marks are found whole in their corners.
    squares = dict(zip(views.names, make_squares(image, record(side), "crop", views, KEY)))
    assert (squares["top_left"][0, 0] == 255).all()
    assert (squares["bottom_right"][-1, -1] == 255).all()


def test_a_margin_that_is_given_counts_for_the_centre_too():
    image = noise(150, 150)
    views = Views.parse("center", resize_margin=0.5)
    found = make_squares(image, record(100), "crop", views, KEY)
    np.testing.assert_array_equal(found[0], image[25:125, 25:125])
    assert views.as_dict() == {"views": ["center"], "resize_margin": 0.5, "augmentation": None}


@few(60)
@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(16, 48),
    st.sampled_from(["center", "flip", "ten", "eighteen", "random:3", "eighteen+random:2"]),
)
def test_any_image_gives_every_view(height, width, side, text):
    views = Views.parse(text)
    squares = make_squares(noise(height, width), record(side), "crop", views, KEY)
    assert squares.shape == (len(views), side, side, 3)


def test_a_random_view_depends_on_seed_key_and_number_alone():
    image = noise()

    def draw(text="random:4", seed=3, key=KEY, side=32):
        return make_squares(image, record(side), "crop", Views.parse(text, seed=seed), key)

    again = draw()
    np.testing.assert_array_equal(draw(), again)
    np.testing.assert_array_equal(draw("flip+random:2")[2:], again[:2])
    for other in (draw(seed=4), draw(key="6e" * 32)):
        assert all((a != b).any() for a, b in zip(other, again))
    assert len({square.tobytes() for square in again}) == 4


def test_every_backbone_sees_the_same_random_part():
    y, x = np.mgrid[0:400, 0:600]
    image = np.dstack([x * 255 // 600, y * 255 // 400, np.full_like(x, 99)]).astype(np.uint8)
    views = Views.parse("random:6")
    small = make_squares(image, record(100), "crop", views, KEY)
    large = make_squares(image, record(200), "crop", views, KEY)
    halved = large.reshape(6, 100, 2, 100, 2, 3).mean(axis=(2, 4))
    assert np.abs(small - halved).mean() < 0.6
    assert np.abs(small - halved).max() <= 4


def test_random_parts_keep_to_scale_and_ratio_and_reach_the_whole_image():
    """Coordinates are drawn into the image, so that each view tells where it was cut."""
    y, x = np.mgrid[0:256, 0:256]
    image = np.dstack([x, y, np.zeros_like(x)]).astype(np.uint8)
    plain = Augmentation(5, brightness=0, contrast=0, saturation=0)
    areas, mirrored, lefts, rights = [], 0, [], []
    for number in range(300):
        square = plain.draw(image, 64, "nearest", KEY, number).astype(int)
        columns, rows = square[0, :, 0], square[:, 0, 1]
        mirrored += columns[0] > columns[-1]
        width = (abs(columns[-1] - columns[0]) + 1) * 64 / 63
        height = (rows[-1] - rows[0] + 1) * 64 / 63
        assert 0.72 < width / height < 1.4
        areas.append(width * height / 65536)
        lefts.append(columns.min()), rights.append(columns.max())
    assert 0.32 < min(areas) < 0.42
    assert 0.9 < max(areas) < 1.06
    assert 110 < mirrored < 190
    assert min(lefts) == 0
    assert max(rights) > 250


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colours_change_as_their_definitions_say(name):
    """Against the formulas of torchvision's ColorJitter, in float, one colour at a time."""
    image = np.random.default_rng(1).integers(60, 180, (64, 64, 3), dtype=np.uint8)
    off = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0}
    changed = Augmentation(1, **whole, **(off | {name: 0.3})).draw(image, 64, "nearest", KEY, 0)
    image, changed = image.astype(float), changed.astype(float)
    grey = image @ np.array([0.299, 0.587, 0.114])
    towards = {
        "brightness": np.zeros_like(image),
        "contrast": np.full(image.shape, grey.mean()),
        "saturation": np.repeat(grey[..., None], 3, axis=2),
    }[name]
    # The factor is not known here; it is found by least squares, and must explain every pixel.
    away = image - towards
    factor = ((changed - towards) * away).sum() / (away * away).sum()
    assert 0.7 <= factor <= 1.3
    assert abs(factor - 1) > 0.01
    # OpenCV reckons in integers: a little more than the rounding to whole numbers.
    assert np.abs(towards + factor * away - changed).max() < 0.8


def test_a_grey_image_keeps_its_grey_whatever_contrast_and_saturation():
    image = np.full((40, 50, 3), 90, np.uint8)
    drawn = Augmentation(2, brightness=0.0).draw(image, 32, "bilinear", KEY, 1)
    assert (drawn == 90).all()


def test_rows_hold_view_after_view(image_folder, tmp_path, tiny_onnx):
    views = Views.parse("ten+random:3", seed=11)
    report = run(
        image_folder, tmp_path / "cache", tiny_onnx,
        views="ten+random:3", seed=11, precision="float32", batch_size=4,
    )  # fmt: skip
    backbone = load_backbone(BackboneSpec.parse(f"onnx:{tiny_onnx}"), "auto", WeightsRequest())
    engine = backbone.start("cpu")
    feature_set = FeatureCache(tmp_path / "cache").find(TINY)
    assert feature_set.views == views.names
    assert (feature_set.width, feature_set.dim) == (6, 78)
    for path in sorted(image_folder.glob("*/*.png")):
        key = sha256_file(path)
        squares = make_squares(
            decode(path.read_bytes()), backbone.record.preprocessing, "crop", views, key
        )
        expected = np.concatenate([engine.run(square[None])[0] for square in squares])
        np.testing.assert_array_equal(feature_set.matrix([key])[0], expected)
    assert (report.computed, report.rows) == (6, 6)


@pytest.mark.parametrize("views", ["flip", "eighteen", "random:5"])
def test_rows_do_not_depend_on_batches_or_interruptions(
    image_folder, tmp_path, tiny_onnx, monkeypatch, views
):
    from icecore.features.extraction import progress, runner

    keys = sorted(sha256_file(path) for path in image_folder.glob("*/*.png"))
    matrices = []
    for number, size in enumerate([1, 7, 64]):
        run(image_folder, tmp_path / str(number), tiny_onnx, views=views, batch_size=size)
        matrices.append(FeatureCache(tmp_path / str(number)).matrix([TINY], keys))
    monkeypatch.setattr(runner, "MOST_UNSAVED_ROWS", 1)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LOOKS", 0.0)

    def stop(now):
        if 0 < now.done < now.total:
            raise KeyboardInterrupt

    cut = tmp_path / "cut"
    options = {"views": views, "batch_size": 3, "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        run(image_folder, cut, tiny_onnx, hearing(stop), **options)
    saved = len(FeatureCache(cut).find(TINY))
    assert 0 < saved < 6
    assert run(image_folder, cut, tiny_onnx, **options).computed == 6 - saved
    matrices.append(FeatureCache(cut).matrix([TINY], keys))
    assert len({matrix.tobytes() for matrix in matrices}) == 1


def test_sets_of_other_views_margins_and_seeds_live_side_by_side(image_folder, tmp_path, tiny_onnx):
    kinds = [
        {"views": "center"}, {"views": "ten"}, {"views": "ten", "resize_margin": 0.5},
        {"views": "random:2"}, {"views": "random:2", "seed": 1},
    ]  # fmt: skip
    for options in kinds:
        assert run(image_folder, tmp_path / "c", tiny_onnx, **options).computed == 6
    sets = FeatureCache(tmp_path / "c").sets()
    assert len({fingerprint(one.record) for one in sets}) == len(kinds)


def test_unusable_views_are_named_with_the_other_faults(image_folder, tmp_path, tiny_onnx):
    with pytest.raises(BackboneError) as caught:
        run(image_folder, tmp_path / "c", tiny_onnx, views="nine", batch_size=0)
    assert "views 'nine' (choose center, flip" in caught.value.message
    assert "batch_size=0" in caught.value.message
    assert not (tmp_path / "c").exists()


def test_predict_makes_the_views_of_the_run_and_a_bundle_refuses_them(
    image_folder, tmp_path, tiny_onnx
):
    specs = [f"onnx:{tiny_onnx}"]
    made = {"views": "flip+random:2", "seed": 5, "resize_margin": 0.3}
    jobs.extract(image_folder, tmp_path / "cache", specs, jobs.ExtractOptions(**made))
    jobs.train(
        tmp_path / "cache", image_folder, tmp_path / "run",
        jobs.TrainOptions(heads=["logistic"], folds=3, min_class_count=1),
    )  # fmt: skip
    again = tmp_path / "again"
    jobs.predict(
        tmp_path / "run", image_folder, tmp_path / "answers.csv", jobs.PredictOptions(cache=again)
    )
    first, second = (FeatureCache(folder).find(TINY) for folder in (tmp_path / "cache", again))
    assert first.fingerprint == second.fingerprint
    assert first.matrix(first.keys()).tobytes() == second.matrix(first.keys()).tobytes()
    with pytest.raises(RunError, match=r"4 views of each image \(center, flip, random:0"):
        jobs.bundle(tmp_path / "run", tmp_path / "model.onnx")

"""Regions learnt by a real, small network from real files; and those that cannot be learnt."""

from __future__ import annotations

import numpy as np
import pytest
from square_images import draw_squares

from icecore import manifest as manifests
from icecore.core.errors import BackboneError
from icecore.features.images.decode import image_size
from icecore.features.records.spec import BackboneSpec
from icecore.features.regions.fit import fit_regions
from icecore.features.regions.geometry import iou
from icecore.features.regions.learn import LearningOptions, _by_fold
from icecore.features.regions.looks import LookOptions, read_pictures, start_looker
from icecore.features.regions.ridge import FOLDS, Linear


@pytest.fixture(scope="module")
def looker(tiny_onnx):
    return start_looker(BackboneSpec.parse(f"onnx:{tiny_onnx}"), LookOptions())


def fit(squares, tiny_onnx, boxes=None, **options):
    root, given = squares
    spec = BackboneSpec.parse(f"onnx:{tiny_onnx}")
    table = given if boxes is None else boxes
    looks = LookOptions(engine="onnxruntime")
    return fit_regions(
        manifests.read(root), table, spec, "squares", looks, LearningOptions(**options)
    )


@pytest.fixture(scope="module")
def fitted(squares, tiny_onnx):
    return fit(squares, tiny_onnx)


def test_boxes_are_found_in_images_that_it_does_not_know(fitted, looker, tmp_path):
    truth = draw_squares(tmp_path / "new", 40, seed=7)
    samples = list(manifests.read(tmp_path / "new").images.values())
    pictures = list(read_pictures(samples))
    found, scores = fitted.regions.models.find(looker, pictures)
    overlap = iou(found, np.array([truth[one.id] for one in pictures], float))
    assert overlap.mean() > 0.7
    # What it says of itself is true: out of fold as on new images, and of each box.
    assert abs(fitted.regions.figures["mean_iou"] - overlap.mean()) < 0.1
    assert abs(scores.mean() - overlap.mean()) < 0.12


def test_images_without_the_region_are_told_apart(fitted, looker, tmp_path):
    draw_squares(tmp_path / "bare", 20, seed=8, shown=False)
    pictures = list(read_pictures(list(manifests.read(tmp_path / "bare").images.values())))
    _, scores = fitted.regions.models.find(looker, pictures)
    assert (scores < 0.5).mean() > 0.9


def test_the_same_seed_gives_the_same_region(fitted, squares, tiny_onnx):
    again = fit(squares, tiny_onnx)
    np.testing.assert_array_equal(again.learnt.overlap, fitted.learnt.overlap)
    np.testing.assert_array_equal(
        again.regions.models.near.weights, fitted.regions.models.near.weights
    )


def test_a_box_out_of_fold_does_not_depend_on_what_was_marked_there(fitted, squares, tiny_onnx):
    """Another box for one image moves what is found in others, and not what is found in it.

    (The close-ups miss as the boxes of all images do, so that much of it is seen by all.)
    """
    root, boxes = squares
    identity = fitted.learnt.ids[3]
    moved = dict(boxes)
    x0, y0, x1, y1 = boxes[identity]
    moved[identity] = (max(x0 - 2, 0), y0, x1, y1)
    found = fit(squares, tiny_onnx, moved).learnt.found
    here = fitted.learnt.ids.index(identity)
    change = np.abs(found - fitted.learnt.found).max(axis=1)
    assert change[here] <= np.median(change) + 0.5


@pytest.fixture(scope="module")
def noise(squares):
    """Boxes of any place and size, that have nothing to do with what is in the images."""
    root, boxes = squares
    rng, images = np.random.default_rng(0), manifests.read(root).images
    found = {}
    for name in boxes:
        size = np.array(image_size(images[name].path))
        sides = rng.integers(12, 40, 2)
        corner = rng.integers(0, size - sides)
        found[name] = (*corner.tolist(), *(corner + sides).tolist())
    return found


def test_noise_is_refused_with_what_was_reached(squares, tiny_onnx, noise):
    said = r"cannot be found: out of fold the mean .* is 0\.[0-3]\d, less than 0.4"
    with pytest.raises(BackboneError, match=said):
        fit(squares, tiny_onnx, noise)


def test_noise_reaches_no_more_than_one_box_everywhere(squares, tiny_onnx, noise):
    fitted = fit(squares, tiny_onnx, noise, floor=0.0)
    assert fitted.regions.figures["mean_iou"] < fitted.learnt.constant + 0.03


def test_the_last_look_is_by_the_model_without_the_images_fold():
    folds = np.arange(12) % FOLDS
    near = [Linear(np.zeros((3, 5), "f4"), np.full(5, fold, "f4")) for fold in range(FOLDS)]
    answers = _by_fold(near, folds, np.zeros((12, 3), np.float16))
    np.testing.assert_array_equal(answers, np.tile(folds[:, None], 5))


def test_ten_boxes_are_too_few(squares, tiny_onnx):
    few = dict(list(squares[1].items())[:10])
    with pytest.raises(BackboneError, match=r"(?s)10 boxes are too few.*at least 20"):
        fit(squares, tiny_onnx, few)


def test_copies_of_an_image_count_once(squares, tiny_onnx, tmp_path):
    import shutil

    root, boxes = squares
    shutil.copytree(root, tmp_path / "photos")
    name = next(iter(boxes))
    shutil.copy(root / name, tmp_path / "photos" / "red" / "copy.png")
    more = boxes | {"red/copy.png": boxes[name]}
    fitted = fit((tmp_path / "photos", more), tiny_onnx)
    assert (fitted.marked, len(fitted.learnt.ids)) == (61, 60)


def test_unusable_options_are_refused():
    with pytest.raises(BackboneError, match=r"threshold 2 cannot be used"):
        LearningOptions(threshold=2)
    with pytest.raises(BackboneError, match=r"seed -1 cannot be used"):
        LearningOptions(seed=-1)

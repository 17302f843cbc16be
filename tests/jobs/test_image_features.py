"""Frozen features in a scikit-learn pipeline."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import icecore
from icecore.core.errors import ArgumentError, FingerprintError, ManifestError
from icecore.core.files import sha256_file


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "p").mkdir()
    made = []
    for number in range(24):
        pixels = rng.integers(0, 120, (40, 50, 3)) + 120 * (number % 2)
        made.append(tmp_path / "p" / f"{number}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(made[-1])
    return made


def test_a_pipeline_learns_from_paths_and_computes_each_image_once(tmp_path, paths, tiny_onnx):
    spec = f"onnx:{tiny_onnx}"
    labels = ["dark", "light"] * 12
    steps = icecore.ImageFeatures(tmp_path / "cache", spec), StandardScaler(), LogisticRegression()
    model = make_pipeline(*steps).fit(paths, labels)
    assert model.score(paths, labels) > 0.9
    assert cross_val_score(clone(model), paths, labels, cv=3).mean() > 0.8
    cache = icecore.FeatureCache(tmp_path / "cache")
    assert len(cache.find("onnx:tiny.onnx")) == 24
    assert len(list((tmp_path / "cache").rglob("shards/*.h5"))) == 1


def test_rows_are_those_of_extract_in_the_order_that_was_asked_for(tmp_path, paths, tiny_onnx):
    step = icecore.ImageFeatures(tmp_path / "cache", [f"onnx:{tiny_onnx}"])
    rows = step.fit_transform([paths[3], paths[0], paths[3]])
    icecore.extract(tmp_path / "p", tmp_path / "whole", [f"onnx:{tiny_onnx}"])
    whole = icecore.FeatureCache(tmp_path / "whole")
    keys = [sha256_file(paths[number]) for number in (3, 0, 3)]
    np.testing.assert_array_equal(rows, whole.matrix("onnx:tiny.onnx", keys))
    assert step.get_feature_names_out()[0] == "onnx:tiny.onnx_0"
    assert rows.shape == (3, step.n_features_out_) == (3, 6)


def test_pictures_in_memory_are_taken_as_they_are(tmp_path, paths, tiny_onnx):
    step = icecore.ImageFeatures(tmp_path / "cache", [f"onnx:{tiny_onnx}"])
    pictures = [Image.open(paths[0]), np.asarray(Image.open(paths[1]))]
    np.testing.assert_array_equal(step.fit_transform(pictures), step.fit_transform(paths[:2]))
    assert step.set_output(transform="pandas") is step


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_a_picture_that_was_opened_is_as_upright_as_its_file(tmp_path, paths, tiny_onnx, ending):
    # Its tag was lost on the way, and the row was that of a picture on its side.
    exif = Image.Exif()
    exif[0x112] = 6
    lying, file = Image.open(paths[0]), tmp_path / f"lying.{ending}"
    lying.paste((255, 0, 0), (0, 0, 50, 15))
    lying.save(file, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    step = icecore.ImageFeatures(tmp_path / "cache", [f"onnx:{tiny_onnx}"])
    opened, named = step.fit_transform([Image.open(file), file])
    np.testing.assert_allclose(opened, named, rtol=1e-2)


def test_a_fitted_step_makes_no_other_features(tmp_path, paths, tiny_onnx):
    # What learnt from the first ones was given the second ones without a word.
    step = icecore.ImageFeatures(tmp_path / "cache", [f"onnx:{tiny_onnx}"]).fit(paths)
    known = step.feature_sets_
    step.set_params(options=icecore.ExtractOptions(fit="squash"))
    with pytest.raises(FingerprintError, match="made otherwise now than when the step was fitted"):
        step.transform(paths)
    assert step.feature_sets_ == known
    assert step.fit(paths).transform(paths).shape == (24, 6)


def test_pictures_that_cannot_be_written_are_named(tmp_path, paths, tiny_onnx):
    cut = tmp_path / "cut.png"
    cut.write_bytes(paths[0].read_bytes()[:3000])
    closed = Image.open(paths[0])
    closed.close()
    pictures = [paths[1], Image.open(cut), closed, Image.new("La", (9, 9))]
    step = icecore.ImageFeatures(tmp_path / "cache", [f"onnx:{tiny_onnx}"])
    said = "3 of 4 items .* 1 is of type PngImageFile in mode RGB: .*truncated.*closed.*La"
    with pytest.raises(ManifestError, match=said):
        step.fit(pictures)


@pytest.mark.parametrize(
    "wrong", [{"cache": None}, {"options": {"fit": "pad"}}, {"backbones": Path("net.onnx")}]
)
def test_parameters_of_other_types_are_named(tmp_path, paths, tiny_onnx, wrong):
    step = icecore.ImageFeatures(tmp_path / "cache", [f"onnx:{tiny_onnx}"]).set_params(**wrong)
    with pytest.raises(ArgumentError, match=f"^ImageFeatures cannot use {next(iter(wrong))}="):
        step.fit(paths)


@pytest.mark.parametrize("kind", ["absent", "broken", "strange", "string", "empty"])
def test_what_cannot_be_used_is_named(tmp_path, paths, tiny_onnx, kind):
    step = icecore.ImageFeatures(tmp_path / "cache", [f"onnx:{tiny_onnx}"])
    broken = tmp_path / "broken.png"
    broken.write_bytes(paths[0].read_bytes()[:200])
    asked = {
        "absent": ([paths[0], tmp_path / "no.png"], FileNotFoundError, "no.png"),
        "broken": ([paths[0], broken], ManifestError, "1 of 2 images cannot be read: .*broken.png"),
        "strange": (
            [paths[0], 3, None],
            ManifestError,
            "2 of 3 items .* 1 is of type int",
        ),
        "string": (str(paths[0]), ManifestError, "a sequence of images"),
        "empty": ([], ManifestError, "a sequence of images"),
    }
    images, error, words = asked[kind]
    with pytest.raises(error, match=words):
        step.fit(images)


@pytest.mark.parametrize(
    ("picture", "found"),
    [
        (np.zeros((0, 0, 3), np.uint8), "an array of uint8 of shape (0, 0, 3)"),
        (np.zeros((9, 9), np.uint8), "an array of uint8 of shape (9, 9)"),
        (np.zeros((9, 9, 3)), "an array of float64 of shape (9, 9, 3)"),
        (Image.new("RGB", (0, 5)), "of type Image in mode RGB"),
        # Both became black, or white, without a word.
        (Image.fromarray(np.full((9, 9), 0.5, np.float32)), "of type Image in mode F"),
        (Image.fromarray(np.full((9, 9), 70_000, np.int32)), "of type Image in mode I"),
        (3, "of type int"),
    ],
)
def test_what_is_no_picture_is_said(tmp_path, tiny_onnx, picture, found):
    step = icecore.ImageFeatures(tmp_path / "cache", [f"onnx:{tiny_onnx}"])
    said = re.escape(f"1 of 1 items are no images: item 0 is {found}")
    with pytest.raises(ManifestError, match=said):
        step.fit([picture])
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("given", [None, 3, [], "p", (one for one in "ab")])
def test_what_is_no_list_of_pictures_is_said(tmp_path, tiny_onnx, given):
    step = icecore.ImageFeatures(tmp_path / "cache", [f"onnx:{tiny_onnx}"])
    with pytest.raises(ManifestError, match="needs a sequence of images"):
        step.fit(given)

"""Runs that were trained on boxes: they are not given whole images without a word."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from icecore import jobs
from icecore.core.errors import RunError
from icecore.runs import open_run


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Grey images of two classes; a square in each is red or green."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    lines = ["path,x0,y0,x1,y1"]
    for number in range(24):
        label = ("red", "green")[number % 2]
        image = rng.integers(100, 150, (60, 80, 3), dtype=np.uint8)
        left, top = rng.integers(0, 50), rng.integers(0, 30)
        image[top : top + 30, left : left + 30, number % 2] = 255
        (root / "all" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / "all" / label / f"{number:02}.png")
        lines.append(f"{label}/{number:02}.png,{left},{top},{left + 30},{top + 30}")
    (root / "boxes.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def run(photos, tiny_onnx, tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxed")
    options = jobs.ExtractOptions(boxes=photos / "boxes.csv")
    jobs.extract(photos / "all", folder / "cache", [f"onnx:{tiny_onnx}"], options)
    train = jobs.TrainOptions(heads=("ridge",))
    jobs.train(folder / "cache", photos / "all", folder / "run", train)
    return folder / "run"


def test_a_run_says_that_it_was_trained_on_boxes(run):
    assert open_run(run).boxed == 24


def test_whole_images_are_refused(run, photos, tmp_path):
    with pytest.raises(RunError, match=r"(?s)trained on boxes \(24 rows.*--boxes.*--whole"):
        jobs.predict(run, photos / "all", tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


def test_boxes_are_taken_and_whole_images_where_they_are_meant(run, photos, tmp_path):
    options = jobs.PredictOptions(boxes=photos / "boxes.csv")
    report = jobs.predict(run, photos / "all", tmp_path / "a.csv", options)
    assert (report.images, report.boxed) == (24, 24)
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert all(row["id"].startswith(row["label"]) for row in rows)
    whole = jobs.predict(run, photos / "all", tmp_path / "b.csv", jobs.PredictOptions(whole=True))
    assert (whole.images, whole.boxed) == (24, 0)


def test_a_bundle_says_that_it_takes_squares_of_boxes(run, tmp_path):
    about = jobs.bundle(run, tmp_path / "b.onnx")
    assert about["trained_on_boxes"] is True
    assert set(about["licenses"].values()) == {"not known"}

"""From a few boxes to boxes of every image, and to a run that finds them itself."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from square_images import draw_squares, write_table

from icecore import jobs
from icecore.cli.main import main
from icecore.core.errors import (
    BackboneError,
    FingerprintError,
    IcecoreError,
    ManifestError,
    RunError,
)
from icecore.features.regions.geometry import iou
from icecore.runs import open_run


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_onnx):
    """A folder with images, a table of half of their boxes, a network, and the region learnt."""
    root = tmp_path_factory.mktemp("regions")
    boxes = draw_squares(root / "photos", 80, seed=1)
    write_table(root / "some.csv", dict(list(boxes.items())[:50]))
    shutil.copy(tiny_onnx, root / "net.onnx")
    shutil.copy(tiny_onnx.with_suffix(".json"), root / "net.json")
    jobs.fit_regions(root / "photos", root / "some.csv", f"onnx:{root}/net.onnx", root / "squares")
    return root, boxes


@pytest.fixture(scope="module")
def run(place):
    root, _ = place
    options = jobs.ExtractOptions(fit="squash", boxes=root / "squares")
    report = jobs.extract(root / "photos", root / "cache", [f"onnx:{root}/net.onnx"], options)
    jobs.train(root / "cache", root / "photos", root / "run", jobs.TrainOptions(heads=("ridge",)))
    return root / "run", report


def read(table):
    return {row["path"]: row for row in csv.DictReader(open(table))}


def test_every_image_gets_its_box_in_a_table(place, run):
    root, boxes = place
    _, report = run
    assert report.boxed >= 70
    rows = read(report.boxes)
    found, truth = [], []
    for name, box in boxes.items():
        row = rows[str(root / "photos" / name)]
        assert 0 <= float(row["score"]) <= 1
        assert row["class"] in ("squares", "")
        if row["x0"]:
            found.append([int(row[c]) for c in ("x0", "y0", "x1", "y1")])
            truth.append(box)
    assert iou(np.array(found, float), np.array(truth, float)).mean() > 0.7


def test_a_run_finds_the_boxes_of_new_images_itself(place, run, tmp_path):
    boxes = draw_squares(tmp_path / "new", 12, seed=5)
    report = jobs.predict(run[0], tmp_path / "new", tmp_path / "a.csv")
    assert report.boxed >= 10
    assert open_run(run[0]).boxed >= 70
    right = [row["id"].startswith(row["label"]) for row in csv.DictReader(open(tmp_path / "a.csv"))]
    assert len(right) == len(boxes)
    assert np.mean(right) > 0.8
    moved = tmp_path / "moved"
    shutil.copytree(run[0], moved)
    shutil.rmtree(moved / "regions")
    with pytest.raises(RunError, match="was trained on boxes"):
        jobs.predict(moved, tmp_path / "new", tmp_path / "b.csv")


def test_corrections_by_hand_are_kept_and_only_new_images_are_looked_at(place, run, tmp_path):
    root, _ = place
    shutil.copytree(root / "photos", tmp_path / "photos")
    spec, how = [f"onnx:{root}/net.onnx"], jobs.ExtractOptions(boxes=root / "squares")
    table = jobs.extract(tmp_path / "photos", tmp_path / "c", spec, how).boxes
    lines = open(table).read().splitlines()
    first = lines[1].split(",")
    lines[1] = ",".join([first[0], "1", "2", "30", "40", "", "by hand"])
    open(table, "w").write("\n".join(lines) + "\n")
    draw_squares(tmp_path / "photos", 3, seed=9)
    seen = []

    class Listener(jobs.ProgressListener):
        def on_detect(self, *counts):
            seen.append(counts)

    again = jobs.extract(tmp_path / "photos", tmp_path / "c", spec, how, Listener())
    assert seen == [(3, 3)]
    assert again.boxes == table
    boxes = {s.path: s.box for s in again.manifest.images.values()}
    assert boxes[first[0]] == "1 2 30 40"
    # The table alone does as well.
    alone = jobs.extract(
        tmp_path / "photos", tmp_path / "c", spec, jobs.ExtractOptions(boxes=table)
    )
    assert (alone.boxed, alone.computed) == (again.boxed, 0)


def test_a_run_of_a_corrected_table_alone_knows_no_region(place, run):
    root, _ = place
    table = run[1].boxes
    options = jobs.ExtractOptions(fit="squash", boxes=table)
    jobs.extract(root / "photos", root / "other", [f"onnx:{root}/net.onnx"], options)
    assert not list((root / "other" / "manifests").glob("*.regions"))


def test_another_network_is_refused(place, write_tiny_onnx, tmp_path):
    root, _ = place
    shutil.copytree(root / "squares", tmp_path / "squares")
    write_tiny_onnx(tmp_path / "net.onnx", seed=3)
    options = jobs.ExtractOptions(boxes=tmp_path / "squares", weights_dir=tmp_path)
    with pytest.raises(FingerprintError, match=r"regions 'squares' were learnt with: .*digest"):
        jobs.extract(root / "photos", tmp_path / "c", [f"onnx:{root}/net.onnx"], options)


@pytest.mark.parametrize(
    ("lines", "error", "said"),
    [
        (["red/1-000.png,0,0,900,20"], ManifestError, "reaches out of the image"),
        (["red/1-000.png,0,0,9,9", "red/1-000.png,2,2,9,9"], ManifestError, "has a box already"),
        (["red/no.png,0,0,9,9"], ManifestError, "is not in the data"),
        (["red/1-000.png,0,0,9,9"], BackboneError, "1 box is too few"),
        ([], BackboneError, "0 boxes are too few"),
    ],
)
def test_tables_that_teach_nothing_are_refused(place, tmp_path, lines, error, said):
    root, _ = place
    (tmp_path / "b.csv").write_text("\n".join(["path,x0,y0,x1,y1", *lines]) + "\n")
    with pytest.raises(error, match=said):
        jobs.fit_regions(
            root / "photos", tmp_path / "b.csv", f"onnx:{root}/net.onnx", tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_folders_of_others_are_left_alone(place, tmp_path):
    root, _ = place

    def fit(out):
        jobs.fit_regions(root / "photos", root / "some.csv", f"onnx:{root}/net.onnx", out)

    with pytest.raises(RunError, match="something else than a region: some"):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "some.txt").write_text("x")
        fit(tmp_path / "mine")
    with pytest.raises(RunError, match=r"holds a region already.*|--overwrite"):
        fit(root / "squares")


def test_a_network_without_a_map_is_refused(place, tmp_path):
    root, _ = place
    with pytest.raises(IcecoreError, match="without a height and width"):
        options = jobs.FitRegionsOptions(layer="f")
        jobs.fit_regions(
            root / "photos", root / "some.csv", f"onnx:{root}/net.onnx", tmp_path / "o", options
        )


def test_networks_of_timm_have_no_map(place, tmp_path):
    root, _ = place
    with pytest.raises(BackboneError, match=r"(?s)timm's networks give no maps.*look with"):
        jobs.fit_regions(root / "photos", root / "some.csv", "timm:resnet18", tmp_path / "o")


def test_the_extraction_says_where_its_boxes_are(place, tmp_path, capsys):
    root, _ = place
    words = ["extract", str(root / "photos"), "-o", str(tmp_path / "c"), "-b"]
    main([*words, f"onnx:{root}/net.onnx", "--boxes", str(root / "squares")])
    table = next((tmp_path / "c" / "boxes").glob("squares-*.csv"))
    assert f"boxes were found: correct {table} where they are wrong" in capsys.readouterr().out
    main([*words, f"onnx:{root}/net.onnx", "--boxes", str(root / "some.csv")])
    out = capsys.readouterr().out
    assert "50 images cut to their boxes, 30 whole" in out
    assert "were found" not in out


def test_the_command_says_what_was_reached_and_shows_the_worst(place, tmp_path, capsys):
    root, _ = place
    words = ["regions", "fit", str(root / "photos"), "--boxes", str(root / "some.csv")]
    words += ["-b", f"onnx:{root}/net.onnx", "-o", str(tmp_path / "squares")]
    main(words)
    said = capsys.readouterr().out
    assert "learnt from 50 boxes; out of fold the mean IoU is 0." in said
    page = (tmp_path / "squares" / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 16
    assert page.count("<script") == 1  # of every page
    assert "http" not in page.replace("http-equiv", "")
    main([*words, "--overwrite", "--json"])
    about = json.loads(capsys.readouterr().out)
    assert about["boxes"] == about["marked"] == 50
    assert about["mean_iou"] > about["constant_iou"]

"""Tables of boxes: what is read, what is refused, and what becomes of the rows."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from icecore import jobs
from icecore import manifest as manifests
from icecore.cache import FeatureCache
from icecore.core.errors import ManifestError, MissingFileError
from icecore.core.files import sha256_file
from icecore.features import image_size
from icecore.manifest.box import format_box, parse_box, row_key
from icecore.manifest.box_table import append_boxes, apply_boxes, read_boxes
from icecore.manifest.digests import digest_manifest

TINY = "onnx:tiny.onnx"


def table(path, *lines, header="path,x0,y0,x1,y1"):
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def extract(root, cache, tiny, boxes=None, **options):
    how = jobs.ExtractOptions(boxes=boxes, precision="float32", **options)
    return jobs.extract(root, cache, [f"onnx:{tiny}"], how)


def test_a_path_may_be_an_id_a_file_or_a_way_from_the_table(image_folder, tmp_path):
    manifest = manifests.read(image_folder)
    boxes = table(
        tmp_path / "boxes.csv",
        "red/0.png,1,2,30,40", f"{image_folder}/red/1.png,0,0,9,9", "photos/blue/2.png,3,3,8,9",
        "blue/0.png,,,,",
    )  # fmt: skip
    assert read_boxes(boxes, manifest) == {
        "red/0.png": (1, 2, 30, 40),
        "red/1.png": (0, 0, 9, 9),
        "blue/2.png": (3, 3, 8, 9),
        "blue/0.png": None,
    }


def test_further_columns_order_and_fractions_are_taken(image_folder, tmp_path):
    header = "score,x1,y1,x0,y0,path,class"
    boxes = table(tmp_path / "b.csv", "0.9,20.4,30.5,1.5,0.49,red/0.png,person", header=header)
    assert read_boxes(boxes, manifests.read(image_folder)) == {"red/0.png": (2, 0, 20, 31)}


def test_numbers_beyond_every_image_are_shown_as_they_were_written(image_folder, tmp_path):
    boxes = table(tmp_path / "boxes.csv", "red/0.png,0,0,9,1e308")
    with pytest.raises(ManifestError, match=r"red/0.png: 0,0,9,1e308 are beyond every image\n"):
        read_boxes(boxes, manifests.read(image_folder))


def test_all_faults_are_listed_at_once(image_folder, tmp_path):
    boxes = table(
        tmp_path / "boxes.csv",
        "red/0.png,1,2,30,40", "red/9.png,1,2,3,4", "red/0.png,1,2,30,41", "red/1.png,5,5,5,9",
        "red/2.png,0,0,51,20", "blue/0.png,0,0,50,41", "blue/1.png,-3,0,9,9", "blue/2.png,a,0,9,9",
    )  # fmt: skip
    with pytest.raises(ManifestError) as caught:
        read_boxes(boxes, manifests.read(image_folder), image_size)
    lines = caught.value.message.splitlines()
    assert lines[0] == f"7 lines of {boxes} cannot be used:"
    assert sorted(line.strip() for line in lines[1:]) == [
        "line 3: red/9.png is not in the data",
        "line 4: red/0.png has a box already, in line 2",
        "line 5: red/1.png: the box 5 5 5 9 is empty",
        "line 6: red/2.png: the box 0 0 51 20 reaches out of the image of 50 x 54 pixels",
        "line 7: blue/0.png: the box 0 0 50 41 reaches out of the image of 50 x 40 pixels",
        "line 8: blue/1.png: the box -3 0 9 9 begins outside the image",
        "line 9: blue/2.png: a,0,9,9 are not four numbers",
    ]


@pytest.mark.parametrize("numbers", ["0.1,0.2,0.8,0.9", "0,0,0.5,1", "0,0,1,1", "0.0,0.0,1.0,1.0"])
def test_shares_of_the_image_are_not_taken_for_pixels(image_folder, tmp_path, numbers):
    boxes = table(tmp_path / "b.csv", f"red/0.png,{numbers}")
    with pytest.raises(ManifestError, match=f"red/0.png: {numbers} are shares of the image, not"):
        read_boxes(boxes, manifests.read(image_folder))
    # As `find` names it.
    one = table(tmp_path / "b.csv", "./red/0.png,1,0,2,1")
    assert read_boxes(one, manifests.read(image_folder)) == {"red/0.png": (1, 0, 2, 1)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"boxes.csv is empty"),
        (b"path,x0,y0,w,h\n", r"lacks the columns x1, y1; its first line is: path,x0,y0,w,h"),
        (b"\xff\xfe\x00", r"is not a CSV in UTF-8"),
        (b"path,x0,y0,x1,y1\nred/0.png,1,2,3\n", r"line 2: has 4 fields, not 5"),
        (b"path,x0,y0,x1,y1\nred/0.png,1,2,3,1e9\n", r"not a box of four whole numbers"),
    ],
)
def test_what_is_no_table_of_boxes_is_refused(image_folder, tmp_path, content, message):
    path = tmp_path / "boxes.csv"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        read_boxes(path, manifests.read(image_folder))


def test_a_table_that_is_not_there(image_folder, tmp_path):
    with pytest.raises(MissingFileError, match="check --boxes"):
        read_boxes(tmp_path / "boxes.csv", manifests.read(image_folder))


def test_boxes_come_back_as_written(image_folder, tmp_path):
    rows = [
        {"path": "red/0.png", "box": (1, 2, 3, 4), "score": 0.98765, "class": "person"},
        {"path": "red/1.png", "box": None, "score": None, "class": ""},
    ]
    append_boxes(tmp_path / "b.csv", rows[:1])
    append_boxes(tmp_path / "b.csv", rows[1:])
    found = read_boxes(tmp_path / "b.csv", manifests.read(image_folder))
    assert found == {"red/0.png": (1, 2, 3, 4), "red/1.png": None}
    assert next(csv.DictReader(open(tmp_path / "b.csv")))["score"] == "0.9877"
    for box in (None, (1, 2, 3, 4)):
        assert parse_box(format_box(box)) == box


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_image(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert image_size(str(tmp_path / "a.jpg")) == ((20, 30) if orientation > 4 else (30, 20))
    assert image_size(str(tmp_path / "none.jpg")) is None


def test_a_row_is_that_of_the_part_cut_out_and_saved(image_folder, tmp_path, tiny_onnx):
    boxes = table(tmp_path / "boxes.csv", "red/0.png,5,3,45,33", "blue/1.png,0,0,20,20")
    report = extract(image_folder, tmp_path / "c", tiny_onnx, boxes)
    assert (report.boxed, report.computed, report.failures) == (2, 6, [])
    part = tmp_path / "part" / "x"
    part.mkdir(parents=True)
    with Image.open(image_folder / "red/0.png") as image:
        image.crop((5, 3, 45, 33)).save(part / "part.png")
    extract(part.parent, tmp_path / "p", tiny_onnx)
    ours = FeatureCache(tmp_path / "c").find(TINY)
    theirs = FeatureCache(tmp_path / "p").find(TINY)
    assert ours.fingerprint == theirs.fingerprint
    key = row_key(sha256_file(image_folder / "red/0.png"), "5 3 45 33")
    np.testing.assert_array_equal(ours.matrix([key]), theirs.matrix(theirs.keys()))
    # Images without a box are whole, under the key that they always had.
    plain = [sha256_file(image_folder / f"red/{n}.png") for n in range(3)]
    assert ours.missing(plain) == plain[:1]


def test_a_corrected_box_costs_one_row(image_folder, tmp_path, tiny_onnx):
    lines = [f"red/{n}.png,0,0,20,2{n}" for n in range(3)]
    extract(image_folder, tmp_path / "c", tiny_onnx, table(tmp_path / "a.csv", *lines))
    lines[1] = "red/1.png,0,0,20,30"
    report = extract(image_folder, tmp_path / "c", tiny_onnx, table(tmp_path / "b.csv", *lines))
    assert report.computed == 1


def test_faulty_boxes_leave_nothing_behind(image_folder, tmp_path, tiny_onnx):
    boxes = table(tmp_path / "boxes.csv", "red/0.png,0,0,500,9")
    with pytest.raises(ManifestError, match="reaches out of the image of 50 x 40"):
        extract(image_folder, tmp_path / "c", tiny_onnx, boxes)
    assert not (tmp_path / "c").exists()


def test_training_takes_the_boxes_of_the_extraction(image_folder, tmp_path, tiny_onnx):
    lines = [f"{label}/{n}.png,0,0,30,30" for label in ("red", "blue") for n in range(3)]
    boxes = table(tmp_path / "b.csv", *lines)
    extract(image_folder, tmp_path / "c", tiny_onnx, boxes)
    kept = tmp_path / "c" / "manifests" / "photos.csv"
    assert {row["box"] for row in csv.DictReader(open(kept))} == {"0 0 30 30"}
    options = jobs.TrainOptions(heads=["logistic"], folds=3, min_class_count=1)
    for number, data in enumerate([image_folder, kept]):
        result = jobs.train(tmp_path / "c", data, tmp_path / f"run{number}", options)
        assert result is not None
        samples = manifests.read(tmp_path / f"run{number}" / "samples.csv")
        assert {s.digest for s in samples} == set(FeatureCache(tmp_path / "c").ids(TINY))
    found = jobs.prune(tmp_path / "c", image_folder)
    assert [one["rows_removed"] for one in found["sets"]] == [0]


def test_predictions_follow_their_boxes(image_folder, tmp_path, tiny_onnx):
    boxes = table(tmp_path / "b.csv", "red/0.png,0,0,30,30", "blue/2.png,9,9,30,30")
    extract(image_folder, tmp_path / "c", tiny_onnx, boxes)
    jobs.train(
        tmp_path / "c", image_folder, tmp_path / "run",
        jobs.TrainOptions(heads=["logistic"], folds=3, min_class_count=1),
    )  # fmt: skip
    answers, new = tmp_path / "answers.csv", tmp_path / "n"
    jobs.predict(
        tmp_path / "run", image_folder, answers, jobs.PredictOptions(boxes=boxes, cache=new)
    )
    ours, new = (FeatureCache(tmp_path / name).find(TINY) for name in ("c", "n"))
    assert ours.keys() == new.keys()
    assert ours.matrix(ours.keys()).tobytes() == new.matrix(ours.keys()).tobytes()


def test_two_boxes_of_one_file_are_two_samples(image_folder, tmp_path, tiny_onnx):
    data = table(
        tmp_path / "two.csv",
        f"left,{image_folder}/red/0.png,a,0 0 20 20",
        f"right,{image_folder}/red/0.png,b,20 0 40 20",
        header="id,path,label,box",
    )  # fmt: skip
    report = jobs.extract(data, tmp_path / "c", [f"onnx:{tiny_onnx}"])
    assert (report.boxed, report.rows) == (2, 2)
    digests = {s.id: s.digest for s in report.manifest}
    digest = sha256_file(image_folder / "red/0.png")
    assert digests["right"] == row_key(digest, "20 0 40 20")


def test_boxes_in_a_table_are_checked(image_folder, tmp_path, tiny_onnx):
    data = table(tmp_path / "t.csv", "red/0.png,a,0 0 20", header="path,label,box")
    with pytest.raises(ManifestError, match=r"'0 0 20' is not a box of four whole numbers"):
        manifests.read(data)
    large = table(
        tmp_path / "t.csv",
        f"{image_folder}/red/0.png,a,0 0 999 20", f"{image_folder}/red/1.png,b,",
        header="path,label,box",
    )  # fmt: skip
    report = jobs.extract(large, tmp_path / "c", [f"onnx:{tiny_onnx}"])
    assert [failure.reason for failure in report.failures] == [
        "the box 0 0 999 20 reaches out of the image of 50 x 40 pixels"
    ]
    assert report.rows == 1


def test_a_digest_without_its_file_stays_that_of_its_box(image_folder, tmp_path):
    manifest = apply_boxes(manifests.read(image_folder), {"red/0.png": (1, 1, 9, 9)})
    first = digest_manifest(manifest).manifest
    (image_folder / "red" / "0.png").unlink()
    assert digest_manifest(first).manifest.images["red/0.png"] == first.images["red/0.png"]


def test_the_command_counts_boxes(image_folder, tmp_path, tiny_onnx, capsys):
    from icecore.cli.main import main

    boxes = table(tmp_path / "boxes.csv", "red/0.png,5,3,45,33")
    arguments = ["extract", image_folder, "-o", tmp_path / "c", "-b", f"onnx:{tiny_onnx}"]
    arguments = [str(a) for a in [*arguments, "--boxes", boxes]]
    main(arguments)
    assert "1 image cut to their boxes, 5 whole" in capsys.readouterr().out
    main([*arguments, "--json"])
    assert json.loads(capsys.readouterr().out)["boxed"] == 1


def test_what_width_and_height_and_unknown_images_are_to_become_is_said(image_folder, tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("path,x,y,w,h\nred/0.png,1,1,5,5\n")
    with pytest.raises(ManifestError) as caught:
        read_boxes(path, manifests.read(image_folder))
    assert "x1,y1 is the corner opposite x0,y0, so not width and height" in caught.value.hint
    path.write_text("path,x0,y0,x1,y1\nred/0,1,1,5,5\n")
    with pytest.raises(ManifestError, match="red/0 is not in the data") as caught:
        read_boxes(path, manifests.read(image_folder))
    assert "(icecore manifest DATA -o table.csv writes them)" in caught.value.hint

"""Detectors: GluonCV's own preparation, the choice of a box, and the table that comes of it."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packages import needs
from PIL import Image

from icecore import jobs
from icecore import manifest as manifests
from icecore.core.errors import BackboneError, ManifestError, WeightsError
from icecore.features import DetectorOptions
from icecore.features.detection import detect
from icecore.features.detection import network as detector_network
from icecore.features.detection.detect import choose_box, detect_boxes
from icecore.features.detection.network import Detector, detector_names, load_detector
from icecore.features.gluon.loader import load_gluoncv, load_mxnet
from icecore.features.weights.request import WeightsRequest
from icecore.manifest.box_table import read_boxes

pytestmark = needs("mxnet", "gluoncv")
# The smallest of GluonCV's; any detector of the kind goes the same way.
SMALL = "ssd_300_mobilenet0.25_coco"
RANDOM = WeightsRequest(random_seed=0)


@pytest.fixture(scope="module")
def small() -> Detector:
    return load_detector(f"gluoncv:{SMALL}", RANDOM)


def choose(objects, rule="largest", threshold=0.5, wanted=1, width=100, height=80):
    """Choose among (class, score, box), as they come from MXNet."""
    mx = load_mxnet()
    rows = mx.nd.array([[c, s, *box] for c, s, box in objects] or np.zeros((0, 6))).asnumpy()
    options = DetectorOptions("gluoncv:x", "cat", rule, threshold)
    ids = rows[:, 0].astype(int)
    return choose_box(ids, rows[:, 1], rows[:, 2:], wanted, options, (width, height))


FOUND = [
    (1, 0.9, (10.2, 10.7, 20.1, 20.0)),
    (1, 0.6, (5, 5, 60, 70)),
    (2, 0.99, (0, 0, 100, 80)),
    (1, 0.4, (0, 0, 90, 80)),
]


def test_the_largest_of_the_class_above_the_threshold():
    box, score = choose(FOUND)
    assert box == (5, 5, 60, 70)
    assert score == pytest.approx(0.6)


def test_the_most_confident_rounded_outwards():
    box, score = choose(FOUND, rule="confident")
    assert box == (10, 10, 21, 20)
    assert score == pytest.approx(0.9)


def test_none_of_the_class_or_none_above_the_threshold():
    assert choose(FOUND, wanted=3) is None
    assert choose(FOUND, threshold=0.95) is None
    assert choose([]) is None


def test_a_lower_threshold_lets_more_in():
    assert choose(FOUND, threshold=0.3)[0] == (0, 0, 90, 80)


def test_boxes_end_at_the_edges_and_empty_ones_do_not_count():
    objects = [
        (1, 0.9, (-40, -9, 30, 20)),
        (1, 0.8, (150, 10, 300, 60)),
        (1, 0.7, (50, 40, 50, 60)),
    ]
    assert choose(objects)[0] == (0, 0, 30, 20)
    assert choose(objects[1:]) is None


def test_what_is_no_number_is_passed_over():
    nan, inf = float("nan"), float("inf")
    assert (
        choose([(1, nan, (0, 0, 9, 9)), (1, 0.9, (0, 0, inf, 9)), (1, 0.9, (nan, 0, 9, 9))]) is None
    )


def test_ties_are_settled():
    same = [(1, 0.7, (0, 0, 20, 10)), (1, 0.8, (0, 0, 10, 20))]
    assert choose(same)[0] == (0, 0, 10, 20)
    equal = [(1, 0.8, (0, 0, 5, 5)), (1, 0.8, (0, 0, 9, 9))]
    assert choose(equal, rule="confident")[0] == (0, 0, 9, 9)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.floats(0, 1), st.tuples(*[st.floats(-50, 150)] * 4)
        ),
        max_size=8,
    ),
    st.sampled_from(["largest", "confident"]),
)  # fmt: skip
def test_a_chosen_box_lies_in_the_image(objects, rule):
    found = choose(objects, rule)
    if found is not None:
        (x0, y0, x1, y1), score = found
        assert 0 <= x0 < x1 <= 100
        assert 0 <= y0 < y1 <= 80
        assert score >= 0.5
    else:
        assert not any(
            c == 1 and np.float32(s) >= 0.5 and x0 + 1 < x1 and y0 + 1 < y1
            and x0 < 99 and y0 < 79 and x1 > 1 and y1 > 1
            for c, s, (x0, y0, x1, y1) in objects
        )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind", "given"),
    [
        ("ssd_300_mobilenet0.25_coco", "ssd", {"short": 300}),
        ("ssd_512_mobilenet1.0_voc", "ssd", {"short": 512}),
        ("yolo3_mobilenet0.25_coco", "yolo", {"short": 416}),
        ("faster_rcnn_resnet50_v1b_voc", "rcnn", {"short": 600, "max_size": 1000}),
    ],
)
@pytest.mark.parametrize("shape", [(120, 200), (700, 300), (300, 1800)])
def test_images_are_prepared_as_gluoncvs_demonstrations_do(name, kind, given, shape, tmp_path):
    """Against `load_test`, which reads a file itself."""
    load_gluoncv()
    from gluoncv.data.transforms import presets

    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    theirs, resized = getattr(presets, kind).load_test(str(tmp_path / "a.png"), **given)
    network = type("Network", (), {"short": 600, "max_size": 1000})
    detector = Detector(name, (), "", network, load_mxnet().cpu())
    ours, height, width = detector.prepare(pixels)
    np.testing.assert_array_equal(ours.asnumpy(), theirs.asnumpy())
    assert (height, width) == resized.shape[:2]


def test_boxes_come_back_in_pixels_of_the_image(small):
    """With what a script after GluonCV's demonstration gets."""
    pixels = np.random.default_rng(1).integers(0, 256, (150, 250, 3), dtype=np.uint8)
    ids, scores, boxes = small.run(pixels)
    tensor, height, width = small.prepare(pixels)
    theirs = [output[0].asnumpy() for output in small.network(tensor)]
    there = theirs[0][:, 0] >= 0
    assert there.any()
    np.testing.assert_array_equal(ids, theirs[0][there, 0])
    np.testing.assert_array_equal(scores, theirs[1][there, 0])
    assert (height, width) == (300, 500)
    np.testing.assert_allclose(boxes, theirs[2][there] / 2, rtol=1e-6)


def test_a_strip_has_no_box(small):
    assert len(small.run(np.zeros((1, 5000, 3), np.uint8))[0]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ssd_512_mobilenet1.0_voc", "yolo3_mobilenet0.25_coco", "faster_rcnn_resnet50_v1b_voc"]
)
def test_every_kind_runs(name):
    detector = load_detector(f"gluoncv:{name}", RANDOM)
    pixels = np.random.default_rng(1).integers(0, 256, (150, 250, 3), dtype=np.uint8)
    ids, scores, boxes = detector.run(pixels)
    assert len(ids) == len(scores) == len(boxes)
    assert boxes.shape[1:] == (4,)
    assert "person" in detector.classes


def test_detectors_that_are_not_there_or_not_for_use():
    for text in ("ssd_300_mobilenet0.25_coco", "gluoncv:ssd_512_resnet50", "gluoncv:resnet50_v1"):
        with pytest.raises(BackboneError, match=r"(?s)no detector of GluonCV.*gluoncv:"):
            load_detector(text, RANDOM)
    names = detector_names()
    assert {"ssd_512_resnet50_v1_voc", "yolo3_darknet53_coco", "faster_rcnn_resnet50_v1b_coco"} < {
        *names
    }
    assert not [name for name in names if name.endswith(("_custom", "_int8"))]


def test_an_unknown_class_is_refused_with_near_names(small):
    with pytest.raises(BackboneError, match=r"(?s)the class 'persons'.*did you mean person"):
        small.index_of("persons")


def test_unusable_options_are_named_at_once():
    with pytest.raises(BackboneError, match=r"rule 'first' .*; threshold 2 \(0 to 1\)"):
        DetectorOptions("gluoncv:x", "person", "first", 2)


def test_weights_are_sought_as_those_of_classifiers(tmp_path, monkeypatch):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MXNET_GLUON_REPO", "http://127.0.0.1:9/")
    monkeypatch.setattr("icecore.features.weights.gluon_host.PAUSE", 0.0)
    folder = tmp_path / "weights"
    folder.mkdir()
    stem = "ssd_512_mobilenet1.0_voc-37c18076"
    (folder / f"{stem}.params").write_bytes(b"something else")
    with pytest.raises(WeightsError) as caught:
        load_detector("gluoncv:ssd_512_mobilenet1.0_voc", WeightsRequest(None, folder))
    assert "not 37c180765a4eb3e67751d6bacac47bb9156f5fff" in caught.value.message
    assert f"{tmp_path}/home/models/{stem}.params: not there" in caught.value.message
    assert f"gluon/models/{stem}.zip" in caught.value.message
    assert "--boxes" in caught.value.hint


def test_weights_of_the_users_own_are_loaded(small, tmp_path):
    small.network.save_parameters(str(tmp_path / f"{SMALL}.params"))
    again = load_detector(f"gluoncv:{SMALL}", WeightsRequest(None, tmp_path))
    pixels = np.random.default_rng(2).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    for ours, theirs in zip(again.run(pixels), small.run(pixels)):
        np.testing.assert_array_equal(ours, theirs)
    assert "own weights" in again.origin
    (tmp_path / f"{SMALL}.params").write_bytes(b"\0" * 100)
    with pytest.raises(WeightsError):
        load_detector(f"gluoncv:{SMALL}", WeightsRequest(None, tmp_path))


@pytest.fixture
def finds_red(monkeypatch, small):
    """A real detector whose network is replaced by one that finds the red square of an image.

    Random weights find nothing that could be checked; all else is as it is.
    """
    mx, seen = load_mxnet(), []

    class FindsRed:
        def __call__(self, tensor):
            seen.append(tensor.shape)
            pixels = tensor[0].asnumpy()
            rows, columns = np.nonzero((pixels[0] > 1.5) & (pixels[1] < -1) & (pixels[2] < -1))
            boxes = np.full((1, 3, 4), -1.0)
            ids, scores = np.full((1, 3, 1), -1.0), np.full((1, 3, 1), -1.0)
            if len(rows):
                boxes[0, 0] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                ids[0, 0], scores[0, 0] = small.classes.index("person"), 0.875
            return mx.nd.array(ids), mx.nd.array(scores), mx.nd.array(boxes)

    detector = Detector(small.name, small.classes, "", FindsRed(), mx.cpu())
    monkeypatch.setattr(detect, "load_detector", lambda *arguments: detector)
    return seen


@pytest.fixture
def squares(tmp_path):
    """Six grey images, each with a red square at another place, but for the last."""
    root = tmp_path / "squares"
    places = {}
    for number in range(6):
        label = "ab"[number % 2]
        (root / label).mkdir(parents=True, exist_ok=True)
        image = np.full((100, 200, 3), 128, np.uint8)
        if number < 5:
            left = 20 * number + 10
            image[30:60, left : left + 40] = (255, 0, 0)
            places[f"{label}/{number}.png"] = (left, 30, left + 40, 60)
        Image.fromarray(image).save(root / label / f"{number}.png")
    return root, places


PERSON = DetectorOptions("gluoncv:" + SMALL)


def test_the_table_holds_what_was_found_and_what_was_not(squares, tmp_path, finds_red):
    root, places = squares
    manifest = manifests.read(root)
    assert detect_boxes(manifest, tmp_path / "b.csv", PERSON, RANDOM) == 6
    found = read_boxes(tmp_path / "b.csv", manifest)
    assert found.pop("b/5.png") is None
    assert set(found) == set(places)
    for identity, box in found.items():
        assert np.abs(np.subtract(box, places[identity])).max() <= 1
    rows = {row["path"]: row for row in csv.DictReader(open(tmp_path / "b.csv"))}
    assert (rows["a/0.png"]["score"], rows["a/0.png"]["class"]) == ("0.8750", "person")
    assert rows["b/5.png"] == {**dict.fromkeys(rows["a/0.png"], ""), "path": "b/5.png"}


def test_lines_that_are_there_are_kept_and_not_looked_at_again(squares, tmp_path, finds_red):
    root, _ = squares
    table = tmp_path / "b.csv"
    mine = "class,path,note,x0,y0,x1,y1\r\n,a/0.png,by hand,1,2,30,40\r\n,b/1.png,whole,,,,"
    table.write_bytes(mine.encode())
    assert detect_boxes(manifests.read(root), table, PERSON, RANDOM) == 4
    assert len(finds_red) == 4
    text = table.read_bytes().decode()
    assert text.replace("\r\n", "\n").startswith(mine.replace("\r\n", "\n") + "\n")
    rows = {row["path"]: row for row in csv.DictReader(open(table))}
    assert rows["a/2.png"]["class"] == "person"
    assert rows["a/2.png"]["note"] == ""
    assert detect_boxes(manifests.read(root), table, PERSON, RANDOM) == 0


def test_a_faulty_table_is_refused_before_anything_is_detected(squares, tmp_path, finds_red):
    table = tmp_path / "b.csv"
    table.write_text("path,x0,y0,x1,y1\nb/1.png,0,0,900,10\n")
    with pytest.raises(ManifestError, match="reaches out"):
        detect_boxes(manifests.read(squares[0]), table, PERSON, RANDOM)
    assert not finds_red


def test_an_interruption_keeps_what_was_found(squares, tmp_path, finds_red):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    table = tmp_path / "b.csv"
    with pytest.raises(KeyboardInterrupt):
        detect_boxes(manifests.read(squares[0]), table, PERSON, RANDOM, on_detect=stop)
    assert len(list(csv.DictReader(open(table)))) == 3
    assert detect_boxes(manifests.read(squares[0]), table, PERSON, RANDOM) == 3


def test_unreadable_images_get_no_line(squares, tmp_path, finds_red):
    (squares[0] / "a" / "0.png").write_bytes(b"")
    table = tmp_path / "b.csv"
    detect_boxes(manifests.read(squares[0]), table, PERSON, RANDOM)
    assert "a/0.png" not in table.read_text()


def test_extract_cuts_to_what_the_detector_finds(squares, tmp_path, finds_red, tiny_onnx):
    root, _ = squares
    table, seen = tmp_path / "b.csv", []
    spec = [f"onnx:{tiny_onnx}"]

    class Listener(jobs.ProgressListener):
        def on_detect(self, *counts):
            seen.append(counts)

    options = jobs.ExtractOptions(boxes=table, detector=PERSON)
    report = jobs.extract(root, tmp_path / "c", spec, options, Listener())
    assert (report.boxed, report.rows) == (5, 6)
    assert seen[-1] == (6, 6)
    # The corrected table is used alone.
    table.write_text(table.read_text().replace(",30,", ",29,", 1))
    again = jobs.extract(root, tmp_path / "c", spec, jobs.ExtractOptions(boxes=table))
    assert (again.boxed, again.computed) == (5, 1)


def test_a_detector_without_a_place_for_its_boxes_is_refused():
    with pytest.raises(BackboneError, match=r"(?s)boxes, the file for what.*--boxes FILE"):
        jobs.ExtractOptions(detector=PERSON)


def test_the_command_runs_a_detector(squares, tmp_path, tiny_onnx, capsys):
    """A real network with random weights: nothing is known, and everything happens."""
    from icecore.cli.main import main

    shutil.copy(tiny_onnx, tmp_path / "net.onnx")
    shutil.copy(tiny_onnx.with_suffix(".json"), tmp_path / "net.json")
    network = load_detector(f"gluoncv:{SMALL}", RANDOM).network
    network.save_parameters(str(tmp_path / f"{SMALL}.params"))
    main([
        "extract", str(squares[0]), "-o", str(tmp_path / "c"), "-b", f"onnx:{tmp_path}/net.onnx",
        "--boxes", str(tmp_path / "b.csv"), "--detector", f"gluoncv:{SMALL}",
        "--weights-dir", str(tmp_path), "--detect-threshold", "0.01", "--json",
    ])  # fmt: skip
    report = json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader(open(tmp_path / "b.csv")))
    assert len(rows) == 6
    assert report["boxed"] == sum(bool(row["x0"]) for row in rows)
    assert report["rows"] == 6


def test_the_names_that_numpy_lost_are_lost_again(small):
    assert "float" not in vars(np)
    assert "bool" not in vars(np)
    assert detector_network.kind_of("center_net_dla34_coco") is None

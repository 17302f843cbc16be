"""Detectors in ONNX files: their families, the choice of a box, and the table that comes of it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packages import needs
from PIL import Image

from icecore import jobs
from icecore import manifest as manifests
from icecore.core.errors import BackboneError, ManifestError, MissingFileError
from icecore.features import DetectorOptions
from icecore.features.detection.detect import choose_box, detect_boxes
from icecore.features.detection.network import load_detector
from icecore.features.detection.outputs import Objects, family_of, read_objects
from icecore.features.weights.request import WeightsRequest
from icecore.manifest.box_table import read_boxes

pytestmark = needs("onnx", "onnxruntime")
HERE = WeightsRequest()


def choose(objects, rule="largest", threshold=0.5, wanted=1, width=100, height=80):
    """Choose among (class, score, box)."""
    rows = np.array([[c, s, *box] for c, s, box in objects] or np.zeros((0, 6)), np.float32)
    options = DetectorOptions("onnx:x", "cat", rule, threshold)
    found = Objects(rows[:, 0].astype(int), rows[:, 1], rows[:, 2:])
    return choose_box(found, wanted, options, (width, height))


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


def save(path, outputs, nodes=(), shape=(1, 3, 64, 96), metadata=(), record=None, kind="FLOAT"):
    """Write a detector whose outputs are constants, or come from `nodes`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    types = {"f": TensorProto.FLOAT, "i": TensorProto.INT64}
    nodes, described = list(nodes), []
    for name, value in outputs.items():
        if isinstance(value, np.ndarray):
            held = numpy_helper.from_array(value, f"{name}_value")
            nodes.append(helper.make_node("Constant", [], [name], value=held))
            described.append(
                helper.make_tensor_value_info(name, types[value.dtype.kind], value.shape)
            )
        else:
            shape_ = ["N", 4] if name == "boxes" else ["N"]
            described.append(helper.make_tensor_value_info(name, types[value], shape_))
    given = helper.make_tensor_value_info("images", getattr(TensorProto, kind), shape)
    graph = helper.make_graph(nodes, "detector", [given], described)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, dict(metadata))
    onnx.save(model, str(path))
    if record is not None:
        path.with_suffix(".json").write_text(json.dumps(record))
    return path


# In an image of 96 x 64 pixels: two objects, the first with a double that is a little less sure.
BOXES = np.array([[10, 8, 50, 40], [12, 8, 52, 40], [60, 20, 90, 60]], np.float32)
IDS, SCORES = np.array([1, 1, 2]), np.array([0.9, 0.8, 0.7], np.float32)
CENTRES = np.concatenate([(BOXES[:, :2] + BOXES[:, 2:]) / 2, BOXES[:, 2:] - BOXES[:, :2]], axis=1)
CHANCES = np.full((3, 3), 0.01, np.float32)
CHANCES[np.arange(3), IDS] = SCORES
IMAGE = np.zeros((128, 192, 3), np.uint8)


def yolo(rows):
    """More boxes than numbers in each, as there always are; the others are unsure."""
    filler = np.tile(np.r_[[90.0, 60, 2, 2], np.full(rows.shape[1] - 4, 1e-3)], (20, 1))
    return np.concatenate([rows, filler])[None].astype(np.float32)


def detr():
    chances = np.concatenate([CHANCES, 1 - CHANCES.sum(axis=1, keepdims=True)], axis=1)
    return np.log(chances)[None].astype(np.float32), (CENTRES / (96, 64, 96, 64))[None]


FAMILIES = {
    "torchvision": {"boxes": BOXES, "labels": IDS, "scores": SCORES},
    "torchvision of another order": {"scores": SCORES, "boxes": BOXES, "labels": IDS},
    "yolo": {"output0": yolo(np.c_[CENTRES, CHANCES]).transpose(0, 2, 1)},
    "yolo5": {"output": yolo(np.c_[CENTRES, np.full(3, 1.0), CHANCES])},
    # As Ultralytics exports with nms=True, and YOLOv10: 300 rows, what is left over is zeros.
    "yolo-list": {"output0": np.r_[np.c_[BOXES, SCORES, IDS], np.zeros((297, 6))][None]},
    "yolo-batch": {"output": np.c_[np.zeros(3), BOXES, IDS, SCORES]},
    "detr": dict(zip(("logits", "pred_boxes"), (one.astype(np.float32) for one in detr()))),
    "detr-sigmoid": {
        "logits": np.log(CHANCES / (1 - CHANCES))[None],
        "pred_boxes": (CENTRES / (96, 64, 96, 64))[None].astype(np.float32),
    },
}


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_says_where_objects_are_in_pixels_of_the_image(tmp_path, name):
    record = {"classes": ["cup", "cat", "dog"]}
    if "torchvision" in name:
        record["classes"][0] = "__background__"
    if name == "detr-sigmoid":
        record |= {"mean": [0, 0, 0], "std": [1, 1, 1]}
    outputs = {
        key: one if one.dtype.kind == "i" else one.astype(np.float32)
        for key, one in FAMILIES[name].items()
    }
    path = save(tmp_path / "net.onnx", outputs, record=record)
    detector = load_detector(f"onnx:{path}", HERE)
    assert detector.family == name.split()[0]
    found = detector.run(IMAGE)
    sure = found.scores > 0.5
    expected = [0, 2] if name in ("yolo", "yolo5") else [0, 1, 2]
    np.testing.assert_array_equal(found.ids[sure], IDS[expected])
    np.testing.assert_allclose(found.scores[sure], SCORES[expected], rtol=1e-5)
    np.testing.assert_allclose(found.boxes[sure], 2 * BOXES[expected], rtol=1e-4)
    assert detector.index_of("cat") == detector.index_of("1") == 1


def test_images_of_other_shapes_keep_their_proportions(tmp_path):
    path = save(tmp_path / "net.onnx", FAMILIES["torchvision"])
    detector = load_detector(f"onnx:{path}", HERE)
    for shape in ((64, 64), (30, 200), (1, 5000), (500, 7)):
        found = detector.run(np.zeros((*shape, 3), np.uint8))
        scale = min(64 / shape[0], 96 / shape[1])
        inner = max(1, int(shape[0] * scale)), max(1, int(shape[1] * scale))
        back = np.tile([shape[1] / inner[1], shape[0] / inner[0]], 2)
        np.testing.assert_allclose(found.boxes, BOXES * back, rtol=1e-6)


def test_pixels_are_given_as_the_network_was_trained(tmp_path):
    """The score is the mean of what it sees: of a white image, and of grey where there is none."""
    from onnx import helper

    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Constant", [], ["one"], value_ints=[1]),
        helper.make_node("Reshape", ["mean", "one"], ["scores"]),
    ]
    outputs = {"boxes": BOXES[:1], "labels": IDS[:1], "scores": "f"}
    white = np.full((64, 48, 3), 255, np.uint8)
    for record, expected in (
        (None, (1 + 114 / 255) / 2),
        ({"mean": [0.5] * 3, "std": [0.5] * 3}, 114 / 255),
        ({"input_range": [0, 255], "mean": [127.5] * 3, "std": [127.5] * 3}, 114 / 255),
    ):
        path = save(tmp_path / f"{expected}.onnx", outputs, nodes, record=record)
        (score,) = load_detector(f"onnx:{path}", HERE).run(white).scores
        assert score == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["FLOAT", "UINT8"])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 64, 96, 3),
        (1, None, None, 3),
        (None, None, None, None),
        (None, 64, None, 3),
        (64, 96, 3),
    ],
)
def test_channels_may_be_last(tmp_path, shape, kind):
    """The score is the mean of the blue ones, the box ends where the image that it got does."""
    from onnx import TensorProto, helper, numpy_helper

    def node(name, inputs, output, **settings):
        return helper.make_node(name, inputs, [output], **settings)

    def number(name, value):
        return node("Constant", [], name, value=numpy_helper.from_array(np.array(value)))

    single = len(shape) == 3
    nodes = [
        node("Transpose", ["images"], "first", perm=[2, 0, 1] if single else [0, 3, 1, 2]),
        node("Cast", ["first"], "real", to=TensorProto.FLOAT),
        number("blue", 2), number("sides", [2, 1] if single else [3, 2]), number("zero", [0.0] * 2),
        number("one", [[1]]), number("255", np.float32(255 if kind == "UINT8" else 1)),
        node("Gather", ["real", "blue"], "of blue", axis=0 if single else 1),
        node("ReduceMean", ["of blue"], "m", keepdims=0), node("Div", ["m", "255"], "mean"),
        number("row", [-1]), node("Reshape", ["mean", "row"], "scores"),
        node("Shape", ["first"], "extents"), node("Gather", ["extents", "sides"], "ends"),
        node("Cast", ["ends"], "far", to=TensorProto.FLOAT),
        node("Cast", ["zero"], "near", to=TensorProto.FLOAT),
        node("Concat", ["near", "far"], "corners", axis=0),
        number("table", [1, 4]), node("Reshape", ["corners", "table"], "boxes"),
        node("Reshape", ["one", "row"], "labels"),
    ]  # fmt: skip
    outputs = {"boxes": "f", "labels": "i", "scores": "f"}
    record = {"input_size": [3, 64, 96]}
    path = save(tmp_path / "net.onnx", outputs, nodes, shape, record=record, kind=kind)
    image = np.zeros((128, 192, 3), np.uint8)
    image[..., 2] = 204
    found = load_detector(f"onnx:{path}", HERE).run(image)
    np.testing.assert_allclose(found.boxes, [[0, 0, 192, 128]])
    np.testing.assert_allclose(found.scores, [0.8], rtol=1e-5)


def test_channels_are_turned_where_the_record_says_so(tmp_path):
    from onnx import helper

    nodes = [
        helper.make_node("Constant", [], ["first"], value_ints=[0]),
        helper.make_node("Gather", ["images", "first"], ["channel"], axis=1),
        helper.make_node("ReduceMax", ["channel"], ["most"], keepdims=0),
        helper.make_node("Constant", [], ["one"], value_ints=[1]),
        helper.make_node("Reshape", ["most", "one"], ["scores"]),
    ]
    outputs = {"boxes": BOXES[:1], "labels": IDS[:1], "scores": "f"}
    image = np.full((64, 96, 3), (255, 0, 51), np.uint8)
    for space, expected in (("RGB", 1), ("BGR", 0.2)):
        path = save(tmp_path / "net.onnx", outputs, nodes, record={"input_space": space})
        (score,) = load_detector(f"onnx:{path}", HERE).run(image).scores
        assert score == pytest.approx(expected, rel=1e-5)


OF_255 = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}


@pytest.mark.parametrize(
    ("name", "record", "words"),
    [
        ("yolo", {"image_mean": [0.5] * 3}, "not understood: image_mean"),
        ("yolo", {"do_normalize": False}, "not understood: do_normalize"),
        ("yolo", OF_255, r"(?s)mean, std cannot be.*input_range"),
        ("yolo", {"mean": [0.5] * 3, "input_range": [0, 255]}, r"(?s)for pixels from 0 to 1"),
        ("yolo", {"std": [-1, 1, 1]}, "std cannot be used"),
        ("yolo", {"input_space": "bgr"}, "input_space cannot be used"),
        ("yolo", {"input_size": [3, 320, 320]}, "takes images of 64 x 96 pixels"),
        ("torchvision", {"classes": ["person", "car"]}, r"(?s)background.*__background__.*class 0"),
        ("detr", {"classes": ["person", "car"]}, r"(?s)2 names.* 4 columns.*name all classes"),
        ("detr", {"classes": [*"abcdef"]}, r"6 names.* 4 columns"),
        ("detr-sigmoid", {"classes": [*"abc"]}, r'(?s)net.json does not say.*"mean": \[0, 0, 0\]'),
    ],
)
def test_a_record_is_followed_or_refused_by_name(tmp_path, name, record, words):
    outputs = {
        key: one if one.dtype.kind == "i" else one.astype(np.float32)
        for key, one in FAMILIES[name].items()
    }
    path = save(tmp_path / "net.onnx", outputs, record=record)
    with pytest.raises(BackboneError, match=words):
        load_detector(f"onnx:{path}", HERE)


def test_what_is_for_people_alone_and_another_range_that_is_stated_are_no_faults(tmp_path):
    record = {"_source": "me", "description": "mine", "input_size": [3, 64, 96]}
    for more in ({}, {**OF_255, "input_range": [0, 255]}):
        path = save(tmp_path / "net.onnx", FAMILIES["yolo"], record=record | more)
        load_detector(f"onnx:{path}", HERE)


def test_the_file_that_names_are_to_be_written_into_is_the_one_that_is_read(tmp_path, monkeypatch):
    save(tmp_path / "net.onnx", FAMILIES["torchvision"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackboneError) as caught:
        load_detector("onnx:net.onnx", HERE).index_of("person")
    hint = caught.value.hint
    assert "into net.json" in hint
    # Followed as it is written, it finds what torchvision calls 1.
    names = json.loads(hint.split("net.json: ")[1].replace(", ...", ""))
    (tmp_path / "net.json").write_text(json.dumps(names))
    assert load_detector("onnx:net.onnx", HERE).index_of("person") == 1


def test_names_come_from_the_file_as_ultralytics_writes_them(tmp_path):
    names = {"names": "{0: 'cup', 1: 'cat', 2: 'dog'}"}
    path = save(tmp_path / "net.onnx", FAMILIES["yolo"], metadata=names.items())
    assert load_detector(f"onnx:{path}", HERE).index_of("dog") == 2
    for names in ("__import__('os').system('false')", "[1, 2]", "{0: 'a', 2: 'b'}", "(" * 5000):
        path = save(tmp_path / "odd.onnx", FAMILIES["yolo"], metadata={"names": names}.items())
        assert load_detector(f"onnx:{path}", HERE).classes == ()


def test_classes_without_names_have_numbers(tmp_path):
    path = save(tmp_path / "net.onnx", FAMILIES["torchvision"])
    detector = load_detector(f"onnx:{path}", HERE)
    assert detector.index_of("17") == 17
    with pytest.raises(BackboneError, match=r"(?s)names of its classes.*--detect-class 1.*classes"):
        detector.index_of("person")


def test_an_unknown_class_is_refused_with_near_names(tmp_path):
    record = {"classes": ["cup", "person", "dog"]}
    path = save(tmp_path / "net.onnx", FAMILIES["yolo"], record=record)
    with pytest.raises(BackboneError, match=r"(?s)the class 'persons'.*did you mean person"):
        load_detector(f"onnx:{path}", HERE).index_of("persons")


@pytest.mark.parametrize(
    "outputs",
    [
        {"masks": np.zeros((1, 3, 8, 8), np.float32)},
        {"boxes": BOXES, "labels": IDS},
        {"finished": np.zeros((1, 300, 5), np.float32)},
        {"a": np.zeros((1, 5, 3), np.float32), "b": np.zeros((1, 6, 4), np.float32)},
        {"features": np.zeros((1, 1280), np.float32)},
    ],
)
def test_unknown_outputs_are_refused_with_what_was_found(tmp_path, outputs):
    path = save(tmp_path / "net.onnx", outputs)
    with pytest.raises(BackboneError, match="no detector that is known") as caught:
        load_detector(f"onnx:{path}", HERE)
    assert all(f"'{name}'" in caught.value.message for name in outputs)
    assert "DETR" in caught.value.hint


def test_what_is_no_detector_at_all_is_refused(tmp_path):
    with pytest.raises(BackboneError, match="write onnx:FILE"):
        load_detector("gluoncv:ssd_512_resnet50_v1_coco", HERE)
    with pytest.raises(MissingFileError):
        load_detector(f"onnx:{tmp_path}/none.onnx", HERE)
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(BackboneError, match="not a valid ONNX model"):
        load_detector(f"onnx:{tmp_path}/text.onnx", HERE)
    path = save(tmp_path / "net.onnx", FAMILIES["yolo"], shape=(8, 3, 64, 64))
    with pytest.raises(BackboneError, match=r"shape \[8, 3, 64, 64\]"):
        load_detector(f"onnx:{path}", HERE)
    path = save(tmp_path / "net.onnx", FAMILIES["yolo"], record={"mean": [1], "classes": "cat"})
    with pytest.raises(BackboneError, match="mean, classes cannot be used"):
        load_detector(f"onnx:{path}", HERE)


def test_a_detector_lies_in_the_folder_of_weights(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    save(tmp_path / "net.onnx", FAMILIES["torchvision"])
    assert load_detector("onnx:net.onnx", WeightsRequest(None, tmp_path)).family == "torchvision"
    # First there, as help says; a path that leads elsewhere is taken as it is.
    save(tmp_path / "here" / "net.onnx", FAMILIES["yolo"])
    monkeypatch.chdir(tmp_path / "here")
    assert load_detector("onnx:net.onnx", WeightsRequest(None, tmp_path)).family == "torchvision"
    named = f"onnx:{tmp_path}/here/net.onnx"
    assert load_detector(named, WeightsRequest(None, tmp_path)).family == "yolo"
    (tmp_path / "net.json").symlink_to("nowhere.json")
    with pytest.raises(MissingFileError, match=r"net.json"):
        load_detector(f"onnx:{tmp_path}/net.onnx", HERE)


@given(st.integers(0, 2**32 - 1))
def test_numbers_of_any_kind_become_no_box_or_a_sound_one(seed):
    rng = np.random.default_rng(seed)
    table = rng.normal(0, 200, (1, 30, 8)).astype(np.float32)
    table[..., :4][rng.uniform(size=(1, 30, 4)) < 0.1] = rng.choice([np.nan, np.inf, -np.inf, 3e38])
    table[..., 4:] = rng.uniform(size=(1, 30, 4))
    table[..., 4:][rng.uniform(size=(1, 30, 4)) < 0.1] = rng.choice([np.nan, np.inf])
    with np.errstate(all="ignore"):
        found = read_objects("yolo5", [table], (96, 64))
    box = choose_box(found, 1, DetectorOptions("onnx:x", "cat"), (100, 80))
    if box is not None:
        x0, y0, x1, y1 = box[0]
        assert 0 <= x0 < x1 <= 100
        assert 0 <= y0 < y1 <= 80


ONES = np.ones((3, 4), np.float32)
STRANGE = {
    "NaN in place of scores": ("torchvision", [ONES, np.array([1] * 3), ONES[0, :3] * np.nan]),
    "NaN in place of boxes": ("torchvision", [ONES * np.nan, np.array([1] * 3), ONES[0, :3]]),
    "boxes without an end": ("torchvision", [ONES * np.inf, np.array([1] * 3), ONES[0, :3]]),
    "NaN alone": ("yolo", [np.full((1, 6, 50), np.nan)]),
    "NaN as of a list": ("yolo-list", [np.full((1, 5, 6), np.nan)]),
    "logits that are NaN": ("detr", [np.full((1, 5, 3), np.nan), np.ones((1, 5, 4))]),
    "scores of a hundred": ("torchvision", [ONES, np.array([1] * 3), ONES[0, :3] * 100]),
    "logits for scores": ("yolo-batch", [np.array([[0, 1, 1, 9, 9, 1, 7.5]])]),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_is_no_score_is_refused_and_not_taken_for_an_empty_image(case):
    family, outputs = STRANGE[case]
    with pytest.raises(BackboneError, match=r"(none has numbers and a score|from 0 to 1)"):
        read_objects(family, outputs, (64, 64))


SHARES = np.array([[0.1, 0.2, 0.5, 0.6], [0, 0, 1.02, 1], [0, 0, 0, 0]])


@pytest.mark.parametrize("family", ["torchvision", "yolo-list", "yolo-batch"])
def test_corners_that_are_shares_of_the_image_are_refused(family):
    ids, scores = np.array([1, 1, 0]), np.array([0.9, 0.8, 0.0])
    outputs = {
        "torchvision": [SHARES, ids, scores],
        "yolo-list": [np.c_[SHARES, scores, ids][None]],
        "yolo-batch": [np.c_[np.zeros(3), SHARES, ids, scores]],
    }[family]
    with pytest.raises(BackboneError, match=r"reach 1.02 of 96 pixels: they are not in pixels"):
        read_objects(family, outputs, (96, 64))


def test_a_list_that_is_filled_up_with_zeros_is_an_image_with_nothing_in_it():
    assert not read_objects("yolo-list", [np.zeros((1, 300, 6))], (96, 64)).scores.any()


def test_classes_that_are_no_whole_numbers_are_none():
    rows = np.array([[[1, 1, 9, 9, 0.9, 1.4], [1, 1, 8, 8, 0.9, 0.9999], [1, 1, 7, 7, 0.9, 1e30]]])
    assert read_objects("yolo-list", [rows], (64, 64)).ids.tolist() == [-1, 1, -1]


def mistaken() -> dict:
    """Return what reads well and means something else, by the words of its refusal."""
    rng = np.random.default_rng(0)
    low, size = rng.uniform(0, 500, (60, 2)), rng.uniform(20, 140, (60, 2))
    corners, widths = np.c_[low, low + size], np.c_[low, size]
    ids, scores = np.zeros(60, int), np.linspace(0.95, 0.4, 60)
    each, logits = rng.uniform(0, 0.9, (60, 3)), rng.normal(size=(1, 60, 4))
    filled = np.zeros((240, 6))
    return {
        "corner and size": ("torchvision", [widths, ids, scores], "end before they begin"),
        "of a list": ("yolo-list", [np.c_[widths, scores, ids][None]], "end before they begin"),
        "class, then score": (
            "yolo-list", [np.r_[np.c_[corners, ids, scores], filled][None]], "no whole numbers"
        ),
        "score, then class": (
            "yolo-batch", [np.c_[ids, corners, scores, ids]], "no whole numbers"
        ),
        "corners of a grid": ("yolo", [np.c_[corners, each].T[None]], "look like corners"),
        "corners behind scores": (
            "yolo5", [np.c_[corners, scores, each][None]], "look like corners"
        ),
        "shares of corners": ("detr", [logits, corners[None] / 640], "look like corners"),
        "pixels": ("detr", [logits, widths[None]], "shares of the image"),
    }  # fmt: skip


@pytest.mark.parametrize("case", mistaken())
def test_numbers_in_another_order_or_form_are_refused(case):
    family, outputs, words = mistaken()[case]
    with pytest.raises(BackboneError, match=words):
        read_objects(family, outputs, (640, 640))


def test_large_boxes_that_lie_in_the_image_are_centres():
    """As a detector of pages answers, each of which fills its photograph."""
    page = np.tile([0.5, 0.5, 0.9, 0.95], (100, 1)) + np.linspace(-0.02, 0.02, 100)[:, None]
    found = read_objects("detr", [np.zeros((1, 100, 2)), page[None]], (640, 640))
    np.testing.assert_allclose(found.boxes.mean(axis=0), [32, 16, 608, 624], atol=1e-6)


# The layouts that are published, at 640 pixels.
LAYOUTS = [
    ((1, 25200, 85), 80, "yolo5"),  # YOLOv5 and v7
    ((1, 25200, 85), 0, "yolo5"),
    ((1, 25200, 6), 1, "yolo5"),  # of a single class
    ((1, 25200, 6), 0, "yolo5"),
    ((1, 84, 8400), 80, "yolo"),  # YOLOv8, v9, 11
    ((1, 84, 8400), 0, "yolo"),
    ((1, 5, 8400), 1, "yolo"),
    ((1, 300, 6), 80, "yolo-list"),  # YOLOv8 with nms=True, YOLOv10
    ((1, 300, 6), 0, "yolo-list"),
]


@pytest.mark.parametrize(("shape", "classes", "family"), LAYOUTS)
def test_published_layouts_of_yolo_are_told_apart(shape, classes, family):
    assert family_of([("output0", "float32", shape)], classes) == family


@pytest.mark.parametrize(
    ("width", "classes", "family"),
    [(92, 91, "detr"), (80, 80, "detr-sigmoid"), (91, 91, "detr-sigmoid")],
)
def test_logits_of_detr_are_told_apart_by_the_names_of_classes(width, classes, family):
    shapes = [("logits", "float32", (1, 100, width)), ("pred_boxes", "float32", (1, 100, 4))]
    assert family_of(shapes, classes) == family
    with pytest.raises(BackboneError, match=f"{width - 1} classes and one for nothing") as caught:
        family_of(shapes, 0)
    assert '"classes"' in caught.value.hint


def test_boxes_that_are_not_in_pixels_are_refused():
    """YOLOX exports parts of cells unless it is told to decode them."""
    rng = np.random.default_rng(0)
    table = np.c_[rng.uniform(0, 1, (8400, 4)), np.ones((8400, 1)), rng.uniform(size=(8400, 3))]
    with pytest.raises(BackboneError, match=r"reach 1 of 640 pixels: they are not in pixels"):
        read_objects("yolo5", [table[None]], (640, 640))


@pytest.mark.parametrize("white", [0, 1, 2, 7])
def test_lists_that_hang_on_the_image_are_of_one_length(tmp_path, white):
    """The labels are as many as the picture's white pixels, the boxes and scores three."""
    from onnx import helper, numpy_helper

    def constant(name, value):
        held = numpy_helper.from_array(np.array(value), name)
        return helper.make_node("Constant", [], [name], value=held)

    nodes = [
        constant("full", np.float32(2.9)),
        constant("axis", np.array([1])),
        constant("first", np.array([0])),
        helper.make_node("ReduceSum", ["images", "axis"], ["sums"], keepdims=0),
        helper.make_node("Greater", ["sums", "full"], ["there"]),
        helper.make_node("NonZero", ["there"], ["places"]),
        helper.make_node("Gather", ["places", "first"], ["rows"], axis=0),
        helper.make_node("Squeeze", ["rows", "first"], ["labels"]),
    ]
    outputs = {"boxes": BOXES, "labels": "i", "scores": SCORES}
    path = save(tmp_path / "net.onnx", outputs, nodes, shape=(1, 3, 8, 8))
    image = np.zeros((8, 8, 3), np.uint8)
    image.reshape(-1, 3)[:white] = 255
    with pytest.raises(BackboneError, match=r"outputs are of 0, 3 objects, in one image"):
        load_detector(f"onnx:{path}", HERE)
    # The first picture, of noise, has none: then there are no boxes either.
    nodes[-1:] = [
        helper.make_node("Squeeze", ["rows", "first"], ["labels"]),
        helper.make_node("Cast", ["labels"], ["scores"], to=1),
        constant("four", np.array([1, 4])),
        constant("last", np.array([1])),
        helper.make_node("Unsqueeze", ["scores", "last"], ["column"]),
        helper.make_node("Expand", ["column", "four"], ["all"]),
        constant("most", np.array([2])),
        helper.make_node("Slice", ["all", "first", "most"], ["boxes"]),
    ]
    path = save(tmp_path / "net.onnx", dict(boxes="f", labels="i", scores="f"), nodes, (1, 3, 8, 8))
    detector = load_detector(f"onnx:{path}", HERE)
    if white <= 2:
        assert len(detector.run(image).ids) == white
    else:
        with pytest.raises(BackboneError, match=r"outputs are of 2, 7 objects, in one image"):
            detector.run(image)


def test_unusable_options_are_named_at_once():
    with pytest.raises(BackboneError, match=r"rule 'first' .*; threshold 2 \(0 to 1\)"):
        DetectorOptions("onnx:x", "person", "first", 2)


@pytest.fixture
def person(tmp_path):
    """A detector of red squares, which it calls persons, as torchvision's answer."""
    from onnx import helper, numpy_helper

    def constant(name, value):
        held = numpy_helper.from_array(np.array(value), name)
        return helper.make_node("Constant", [], [name], value=held)

    red = np.array([1, -1, -1], np.float32).reshape(1, 3, 1, 1)
    nodes = [
        constant("red", red),
        constant("most", np.float32(0.9)),
        constant("one", np.int64(1)),
        constant("sure", np.float32(0.875)),
        constant("flat", np.array([1])),
        constant("row", np.array([1, 4])),
        helper.make_node("Mul", ["images", "red"], ["signed"]),
        constant("axis", np.array([1])),
        helper.make_node("ReduceSum", ["signed", "axis"], ["redness"], keepdims=0),
        helper.make_node("Greater", ["redness", "most"], ["there"]),
        helper.make_node("Cast", ["there"], ["mask"], to=1),
        helper.make_node("ReduceMax", ["mask"], ["any"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["any", "sure"], ["scores"]),
    ]
    for axis, across in (("x", 1), ("y", 2)):
        nodes.append(helper.make_node("ReduceMax", ["mask"], [axis], axes=[across], keepdims=0))
        for end, last in (("0", 0), ("1", 1)):
            nodes.append(
                helper.make_node(
                    "ArgMax", [axis], [axis + end], axis=1, keepdims=0, select_last_index=last
                )
            )
        nodes.append(helper.make_node("Add", [axis + "1", "one"], [axis + "2"]))
    nodes += [
        helper.make_node("Concat", ["x0", "y0", "x2", "y2"], ["corners"], axis=0),
        helper.make_node("Cast", ["corners"], ["numbers"], to=1),
        helper.make_node("Reshape", ["numbers", "row"], ["boxes"]),
    ]
    outputs = {"boxes": "f", "labels": np.array([1]), "scores": "f"}
    path = save(
        tmp_path / "red.onnx",
        outputs,
        nodes,
        shape=(1, 3, 200, 200),
        record={"classes": ["__background__", "person"]},
    )
    return DetectorOptions(f"onnx:{path}")


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


def test_the_table_holds_what_was_found_and_what_was_not(squares, tmp_path, person):
    root, places = squares
    manifest = manifests.read(root)
    assert detect_boxes(manifest, tmp_path / "b.csv", person, HERE) == 6
    found = read_boxes(tmp_path / "b.csv", manifest)
    assert found.pop("b/5.png") is None
    assert set(found) == set(places)
    for identity, box in found.items():
        assert np.abs(np.subtract(box, places[identity])).max() <= 1
    rows = {row["path"]: row for row in csv.DictReader(open(tmp_path / "b.csv"))}
    assert (rows["a/0.png"]["score"], rows["a/0.png"]["class"]) == ("0.8750", "person")
    assert rows["b/5.png"] == {**dict.fromkeys(rows["a/0.png"], ""), "path": "b/5.png"}


def test_lines_that_are_there_are_kept_and_not_looked_at_again(squares, tmp_path, person):
    root, _ = squares
    table = tmp_path / "b.csv"
    mine = "class,path,note,x0,y0,x1,y1\r\n,a/0.png,by hand,1,2,30,40\r\n,b/1.png,whole,,,,"
    table.write_bytes(mine.encode())
    assert detect_boxes(manifests.read(root), table, person, HERE) == 4
    text = table.read_bytes().decode()
    assert text.replace("\r\n", "\n").startswith(mine.replace("\r\n", "\n") + "\n")
    rows = {row["path"]: row for row in csv.DictReader(open(table))}
    assert rows["a/2.png"]["class"] == "person"
    assert rows["a/2.png"]["note"] == ""
    assert detect_boxes(manifests.read(root), table, person, HERE) == 0


def test_a_faulty_table_is_refused_before_anything_is_detected(squares, tmp_path, person):
    table = tmp_path / "b.csv"
    table.write_text("path,x0,y0,x1,y1\nb/1.png,0,0,900,10\n")
    with pytest.raises(ManifestError, match="reaches out"):
        detect_boxes(manifests.read(squares[0]), table, person, HERE)
    assert "person" not in table.read_text()


def test_an_interruption_keeps_what_was_found(squares, tmp_path, person):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    table = tmp_path / "b.csv"
    with pytest.raises(KeyboardInterrupt):
        detect_boxes(manifests.read(squares[0]), table, person, HERE, on_detect=stop)
    assert len(list(csv.DictReader(open(table)))) == 3
    assert detect_boxes(manifests.read(squares[0]), table, person, HERE) == 3


def test_unreadable_images_get_no_line(squares, tmp_path, person):
    (squares[0] / "a" / "0.png").write_bytes(b"")
    table = tmp_path / "b.csv"
    detect_boxes(manifests.read(squares[0]), table, person, HERE)
    assert "a/0.png" not in table.read_text()


def test_extract_cuts_to_what_the_detector_finds(squares, tmp_path, person, tiny_onnx):
    root, _ = squares
    table, seen = tmp_path / "b.csv", []
    spec = [f"onnx:{tiny_onnx}"]

    class Listener(jobs.ProgressListener):
        def on_detect(self, *counts):
            seen.append(counts)

    options = jobs.ExtractOptions(boxes=table, detector=person)
    report = jobs.extract(root, tmp_path / "c", spec, options, Listener())
    assert (report.boxed, report.rows) == (5, 6)
    assert seen[-1] == (6, 6)
    # The corrected table is used alone.
    table.write_text(table.read_text().replace(",30,", ",29,", 1))
    again = jobs.extract(root, tmp_path / "c", spec, jobs.ExtractOptions(boxes=table))
    assert (again.boxed, again.computed) == (5, 1)


def test_a_detector_without_a_place_for_its_boxes_is_refused(person):
    with pytest.raises(BackboneError, match=r"(?s)boxes, the file for what.*--boxes FILE"):
        jobs.ExtractOptions(detector=person)


def test_the_command_runs_a_detector(squares, tmp_path, tiny_onnx, capsys, person):
    from icecore.cli.main import main

    main([
        "extract", str(squares[0]), "-o", str(tmp_path / "c"), "-b", f"onnx:{tiny_onnx}",
        "--boxes", str(tmp_path / "b.csv"), "--detector", person.detector, "--json",
    ])  # fmt: skip
    report = json.loads(capsys.readouterr().out)
    assert (report["boxed"], report["rows"]) == (5, 6)

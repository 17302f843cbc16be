from __future__ import annotations

import csv
import json

import pytest

from icecore import demo
from icecore.demo.dataset import draw_kinds
from icecore.manifest import read, read_boxes

pytest.importorskip("PIL.Image", reason="drawing needs Pillow")


def test_the_same_cut_is_another_class_from_behind(tmp_path):
    table = draw_kinds(24, 10, 3, tmp_path / "kinds")
    data = read(table)
    assert len(data.images) == 24
    assert {sample.group for sample in data} == {"front", "behind"}
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    # Cuts take turns; their names in front are those of other cuts from behind.
    for turn in range(4):
        own = {(row["group"], row["label"]) for row in rows[turn::4]}
        assert len({label for _, label in own}) == len({kind for kind, _ in own})
    necks = read_boxes(table.with_name("necks.csv"), data)
    assert len(necks) == 10
    assert draw_kinds(24, 10, 3, tmp_path / "kinds") == table


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory):
    pytest.importorskip("onnxruntime", reason="backbones need an engine")
    out = tmp_path_factory.mktemp("demo") / "demo"
    return out, demo.run_demo(out)


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["tuned", "recommended", "average"])
def test_what_is_said_of_an_answer_holds_on_the_test_split(demonstrated, answer):
    """What out-of-fold rows say of it lies in the 95% interval of the test rows."""
    out, _ = demonstrated
    tasks = json.loads((out / "run/blend.json").read_text())["tasks"]
    assert len(tasks) == 3
    for task in tasks:
        assert task["rows"]["tuning_rows_are"].startswith("out-of-fold")
        assert task["estimate"]["source"] == "test split"
        said, found = task["scores"][answer]["tuning"], task["estimate"]["scores"][answer]
        for metric in ("log_loss", "accuracy"):
            assert found[metric]["low"] <= said[metric] <= found[metric]["high"], task["task"]
        # Few rows have mAPs near 1, which intervals are narrow at: it does not flatter.
        assert said["map"] <= found["map"]["high"]


@pytest.mark.slow
def test_groups_and_regions_gain_beyond_noise_on_the_drawings(demonstrated):
    _, found = demonstrated
    low, high = found.groups["gain"]["interval"]
    assert 0 < low < found.groups["gain"]["log_loss"] < high
    gain, low, high = found.regions.gain
    assert 0 < low < gain < high
    necks, whole = found.regions.log_loss
    assert whole - necks == pytest.approx(gain)
    assert found.regions.mean_iou > 0.75

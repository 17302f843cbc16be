from __future__ import annotations

import csv

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


@pytest.mark.slow
def test_groups_and_regions_gain_beyond_noise_on_the_drawings(tmp_path):
    pytest.importorskip("onnxruntime", reason="backbones need an engine")
    found = demo.run_demo(tmp_path / "demo")
    low, high = found.groups["gain"]["interval"]
    assert 0 < low < found.groups["gain"]["log_loss"] < high
    gain, low, high = found.regions.gain
    assert 0 < low < gain < high
    necks, whole = found.regions.log_loss
    assert whole - necks == pytest.approx(gain)
    assert found.regions.mean_iou > 0.75

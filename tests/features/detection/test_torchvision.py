"""Real detectors of torchvision, exported by torch: the boxes are torchvision's own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from repository import ROOT

from icecore.features.detection.network import load_detector
from icecore.features.weights.request import WeightsRequest

# It may be there and fail to import: see the program.
if not all(map(importlib.util.find_spec, ("torch", "torchvision"))):
    pytest.skip("the export needs torch and torchvision", allow_module_level=True)

EXPORT = ROOT / "tests" / "helpers" / "export_torchvision.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "ssdlite320_mobilenet_v3_large",
        "retinanet_resnet50_fpn",
        "fcos_resnet50_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn",
    ],
)
def test_boxes_are_those_of_torchvision(tmp_path, name):
    done = subprocess.run([sys.executable, EXPORT, name, tmp_path], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    detector = load_detector(f"onnx:{tmp_path / name}.onnx", WeightsRequest())
    assert (detector.family, detector.side) == ("torchvision", (320, 320))
    expected = np.load(tmp_path / f"{name}.npz")
    found = detector.run(expected["image"])
    # With two stages one box of 31 is another; perhaps overlap is rounded about its bound.
    stages = "rcnn" in name
    assert len(found.boxes) == len(expected["boxes"]) > 20
    if not stages:
        np.testing.assert_allclose(np.sort(found.scores), np.sort(expected["scores"]), atol=1e-4)
    # Of equal scores either may come first.
    apart = np.abs(expected["boxes"][:, None] - found.boxes).max(axis=2)
    apart[expected["labels"][:, None] != found.ids] = np.inf
    assert (apart.min(axis=1) < 0.5).mean() > 0.95

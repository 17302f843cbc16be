"""Regions learnt from 200 boxes of drawn garments, where the true boxes are known.

``python benchmarks/features/regions.py --network onnx:efficientnet_lite0.onnx`` draws them, learns
necks (for the task neckline design) and hems (skirt length) from 200 boxes each, and prints the
intersection over union on all other images, and the accuracy, out of fold, of one head on the
features of true boxes, of found boxes, and of whole images. Both bars are asserted.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path

import numpy as np

from icecore import demo, jobs
from icecore.manifest import read, read_boxes
from icecore.runs import open_run

PARTS = {"necks": "neckline_design_labels", "hems": "skirt_length_labels"}
LEARNT_FROM = 200
LEAST_IOU, MOST_LOST = 0.75, 0.02


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = [(b[:, 2:] - b[:, :2]).prod(axis=1) for b in (first, second)]
    return shared / (areas[0] + areas[1] - shared)


def write_boxes(path: Path, boxes: dict) -> Path:
    lines = [",".join(map(str, (name, *box))) for name, box in boxes.items()]
    path.write_text("\n".join(["path,x0,y0,x1,y1", *lines]) + "\n")
    return path


def accuracy(data: Path, table: Path, folder: Path, network: str, boxes: Path | None):
    options = jobs.ExtractOptions(fit="pad", boxes=boxes)
    report = jobs.extract(table, folder / "cache", [network], options)
    train = jobs.TrainOptions(heads=("kernel",), overwrite=True)
    jobs.train(folder / "cache", table, folder / "run", train)
    return open_run(folder / "run").leaderboard()["accuracy"][0], report


def measure(part: str, root: Path, scratch: Path, network: str) -> None:
    manifest = read(root)
    true = read_boxes(root / "Regions" / f"{part}.csv", manifest)
    shown = [s for s in manifest if s.task == PARTS[part] and s.label and s.id in true]
    table = scratch / "samples.csv"
    lines = [f"{Path(s.path).resolve()},{s.label}" for s in shown]
    table.write_text("\n".join(["path,label", *lines]) + "\n")
    boxes = {str(Path(s.path).resolve()): true[s.id] for s in shown}
    some = dict(list(boxes.items())[:LEARNT_FROM])
    every, few = write_boxes(scratch / "all.csv", boxes), write_boxes(scratch / "some.csv", some)
    began = time.process_time()
    fitted = jobs.fit_regions(table, few, network, scratch / part)
    print(
        f"{part}: {len(shown)} images, learnt from {len(some)} boxes in "
        f"{time.process_time() - began:.1f} processor seconds; out of fold "
        f"{fitted.regions.figures['mean_iou']:.3f}"
    )
    reached = {}
    for name, source in (("true", every), ("found", scratch / part), ("whole", None)):
        reached[name], report = accuracy(root, table, scratch / name, network, source)
        if name == "found":
            with open(report.boxes, newline="") as file:
                rows = {row["path"]: row for row in csv.DictReader(file)}
            names = [n for n in boxes if n not in some and rows[n]["x0"]]
            found = np.array([[int(rows[n][c]) for c in ("x0", "y0", "x1", "y1")] for n in names])
            iou = overlap(found, np.array([boxes[n] for n in names]))
            others = len(boxes) - len(some)
            print(
                f"  other images: mean IoU {iou.mean():.3f}, above 0.5 {(iou > 0.5).mean():.1%}, "
                f"{others - len(names)} of {others} whole"
            )
    print("  accuracy: " + ", ".join(f"{name} {value:.4f}" for name, value in reached.items()))
    assert iou.mean() >= LEAST_IOU
    assert reached["found"] >= reached["true"] - MOST_LOST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", required=True)
    parser.add_argument("--images", type=int, default=4800)
    parser.add_argument("--seed", type=int, default=303)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = demo.draw(given.images, given.seed, Path(folder) / "data").root
        for part in PARTS:
            scratch = Path(folder) / part
            scratch.mkdir()
            measure(part, root, scratch, given.network)


if __name__ == "__main__":
    main()

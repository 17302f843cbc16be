"""Export a detector of torchvision with random weights, and save what it finds in an image.

Runs as a program: ``export_torchvision.py NAME FOLDER`` writes ``NAME.onnx`` and ``NAME.npz``
(image uint8 (H, W, 3), boxes, labels, scores). Where torchvision's library does not load beside
torch's CPU build, its two operators that detectors need are done in Python; their ONNX forms are
torchvision's own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

import numpy as np

# What is compiled cannot be traced for the export.
os.environ["TORCHDYNAMO_DISABLE"] = "1"
import torch

SIDE, CLASSES = 320, 5


def nms(boxes, scores, iou_threshold):
    """Keep the most confident of boxes that share more than `iou_threshold`."""
    order, kept = scores.argsort(descending=True, stable=True), []
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(first)
        low = torch.maximum(boxes[first, :2], boxes[rest, :2])
        high = torch.minimum(boxes[first, 2:], boxes[rest, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        # Boxes of no size share nothing with any other: 0 / 0 is not above the threshold.
        order = rest[~(shared / (area[first] + area[rest] - shared) > iou_threshold)]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.long)


def has_operators() -> bool:
    """Say so: torch compiles this function."""
    return True


def use_python_operators(folder: Path) -> list:
    """Declare what torchvision's import looks for, and do `nms` and `roi_align` in Python."""
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CompositeExplicitAutograd")
    library.define(
        "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
        "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor"
    )
    text = (folder / "_meta_registrations.py").read_text()
    names = re.findall(
        r'(?:register_meta\(|register_fake\("torchvision::|ops\.torchvision\.)"?(\w+)', text
    )
    for name in sorted({*names} - {"nms", "roi_align"}):
        library.define(f"{name}(Tensor x) -> Tensor")
    import torchvision.extension
    from torchvision.ops.roi_align import _roi_align

    library.impl("roi_align", _roi_align, "CompositeExplicitAutograd")
    torchvision.extension._has_ops = has_operators
    # It took the name when it was imported, and would be traced as many small operators.
    sys.modules["torchvision.ops.roi_align"]._has_ops = has_operators
    return [library]


def spread_scores(net, pixels) -> None:
    """Scale a random network so that its scores and boxes differ from place to place."""
    norms = [one for one in net.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    for one in norms:
        one.momentum = 1.0
    net.backbone.train()
    net.backbone(torch.stack([pixels, pixels.flip(1)]))
    net.eval()
    for name, weights in net.named_parameters():
        last = re.search(r"(cls_logits|cls_score|bbox_pred|classification_head.*1)\.weight", name)
        if last and "norm" not in name:
            # Of two stages the second sees what the first has spread already.
            spread = (0.3, 0.1) if hasattr(net, "rpn") else (1, 0.3)
            weights.normal_(0, spread["cls" not in name] / weights[0].numel() ** 0.5)


def main(name: str, out: Path) -> None:
    spec = importlib.util.find_spec("torchvision")
    folder = Path(spec.submodule_search_locations[0])
    try:
        kept = [torch.ops.load_library(str(folder / "_C.so"))]
    except OSError:
        kept = use_python_operators(folder)
    from torchvision.models import detection

    torch.manual_seed(0)
    torch.set_num_threads(1)
    options = {"box_score_thresh" if "rcnn" in name else "score_thresh": 0.01}
    options |= {} if "ssd" in name else {"min_size": SIDE, "max_size": SIDE}
    build = getattr(detection, name)
    net = build(weights=None, weights_backbone=None, num_classes=CLASSES, **options).eval()
    rng = np.random.default_rng(0)
    image = (
        rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(SIDE // 8, 0).repeat(SIDE // 8, 1)
    )
    pixels = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255)
    with torch.no_grad():
        spread_scores(net, pixels)
        torch.onnx.export(
            net, ([pixels],), str(out / f"{name}.onnx"), opset_version=17, dynamo=False
        )
        found = net([pixels])[0]
    arrays = {key: value.numpy() for key, value in found.items()}
    np.savez(out / f"{name}.npz", image=image, **arrays)
    del kept


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

"""Images with a bright square somewhere, and the square's box."""

from __future__ import annotations

import numpy as np
from PIL import Image


def draw_squares(root, count, seed=0, shown=True):
    """Write grey images, most with a red or a green square; return the boxes by id."""
    rng = np.random.default_rng(seed)
    boxes = {}
    for number in range(count):
        label = ("red", "green")[number % 2]
        height, width = ((60, 80), (80, 60))[number % 3 == 0]
        image = rng.integers(90, 160, (height, width, 3), dtype=np.uint8)
        side = int(rng.integers(22, 30))
        left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        name = f"{label}/{seed}-{number:03}.png"
        if shown:
            image[top : top + side, left : left + side] = (20, 20, 20)
            image[top : top + side, left : left + side, number % 2] = 255
            boxes[name] = (left, top, left + side, top + side)
        else:
            boxes[name] = None
        (root / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / name)
    return boxes


def write_table(path, boxes):
    lines = ["path,x0,y0,x1,y1"]
    lines += [
        f"{name}," + (",".join(map(str, box)) if box else ",,,") for name, box in boxes.items()
    ]
    path.write_text("\n".join(lines) + "\n")
    return path

"""Photographs of two classes that differ in one colour."""

from pathlib import Path

import numpy as np
from PIL import Image


def draw_two_colours(photos: Path, count: int = 8) -> Path:
    """Draw `count` pictures each of cats, which are red, and dogs, which are green."""
    rng = np.random.default_rng(0)
    for name, colour in (("cat", 0), ("dog", 1)):
        (photos / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 120, (20, 20, 3), dtype=np.uint8)
            pixels[..., colour] += 100
            Image.fromarray(pixels).save(photos / name / f"{number}.png")
    return photos

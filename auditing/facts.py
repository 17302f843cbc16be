"""Simple facts of picture files: what a network could go by instead of what is shown."""

from collections.abc import Callable, Sequence

import numpy as np

from ..pages import FILE_SIZE, FULL_SIZE, opened_safely

FACTS = (
    "width",
    "height",
    "shape (width / height)",
    "bytes a pixel",
    "JPEG quantisation",
    "brightness",
    "contrast",
    "colourfulness",
    "sharpness",
    "brightness of the border",
    "evenness of the border",
)
_SIDE = 96
_BORDER = 4


def read_facts(
    paths: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Return the facts of each picture, (N, F); rows of NaN where a file cannot be read."""
    table = np.full((len(paths), len(FACTS)), np.nan)
    for row, path in enumerate(paths):
        try:
            table[row] = _facts(path)
        except Exception:  # decoders raise all kinds of errors; nothing is known of such a file
            continue
        finally:
            if progress is not None:
                progress(row + 1, len(paths))
    return table


def _facts(path: str) -> list[float]:
    with opened_safely(path, _SIDE) as image:
        (width, height), size = image.info[FULL_SIZE], image.info[FILE_SIZE]
        tables = getattr(image, "quantization", None) or {}
        coarse = float(np.mean([np.mean(table) for table in tables.values()])) if tables else 0.0
        small = image.convert("RGB").resize((_SIDE, _SIDE))
    pixels = np.asarray(small, np.float32) / 255
    grey = pixels.mean(axis=2)
    border = np.ones_like(grey, bool)
    border[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    edge = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
    colour = (pixels.max(axis=2) - pixels.min(axis=2)).mean()
    even = _unevenness(grey)
    look = [grey.mean(), grey.std(), colour, edge, grey[border].mean(), even]
    return [width, height, width / height, size / (width * height), coarse, *map(float, look)]


def _unevenness(grey: np.ndarray) -> float:
    """Return how much the outermost pixels vary along each side, on average."""
    sides = (grey[:2], grey[-2:], grey[:, :2], grey[:, -2:])
    return float(np.mean([side.std() for side in sides]))

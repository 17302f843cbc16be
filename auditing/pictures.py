"""Whether two files show one photograph: cut, scaled, mirrored, brightened or compressed again.

One picture is looked for inside the other, first on a coarse grid of sizes and places, then
step by step; what counts is the correlation of the fine structure (each pixel less the mean
around it), since the coarse one is alike for any two shirts on one background.
"""

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import uniform_filter

from ..manifest import parse_box
from ..pages import load_pillow, opened_safely

_COARSE, _FINE = 32, 64
_SHARES = (1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65)
_MOVES = ((1, 0, 0, 0), (0, 1, 0, 0), (-0.5, 0, 1, 0), (0, -0.5, 0, 1), (-0.5, -0.5, 1, 1))
_FIRST_STEP, _LAST_STEP = 0.03, 0.004
# Two pictures that agree no better than this at a local best are not followed up.
_HOPELESS = 0.15


def agreement(one: tuple[str, str], other: tuple[str, str]) -> float | None:
    """Return how well the fine structure of two pictures agrees, up to 1.

    Parameters
    ----------
    one, other : (path, box)
        Of each picture; an empty box is the whole of it.

    Returns
    -------
    float or None
        None if one of them cannot be looked at.
    """
    first, second = _grey(*one), _grey(*other)
    if first is None or second is None:
        return None
    mirrored = second.transpose(0)  # PIL's FLIP_LEFT_RIGHT
    tries = []
    for turned in (second, mirrored):
        for whole, part in ((first, turned), (turned, first)):
            found, box = _coarse(whole, part)
            if box is not None:
                tries.append((found, whole, part, box))
    tries.sort(key=lambda entry: -entry[0])
    return max((_fine(*entry[1:]) for entry in tries[:3]), default=0.0)


@lru_cache(maxsize=256)
def _grey(path: str, box: str):
    """Return a picture in grey, at most 256 pixels each way, or None."""
    try:
        pillow = load_pillow()
        with opened_safely(path, 10**6 if box else 128) as image:
            upright = pillow.ImageOps.exif_transpose(image)
            if box:
                upright = upright.crop(parse_box(box))
            small = upright.convert("L")
    except Exception:  # no Pillow, or any error of a decoder: such a picture is not compared
        return None
    scale = 256 / max(small.size)
    if scale < 1:
        sides = [max(1, round(side * scale)) for side in small.size]
        small = small.resize(sides, pillow.Image.Resampling.BOX)
    return small


def _pixels(image, width: int, height: int, box=None) -> np.ndarray:
    smooth = load_pillow().Image.Resampling.BOX
    return np.asarray(image.resize((width, height), smooth, box=box), np.float32)


def _coarse(whole, part) -> tuple[float, tuple | None]:
    """Look for `part` in `whole` on a grid; return the correlation and the place, in shares."""
    scale = _COARSE / max(whole.size)
    place = _pixels(whole, *(max(1, round(side * scale)) for side in whole.size))
    high, wide = place.shape
    ratio = part.width / part.height
    best, box = -1.0, None
    for share in _SHARES:
        width = round(wide * share)
        height = round(width / ratio)
        if height > high:
            height = high
            width = min(round(high * ratio), wide)
        if width * height < 0.35 * place.size:
            continue
        found, y, x = _slide(place, _pixels(part, width, height))
        if found > best:
            best, box = found, (x / wide, y / high, width / wide, height / high)
    return best, box


def _slide(whole: np.ndarray, part: np.ndarray) -> tuple[float, int, int]:
    windows = sliding_window_view(whole, part.shape)
    flat = windows.reshape(-1, part.size)
    wanted = (part - part.mean()).ravel()
    spread = np.sqrt(np.maximum(flat.var(axis=1) * part.size, 1e-3))
    found = flat @ wanted / spread / max(float(np.linalg.norm(wanted)), 1e-3)
    best = int(found.argmax())
    return float(found[best]), *divmod(best, windows.shape[1])


def _fine(whole, part, box: tuple) -> float:
    """Move and scale the box step by step to where the fine structure agrees best."""
    wanted = _structure(_pixels(part, _FINE, _FINE))
    width, height = whole.size

    def value(place: tuple) -> float:
        x, y = (min(max(corner, 0), 0.8) for corner in place[:2])
        w, h = min(place[2], 1 - x), min(place[3], 1 - y)
        cut = (x * width, y * height, (x + w) * width, (y + h) * height)
        return _correlation(_structure(_pixels(whole, _FINE, _FINE, cut)), wanted)

    best, step = value(box), _FIRST_STEP
    while step > _LAST_STEP:
        moved = False
        for move in _MOVES:
            for length in (step, -step):
                place = tuple(side + length * part for side, part in zip(box, move))
                if min(place[2:]) > 0.2 and (found := value(place)) > best:
                    best, box, moved = found, place, True
        if not moved:
            step /= 2
            if best < _HOPELESS:
                break
    return best


def _structure(pixels: np.ndarray, side: int = 5) -> np.ndarray:
    """Return each pixel less the mean of the square around it."""
    edge = side // 2
    return (pixels - uniform_filter(pixels, side))[edge:-edge, edge:-edge]


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = (one - one.mean()).ravel(), (other - other.mean()).ravel()
    return float(one @ other) / max(float(np.sqrt((one @ one) * (other @ other))), 1e-3)

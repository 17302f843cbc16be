"""How an image meets a square input."""

import numpy as np

from .libraries import load_opencv
from .preprocessing import Preprocessing

FITS = ("crop", "pad", "squash")


def fit_image(image: np.ndarray, preprocessing: Preprocessing, fit: str) -> np.ndarray:
    """Make an image the square that a backbone takes.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
    preprocessing : Preprocessing
        Its resolution, crop_pct, interpolation and mean are used.
    fit : {"crop", "pad", "squash"}
        ``crop`` resizes the short side to resolution / crop_pct and takes the
        centre, as torchvision and timm do; ``pad`` resizes the long side to the
        resolution and fills up with the mean colour; ``squash`` resizes both.

    Returns
    -------
    ndarray of uint8, shape (resolution, resolution, 3)
    """
    side = preprocessing.resolution
    height, width = image.shape[:2]
    if fit == "squash":
        return resize(image, side, side, preprocessing.interpolation)
    if fit == "crop":
        short = int(side / preprocessing.crop_pct)
        return crop_at(resize_to_cover(image, short, side, preprocessing.interpolation), side)
    scale = side / max(height, width)
    new = [max(1, round(n * scale)) for n in (height, width)]
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = np.round(np.array(preprocessing.mean) * 255).clip(0, 255)
    top, left = (side - new[0]) // 2, (side - new[1]) // 2
    canvas[top : top + new[0], left : left + new[1]] = resize(
        image, new[0], new[1], preprocessing.interpolation
    )
    return canvas


def resize_to_cover(image: np.ndarray, short: int, side: int, interpolation: str) -> np.ndarray:
    """Resize an image's short side to `short` (at least `side`), keeping its proportions.

    Of a strip longer than 32 times its width, the middle is taken.
    """
    image = _without_far_ends(image)
    height, width = image.shape[:2]
    scale = short / min(height, width)
    new = [short if n == min(height, width) else int(n * scale) for n in (height, width)]
    return resize(image, max(new[0], side), max(new[1], side), interpolation)


def crop_at(image: np.ndarray, side: int, down: float = 0.5, right: float = 0.5) -> np.ndarray:
    """Take the square whose place is given as shares of the room there is: 0 top, 1 bottom."""
    top = round((image.shape[0] - side) * down)
    left = round((image.shape[1] - side) * right)
    return image[top : top + side, left : left + side]


def _without_far_ends(image: np.ndarray) -> np.ndarray:
    """Cut a strip's ends off: the centre crop does not see them."""
    most = 32 * min(image.shape[:2])
    top, left = (max(0, (n - most) // 2) for n in image.shape[:2])
    return image[top : top + most, left : left + most]


def resize(image: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    """Resize an image without aliasing."""
    cv2 = load_opencv()
    # OpenCV's interpolation looks at a few neighbours only; when an image shrinks
    # to less than half, whole blocks of pixels are averaged first, or it aliases.
    shrink_y, shrink_x = image.shape[0] // height, image.shape[1] // width
    if max(shrink_y, shrink_x) >= 2:
        shrink_y, shrink_x = max(1, shrink_y), max(1, shrink_x)
        rows, columns = image.shape[0] // shrink_y, image.shape[1] // shrink_x
        image = image[: rows * shrink_y, : columns * shrink_x]
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    if image.shape[:2] == (height, width):
        return image
    method = {
        "nearest": cv2.INTER_NEAREST,
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
        "lanczos": cv2.INTER_LANCZOS4,
    }[interpolation]
    return cv2.resize(image, (width, height), interpolation=method)

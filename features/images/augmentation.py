"""Seeded random versions of an image: crop, mirror, brightness, contrast, saturation.

Heads that see several versions of each image learn what does not matter, without
the network having to run again.
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import Self

import numpy as np

from .fit import resize
from .libraries import load_opencv

_ATTEMPTS = 10
# Of the luma that ITU-R BT.601 defines.
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How random views are drawn; everything stands in the feature set's record.

    The crop is Inception's (arXiv:1409.4842, section 6), as torchvision draws it: a share
    of the area, a ratio of the sides drawn evenly in its logarithm, a place. The colours
    are changed as torchvision's ColorJitter does, brightness first, then contrast, then
    saturation, as one matrix, so that values are cut off at 0 and 255 only once.

    Attributes
    ----------
    scale : tuple of 2 floats
        Least and largest share of the image's area.
    ratio : tuple of 2 floats
        Least and largest width over height.
    flip : float
        Probability of the mirror image.
    brightness, contrast, saturation : float
        Each factor lies between 1 - x and 1 + x.
    """

    seed: int
    scale: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (0.75, 1.3333)
    flip: float = 0.5
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2

    def as_dict(self) -> dict:
        """Return the fields as JSON types."""
        fields = dataclasses.asdict(self)
        return fields | {"scale": list(self.scale), "ratio": list(self.ratio)}

    @classmethod
    def from_dict(cls, fields: Mapping) -> Self:
        """Rebuild from `as_dict`; TypeError or KeyError if the fields are others."""
        scale, ratio = fields["scale"], fields["ratio"]
        return cls(**{**fields, "scale": tuple(scale), "ratio": tuple(ratio)})

    def draw(
        self, image: np.ndarray, side: int, interpolation: str, key: str, number: int
    ) -> np.ndarray:
        """Make random view `number` of the image whose row has the key `key`.

        Every backbone gets the same part of the image and the same colours.

        Returns
        -------
        ndarray of uint8, shape (side, side, 3)
        """
        numbers = _numbers(f"{self.seed}:{key}:{number}", 4 * _ATTEMPTS + 4)
        top, left, height, width = self._region(image.shape[0], image.shape[1], numbers[4:])
        region = image[top : top + height, left : left + width]
        square = resize(region, side, side, interpolation)
        if numbers[0] < self.flip:
            square = square[:, ::-1]
        strengths = (self.brightness, self.contrast, self.saturation)
        factors = [1 + x * (2 * n - 1) for x, n in zip(strengths, numbers[1:4])]
        return _change_colours(square, *factors)

    def _region(self, height: int, width: int, numbers) -> tuple[int, int, int, int]:
        """Choose top, left, height and width of the part that is shown."""
        low, high = map(math.log, self.ratio)
        for attempt in range(_ATTEMPTS):
            share, shape, down, right = numbers[4 * attempt : 4 * attempt + 4]
            area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * share)
            ratio = math.exp(low + (high - low) * shape)
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(down * (height - h + 1)), int(right * (width - w + 1)), h, w
        # A strip has no such part: the most of its middle that the ratio allows.
        w = max(1, min(width, round(height * self.ratio[1])))
        h = max(1, min(height, round(width / self.ratio[0])))
        return (height - h) // 2, (width - w) // 2, h, w


def _numbers(text: str, count: int) -> list[float]:
    """Return numbers in [0, 1) made from a text: the same on every machine, for ever."""
    words = np.frombuffer(hashlib.shake_256(text.encode()).digest(8 * count), "<u8")
    return [int(word >> np.uint64(11)) / 2**53 for word in words]


def _change_colours(
    square: np.ndarray, brightness: float, contrast: float, saturation: float
) -> np.ndarray:
    cv2, square = load_opencv(), np.ascontiguousarray(square)
    mean = brightness * float(cv2.mean(square)[:3] @ _LUMA)
    grey = np.tile(_LUMA, (3, 1))
    matrix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * grey)
    # A grey of the mean's brightness stays as it is, whatever the saturation.
    matrix = np.column_stack([matrix, np.full(3, (1 - contrast) * mean)])
    return cv2.transform(square, matrix)

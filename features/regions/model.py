"""Finding a box: one look at the whole image, then two closer ones.

The first look regresses the box from the map of the whole image; the second and the third look
at the surroundings of the box that the look before found, and their boxes are averaged. From
the last surroundings it is regressed, too, how much of the region their middle shows: that is
the intersection over union with the true box that is to be expected.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from .geometry import clipped, grown, inverse_encode, out_of
from .looks import Looker, Picture
from .ridge import Linear

# How much larger than the box its surroundings are.
AROUND = 1.6


@dataclasses.dataclass(frozen=True)
class Models:
    """What was learnt of a region.

    Attributes
    ----------
    far : Linear
        (D, 4): the box in the whole picture, encoded.
    near : Linear
        (D, 5): the box in its surroundings, encoded, and its likeness.
    slope, offset : float
        Turn the likeness into the expected intersection over union.
    """

    far: Linear
    near: Linear
    slope: float
    offset: float

    def find(self, looker: Looker, pictures: Sequence[Picture]) -> tuple[np.ndarray, np.ndarray]:
        """Find the region in pictures.

        Returns
        -------
        boxes : ndarray, shape (N, 4)
            In pixels of the files' images.
        scores : ndarray, shape (N,)
            Expected intersection over union.
        """
        if not pictures:
            return np.zeros((0, 4)), np.zeros(0)
        first = out_of(inverse_encode(self.far(looker.whole(pictures))), looker.frames(pictures))
        chain = follow(looker, pictures, first, self.near)
        scale = np.stack([one.scale for one in pictures])
        return chain.boxes(pictures) * scale, self.expected(chain.likeness)

    def expected(self, likeness: np.ndarray) -> np.ndarray:
        """Return the intersection over union, 0 to 1, that a likeness lets one expect."""
        return np.clip(np.nan_to_num(self.slope * likeness + self.offset, nan=0.0), 0, 1)


@dataclasses.dataclass(frozen=True)
class Chain:
    """Boxes (N, 4) of the closer looks, in pixels of the pictures.

    Attributes
    ----------
    second, third : ndarray, shape (N, 4)
    likeness : ndarray, shape (N,)
        How much of the region the last surroundings showed in their middle.
    """

    second: np.ndarray
    third: np.ndarray
    likeness: np.ndarray

    def boxes(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Return the answer: the mean of both, within the pictures."""
        sizes = np.array([one.size for one in pictures], float)
        return clipped((self.second + self.third) / 2, sizes)


def close_up(boxes: np.ndarray) -> np.ndarray:
    """Return the surroundings of boxes."""
    return grown(boxes, AROUND)


def follow(
    looker: Looker,
    pictures: Sequence[Picture],
    first: np.ndarray,
    near: Callable[[np.ndarray], np.ndarray],
) -> Chain:
    """Look twice more, beginning with the boxes `first`.

    Parameters
    ----------
    near : callable
        Rows (N, D) to (N, 5).
    """
    answer = near(looker.parts(pictures, close_up(first)))
    return follow_on(looker, pictures, (first, answer), near)


def follow_on(
    looker: Looker,
    pictures: Sequence[Picture],
    seen: tuple[np.ndarray, np.ndarray],
    near: Callable[[np.ndarray], np.ndarray],
) -> Chain:
    """Look once more, after close-ups of boxes and the answers (N, 5) to them were `seen`."""
    first, answer = seen
    second = out_of(inverse_encode(answer[:, :4]), close_up(first))
    frames = close_up(second)
    last = near(looker.parts(pictures, frames))
    return Chain(second, out_of(inverse_encode(last[:, :4]), frames), last[:, 4])

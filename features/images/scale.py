"""At which scale a JPEG is decoded: libjpeg can leave out what a network would not see.

An inverse cosine transform of 4 x 4, 2 x 2 or 1 x 1 of the 8 x 8 coefficients of a block gives
the image at a half, a quarter or an eighth of its sides, averaged as well as any filter would,
in a fraction of the time. Scales in between exist, and take longer than the whole image.
"""

import dataclasses
import math

from .preprocessing import Preprocessing
from .views import Views

# full: every pixel of the file. fast: a JPEG by the rule of `Need.reduction`.
DECODINGS = ("full", "fast")
REDUCTIONS = (8, 4, 2)
# What is left has at least twice the pixels that the network is given, this many a side.
MARGIN = math.sqrt(2)


@dataclasses.dataclass(frozen=True)
class Need:
    """The least sides of an image from which a network's squares are cut."""

    short: int = 0
    long: int = 0

    def reduction(self, width: int, height: int) -> int:
        """Return by how much the sides of a JPEG may be divided: 8, 4, 2, or 1.

        It depends on the image's size and on what one network needs alone, so its rows do not
        depend on the networks that run beside it.
        """
        for divisor in REDUCTIONS:
            sides = [-(-side // divisor) for side in (width, height)]
            if min(sides) >= self.short and max(sides) >= self.long:
                return divisor
        return 1


def need_of(how: Preprocessing, fit: str, views: Views) -> Need:
    """Return what the views of an image need of it, by `MARGIN`.

    Parameters
    ----------
    how : Preprocessing
        Its resolution and crop_pct are used.
    fit : {"crop", "pad", "squash"}
    """
    side = how.resolution
    if fit == "pad":
        return Need(long=math.ceil(MARGIN * side))
    if fit == "squash":
        return Need(short=math.ceil(MARGIN * side))
    short = int(side / how.crop_pct)
    if views.resize_margin is not None:
        short = int(side * (1 + views.resize_margin))
    drawn = views.augmentation
    if drawn is not None:
        # The narrowest part that is drawn of a square image; of others it is wider.
        narrowest = math.sqrt(drawn.scale[0] * min(drawn.ratio[0], 1 / drawn.ratio[1]))
        short = max(short, math.ceil(side / narrowest))
    return Need(short=math.ceil(MARGIN * short))

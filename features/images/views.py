"""The views of an image: which squares are cut from it, and how they are called.

A view is one square of an image. A feature set's row holds the features of all
its views, one after the other, in the order of `Views.names`.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Self

import numpy as np

from ...core.errors import BackboneError, enumerate_some
from .augmentation import Augmentation
from .fit import crop_at, fit_image, resize_to_cover
from .preprocessing import Preprocessing

# Where crops lie, as (vertical, horizontal) shares of the room that is left; the centre is
# first, so that the first view of a set is always the plain one.
_PLACES = {
    "center": (0.5, 0.5),
    "top_left": (0.0, 0.0),
    "top_right": (0.0, 1.0),
    "bottom_left": (1.0, 0.0),
    "bottom_right": (1.0, 1.0),
    "top": (0.0, 0.5),
    "left": (0.5, 0.0),
    "right": (0.5, 1.0),
    "bottom": (1.0, 0.5),
}
_CORNERS = tuple(_PLACES)[:5]
DEFAULT_MARGIN = 0.143
LARGEST_MARGIN = 1.0
MOST_RANDOM = 64
_FORM = "center, flip, ten, eighteen, random:K, or two of them as flip+random:8"
_HINT = "see --views and --resize-margin in icecore extract --help"


def _with_mirrors(places) -> tuple[str, ...]:
    return tuple(name for place in places for name in (place, _mirrored(place)))


def _mirrored(place: str) -> str:
    return "flip" if place == "center" else f"{place}_flip"


_FAMILIES = {
    "center": ("center",),
    "flip": _with_mirrors(["center"]),
    "ten": _with_mirrors(_CORNERS),
    "eighteen": _with_mirrors(_PLACES),
}
_CROPS = {name: (place, False) for name, place in _PLACES.items()}
_CROPS |= {_mirrored(name): (place, True) for name, place in _PLACES.items()}


@dataclasses.dataclass(frozen=True)
class Views:
    """Which views a feature set has.

    Attributes
    ----------
    names : tuple of str
        In the order of a row.
    resize_margin : float or None
        By how much of the crop's side the resized short side exceeds it. None: as the
        backbone's crop_pct says.
    augmentation : Augmentation or None
        How the random views are drawn.
    """

    names: tuple[str, ...] = ("center",)
    resize_margin: float | None = None
    augmentation: Augmentation | None = None

    @classmethod
    def parse(
        cls, text: str, resize_margin: float | None = None, seed: int = 0, fit: str = "crop"
    ) -> Self:
        """Parse ``center``, ``flip``, ``ten``, ``eighteen``, ``random:K`` or ``flip+random:K``.

        Raises
        ------
        BackboneError
            The text names no views, or they do not go together with the other options;
            all faults are named.
        """
        match = re.fullmatch(r"(?:(center|flip|ten|eighteen)(?:\+|$))?(?:random:(\d{1,4}))?", text)
        if not text or text.endswith("+") or match is None:
            raise BackboneError(f"views '{text}' (choose {_FORM})", _HINT)
        family, count = match[1], int(match[2] or 0)
        faults = []
        if match[2] and not 1 <= count <= MOST_RANDOM:
            faults.append(f"{count} random views (1 to {MOST_RANDOM})")
        if fit != "crop" and (family in ("ten", "eighteen") or match[2]):
            faults.append(f"views '{text}' with the fit '{fit}' (only crop)")
        if resize_margin is not None:
            if not 0 <= resize_margin <= LARGEST_MARGIN:
                faults.append(f"resize margin {resize_margin} (0 to {LARGEST_MARGIN:g})")
            if fit != "crop" or family is None:
                what = f"the fit '{fit}'" if fit != "crop" else "random views alone"
                faults.append(f"a resize margin with {what} (it would not be used)")
        if seed < 0:
            faults.append(f"seed {seed} (0 or more)")
        if faults:
            raise BackboneError("; ".join(faults), _HINT)
        if resize_margin is None and family in ("ten", "eighteen"):
            resize_margin = DEFAULT_MARGIN
        names = _FAMILIES.get(family, ()) + tuple(f"random:{k}" for k in range(count))
        return cls(names, resize_margin, Augmentation(seed) if count else None)

    @classmethod
    def from_dict(cls, record: Mapping) -> Self:
        """Return the views of a feature set by its record.

        Raises
        ------
        BackboneError
            The record names views that this icecore does not know.
        """
        names = tuple(record["views"])
        strange = [n for n in names if n not in _CROPS and not re.fullmatch(r"random:\d+", n)]
        augmentation = record["augmentation"]
        try:
            drawn = None if augmentation is None else Augmentation.from_dict(augmentation)
        except (KeyError, TypeError):
            strange.append(f"augmentation {augmentation}")
        if augmentation is None:
            strange += [name for name in names if name.startswith("random:")]
        if strange:
            raise BackboneError(
                f"features of unknown views: {enumerate_some(strange)}",
                "a newer icecore may have made them: install that one",
            )
        return cls(names, record["resize_margin"], drawn)

    def as_dict(self) -> dict:
        """Return the fields that a feature set's record has for these views."""
        drawn = self.augmentation
        return {
            "views": list(self.names),
            "resize_margin": self.resize_margin,
            "augmentation": None if drawn is None else drawn.as_dict(),
        }

    @property
    def text(self) -> str:
        """The views in a few words, for messages."""
        names = self.names if len(self.names) < 4 else (*self.names[:2], "...", self.names[-1])
        margin = "" if self.resize_margin is None else f" (resize margin {self.resize_margin:g})"
        seed = "" if self.augmentation is None else f" (seed {self.augmentation.seed})"
        return f"views {'+'.join(names)}{margin}{seed}"

    def __len__(self) -> int:
        return len(self.names)


CENTER = Views()


def make_squares(
    image: np.ndarray, preprocessing: Preprocessing, fit: str, views: Views, key: str
) -> np.ndarray:
    """Cut every view of an image for a backbone.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
    preprocessing : Preprocessing
        Its resolution, crop_pct, interpolation and mean are used.
    fit : {"crop", "pad", "squash"}
    key : str
        Of the image's row. What is random depends on it and the stored seed alone.

    Returns
    -------
    ndarray of uint8, shape (V, resolution, resolution, 3)
    """
    side = preprocessing.resolution
    if views == CENTER:
        return fit_image(image, preprocessing, fit)[np.newaxis]  # not copied: the batch does that
    squares = np.empty((len(views), side, side, 3), np.uint8)
    whole = None
    for square, name in zip(squares, views.names):
        if name not in _CROPS:
            number = int(name.removeprefix("random:"))
            assert views.augmentation is not None
            square[:] = views.augmentation.draw(
                image, side, preprocessing.interpolation, key, number
            )
            continue
        place, mirrored = _CROPS[name]
        if views.resize_margin is None:
            if whole is None:
                whole = fit_image(image, preprocessing, fit)
            crop = whole
        else:
            if whole is None:
                short = int(side * (1 + views.resize_margin))
                whole = resize_to_cover(image, short, side, preprocessing.interpolation)
            crop = crop_at(whole, side, *place)
        square[:] = crop[:, ::-1] if mirrored else crop
    return squares

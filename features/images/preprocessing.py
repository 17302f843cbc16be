"""How pixels are prepared for a network."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Self

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area", "lanczos")

LARGEST_RESOLUTION = 2048
# An image is resized to as many times the square: no network comes near, and memory is bounded.
LEAST_CROP_PCT = 0.25
# timm's names for how an image meets the square, and ours.
FIT_OF_MODE = {"center": "crop", "squash": "squash", "border": "pad"}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How images are prepared for a network, under timm's field names.

    Attributes
    ----------
    resolution : int
        Side of the square input, pixels.
    mean, std : tuple of 3 floats
        Of RGB values scaled to [0, 1].
    crop_pct : float
        Side of the centre crop as a share of the resized short side.
    interpolation : str
        One of `INTERPOLATIONS`.
    input_space : {"RGB", "BGR"}
        Order of the channels that the network takes; the graph turns them round itself.
    crop_mode : {"center", "squash", "border"}
        How the network saw images when it was trained: as the fits crop, squash and pad.
    """

    resolution: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_pct: float
    interpolation: str
    input_space: str = "RGB"
    crop_mode: str = "center"

    def as_dict(self) -> dict:
        """Return the fields as JSON types, with timm's ``input_size`` (3, H, W)."""
        return {
            "input_size": [3, self.resolution, self.resolution],
            "mean": list(self.mean),
            "std": list(self.std),
            "crop_pct": self.crop_pct,
            "interpolation": self.interpolation,
            "input_space": self.input_space,
            "crop_mode": self.crop_mode,
        }

    def of_squares(self, fit: str) -> Self:
        """Return what the square of an image depends on; the rest is that of any network.

        Networks whose answers are equal take the same squares.
        """
        return dataclasses.replace(
            self,
            std=(1.0, 1.0, 1.0),
            mean=self.mean if fit == "pad" else (0.0, 0.0, 0.0),
            crop_pct=self.crop_pct if fit == "crop" else 1.0,
            input_space="RGB",
            crop_mode="center",
        )

    @classmethod
    def from_dict(cls, fields: Mapping, resolution: int | None = None) -> Self:
        """Take the preprocessing out of `as_dict`, or of a file's record that was checked.

        Parameters
        ----------
        resolution : int, optional
            Another side than that of ``input_size``.
        """
        return cls(
            resolution=resolution or fields["input_size"][1],
            mean=three_numbers(fields["mean"]),
            std=three_numbers(fields["std"]),
            crop_pct=float(fields["crop_pct"]),
            interpolation=fields["interpolation"],
            input_space=fields["input_space"],
            crop_mode=fields["crop_mode"],
        )


def three_numbers(values: Iterable[Any]) -> tuple[float, float, float]:
    """Return a number for each colour."""
    red, green, blue = map(float, values)
    return red, green, blue

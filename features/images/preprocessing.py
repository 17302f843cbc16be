"""How pixels are prepared for a network."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

from ...core.errors import BackboneError, MissingFileError, enumerate_some

__all__ = ["INTERPOLATIONS", "LARGEST_RESOLUTION", "Preprocessing", "read_preprocessing"]


INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area", "lanczos")

LARGEST_RESOLUTION = 2048


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
    """

    resolution: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_pct: float
    interpolation: str

    def as_dict(self) -> dict:
        """Return the fields as JSON types, with timm's ``input_size`` (3, H, W)."""
        return {
            "input_size": [3, self.resolution, self.resolution],
            "mean": list(self.mean),
            "std": list(self.std),
            "crop_pct": self.crop_pct,
            "interpolation": self.interpolation,
        }

    def of_squares(self, fit: str) -> Preprocessing:
        """Return what the square of an image depends on; the rest is that of any network.

        Networks whose answers are equal take the same squares.
        """
        return dataclasses.replace(
            self,
            std=(1.0, 1.0, 1.0),
            mean=self.mean if fit == "pad" else (0.0, 0.0, 0.0),
            crop_pct=self.crop_pct if fit == "crop" else 1.0,
        )

    @classmethod
    def from_dict(cls, fields: Mapping, resolution: int | None = None) -> Preprocessing:
        """Take the preprocessing out of `as_dict`, or of a file's record that was checked.

        Parameters
        ----------
        fields : mapping
        resolution : int, optional
            Another side than that of ``input_size``.
        """
        return cls(
            resolution=resolution or fields["input_size"][1],
            mean=tuple(map(float, fields["mean"])),
            std=tuple(map(float, fields["std"])),
            crop_pct=float(fields["crop_pct"]),
            interpolation=fields["interpolation"],
        )


def read_preprocessing(path: Path) -> dict:
    """Read the preprocessing record that lies beside an ONNX file.

    Parameters
    ----------
    path : Path
        A JSON file with timm's fields ``input_size``, ``mean``, ``std``,
        ``crop_pct`` and ``interpolation``; more fields are allowed.

    Raises
    ------
    MissingFileError
        There is no such file.
    BackboneError
        Fields are missing or hold impossible values; all are named.
    """
    if not path.is_file():
        raise MissingFileError(
            f"{path} is not there; it says how images are prepared for the network",
            'write it: {"input_size": [3, 224, 224], "mean": [0.485, 0.456, 0.406], '
            '"std": [0.229, 0.224, 0.225], "crop_pct": 0.875, "interpolation": "bicubic"}',
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size < 1e6 else None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BackboneError(f"{path} is not JSON: {error}", "write it again") from error
    faults = _preprocessing_faults(fields)
    if faults:
        raise BackboneError(
            f"{path} is not a preprocessing record: {enumerate_some(faults)}",
            "it needs input_size [3, N, N], mean and std of three numbers, crop_pct in (0, 1] "
            f"and interpolation ({', '.join(INTERPOLATIONS)})",
        )
    return fields


def _preprocessing_faults(fields: object) -> list[str]:
    if not isinstance(fields, dict):
        return ["it holds no JSON object"]
    checks = {
        "input_size": lambda v: (
            _numbers(v, 3)
            and all(isinstance(n, int) for n in v)
            and v[0] == 3
            and v[1] == v[2]
            and 1 <= v[1] <= LARGEST_RESOLUTION
        ),
        "mean": lambda v: _numbers(v, 3),
        "std": lambda v: _numbers(v, 3) and min(v) > 0,
        "crop_pct": lambda v: _numbers([v], 1) and 0 < v <= 1,
        "interpolation": lambda v: v in INTERPOLATIONS,
    }
    faults = [
        f"{name} is {fields[name]!r}" if name in fields else f"{name} is missing"
        for name, check in checks.items()
        if name not in fields or not check(fields[name])
    ]
    if not isinstance(fields.get("num_features", 1), int):
        faults.append(f"num_features is {fields['num_features']!r}")
    return faults


def _numbers(value: object, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
        and all(math.isfinite(v) for v in value)
    )

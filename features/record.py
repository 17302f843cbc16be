"""What a backbone is called, and everything that makes its features what they are.

A spec names a backbone: ``source:name[@resolution]``, for instance
``gluon:inceptionv3@299`` or ``onnx:path/to/model.onnx``. Its record holds the
digest of its weights and its preprocessing, under the field names of timm.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

from ..core.errors import BackboneError, MissingFileError, enumerate_some
from .layer import BEFORE_CLASSIFIER, Layer
from .views import Views

__all__ = [
    "BackboneRecord",
    "BackboneSpec",
    "feature_set_record",
    "read_preprocessing",
    "with_compute_precision",
]

SOURCES = ("gluon", "mxnet", "gluon-file", "onnx", "timm")
# Their names are paths.
OF_FILES = ("gluon-file", "onnx")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area", "lanczos")
LARGEST_RESOLUTION = 2048


@dataclasses.dataclass(frozen=True)
class BackboneSpec:
    """A parsed spec.

    Attributes
    ----------
    source : str
        ``gluon`` (GluonCV's zoo), ``mxnet`` (MXNet's own), ``gluon-file`` or ``onnx``.
    name : str
        Name in the model zoo, or path of the file or the prefix of the files.
    resolution : int or None
        Input side in pixels, where it shall differ from the native one.
    layer : Layer
        Where features are taken; no part of the text.
    """

    source: str
    name: str
    resolution: int | None = None
    layer: Layer = BEFORE_CLASSIFIER

    @classmethod
    def parse(cls, text: str) -> BackboneSpec:
        """Parse ``source:name[@resolution]``.

        Raises
        ------
        BackboneError
            The text is not a spec.
        """
        match = re.fullmatch(r"([a-z-]+):(.+?)(?:@(\d+))?", text.strip())
        if match is None or match[1] not in SOURCES:
            raise BackboneError(
                f"'{text}' is not a backbone spec",
                "write gluon:NAME[@RESOLUTION], mxnet:NAME, timm:NAME, onnx:FILE or "
                "gluon-file:PREFIX, for instance gluon:inceptionv3 or "
                "onnx:models/efficientnet_lite0.onnx",
            )
        resolution = int(match[3]) if match[3] else None
        if resolution is not None and not 16 <= resolution <= LARGEST_RESOLUTION:
            raise BackboneError(
                f"'{text}' asks for a resolution of {resolution} pixels",
                f"give one between 16 and {LARGEST_RESOLUTION}",
            )
        return cls(match[1], match[2], resolution)

    @property
    def canonical(self) -> str:
        """The name that the cache keeps: files lose their folder, so they can be moved."""
        name = Path(self.name).name if self.source in OF_FILES else self.name
        return f"{self.source}:{name}" + (f"@{self.resolution}" if self.resolution else "")


@dataclasses.dataclass(frozen=True)
class BackboneRecord:
    """Everything that makes a backbone's features what they are.

    Attributes
    ----------
    spec : str
        Canonical spec.
    architecture : str
        Name of the network.
    weights_digest : str
        SHA-256 of the weights.
    weights : str
        ``pretrained``, or ``random:SEED`` for a network that knows nothing.
    resolution : int
        Side of the square input, pixels.
    mean, std : tuple of 3 floats
        Of RGB values scaled to [0, 1].
    crop_pct : float
        Side of the centre crop as a share of the resized short side.
    interpolation : str
        One of nearest, bilinear, bicubic, area, lanczos.
    num_features : int
        Length of a feature row.
    """

    spec: str
    architecture: str
    weights_digest: str
    weights: str
    resolution: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_pct: float
    interpolation: str
    num_features: int

    def as_dict(self) -> dict:
        """Return the record as JSON types, with timm's ``input_size`` (3, H, W)."""
        fields = dataclasses.asdict(self)
        resolution = fields.pop("resolution")
        fields["input_size"] = [3, resolution, resolution]
        return fields | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, fields: dict) -> BackboneRecord:
        """Rebuild a record from `as_dict`."""
        fields = dict(fields)
        fields["resolution"] = fields.pop("input_size")[1]
        return cls(**fields | {"mean": tuple(fields["mean"]), "std": tuple(fields["std"])})

    @property
    def is_random(self) -> bool:
        """Whether the network's weights are random numbers."""
        return self.weights.startswith("random:")


def feature_set_record(
    backbone: BackboneRecord,
    fit: str,
    precision: str,
    views: Views | None = None,
    compute: str = "f32",
    layer: Layer | None = None,
) -> dict:
    """Return the record of a feature set, the content of its fingerprint."""
    made = {
        "backbone": backbone.as_dict(),
        "fit": fit,
        **(views or Views()).as_record(),
        "precision": precision,
        "layer": (layer or BEFORE_CLASSIFIER).text,
    }
    return with_compute_precision(made, compute)


def with_compute_precision(record: dict, compute: str) -> dict:
    """Return the record of a feature set that is computed in `compute`, and else the same."""
    rest = {name: value for name, value in record.items() if name != "compute_precision"}
    # Not said of float32: fingerprints from before there was a choice stay what they are.
    return rest if compute == "f32" else rest | {"compute_precision": compute}


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

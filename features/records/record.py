"""What a backbone is called, and everything that makes its features what they are.

A spec names a backbone: ``source:name[@resolution]``, for instance
``gluon:inceptionv3@299`` or ``onnx:path/to/model.onnx``. Its record holds the
digest of its weights and its preprocessing, under the field names of timm.
"""

from __future__ import annotations

import dataclasses

from ..images.views import Views
from .layer import BEFORE_CLASSIFIER, Layer

__all__ = ["BackboneRecord", "feature_set_record", "with_compute_precision"]


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

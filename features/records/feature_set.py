"""What made the rows of a feature set: one value, whose hash is the set's fingerprint."""

import dataclasses
from collections.abc import Mapping

from ...cache import fingerprint
from ...core.errors import BackboneError
from ...core.json_fields import JsonFields
from ..images.preprocessing import LEAST_CROP_PCT
from ..images.scale import DECODINGS
from ..images.views import CENTER, Views
from .layer import BEFORE_CLASSIFIER, Layer
from .record import BackboneRecord

# Raise it when the same fields would mean other rows.
FORMAT = 1
PRECISIONS = ("float16", "float32", "bfloat16")
_HINT = "extract again, or use the version of icecore that made it"
_NUMBERS = {int, float}


@dataclasses.dataclass(frozen=True)
class FeatureSetRecord:
    """Everything that makes the rows of a feature set what they are.

    Attributes
    ----------
    backbone : BackboneRecord
    fit : {"crop", "pad", "squash"}
        How an image meets the square input.
    views : Views
    layer : Layer
        Where features are taken, and how they are pooled.
    precision : {"float16", "float32", "bfloat16"}
        Of the stored rows.
    compute : {"f32", "bf16", "fp16"}
        In which the engine computes.
    decoding : {"fast", "full"}
        ``full``: every pixel of a file. ``fast``: a JPEG at the scale that
        `icecore.features.images.scale.Need` finds for this network; all else in full.
    """

    backbone: BackboneRecord
    fit: str = "crop"
    views: Views = CENTER
    layer: Layer = BEFORE_CLASSIFIER
    precision: str = "float16"
    compute: str = "f32"
    decoding: str = "fast"

    def as_dict(self) -> dict:
        """Return the record as JSON types; every field is there, whatever its value."""
        return {
            "format": FORMAT,
            "backbone": self.backbone.as_dict(),
            "fit": self.fit,
            **self.views.as_dict(),
            "layer": self.layer.name,
            "pool": self.layer.pool,
            "precision": self.precision,
            "compute_precision": self.compute,
            "decoding": self.decoding,
        }

    @classmethod
    def from_dict(cls, fields: Mapping, where: str = "the record of a feature set"):
        """Rebuild a record from `as_dict`.

        Parameters
        ----------
        where : str
            What to call it in messages, such as the file that it stands in.

        Raises
        ------
        BackboneError
            The fields are not those of this version, or hold what cannot be.
        """
        _require_types(JsonFields(dict(fields), where, BackboneError, _HINT))
        try:
            record = cls(
                backbone=BackboneRecord.from_dict(fields["backbone"]),
                fit=fields["fit"],
                views=Views.from_dict(fields),
                layer=Layer(fields["layer"], fields["pool"]),
                precision=fields["precision"],
                compute=fields["compute_precision"],
                decoding=fields["decoding"],
            )
            whole = record.as_dict() == dict(fields) and record.decoding in DECODINGS
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            why = f"it has no field {error}" if isinstance(error, KeyError) else str(error)
            if isinstance(error, BackboneError):
                why = error.message
            raise _unknown(where, why) from error
        if not whole:
            raise _unknown(where, "it has fields that this icecore does not know")
        return record

    @property
    def fingerprint(self) -> str:
        """SHA-256 of `as_dict`, in the one form that the cache hashes."""
        return fingerprint(self.as_dict())


def _require_types(record: JsonFields) -> None:
    """See that every field is there and of its type; the first that is not is named."""
    if record.integer("format") != FORMAT:
        raise record.refuse(f"is of format {record.integer('format')}, not {FORMAT}")
    for name in ("fit", "pool", "precision", "compute_precision", "decoding"):
        record.text(name)
    if record.has("layer"):
        record.text("layer")
    record.texts("views")
    backbone = record.part("backbone")
    for name in ("spec", "architecture", "weights_digest"):
        backbone.text(name)
    if backbone.has("random_seed"):
        backbone.integer("random_seed", 0)
    backbone.integer("num_features", 1)
    how = backbone.part("preprocessing")
    how.number("crop_pct", LEAST_CROP_PCT)
    for name in ("interpolation", "input_space", "crop_mode"):
        how.text(name)
    for name in ("input_size", "mean", "std"):
        value = how.content.get(name)
        if not isinstance(value, list) or len(value) != 3 or not set(map(type, value)) <= _NUMBERS:
            raise how.refuse(f"has no {name} of three numbers")


def _unknown(where: str, why: str) -> BackboneError:
    return BackboneError(f"{where} is not one that this icecore writes: {why}", _HINT)

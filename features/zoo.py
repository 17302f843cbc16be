"""Which networks the Gluon zoo has, and how each wants its images."""

from __future__ import annotations

import difflib

from ..errors import BackboneError
from .efficientnet_lite import VARIANTS
from .mxnet_loader import load_gluoncv, load_mxnet

__all__ = ["ZOOS", "native_preprocessing", "require_known"]

# Source of a spec -> whose zoo it is. Under one name the two may have different weights.
ZOOS = {"gluon": "GluonCV", "mxnet": "MXNet"}

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# The weights were trained by Google's pipeline: (value - 127) / 128.
_TF_LITE = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}


def require_known(name: str, source: str = "gluon") -> None:
    """Raise `BackboneError` with near matches unless the zoo has a network `name`."""
    known = _names(source)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
        raise BackboneError(
            f"{source} has no network '{name}'",
            f"did you mean {', '.join(near)}?" if near else f"see {ZOOS[source]}'s model zoo",
        )


def _names(source: str) -> list[str]:
    if source == "mxnet":
        load_mxnet()
        from mxnet.gluon.model_zoo import model_store

        return sorted(model_store._model_sha1)
    return sorted({*load_gluoncv().model_zoo.model_zoo.get_model_list(), *VARIANTS})


def native_preprocessing(name: str, source: str = "gluon") -> dict:
    """Return resolution, mean, std, crop_pct and interpolation of a Gluon network."""
    if source == "gluon" and name in VARIANTS:
        return {
            "resolution": VARIANTS[name][2],
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            **_TF_LITE,
        }
    side = 299 if name.startswith(("inceptionv3", "xception")) else 224
    side = {"nasnet_6_4032": 331, "resnest101": 256, "resnest200": 320, "resnest269": 416}.get(
        name, side
    )
    return {"resolution": side, "crop_pct": 0.875, "interpolation": "bilinear", **_IMAGENET}

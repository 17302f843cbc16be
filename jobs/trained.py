"""What `predict` and `bundle` take from a run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from .. import ensemble
from ..core.errors import MissingFileError, RunError, enumerate_some
from ..ensemble import TaskWeights
from ..features import BackboneSpec, FeatureSetRecord

__all__ = ["made_how", "plain_average", "require_writable", "saved_weights", "spec_text"]


def saved_weights(run: str | os.PathLike, answer: str = "recommended") -> dict:
    """Return the weights of the tasks of a run that was blended; nothing if it was not."""
    if answer not in ensemble.ANSWERS:
        raise RunError(f"there is no answer '{answer}'", f"choose {', '.join(ensemble.ANSWERS)}")
    try:
        return ensemble.load_blend(run, answer)
    except MissingFileError:
        return {}


def plain_average(models: Sequence[str]) -> TaskWeights:
    """Return equal weights, for a run that was not blended."""
    return TaskWeights(dict.fromkeys(models, 1 / len(models)), answer="the plain average")


def made_how(fitted) -> FeatureSetRecord:
    """Return the record of a run's first feature set: but for the backbone, all are made so."""
    records = [FeatureSetRecord.from_dict(one["record"]) for one in fitted.backbones]
    kinds = {
        "fit": {one.fit for one in records},
        "precision": {one.precision for one in records},
        "weights": {one.backbone.weights for one in records},
        "views": {one.views.text for one in records},
        "compute precision": {one.compute for one in records},
    }
    mixed = [
        f"{name} ({', '.join(sorted(there))})" for name, there in kinds.items() if len(there) > 1
    ]
    if mixed:
        raise RunError(
            f"the run mixes features of different {enumerate_some(mixed)}",
            "train a run on feature sets of one kind to predict with it",
        )
    return records[0]


def spec_text(feature_set: dict, weights_dir):
    """Return the spec of a feature set's backbone, with the layer its features come from."""
    spec = BackboneSpec.parse(_located(feature_set, weights_dir))
    return dataclasses.replace(spec, layer=FeatureSetRecord.from_dict(feature_set["record"]).layer)


def _located(feature_set: dict, weights_dir) -> str:
    """Return a spec that finds the backbone: ONNX files are where they were, or in weights_dir."""
    spec = feature_set["record"]["backbone"]["spec"]
    source = feature_set.get("source") or spec
    if spec.startswith("onnx:") and weights_dir is not None:
        name, _, resolution = spec.removeprefix("onnx:").partition("@")
        if (Path(weights_dir) / name).is_file():
            return f"onnx:{Path(weights_dir) / name}" + (f"@{resolution}" if resolution else "")
    return source


def require_writable(out: str | os.PathLike) -> None:
    """Find out before the work, not after it, that the answer has no place to go."""
    out = Path(os.path.abspath(out))
    if out.is_dir():
        raise RunError(f"{out} is a folder", "name a file for the answer")
    parent = out.parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise RunError(
            f"{out} cannot be written: {parent} does not allow it", "choose another place"
        )

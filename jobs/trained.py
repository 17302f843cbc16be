"""What `predict` and `bundle` take from a run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from .. import ensemble
from ..core.errors import MissingFileError, RunError, enumerate_some
from ..ensemble import TaskWeights
from ..features import BackboneSpec, Layer, Views

__all__ = ["made_how", "plain_average", "require_writable", "saved_weights", "spec_text"]


def saved_weights(run: str | os.PathLike, answer: str = "recommended") -> dict:
    """Return the weights of the tasks of a run that was blended; nothing if it was not."""
    if answer not in ensemble.ANSWERS:
        raise RunError(f"no answer '{answer}'", f"choose {', '.join(ensemble.ANSWERS)}")
    try:
        return ensemble.load_blend(run, answer)
    except MissingFileError:
        return {}


def plain_average(models: Sequence[str]) -> TaskWeights:
    """Return equal weights, for a run that was not blended."""
    return TaskWeights(dict.fromkeys(models, 1 / len(models)), answer="the plain average")


def made_how(fitted) -> tuple:
    """Return fit, precision, weights, views and compute precision of all sets of a run."""
    records = [one["record"] for one in fitted.backbones]
    kinds = {(record["fit"], record["precision"]) for record in records}
    computes = {record.get("compute_precision", "f32") for record in records}
    weights = {record["backbone"]["weights"] for record in records}
    views = set(map(Views.from_record, records))
    if max(map(len, (kinds, weights, views, computes))) > 1:
        names = {one.text for one in views} if len(views) > 1 else set()
        raise RunError(
            "the run mixes features of different fit, precision, weights or views: "
            f"{enumerate_some(sorted(map(str, kinds | weights | names | computes)))}",
            "train a run on feature sets of one kind to predict with it",
        )
    return *kinds.pop(), weights.pop(), views.pop(), computes.pop()


def spec_text(feature_set: dict, weights_dir):
    """Return the spec of a feature set's backbone, with the layer its features come from."""
    spec = BackboneSpec.parse(_located(feature_set, weights_dir))
    text = feature_set["record"].get("layer", Layer().text)
    return dataclasses.replace(spec, layer=Layer.from_text(text))


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

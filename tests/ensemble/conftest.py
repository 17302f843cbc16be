"""A small synthetic run, made without any other room, for the tests of blending."""

from __future__ import annotations

import json

import numpy as np
import pytest
from one_thread import one_thread

from icecore.manifest.table import Manifest, Sample
from icecore.runs import ProbabilityTable, write_probabilities

__all__ = ["builders", "one_thread", "run"]

CLASSES = ("dress", "hat", "skirt", "t-shirt")
FEATURES = {
    "mlp-one": ["print-one"],
    "mlp-two": ["print-two"],
    "logistic-all": ["print-one", "print-two"],
    "noise": ["print-one"],
}
QUALITY = {"mlp-one": 1.6, "mlp-two": 1.3, "logistic-all": 2.0, "noise": 0.2}


def softmax(logits):
    share = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return share / share.sum(axis=-1, keepdims=True)


def make_probabilities(models=4, rows=120, classes=4, seed=0, quality=None):
    """Return probabilities (M, N, C) of models of unequal quality, and y (N,)."""
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=rows)
    y[:classes] = np.arange(classes)
    quality = rng.uniform(0.3, 2.5, models) if quality is None else np.asarray(quality)
    shared = rng.normal(size=(rows, classes))
    own = rng.normal(size=(models, rows, classes))
    logits = quality[:, None, None] * np.eye(classes)[y] * 1.5 + 0.6 * shared + own
    return softmax(logits * rng.uniform(0.6, 1.8, models)[:, None, None]), y


def backbone(name):
    """Return what run.json says of a feature set."""
    return {"spec": f"onnx:{name}", "fingerprint": f"print-{name}", "dim": 8, "record": {}}


def build_run(folder, rows=120, tasks=("label",), letters=False, **about):
    """Write a run of four models for each task; the last third of the rows is the test split."""
    ids = [f"images/{index:03d}.jpg" for index in range(rows)]
    splits = ["validation" if index < 2 * rows // 3 else "test" for index in range(rows)]
    # Letters name no classes.
    classes = ("0", "1", "2", "3") if letters else CLASSES
    samples, described = [], {}
    for number, task in enumerate(tasks):
        probabilities, y = make_probabilities(
            rows=rows, seed=number, quality=list(QUALITY.values())
        )
        for model, table in zip(QUALITY, probabilities):
            write_probabilities(
                folder / task / "probabilities" / f"{model}.npz",
                ProbabilityTable(tuple(ids), classes, table, tuple(splits), model, task),
            )
        for identity, split, true in zip(ids, splits, y):
            given = "".join(
                "y" if c == true else "m" if c == (true + 1) % 4 else "n" for c in range(4)
            )
            samples.append(
                Sample(
                    identity,
                    str(folder / identity),
                    split,
                    task,
                    classes[true],
                    given if letters else "",
                )
            )
        described[task] = {
            "classes": classes,
            "models": list(QUALITY),
            "validation": "split",
            "folder": task,
            "features": {model: list(parts) for model, parts in FEATURES.items()},
        }
    Manifest(tuple(samples)).write(folder / "samples.csv")
    content = {
        "format": 1,
        "icecore": "0.1.0",
        "seed": 7,
        "random_weights": False,
        "backbones": [backbone("one"), backbone("two")],
        "tasks": described,
    }
    (folder / "run.json").write_text(json.dumps(content | about))
    return folder


@pytest.fixture
def run(tmp_path):
    """Return the folder of a fresh run with one task."""
    return build_run(tmp_path / "run")


@pytest.fixture(scope="session")
def builders():
    """Return the builders: tests cannot import from this file."""

    class Builders:
        classes = CLASSES
        models = tuple(QUALITY)
        probabilities = staticmethod(make_probabilities)
        run = staticmethod(build_run)
        backbone = staticmethod(backbone)
        softmax = staticmethod(softmax)

    return Builders

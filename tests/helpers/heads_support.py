"""Small caches and manifests that the tests of training share."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest

from icecore.cache import FeatureCache
from icecore.core.files import sha256_bytes
from icecore.heads import TrainOptions, train
from icecore.heads.saved import plain_settings
from icecore.manifest.table import Manifest, Sample

QUICK = {
    "mlp": {"width": 8, "members": 1, "epochs": 2, "scaling": "rms"},
    "lightgbm": {"rounds": 5, "min_rows": 2},
}
CLASSES = ("dress", "hat", "skirt")


def digest(name: str) -> str:
    return sha256_bytes(name.encode())


def record(name: str, **changes) -> dict:
    backbone = {"spec": f"gluon:{name}", "weights": "pretrained", "weights_digest": "0" * 64}
    content = {"backbone": backbone, "fit": "crop", "views": ["center"], "precision": "float16"}
    backbone.update(changes)
    return content


def samples(count, split="", task="label", classes=CLASSES, prefix="image"):
    return [
        Sample(
            f"{prefix}{i}.jpg",
            f"/data/{prefix}{i}.jpg",
            split,
            task,
            classes[i % len(classes)],
            digest=digest(f"{prefix}{i}"),
        )
        for i in range(count)
    ]


def features(rows, dim, seed):
    rng = np.random.default_rng(seed)
    names = sorted({s.label for s in rows if s.label})
    centres = dict(zip(names, 3 * rng.random((len(names), dim)), strict=True))
    return np.array([centres.get(s.label, 0) + 0.5 * rng.normal(size=dim) for s in rows])


def make_cache(path, rows, names=("one", "two"), dim=6, **changes):
    cache = FeatureCache.create(path)
    for seed, name in enumerate(names):
        cache.open_set(record(name, **changes), f"gluon:{name}", dim).append(
            [s.digest for s in rows], features(rows, dim, seed)
        )
    return cache


@pytest.fixture
def rows():
    return (
        samples(60, "train")
        + samples(15, "validation", prefix="v")
        + samples(9, "test", prefix="t")
    )


@pytest.fixture
def cache(tmp_path, rows):
    return make_cache(tmp_path / "cache", rows)


def go(cache, rows, out, **options):
    heads = options.get("heads") or ["mlp"]
    kinds = {text.partition(",")[0] for text in heads}
    own = {name for text in heads for name in re.findall(r",(\w+)=", text)}
    quick = {kind: {n: v for n, v in QUICK[kind].items() if n not in own} for kind in QUICK}
    options.setdefault("settings", {kind: quick[kind] for kind in QUICK if kind in kinds})
    progress = options.pop("progress", None)
    manifest = Manifest(tuple(rows), "the data")
    return train(cache, manifest, out, TrainOptions(**options), progress)


def fingerprint(head) -> str:
    """Return a digest of everything that a fitted head is."""
    fields, arrays = head._state()
    text = json.dumps([fields, plain_settings(head.get_params())], sort_keys=True, default=str)
    content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    if hasattr(head, "booster_"):
        content += head.booster_.model_to_string().encode()
    return hashlib.sha256(text.encode() + content).hexdigest()

"""A small cache of drawn features, with faults of every kind planted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from heads_support import digest, record
from one_thread import one_thread

from icecore.cache import FeatureCache
from icecore.manifest import Manifest, Sample

__all__ = ["one_thread", "planted"]

CLASSES = ("dress", "hat", "shoes")


@dataclasses.dataclass(frozen=True)
class Planted:
    """Where the cache and the table are, and what is wrong with them."""

    cache: object
    table: object
    new: object
    flipped: frozenset
    copies: dict
    outliers: frozenset


def sample(name, split, label, path=""):
    return Sample(name, path or f"/data/{name}", split, "label", label, digest=digest(name))


@pytest.fixture(scope="session")
def planted(tmp_path_factory) -> Planted:
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(0)
    rows, features, flipped = [], [], set()
    centres = 4 * rng.normal(size=(3, 24))
    for number in range(360):
        own = number % 3
        label = own
        if number % 20 == 7:
            label, flipped = (own + 1) % 3, flipped | {f"{number}.jpg"}
        split = "validation" if number // 3 % 6 == 0 else "train"
        rows.append(sample(f"{number}.jpg", split, CLASSES[label]))
        features.append(centres[own] + 0.8 * rng.normal(size=24))
    copies = {}
    for number in range(12):  # equal files: one digest, one row of features
        original = rows[3 * number + 1]
        name = f"copy{number}.jpg"
        rows.append(dataclasses.replace(original, id=name, path=f"/data/{name}", split="test"))
        copies[name] = original.id
    outliers = set()
    for number in range(2):
        name = f"odd{number}.jpg"
        rows.append(sample(name, "train", "hat"))
        features.append(60 * rng.normal(size=24))
        outliers.add(name)
    cache = FeatureCache.create(folder / "cache")
    keys = list(dict.fromkeys(row.digest for row in rows))
    new = [sample(f"new{number}.jpg", "", "hat") for number in range(40)]
    features += list(centres[1] + 3 + rng.normal(size=(40, 24)))
    one = cache.open_set(record("one"), "gluon:one", 24)
    one.append(keys + [row.digest for row in new], np.array(features, np.float32))
    Manifest(tuple(rows)).write(folder / "table.csv")
    Manifest(tuple(new)).write(folder / "new.csv")
    return Planted(
        folder / "cache", folder / "table.csv", folder / "new.csv", frozenset(flipped), copies,
        frozenset(outliers),
    )  # fmt: skip
